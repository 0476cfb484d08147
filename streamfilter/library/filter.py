"""The filter of alerts without a broker: packets or arrays in, verdicts out."""

import hashlib
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType, ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, Self

from pydantic import ValidationError

from streamfilter import __version__
from streamfilter import config as settings_room
from streamfilter.alerts.field_plan import Gaps
from streamfilter.alerts.pipeline import Pipeline, Prepared
from streamfilter.alerts.surveys import RuleField, SurveyMap, Surveys
from streamfilter.alerts.verdict import Policy
from streamfilter.config import Settings, Survey
from streamfilter.errors import ConfigurationInvalid, how_to_install
from streamfilter.library.columns import Column
from streamfilter.library.inputs import messages_of
from streamfilter.library.judged import Judged, Open
from streamfilter.library.saying import say
from streamfilter.library.stamps import Stamps, alerts_of
from streamfilter.records import (
    Alert,
    Annotation,
    EngineIdentity,
    FieldKind,
    Plane,
    Rejected,
    Rule,
)
from streamfilter.service.assembly.alerts import open_parts, policy_of, unpublished
from streamfilter.service.assembly.engines import identity_of

if TYPE_CHECKING:
    import pyarrow as pa

    from streamfilter.library.tables import Layout

POSITION = ("ra", "dec")
"""Fields of the survey's maps, in degrees, that every table has."""
_NO_SURVEY = "arrays"
_Outcome = tuple[Prepared, Annotation] | Rejected


