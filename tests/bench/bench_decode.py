"""Microseconds to decode a packet, beside fastavro and astropy used the straightforward way.

    python tests/bench/bench_decode.py [--json] [--samples FOLDER] [--repeats N]

Each figure is the median over a survey's packets of the best of N repeats; the two ways take
turns, so that what else the machine does falls on both.
"""

import argparse
import gzip
import io
import json
import statistics
import sys
import time
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import checkout  # noqa: F401 - finds what is imported below
import fastavro
import numpy as np
from astropy.io import fits
from machine import facts

from streamfilter.alerts.decode import Decoder
from streamfilter.alerts.surveys import Surveys
from streamfilter.fits.stamps import Planes, read_stamp
from streamfilter.limits import Limits
from streamfilter.records import Alert, Message, Origin
from streamfilter.schemas.finder import SchemaFinder
from streamfilter.schemas.sources import PackageSource
from training.samples import absent, samples_folder

LIMITS = Limits()
# LSST packets with more earlier sources than this count as those with a history.
HISTORY = 20


@dataclass(frozen=True, kw_only=True)
class Row:
    """One survey's figures; times in microseconds."""

    survey: str
    packets: int
    stamp_ratio: float
    packet_ratio: float
    stamps_us: float
    stamps_astropy_us: float
    packet_us: float
    packet_straightforward_us: float


class Straightforward:
    """fastavro for the whole record, astropy for every stamp; LSST's schemas parsed once."""

    def __init__(self) -> None:
        self._source = PackageSource()
        self._schemas: dict[int, Any] = {}

    def record(self, value: bytes) -> dict[str, Any]:
        """The whole record."""
        if value.startswith(b"Obj"):
            reader: Any = fastavro.reader(io.BytesIO(value))
            return dict(next(reader))
        schema_id = int.from_bytes(value[1:5], "big")
        if schema_id not in self._schemas:
            definition = self._source.by_id(schema_id)
            if definition is None:
                sys.exit(f"lsst-alert-packet has no schema {schema_id}: install the extra lsst")
            self._schemas[schema_id] = fastavro.parse_schema(definition)
        record: Any = fastavro.schemaless_reader(
            io.BytesIO(value[5:]), self._schemas[schema_id], None
        )
        return dict(record)

    def packet(self, value: bytes) -> list[np.ndarray[Any, Any]]:
        """Every plane of every stamp."""
        return self.stamps(stamps_of(self.record(value)))

    def stamps(self, stamps: list[bytes]) -> list[np.ndarray[Any, Any]]:
        """Every plane of these stamps."""
        return [plane for data in stamps for plane in self._stamp(data)]

    @staticmethod
    def _stamp(data: bytes) -> list[np.ndarray[Any, Any]]:
        """Every plane of a stamp, as the surveys' own notebooks read it."""
        if data.startswith(b"\x1f\x8b"):
            with gzip.open(io.BytesIO(data)) as file:
                data = file.read()
        with fits.open(io.BytesIO(data), memmap=False, ignore_missing_simple=True) as hdus:
            return [np.ascontiguousarray(hdu.data, np.float32) for hdu in hdus]


def ours(stamps: list[bytes]) -> list[Planes]:
    """Every plane of these stamps, our way."""
    return [read_stamp(data, LIMITS) for data in stamps]


def stamps_of(record: dict[str, Any]) -> list[bytes]:
    """The stamps of a record."""
    values = [value for name, value in record.items() if name.lower().startswith("cutout")]
    return [v["stampData"] if isinstance(v, dict) else v for v in values if v is not None]


def compared(one: Callable[[], object], other: Callable[[], object], repeats: int) -> list[float]:
    """The best time of each in microseconds; they take turns of at least two milliseconds."""
    best = [float("inf"), float("inf")]
    counts = [1, 1]
    for _ in range(repeats):
        for index, work in enumerate((one, other)):
            start = time.perf_counter_ns()
            for _ in range(counts[index]):
                work()
            spent_us = (time.perf_counter_ns() - start) / 1000 / counts[index]
            best[index] = min(best[index], spent_us)
            counts[index] = max(1, int(2000 / spent_us))
    return best


