"""Checks that disk, memory and cores are enough for the settings."""

import os
import shutil
from collections.abc import Iterator

from streamfilter.config import Settings
from streamfilter.doctor.findings import Finding, State, not_applicable, ok
from streamfilter.doctor.messages import SampledMessage
from streamfilter.inference.cache import default_home
from streamfilter.resources import available_mib, usable_cores

_MIB = 2**20
# Both engines, the release's wheel while it is unpacked, and some schemas; a plan is as large.
_ROOM_MIB, _FULL_MIB = 500, 50
# A worker at its default bounds stays below 1,000 MB (tests/integration/test_filter.py), 96 MiB of
# them messages in flight, of which a second copy goes out.
_BASE_MIB, _COPIES = 800, 2
_PIXEL_BYTES = 20  # as measured for a frame of 10,560 x 10,560 px of 16 bits
# A process that masks a frame of 4,096 x 4,096 px stays below this
# (tests/exposures/test_masking.py).
_MASKING_MIB = 1_500


def check_disk(settings: Settings, _: list[SampledMessage]) -> Iterator[Finding]:
    """Check free space and rights at the cache of engines, plans and schemas."""
    home = settings.engine.home or default_home(os.environ)
    place = next(each for each in (home, *home.parents) if each.exists())
    subject = f"cache {home}"
    free = shutil.disk_usage(place).free // _MIB
    found = f"{free:,} MiB free"
    mend = "make room, or set engine.home (or STREAMFILTER_HOME) to another place"
    if not os.access(place, os.W_OK | os.X_OK):
        # A worker can run with engines that are already there; new schemas are fetched every time.
        yield Finding(
            "disk", subject, State.WARNING, f"{place} cannot be written by user {os.geteuid()}",
            "a place for engines, plans and schemas", f"chown it, or {mend}",
        )  # fmt: skip
    elif free < _ROOM_MIB:
        state = State.FAILED if free < _FULL_MIB else State.WARNING
        yield Finding("disk", subject, state, found, f"{_ROOM_MIB} MiB", mend)
    else:
        yield ok("disk", subject, found)


def check_memory(settings: Settings, _: list[SampledMessage]) -> Iterator[Finding]:
    """Compare the available memory with what a worker with these settings may use."""
    available = available_mib()
    if available is None:
        yield not_applicable("memory", "worker", "this system does not tell")
        return
    need, limits = 0, settings.exposures
    frame = (_COPIES * limits.max_frame_bytes + _PIXEL_BYTES * limits.max_frame_pixels) // _MIB
    if settings.alerts.topics:
        need += _BASE_MIB + _COPIES * settings.flow.max_in_flight_bytes // _MIB
    if settings.exposures.topics:
        need += _BASE_MIB + frame
    if settings.exposures.contaminants.topics:
        need += _MASKING_MIB + frame
    found = f"{available:,} MiB to be had"
    if available >= need:
        yield ok("memory", "worker", f"{found}; about {need:,} are used at most")
        return
    yield Finding(
        "memory", "worker", State.WARNING, found, f"about {need:,} MiB",
        "lower flow.max_in_flight_bytes or exposures.max_frame_bytes, _pixels, or give it more",
    )  # fmt: skip


def check_cores(settings: Settings, _: list[SampledMessage]) -> Iterator[Finding]:
    """Compare the usable cores with the threads that the settings ask for."""
    present, allowed = os.cpu_count() or 1, usable_cores()
    engine = settings.engine
    threads = (engine.workers or present) * engine.threads
    subject = f"engine.workers {engine.workers}, engine.threads {engine.threads}"
    found = f"{allowed:g} cores may be used"
    if threads <= allowed:
        yield ok("cores", subject, f"{found}, {threads} by the network")
        return
    yield Finding(
        "cores", subject, State.WARNING, f"{found}, {threads} would be asked for",
        "no more threads than cores: they would only wait for each other",
        f"set engine.workers to {max(int(allowed) // engine.threads, 1)}",
    )  # fmt: skip