class Filter:
    """Judges alerts exactly as ``streamfilter run`` would with the same settings.

    Any number of threads may use one filter. It holds a network, which is fetched at first use
    (52 MB) and opened once; ``with`` or ``close`` releases it.

    Parameters
    ----------
    config
        A TOML file of settings, as for ``streamfilter run``; None: the defaults.
    engine
        Name of the network, ``maximask`` or ``stampmask``; None: that of the settings.
    rules
        By survey, the rules that replace all of its own: mappings with the keys of
        ``[[surveys.NAME.rules]]``.
    planes
        The stamps to judge, ``science``, ``template`` or ``difference``; None: those of the
        settings.
    columns
        Fields of the alerts that stand in ``table``, by their names in the surveys' field maps
        (``[fields]``): numbers, or texts where ``:text`` follows, such as ``band:text``.
    overrides
        ``section.key=value``, as ``--set`` of the commands.
    threads
        Of the network; None: one for each core.

    Raises
    ------
    ConfigurationInvalid
        A setting, rule or name is wrong; the message says what was found and what there is.
    EngineUnavailable
        The network cannot be had or does not run here.

    Examples
    --------
    >>> with streamfilter.Filter() as filter:
    ...     for judged in filter.judge("night/"):
    ...         print(judged.source, judged.label)
    """

    def __init__(
        self,
        config: str | os.PathLike[str] | None = None,
        *,
        engine: str | None = None,
        rules: Mapping[str, Sequence[Rule | Mapping[str, Any]]] | None = None,
        planes: Sequence[str] | None = None,
        columns: Sequence[str] = (),
        overrides: Iterable[str] = (),
        threads: int | None = None,
    ) -> None:
        more = [] if engine is None else [f"engine.name={engine}"]
        if planes is not None:
            more.append(f"alerts.planes={list(map(str, planes))}")
        path = None if config is None else Path(config)
        loaded = settings_room.load(path, overrides=[*overrides, *more])
        self._settings = unpublished(with_rules(loaded, rules or {}))
        self._surveys = Surveys.load(self._settings.alerts.survey_folders)
        self._columns = tuple(Column.named(each) for each in columns)
        parts = open_parts(self._settings, threads=threads or os.cpu_count() or 1, say=say)
        self._open = Open(parts)
        self._pipeline = parts.pipeline.judging(fields=self._fields())

    @property
    def settings(self) -> Settings:
        """The settings in effect."""
        return self._settings

    @property
    def pipeline(self) -> Pipeline:
        """The steps from packets to annotations."""
        return self._pipeline

    def judge(self, packets: object) -> Iterator[Judged]:
        """Yields a result for each packet, in order; packets are read while they are judged.

        Parameters
        ----------
        packets
            A path of a file, a folder (with all below) or a tar archive, or a pattern with ``*``;
            a file opened in binary mode; the bytes of one packet; or a list, iterator or column
            (pandas, polars, Arrow) of these. Bytes are one message, as a stream would bring it;
            files may hold many packets.

        Yields
        ------
        Judged
            Also of a packet that cannot be used: its ``rejected`` says why. A file in a folder that
            is no packet is a ``UserWarning``.

        Raises
        ------
        OSError
            A file cannot be read.
        SchemaUnavailable
            A registry of writer schemas does not answer.
        TypeError
            Packets have another form.
        """
        parts = self._open.parts
        outcomes = self._pipeline.judge(
            parts.engine,
            messages_of(packets),
            also=parts.also,
            max_items=self._settings.batch.size,
        )
        yield from self._judged(self._pipeline, outcomes)
        self._warn_of_gaps()

    def judge_stamps(
        self,
        science: Stamps,
        template: Stamps | None = None,
        difference: Stamps | None = None,
        variance: Stamps | None = None,
        *,
        survey: str | None = None,
        ids: Sequence[str] | None = None,
    ) -> Iterator[Judged]:
        """Yields a result for each stamp, without a survey's packets.

        Parameters
        ----------
        science
            (N, height, width) in any linear unit, NaN where there are no data; one image (height,
            width); or a list of N images, which may differ in size. The source is in the middle.
            Sides are 8 to 128 px.
        template, difference
            The same of the reference and of science minus reference. They are judged where
            ``planes`` has them, and seen by a network of several planes (``stampmask``).
        variance
            Of the science stamps, in their unit squared.
        survey
            By whose priors and rules they are judged, such as ``ztf``; None: by those of surveys
            without any of their own. No rule sees numbers of the alert.
        ids
            Their names; None: their numbers.

        Raises
        ------
        ValueError
            Arrays do not fit each other.
        ConfigurationInvalid
            There is no such survey.
        """
        parts, name = self._open.parts, survey or _NO_SURVEY
        if survey is not None and survey not in self._pipeline.surveys:
            known = ", ".join(self._pipeline.surveys)
            raise ConfigurationInvalid(f"no survey {survey!r}; there are {known}")
        given = {
            Plane.SCIENCE: science,
            Plane.TEMPLATE: template,
            Plane.DIFFERENCE: difference,
        }
        planes = {plane: each for plane, each in given.items() if each is not None}
        networks = [each.manifest for each in parts.engines]
        pipeline = self._pipeline.judging(
            planes=self._pipeline.planes,
            policies={name: policy_of(self._settings, name, networks)},
            fields=frozenset(),
        )
        alerts: Iterator[Alert | Rejected] = alerts_of(name, planes, variance, ids)
        outcomes = pipeline.judge_alerts(
            parts.engine, alerts, also=parts.also, max_items=self._settings.batch.size
        )
        yield from self._judged(pipeline, outcomes)

    def table(self, packets: object) -> "pa.Table":
        """Returns an Arrow table with a row for each packet; see ``judge`` for their forms.

        Key, position, time, night, verdict and core posteriors are flat columns; each judged plane
        is a struct of lists, one value for each class. A packet that cannot be used has its reason
        in ``rejected``, and no verdict. The table's metadata names network, priors, rules and
        version. ``to_pandas``, ``polars.from_arrow`` and ``astropy.table.Table.from_pandas`` take
        it further.

        Raises
        ------
        ConfigurationInvalid
            pyarrow is not installed (the extra ``archive``).
        OSError, SchemaUnavailable, TypeError
            As ``judge`` does.
        """
        return self._tables().whole(self.layout, self.judge(packets))

    def annotate(self, batches: "Iterable[pa.RecordBatch]") -> "Iterator[pa.RecordBatch]":
        """Yields the rows of ``table`` for batches of packets: Arrow in, Arrow out.

        Engines of large archives call this, such as Spark's ``mapInArrow``. The network is loaded
        once, with the filter.

        Parameters
        ----------
        batches
            With a column ``packet`` of bytes; or with a survey's own columns, stamps among them,
            nested as its records are (Fink's Parquet). Columns ``streamfilter_source`` and
            ``streamfilter_index`` are handed on as ``source`` and ``index``.

        Raises
        ------
        ConfigurationInvalid
            pyarrow is not installed (the extra ``archive``).
        MessageRejected
            The columns are neither ``packet`` nor those of a survey's records.
        """
        yield from self._tables().batches(self.layout, self.judge_batches(batches))

    def judge_batches(self, batches: "Iterable[pa.RecordBatch]") -> Iterator[Judged]:
        """Yields a result for each row of batches of packets, as ``judge`` does.

        For stamps that are in Parquet: `filter.judge_batches(table.to_batches())` gives masks.

        Parameters
        ----------
        batches
            As ``annotate`` takes them.

        Raises
        ------
        ConfigurationInvalid, MessageRejected
            As ``annotate`` does.
        """
        self._tables()
        from streamfilter.library import arrow_packets

        parts, alerts = self._open.parts, arrow_packets.alerts_of(batches, self._pipeline)
        outcomes = self._pipeline.judge_alerts(
            parts.engine, alerts, also=parts.also, max_items=self._settings.batch.size
        )
        yield from self._judged(self._pipeline, outcomes)
        self._warn_of_gaps()

    @property
    def layout(self) -> "Layout":
        """The columns and metadata of tables; raises as ``table`` does."""
        parts, pipeline = self._open.parts, self._pipeline
        layout: Layout = self._tables().Layout(
            planes=pipeline.planes,
            codes=parts.engine.manifest.codes,
            columns=self._columns,
            nights=MappingProxyType(
                {each: self._surveys.night_begins_utc_h(each) for each in pipeline.surveys}
            ),
            judged_by=judged_by(identity_of(parts.engine), pipeline, self._settings, self._surveys),
        )
        return layout

    def close(self) -> None:
        """Release all networks; what was judged stays, but no map can be made any more."""
        self._open.close()

    def __enter__(self) -> Self:
        """Returns the filter."""
        self._open.parts  # noqa: B018  # raises where it is closed
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the filter."""
        self.close()

    def _judged(self, pipeline: Pipeline, outcomes: Iterable[_Outcome]) -> Iterator[Judged]:
        for each in outcomes:
            rejected, pair = (each, None) if isinstance(each, Rejected) else (None, each)
            message = each.message if isinstance(each, Rejected) else each[0].alert.message
            origin = message.origin
            yield Judged(origin.topic, origin.offset, rejected, pair, pipeline, self._open)

    def _warn_of_gaps(self) -> None:
        for report in self._pipeline.take_reports():
            if isinstance(report, Gaps):
                warnings.warn(str(report), UserWarning, stacklevel=3)

    def _fields(self) -> frozenset[RuleField]:
        """Returns what tables show of alerts; positions only of surveys whose map names them."""
        maps = self._surveys.maps
        position = [name for name in POSITION if any(name in each.fields for each in maps)]
        chosen = [(name, FieldKind.NUMBER) for name in position]
        chosen += [(each.name, each.kind) for each in self._columns]
        return frozenset().union(*(self._surveys.named(*each) for each in chosen))

    @staticmethod
    def _tables() -> "ModuleType":
        try:
            from streamfilter.library import tables
        except ImportError as error:
            raise ConfigurationInvalid(
                f"a table needs pyarrow: {how_to_install('archive')}"
            ) from error
        return tables


def with_rules(
    settings: Settings, rules: Mapping[str, Sequence[Rule | Mapping[str, Any]]]
) -> Settings:
    """Returns settings with other rules for some surveys.

    Raises
    ------
    ConfigurationInvalid
        A rule has a key or value that it cannot have.
    """
    surveys = dict(settings.surveys)
    for name, chosen in rules.items():
        before = surveys.get(name, Survey())
        given = {"priors": before.priors, "thresholds": before.thresholds, "rules": tuple(chosen)}
        try:
            surveys[name] = Survey.model_validate(given)
        except ValidationError as error:
            places = "; ".join(
                f"rules[{name!r}].{'.'.join(map(str, each['loc'][1:]))}: {each['msg']}"
                for each in error.errors(include_url=False)
            )
            raise ConfigurationInvalid(places) from None
    return settings.model_copy(update={"surveys": surveys})


def judged_by(
    engine: EngineIdentity, pipeline: Pipeline, settings: Settings, surveys: Surveys
) -> dict[str, Any]:
    """Returns what decides verdicts, as JSON has it: networks, priors, rules, maps, version.

    Parameters
    ----------
    engine
        The first; the pipeline has the further ones.
    """
    return {
        "version": __version__,
        "engine": asdict(engine),
        "also": [
            {**asdict(each.identity), "when": each.when and asdict(each.when)}
            for each in pipeline.also
        ],
        "planes": [str(each) for each in pipeline.planes],
        "limits": asdict(settings.limits),
        "maps": {each.survey: _digest(each) for each in surveys.maps},
        "surveys": {
            name: {
                **_numbers(policy),
                "also": {each.engine: _numbers(each) for each in policy.also},
                "rules": [asdict(each) for each in policy.rules],
            }
            for name, policy in pipeline.policies.items()
        },
    }


def _numbers(policy: Policy) -> dict[str, dict[str, float]]:
    """Returns priors and thresholds of one network's classes."""
    return {
        "priors": {each.code: each.prior for each in policy.priors},
        "thresholds": {each.code: each.threshold for each in policy.priors},
    }


def _digest(survey: SurveyMap) -> str:
    """Returns twelve hexadecimal digits of a field map."""
    return hashlib.sha256(survey.model_dump_json().encode()).hexdigest()[:12]