def groups(samples: Path, way: Straightforward) -> Iterator[tuple[str, list[bytes]]]:
    """Packets by survey; LSST's with a history apart."""
    for survey in ("lsst", "ztf", "winter", "decam", "pgir"):
        paths = sorted(p for p in (samples / survey).glob("*") if p.suffix in (".avro", ".bin"))
        values = [path.read_bytes() for path in paths]
        if survey == "lsst":
            long = [v for v in values if len(way.record(v)["prvDiaSources"] or ()) > HISTORY]
            yield "lsst, with history", long
            values = [value for value in values if value not in long]
        yield survey, values


def measure(samples: Path, repeats: int) -> list[Row]:
    """One row per survey."""
    way = Straightforward()
    decoder = Decoder(SchemaFinder([PackageSource()], LIMITS), Surveys.load(), LIMITS)
    rows = []
    for survey, values in groups(samples, way):
        packets, stamps = [], []
        for value in values:
            message = Message(Origin("bench", 0, 0), value)
            if not isinstance(decoder.decode(message), Alert):
                sys.exit(f"a packet of {survey} is not decoded")
            packets.append(
                compared(partial(decoder.decode, message), partial(way.packet, value), repeats)
            )
            planes = stamps_of(way.record(value))
            stamps.append(compared(partial(ours, planes), partial(way.stamps, planes), repeats))
        if values:
            rows.append(row(survey, packets, stamps))
    return rows


def row(survey: str, packets: list[list[float]], stamps: list[list[float]]) -> Row:
    """Medians over the packets."""
    packet_us, packet_slow_us = (statistics.median(column) for column in zip(*packets, strict=True))
    stamps_us, stamps_slow_us = (statistics.median(column) for column in zip(*stamps, strict=True))
    return Row(
        survey=survey,
        packets=len(packets),
        stamp_ratio=round(stamps_slow_us / stamps_us, 1),
        packet_ratio=round(packet_slow_us / packet_us, 1),
        stamps_us=round(stamps_us, 1),
        stamps_astropy_us=round(stamps_slow_us, 1),
        packet_us=round(packet_us, 1),
        packet_straightforward_us=round(packet_slow_us, 1),
    )


def table(rows: list[Row], facts: dict[str, object]) -> str:
    """For a human: ratios first."""
    lines = [
        f"{'':20}{'times faster':>18}{'three stamps, us':>22}{'whole packet, us':>24}",
        f"{'survey (packets)':20}{'stamps':>9}{'packet':>9}{'ours':>11}{'astropy':>11}"
        f"{'ours':>11}{'+ fastavro':>13}",
    ]
    lines += [
        f"{f'{r.survey} ({r.packets})':20}{r.stamp_ratio:9.1f}{r.packet_ratio:9.1f}"
        f"{r.stamps_us:11.1f}{r.stamps_astropy_us:11.1f}{r.packet_us:11.1f}"
        f"{r.packet_straightforward_us:13.1f}"
        for r in rows
    ]
    return "\n".join([*lines, "", ", ".join(f"{key} {value}" for key, value in facts.items())])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--samples", type=Path, default=samples_folder())
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", action="store_true", help="JSON instead of a table")
    options = parser.parse_args()
    if not options.samples.is_dir():
        sys.exit(absent(options.samples))
    # ZTF's SIMPLE card is not at the standard's column, of which astropy warns each time.
    warnings.filterwarnings("ignore", message="Found a SIMPLE card")
    rows, machine = (
        measure(options.samples, options.repeats),
        {**facts("numpy", "fastavro", "astropy"), "zlib": zlib.ZLIB_RUNTIME_VERSION},
    )
    if options.json:
        print(json.dumps({"machine": machine, "rows": [asdict(r) for r in rows]}, indent=1))
    else:
        print(table(rows, machine))


if __name__ == "__main__":
    main()
