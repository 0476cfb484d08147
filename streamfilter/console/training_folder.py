"""Labelled alerts as a folder that trains a network: packets, and a table of what is known."""

import csv
import io
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from streamfilter.alerts.decode import Decoder
from streamfilter.console.label_rows import json_lines, meaning
from streamfilter.console.labels import Answer, Label
from streamfilter.errors import MessageRejected
from streamfilter.files import write_whole
from streamfilter.records import Alert, Message, Origin, Rejected
from streamfilter.schemas.containers import container_of
from streamfilter.schemas.finder import SchemaFinder

PACKETS, TABLE, LABELS = "packets", "known.csv", "labels.jsonl"
HEAD = ("id", "exposure", "core", "file", "survey", "contaminant", "persons")
"""Columns of the table: the first three are those that ``training.data.labels`` reads."""
_AT_ONCE = 50
# Anybody may write to the topic of labels, and name any topic there.
_UNSAFE = re.compile(r"[^\w.-]", re.ASCII)

Fetch = Callable[[Collection[Origin]], Mapping[Origin, Message]]
"""Returns the messages at these places; what is not there is absent."""


@dataclass(frozen=True, slots=True)
class Written:
    """What a folder has, and what it lacks."""

    packets: int
    missing: tuple[str, ...]
    """Why an alert is left out: a line each."""


def write_folder(
    labels: Iterable[Label], fetch: Fetch, finder: SchemaFinder, decoder: Decoder, folder: Path
) -> Written:
    """Write the packets of labelled alerts, with a table of what people say of them.

    ``packets/`` has an object container file for each alert, with its writer's schema inside;
    ``known.csv`` is as ``HEAD`` has it; ``labels.jsonl`` has every label.

    Raises
    ------
    OSError
        A file cannot be written.
    StreamfilterError
        The broker or a source of schemas cannot be used.
    """
    by_place: dict[Origin, list[Label]] = {}
    for label in labels:
        by_place.setdefault(label.origin, []).append(label)
    rows: list[tuple[str, ...]] = []
    missing: list[str] = []
    places = sorted(by_place, key=lambda each: (each.topic, each.partition, each.offset))
    for start in range(0, len(places), _AT_ONCE):
        chunk = places[start : start + _AT_ONCE]
        messages = fetch(chunk)
        for place in chunk:
            said = by_place[place]
            made = _packet(said[0], messages.get(place), finder, decoder)
            if isinstance(made, str):
                missing.append(f"{said[0].survey} {said[0].alert_id}: {made}")
                continue
            content, alert = made
            name = f"{_UNSAFE.sub('_', place.topic)}-{place.partition}-{place.offset}.avro"
            write_whole(folder / PACKETS / name, content)
            rows.append(_row(alert, said, f"{PACKETS}/{name}"))
    write_whole(folder / TABLE, _csv(rows))
    write_whole(folder / LABELS, json_lines(each for said in by_place.values() for each in said))
    return Written(len(rows), tuple(missing))


def core_of(labels: Iterable[Label]) -> str:
    """Returns what training knows of an alert: ``real``, ``bogus``, ``dipole``; empty: nothing.

    A subtraction residual is a dipole. Nothing is known where people differ, or cannot tell.
    """
    found = {_core(*meaning(each)) for each in labels}
    return found.pop() if len(found) == 1 else ""


def _core(said: str, contaminant: str | None) -> str:
    if said == Answer.ARTEFACT:
        return "dipole" if contaminant == "RES" else "bogus"
    return "real" if said == Answer.REAL else ""


def _packet(
    label: Label, message: Message | None, finder: SchemaFinder, decoder: Decoder
) -> tuple[bytes, Alert] | str:
    """Returns the container of an alert and what is in it, or why there is none."""
    if message is None or message.value is None:
        return "no longer in its topic"
    alert = decoder.decode(message, ())
    if isinstance(alert, Rejected):
        return f"cannot be read: {alert.reason}: {alert.detail}"
    if alert.alert_id != label.alert_id:
        return f"another alert stands at its place now: {alert.alert_id}"
    try:
        return container_of(finder.open(message.value, message.headers)), alert
    except MessageRejected as rejected:
        return f"cannot be read: {rejected.reason}: {rejected.detail}"


def _row(alert: Alert, labels: Collection[Label], file: str) -> tuple[str, ...]:
    """An exposure is known by the end of its light: alerts of one may not be in two parts."""
    end_s = alert.light_end_unix_s
    exposure = alert.alert_id if end_s is None else f"{alert.survey} {end_s:.2f}"
    classes = {contaminant for _, contaminant in map(meaning, labels) if contaminant}
    core, persons = core_of(labels), str(len({each.person for each in labels}))
    return alert.alert_id, exposure, core, file, alert.survey, " ".join(sorted(classes)), persons


def _csv(rows: Iterable[tuple[str, ...]]) -> bytes:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([HEAD, *rows])
    return out.getvalue().encode()
