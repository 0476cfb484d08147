"""Simulated alerts and frames as files, for who has none at hand and no broker."""

import csv
from collections.abc import Sequence
from pathlib import Path

from streamfilter.demo import exposures
from streamfilter.errors import ConfigurationInvalid
from streamfilter.simulate.frames import readout
from streamfilter.simulate.visits import alerts

ALERTS, FRAMES, TRUTH = "alerts", "frames", "truth.csv"
_ENDINGS = {"ztf": "avro", "lsst": "bin"}
"""Of a container, and of a message in Confluent form."""


def write_alerts(folder: Path, number: int, surveys: Sequence[str], seed: int) -> None:
    """Write packets into ``alerts/``, and what was put into each into ``truth.csv``.

    Raises
    ------
    ConfigurationInvalid
        The folder cannot be written to.
    """
    place = _made(folder / ALERTS)
    with (folder / TRUTH).open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(("survey", "alert_id", "contaminant"))
        for each in alerts(seed, number, surveys=tuple(surveys)):
            (place / f"{each.alert_id}.{_ENDINGS[each.survey]}").write_bytes(each.value)
            code = "" if each.truth is None else each.truth.code
            table.writerow((each.survey, each.alert_id, code))


def write_frames(folder: Path, number: int, drift_every: int, seed: int) -> int:
    """Write exposures into ``frames/``, a FITS file for each detector; returns how many files.

    Parameters
    ----------
    drift_every
        The telescope drifts during each so-many-th exposure, whose files say so; 0: never.

    Raises
    ------
    ConfigurationInvalid
        The folder cannot be written to.
    """
    place, written = _made(folder / FRAMES), 0
    for count in range(1, number + 1):
        drifts = drift_every > 0 and count % drift_every == 0
        name = f"exposure-{count}{'-drifts' if drifts else ''}"
        for detector, content in enumerate(readout(exposures.visit(name, drifts=drifts), seed), 1):
            (place / f"{name}-{detector}.fits").write_bytes(content)
            written += 1
    return written


def _made(place: Path) -> Path:
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationInvalid(f"{place}: no folder can be made: {error.strerror}") from error
    return place
