"""Decodes the bytes of a message to an Alert, or to a Rejected with its reason."""

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from types import MappingProxyType

from streamfilter.alerts.alert_maker import AlertMaker
from streamfilter.alerts.drift import Drift, SchemaHistory, Writer, writer_of
from streamfilter.alerts.field_plan import FieldPlan, Gap, Gaps, field_plan
from streamfilter.alerts.recognition import survey_of
from streamfilter.alerts.surveys import RuleField, SurveyMap, Surveys
from streamfilter.errors import MessageRejected, Reason
from streamfilter.limits import Limits
from streamfilter.records import Alert, Message, Plane, Rejected
from streamfilter.schemas.finder import SchemaFinder, SchemaKey
from streamfilter.schemas.walk import RecordWalk, Values
from streamfilter.schemas.wire import Envelope, WriterSchema, schema_id_of

# First bytes of stamps, plain (LSST) and in gzip: they locate them after a history of any length.
_STAMP_ANCHORS = (b"SIMPLE  =", b"\x1f\x8b\x08")
# Writer schemas in use at once, over all surveys.
_PLANS = 64
# Reports that nobody has fetched yet; beyond them the oldest go.
_MOST_REPORTS = 100


@dataclass(frozen=True, slots=True)
class _Plan:
    """How alerts of one writer schema are read."""

    writer: Writer
    walk: RecordWalk
    maker: AlertMaker
    slots: tuple[int | None, ...]
    """For each wanted field the index of its value among the walk's values; None: not read."""

    def alert(
        self,
        message: Message,
        envelope: Envelope,
        planes: Collection[Plane],
        extensions: Mapping[Plane, Collection[str]],
    ) -> Alert:
        read: Values = self.walk.read(envelope.data, envelope.start)
        values = [None if slot is None else read[slot] for slot in self.slots]
        return self.maker.alert(message, values, planes, extensions)


@dataclass(frozen=True, slots=True)
class ColumnPlan:
    """How alerts are read from a table whose columns are the fields of a survey's records."""

    survey: str
    paths: tuple[str, ...]
    """Dotted names of the columns to read."""
    planes: tuple[Plane, ...]
    extensions: Mapping[Plane, Collection[str]]
    """Of these planes what is read beside the image; of others all."""
    _maker: AlertMaker
    _slots: tuple[int | None, ...]

    def alert(self, message: Message, values: Sequence[object]) -> Alert | Rejected:
        """Returns the alert of a row, or why there is none.

        Parameters
        ----------
        message
            Names the row; it has no value.
        values
            One for each of ``paths``; None where the row has none.
        """
        wanted = [None if slot is None else values[slot] for slot in self._slots]
        try:
            return self._maker.alert(message, wanted, self.planes, self.extensions)
        except MessageRejected as rejected:
            return Rejected(message, rejected.reason, rejected.detail)


@dataclass(frozen=True, slots=True)
class _NoPlan:
    """Why alerts of one writer schema cannot be read."""

    writer: Writer | None
    """None where no field map is for this schema."""
    reason: Reason
    detail: str


