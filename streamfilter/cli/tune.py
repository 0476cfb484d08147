"""``streamfilter tune``: limits of rules by what may be lost, from labelled annotations."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import tomli_w

from streamfilter.cli.options import listed
from streamfilter.cli.rule_tables import rule_table
from streamfilter.errors import ConfigurationInvalid, how_to_install
from streamfilter.records import Action, Label, Rule

if TYPE_CHECKING:
    from streamfilter.archive.labelled import JudgedBy, Labelled
    from streamfilter.archive.tuning import Measured, Tuned

_DETECTIONS = "detections"


@click.command()
@click.argument("annotations", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--labels",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Labels: .csv or .parquet with alert_id and label, or .jsonl of the live page.",
)
@click.option(
    "--truth",
    type=click.Choice([_DETECTIONS]),
    help="Alerts whose place was detected three times or more are real.",
)
@click.option(
    "--lose-at-most",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.001,
    show_default=True,
    help="Share of real alerts that may be dropped, borne out at 95 %.",
)
@click.option(
    "--survey", "surveys", multiple=True, metavar="NAME", help="Only this one; may be repeated."
)
@click.option(
    "--folds",
    type=click.IntRange(2, 100),
    default=5,
    show_default=True,
    help="Parts of the cross-validation.",
)
@click.option(
    "--guards",
    metavar="NAME,...",
    help="Numbers of the alerts by which rules may be told to keep silent.  [default: "
    "ndethist,nDiaSources, where they are kept and are not the truth]",
)
@click.option(
    "--stream-share",
    is_flag=True,
    help="Estimate how many of all annotated alerts are like the labelled artefacts.",
)
def tune(
    annotations: Path,
    labels: Path | None,
    truth: str | None,
    lose_at_most: float,
    surveys: tuple[str, ...],
    folds: int,
    guards: str | None,
    stream_share: bool,
) -> None:
    """Choose limits and guards of dropping rules by what may be lost, and print them as TOML.

    ANNOTATIONS is what `annotate` wrote. Of each object one real alert and one artefact count. The
    limit of a rule is raised above the real alerts, and lowered where that finds labelled
    artefacts. A guard (`unless` of a rule) is added where it spares real alerts and more artefacts
    are found so. What is printed was measured on alerts on which it was not chosen; where the
    labels do not bear out the loss that was asked for, nothing is printed but the reason, and how
    many labels are enough.

    \b
    Labels are real, artefact (or bogus) and cannot_tell, or 1 and 0.

    \b
    Examples:
      streamfilter tune annotations --labels labels.csv --lose-at-most 0.001 > tuned.toml
      streamfilter tune annotations --truth detections --labels bogus.csv --survey ztf
      streamfilter tune annotations --labels labels.jsonl --guards ndethist,distpsnr1
      streamfilter tune annotations --labels labels.jsonl --lose-at-most 0.01 --stream-share
      streamfilter config check --config tuned.toml

    Exit code 0: limits are printed. 1: the labels do not bear them out. 2: wrong arguments, labels
    or annotations.
    """
    if labels is None and truth is None:
        raise click.UsageError("give --labels FILE, --truth detections, or both")
    wanted = None if guards is None else listed(guards)
    found = _labelled(annotations, labels, truth, surveys=surveys, folds=folds, guards=wanted)
    from streamfilter.archive.tuning import tune as tuned_to

    if not found.samples:
        raise click.ClickException(f"{annotations}: no alert is labelled{_left_out(found)}")
    chosen = [tuned_to(sample, lose_at_most) for sample in found.samples.values()]
    for each in chosen:
        lines = list(_measured(each, found, folds, lose_at_most))
        lines += [_stream_share(annotations, each)] if stream_share else []
        for line in lines:
            click.echo(f"# {line}")
    table = {each.sample.survey: _policy(each, found) for each in chosen}
    click.echo(tomli_w.dumps({"surveys": table}), nl=False)


def _labelled(
    annotations: Path, labels: Path | None, truth: str | None, **chosen: Any
) -> "Labelled":
    try:
        from streamfilter.archive.label_files import Labels, read_labels
        from streamfilter.archive.labelled import read_labelled
    except ImportError as error:
        raise ConfigurationInvalid(f"`tune` needs pyarrow: {how_to_install('archive')}") from error
    said = read_labels(labels) if labels else Labels()
    found = read_labelled(annotations, said, detections=truth == _DETECTIONS, **chosen)
    found.left_out["labels that say neither"] = said.undecided
    return found


def _policy(tuned: "Tuned", found: "Labelled") -> dict[str, Any]:
    judged_by = found.judged_by[tuned.sample.survey]
    return {
        "priors": dict(judged_by.priors),
        "thresholds": dict(judged_by.thresholds),
        "rules": [rule_table(rule) for rule in _rules(judged_by, tuned)],
    }


def _rules(judged_by: "JudgedBy", tuned: "Tuned") -> Iterator[Rule]:
    """Yields all rules: as tuned those that drop, and as flags those that must not."""
    remaining = iter(zip(tuned.limits, tuned.guards, strict=True))
    for rule in judged_by.rules:
        if rule.action is not Action.DROP:
            yield rule
            continue
        limit, guard = next(remaining)
        if limit < float("inf"):
            new = rule if guard is None else guard.added_to(rule)
            yield replace(new, above=limit)
        else:
            yield replace(rule, action=Action.FLAG, label=Label.SUSPECT)


def _measured(tuned: "Tuned", found: "Labelled", folds: int, lose_at_most: float) -> Iterator[str]:
    """Yields lines of what was measured, for a person."""
    from streamfilter.archive.tuning import percent

    sample, measured = tuned.sample, tuned.measured
    yield (
        f"{sample.survey}, {found.judged_by[sample.survey].engine}: tuned to lose at most "
        f"{percent(lose_at_most)} of real alerts"
    )
    yield f"labelled: {measured.real} real, {measured.artefacts} artefacts{_left_out(found)}"
    chosen = "limits and guards" if sample.numbers else "limits"
    yield f"measured in {folds} folds, each by {chosen} chosen on the others:"
    yield from (f"  {line}" for line in _lines(measured))
    yield "the limits before, on the same alerts:"
    yield from (f"  {line}" for line in _lines(tuned.before))
    for rule, limit, guard in zip(sample.rules, tuned.limits, tuned.guards, strict=True):
        now = f"above {limit:g}" if limit < float("inf") else "no limit is safe: flags only"
        before = "as before" if limit == rule.above else f"before: {rule.above:g}"
        unless = f", unless {guard} (new)" if guard and limit < float("inf") else ""
        yield f"{rule.name}: {rule.contaminant} {rule.statistic} {now} ({before}){unless}"


def _stream_share(annotations: Path, tuned: "Tuned") -> str:
    """Returns a line of how many alerts are like the artefacts."""
    from streamfilter.archive.labelled import read_nearness
    from streamfilter.archive.stream_share import nearness, stream_share
    from streamfilter.archive.tuning import percent

    sample, real = tuned.sample, tuned.sample.real
    if not tuned.measured.artefacts:
        return "stream: no artefact is labelled, so none can be told apart in it"
    found = stream_share(
        nearness(sample.rules, sample.values[:, real]),
        nearness(sample.rules, sample.values[:, ~real]),
        read_nearness(annotations, sample),
    )
    interval = " to ".join(percent(each).removesuffix(" %") for each in (found.low, found.high))
    return (
        f"stream: of {found.alerts} alerts {percent(found.share)} ({interval}) are like the "
        "labelled artefacts"
    )


def _lines(measured: "Measured") -> Iterator[str]:
    from streamfilter.archive.intervals import upper_bound
    from streamfilter.archive.tuning import percent

    lost, real, found = measured.lost, measured.real, measured.found
    at_most = percent(upper_bound(lost, real))
    yield f"lost: {_share(lost, real)}; at most {at_most} at 95 %"
    if measured.artefacts:
        yield f"completeness, artefacts dropped: {_share(found, measured.artefacts)}"
        yield f"purity, artefacts among the dropped labels: {_share(found, found + lost)}"
    else:
        yield "completeness and purity: not known, for no artefact is labelled"


def _share(part: int, whole: int) -> str:
    """Returns a share with Wilson's 95 % interval."""
    from streamfilter.archive.intervals import wilson
    from streamfilter.archive.tuning import percent

    if not whole:
        return "none"
    low, high = (percent(each).removesuffix(" %") for each in wilson(part, whole))
    return f"{part} of {whole}, {percent(part / whole)} ({low} to {high})"


def _left_out(found: "Labelled") -> str:
    told = [f"{number} {reason}" for reason, number in found.left_out.items() if number]
    return f"; left out: {', '.join(told)}" if told else ""
