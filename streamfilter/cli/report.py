"""``streamfilter report``: what nights were like, from annotations in Parquet or in a topic."""

import csv
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from streamfilter import config as settings_room
from streamfilter import pages
from streamfilter.alerts.surveys import Surveys
from streamfilter.archive.nights import Annotations, Night
from streamfilter.archive.topic_nights import TopicAnnotations
from streamfilter.cli import connection, options
from streamfilter.cli.annotation_topic import AnnotationTopic, rejected_in
from streamfilter.cli.night_tables import show_agreement, show_latency, show_verdicts, totals
from streamfilter.errors import ConfigurationInvalid, how_to_install
from streamfilter.files import write_whole
from streamfilter.service.assembly.clients import output_reader

_FILE = click.Path(dir_okay=False, path_type=Path)
_HOUR_S = 3_600.0
_MOMENTS = ("%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S")


@dataclass(frozen=True, slots=True)
class _Files:
    """What is written beside the words."""

    as_json: Path | None
    figure: Path | None
    disagreements: Path | None


@click.command()
@click.argument(
    "folder", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path)
)
@click.option(
    "--topic",
    "topics",
    multiple=True,
    metavar="NAME",
    help="Annotations of a Kafka topic, not of a folder; may be given several times.",
)
@click.option("--rejected", metavar="NAME", help="With --topic: count what this topic rejects.")
@click.option(
    "--since",
    type=click.DateTime(_MOMENTS),
    metavar="TIME",
    help="With --topic: published since then, 2026-11-30 or 2026-11-30T18:00 (UTC).",
)
@click.option(
    "--hours",
    type=click.FloatRange(min=0, min_open=True),
    help="With --topic: published within the last hours.",
)
@click.option(
    "--by", default="", metavar="COLUMN", help="Also by this column, such as fid or detector."
)
@click.option("--score", metavar="COLUMN", help="The survey's score, such as rb or reliability.")
@click.option(
    "--real-above",
    type=float,
    default=0.5,
    show_default=True,
    help="Score above which the survey takes an alert for real.",
)
@click.option("--json", "as_json", type=_FILE, help="A JSON file of all counts.")
@click.option("--figure", type=_FILE, help="A page of figures (.png, .pdf, .svg).")
@click.option(
    "--disagreements",
    type=_FILE,
    help="A CSV file of the alerts on which filter and survey disagree.",
)
@connection.broker
@options.settings
@click.pass_context
def report(
    context: click.Context,
    folder: Path | None,
    topics: tuple[str, ...],
    rejected: str | None,
    since: datetime | None,
    hours: float | None,
    by: str,
    score: str | None,
    real_above: float,
    as_json: Path | None,
    figure: Path | None,
    disagreements: Path | None,
    bootstrap: str,
    settings: dict[str, str],
    config: Path | None,
    overrides: tuple[str, ...],
) -> None:
    """Print what nights were like, from the annotations in FOLDER or in a topic.

    FOLDER is an output of `annotate`. With --topic annotations are read that stand there when it
    begins; no group is joined. Brokers are those of the settings, unless --bootstrap names others.

    A row for each survey and night has the alerts, the shares that were dropped, suspect or not
    evaluated, and the most frequent classes and rules. Then: latency (of a topic), agreement with
    the survey's own flags, and with its score where one is named; what was rejected.

    \b
    Examples:
      streamfilter report annotations --figure nights.png
      streamfilter report annotations --by fid --score rb --disagreements differ.csv
      streamfilter report --topic streamfilter.annotations --hours 24 --figure night.png
    """
    if (folder is None) == (not topics):
        raise click.UsageError("give either a FOLDER or --topic")
    files = _Files(as_json, figure, disagreements)
    brokers = connection.given(context, bootstrap, settings)
    if folder is not None:
        if rejected or since or hours or brokers or config or overrides:
            raise click.UsageError(
                "--rejected, --since, --hours and the options of brokers and settings are for a "
                "--topic"
            )
        _of_folder(folder, by, score, real_above, files)
        return
    if by or score:
        raise click.UsageError(
            "--by and --score are for a FOLDER: annotations in a topic have none of the survey's "
            "own fields (`annotate --columns` keeps them)"
        )
    chosen = settings_room.load(config, overrides=overrides)
    client = {**output_reader(chosen), **brokers}
    since_ms = _since_ms(since, hours)
    streams = [
        AnnotationTopic.opened(chosen, client, each, since_ms) for each in dict.fromkeys(topics)
    ]
    reasons = rejected_in(client, rejected, since_ms) if rejected else {}
    _of_topics(streams, Surveys.load(chosen.alerts.survey_folders), reasons, files)


