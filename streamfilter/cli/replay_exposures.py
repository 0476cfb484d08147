"""``streamfilter replay-exposures``: announces exposures in files, as a readout would."""

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import click

from streamfilter.cli import connection, frame_files, options
from streamfilter.exposures import frame_paths, readout
from streamfilter.exposures.announce import encode_exposure
from streamfilter.exposures.encode import key_of
from streamfilter.exposures.records import Announced
from streamfilter.kafka.sink import KafkaSink, Undeliverable
from streamfilter.records import FROM_FILES, PRODUCER_TIMESTAMP, Headers, Origin, Output

_ANSWER_S = 10.0
_DELIVERY_MS = 60_000
_LARGEST_BYTES = 256 * 2**20
"""Limit for a message; a topic's own limit is checked by the broker."""


def _keywords(
    _context: click.Context, option: click.Parameter, given: Sequence[str]
) -> dict[str, str]:
    changes = connection.pairs(_context, option, given)
    try:
        readout.with_keywords(readout.Keywords(), changes)
    except ValueError as error:
        raise click.BadParameter(str(error), param=option) from error
    return changes


@click.command()
@click.argument("files", nargs=-1, required=True)
@click.option("--topic", required=True, help="Where to send them; it must exist.")
@click.option(
    "--map",
    "field_map",
    type=click.Choice(list(readout.INSTRUMENTS)),
    default="default",
    show_default=True,
    help="Which header keywords say what.",
)
@click.option(
    "--keyword",
    "changes",
    multiple=True,
    metavar="WORD=KEYWORD",
    callback=_keywords,
    help="Read a word from another keyword, such as exposure_id=FRAMEID or detector=CCDID+QID.",
)
@click.option("--instrument", help="Instead of what the headers say.")
@click.option("--exposure", help="All files are of this exposure.")
@click.option(
    "--detectors",
    type=click.IntRange(min=1),
    metavar="N",
    help="Detectors of each exposure. Default: as many as are in FILES.",
)
@click.option(
    "--by-reference",
    is_flag=True,
    help="Send where the files lie, with size and sha256, not the files.",
)
@click.option(
    "--every", type=click.FloatRange(min=0), default=0.0, metavar="S", help="Seconds between files."
)
@options.as_live
@connection.broker
def replay_exposures(
    files: tuple[str, ...],
    topic: str,
    field_map: str,
    changes: dict[str, str],
    instrument: str | None,
    exposure: str | None,
    detectors: int | None,
    by_reference: bool,
    every: float,
    as_live: bool,
    bootstrap: str,
    settings: dict[str, str],
) -> None:
    """Announce the exposures in FITS FILES on a topic, one message a file.

    FILES are FITS images (.fits, also .fz, .gz, .bz2, .xz, .Z), folders, or .list files of one path
    a line; what is left out of folders is told. Files with one instrument and exposure id are
    detectors of one exposure; messages of an exposure have one key. Where no keyword tells its
    detectors apart, the files' names do. Damaged files are sent as they are. The header
    `streamfilter-replayed` says that they are old.

    \b
    Examples:
      streamfilter topics create exposures --property max.message.bytes=41943040
      streamfilter replay-exposures night/ --topic exposures --every 5
      streamfilter replay-exposures c4d_*.fits.fz --topic exposures --map decam --by-reference

    Exit code 0: every message is acknowledged. 1: the broker refused some, or cannot be used.
    """
    paths = _paths(files)
    client = connection.reached([topic], bootstrap, settings)
    options = readout.AnnouncementOptions(
        instrument=instrument,
        exposure_id=exposure,
        detectors_expected=detectors,
        keywords=readout.with_keywords(readout.INSTRUMENTS[field_map], changes),
    )
    # The headers are read first, because every message has the number of detectors. One file is in
    # memory at a time.
    readouts = [readout.read_header(path, Path(path).read_bytes(), options) for path in paths]
    try:
        announcements = readout.announcements(readouts, options)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    outputs = (
        _output(path, announced, topic, by_reference=by_reference, as_live=as_live)
        for path, announced in zip(paths, announcements, strict=True)
    )
    refused = _send(outputs, client, every)
    for text in refused:
        click.echo(f"refused {text}", err=True)
    exposures = len({key_of(each.announced) for each in readouts})
    click.echo(f"{topic}: {len(paths) - len(refused)} files of {exposures} exposures acknowledged")
    if refused:
        raise click.exceptions.Exit(1)


def _paths(files: Sequence[str]) -> tuple[str, ...]:
    """Returns the paths of the frames; tells what was left out of folders."""
    expanded = frame_paths.expand(files)
    if line := expanded.left_out_line():
        frame_files.say(line)
    if absent := [path for path in expanded.paths if not Path(path).is_file()]:
        raise frame_files.absent(absent, files)
    if not expanded.paths:
        raise click.ClickException("no FITS file in these folders or lists")
    return expanded.paths


def _send(outputs: Iterable[Output], client: Mapping[str, str], every_s: float) -> list[str]:
    """Send one message after the other; returns those that the broker refused, and why."""
    sink = KafkaSink(
        {"delivery.timeout.ms": _DELIVERY_MS, "message.max.bytes": _LARGEST_BYTES, **client}
    )
    refused: list[str] = []

    def done(output: Output, error: Undeliverable | None) -> None:
        if error is not None:
            refused.append(f"{output.origin.topic}: {error.detail}")

    try:
        for output in outputs:
            sink.send(output, done)
            while sink.flush(_ANSWER_S):
                pass
            time.sleep(every_s)
    finally:
        sink.close()
    return refused


def _output(
    path: str, announced: Announced, topic: str, *, by_reference: bool, as_live: bool
) -> Output:
    content = Path(path).read_bytes()
    frame = readout.refer(path, content) if by_reference else content
    value = encode_exposure(announced, frame)
    marks: Headers = () if as_live else FROM_FILES
    headers = ((PRODUCER_TIMESTAMP, b"%d" % (time.time_ns() // 1_000_000)), *marks)
    return Output(Origin(path, 0, 0), topic, value, key_of(announced), headers)