class Decoder:
    """Decodes messages, and keeps a plan for each writer schema.

    Parameters
    ----------
    finder
        Opens messages and finds their writer schemas.
    surveys
        The field maps.
    limits
        Bounds on the stamps.
    """

    def __init__(self, finder: SchemaFinder, surveys: Surveys, limits: Limits) -> None:
        self._finder = finder
        self._surveys = surveys
        self._limits = limits
        self._plan = lru_cache(maxsize=_PLANS)(self._make_plan)
        self._history = SchemaHistory()
        self._reports: deque[Drift | Gaps] = deque(maxlen=_MOST_REPORTS)
        self._unusable: set[tuple[str, str]] = set()

    @property
    def surveys(self) -> Surveys:
        """The field maps."""
        return self._surveys

    def decode(
        self,
        message: Message,
        planes: Collection[Plane] = tuple(Plane),
        fields: frozenset[RuleField] = frozenset(),
        extensions: Mapping[Plane, Collection[str]] = MappingProxyType({}),
    ) -> Alert | Rejected:
        """Returns the Alert of a message, or why there is none.

        Only the fields of the field map are read. A history between the head of a record and its
        stamps is skipped unchecked where the lengths of the stamps fill the record exactly.

        Parameters
        ----------
        planes
            The stamps to read; the others are not opened.
        fields
            What rules look at of the maps' ``fields``; the maps must name them.
        extensions
            Of these planes what is read beside the image; of others all.

        Raises
        ------
        SchemaUnavailable
            The writer schema cannot be fetched now; the message may be decoded later.
        """
        value = message.value
        if message.unread:
            return Rejected(message, Reason.HEADERS_MALFORMED, message.unread)
        if not value:
            return Rejected(message, Reason.EMPTY, "the message has no value")
        envelope = None
        try:
            envelope = self._finder.open(value, message.headers)
            plan = self._plan(envelope.schema, fields)
            self._compare(message, envelope, plan.writer)
            if isinstance(plan, _NoPlan):
                raise MessageRejected(plan.reason, plan.detail)
            return plan.alert(message, envelope, planes, extensions)
        except MessageRejected as rejected:
            detail = _detail(rejected, value, envelope.data if envelope else value)
            return Rejected(message, rejected.reason, detail, schema_id_of(value, message.headers))

    def fetch(self, key: SchemaKey, fields: frozenset[RuleField] = frozenset()) -> str | None:
        """Fetch a writer schema now, so that its messages need not wait for it.

        Parameters
        ----------
        fields
            As those messages will be decoded with.

        Returns
        -------
        str or None
            The survey whose alerts are written by it; None where its messages are rejected.

        Raises
        ------
        MessageRejected
            No source knows it, or it is malformed.
        SchemaUnavailable
            It cannot be fetched now.
        """
        plan = self._plan(self._finder.find(key), fields)
        return plan.writer.survey if isinstance(plan, _Plan) else None

    def columns(
        self,
        schema: WriterSchema,
        planes: Collection[Plane],
        fields: frozenset[RuleField] = frozenset(),
        extensions: Mapping[Plane, Collection[str]] = MappingProxyType({}),
    ) -> ColumnPlan:
        """Returns how alerts are read from a table's columns.

        Parameters
        ----------
        schema
            The columns as the fields of a record.
        planes
            The stamps to read; the columns of others are left out.
        fields, extensions
            As for ``decode``.

        Raises
        ------
        MessageRejected
            No survey's map fits the columns.
        """
        survey = survey_of(schema, self._surveys).reading(fields)
        writer = writer_of(schema, survey)
        plan = field_plan(writer, survey, schema.name)
        others = set(Plane) - set(planes)
        gaps = tuple(gap for gap in plan.gaps if gap.role not in others)
        self._report_gaps(writer, gaps)
        wanted = zip(survey.wanted(), plan.slots, strict=True)
        slots = [None if field.role in others else at for field, at in wanted]
        read = sorted({at for at in slots if at is not None})
        return ColumnPlan(
            survey.survey,
            tuple(plan.paths[at] for at in read),
            tuple(planes),
            extensions,
            self._maker(survey, plan, writer),
            tuple(None if at is None else read.index(at) for at in slots),
        )

    def take_reports(self) -> list[Drift | Gaps]:
        """Returns new schemas and forms, gaps of new schemas, and of alerts, each once.

        A value that cannot be used in an alert is a gap of its schema, once for each survey and
        role.
        """
        reports = []
        while self._reports:
            reports.append(self._reports.popleft())
        return reports

    def _compare(self, message: Message, envelope: Envelope, writer: Writer | None) -> None:
        if writer is not None:
            topic, form = message.origin.topic, envelope.form
            drift = self._history.record(topic, form, envelope.schema_id, writer)
            if drift is not None:
                self._reports.append(drift)

    def _make_plan(self, schema: WriterSchema, fields: frozenset[RuleField]) -> _Plan | _NoPlan:
        try:
            survey = survey_of(schema, self._surveys).reading(fields)
        except MessageRejected as error:
            return _NoPlan(None, error.reason, error.detail)
        return self._plan_by(survey, schema)

    def _plan_by(self, survey: SurveyMap, schema: WriterSchema) -> _Plan | _NoPlan:
        writer = writer_of(schema, survey)
        try:
            plan = field_plan(writer, survey, schema.name)
            walk = RecordWalk(schema, plan.paths, _STAMP_ANCHORS, self._limits)
        except MessageRejected as error:
            return _NoPlan(writer, error.reason, error.detail)
        self._report_gaps(writer, plan.gaps)
        return _Plan(writer, walk, self._maker(survey, plan, writer), plan.slots)

    def _maker(self, survey: SurveyMap, plan: FieldPlan, writer: Writer) -> AlertMaker:
        return AlertMaker(survey, self._limits, plan.types, partial(self._note, writer))

    def _report_gaps(self, writer: Writer, gaps: tuple[Gap, ...]) -> None:
        if gaps:
            self._reports.append(Gaps(writer.survey, writer.name, gaps))

    def _note(self, writer: Writer, role: str, found: str) -> None:
        if (writer.survey, role) not in self._unusable:
            self._unusable.add((writer.survey, role))
            self._reports.append(Gaps(writer.survey, writer.name, (Gap(role, found),)))


def _detail(rejected: MessageRejected, value: bytes, data: bytes) -> str:
    """Returns what was found, with its byte in the whole message instead of in the record."""
    if rejected.byte is None:
        return rejected.detail
    start = value.find(data)
    if start < 0:
        return f"{rejected.detail} of the record, which was compressed"
    return MessageRejected(rejected.reason, rejected.found, start + rejected.byte).detail