def _since_ms(since: datetime | None, hours: float | None) -> int | None:
    """Returns the time from which on messages count (Unix, milliseconds); None: all."""
    if since is not None and hours is not None:
        raise click.UsageError("--since and --hours exclude each other")
    if since is not None:
        return round(since.replace(tzinfo=UTC).timestamp() * 1000)
    return None if hours is None else round((time.time() - hours * _HOUR_S) * 1000)


def _of_folder(folder: Path, by: str, score: str | None, real_above: float, files: _Files) -> None:
    try:
        from streamfilter.archive.parquet_nights import ParquetAnnotations, Score
    except ImportError as error:
        raise ConfigurationInvalid(
            f"`report` of a folder needs pyarrow: {how_to_install('archive')}"
        ) from error
    named = None if score is None else Score(score, real_above)
    annotations = ParquetAnnotations(folder, by=by, score=named)
    nights = annotations.nights()
    if not nights:
        raise click.ClickException(f"{folder}: no alert was annotated")
    show_verdicts(nights, by)
    column, versions = annotations.by_version()
    if column:
        show_agreement(versions, column, score)
    for line in totals(nights, annotations.rejected(), score):
        click.echo(line)
    more = {"by_version": {column: [each.as_json() for each in versions]}} if column else {}
    _write(annotations, nights, str(folder), files, more)


def _of_topics(
    topics: list[AnnotationTopic], surveys: Surveys, rejected: Mapping[str, int], files: _Files
) -> None:
    def records() -> Iterator[Mapping[str, Any]]:
        for topic in topics:
            yield from topic.records()

    names = ", ".join(each.name for each in topics)
    annotations = TopicAnnotations(records, surveys, rejected)
    nights = annotations.nights()
    unread = [f"{each.name}: {each.why_unread()}" for each in topics if each.unread]
    if not nights:
        why = "; ".join(unread) or "there is no message of that time"
        raise click.ClickException(f"{names}: no alert was annotated; {why}")
    show_verdicts(nights, "")
    show_latency(nights)
    for line in totals(nights, annotations.rejected(), None):
        click.echo(line)
    if annotations.repeated:
        click.echo(f"{annotations.repeated} were published twice, and count once")
    for line in unread:
        click.echo(line)
    _write(annotations, nights, names, files, {"published_twice": annotations.repeated})


def _write(
    annotations: Annotations,
    nights: list[Night],
    name: str,
    files: _Files,
    more: dict[str, Any],
) -> None:
    """Write the files that are asked for; ``more`` stands in the JSON too."""
    if files.as_json is not None:
        told = {
            "nights": [each.as_json() for each in nights],
            "rejected": annotations.rejected(),
            **more,
        }
        write_whole(files.as_json, (json.dumps(told, indent=1) + "\n").encode())
    if files.disagreements is not None:
        count = _list(annotations, files.disagreements)
        click.echo(f"{count} disagreements: {files.disagreements}")
    if files.figure is not None:
        from streamfilter.archive import night_figures

        pages.save(night_figures.page(nights, f"streamfilter report: {name}"), files.figure)
        click.echo(f"figure: {files.figure}")


def _list(annotations: Annotations, path: Path) -> int:
    """Write the disagreements; returns how many there are."""
    count, writer = 0, None
    with path.open("w", newline="", encoding="utf-8") as file:
        for row in annotations.disagreements():
            flat: dict[str, Any] = {**row, "flagged": " ".join(row["flagged"] or ())}
            if writer is None:
                writer = csv.DictWriter(file, list(flat))
                writer.writeheader()
            writer.writerow(flat)
            count += 1
    return count
