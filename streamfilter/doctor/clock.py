"""Compares this machine's clock with others, without writing to any system."""

import ctypes
import sys
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime

from streamfilter.config import Settings
from streamfilter.doctor.findings import Finding, State, not_applicable, ok
from streamfilter.doctor.messages import SampledMessage
from streamfilter.schemas.registry_client import date_of
from streamfilter.service.assembly.alerts import registry_settings

# Differences that matter: latencies are measured in milliseconds, objectives are in seconds.
_WARN_S, _FAIL_S = 1.0, 30.0
# HTTP dates are in whole seconds.
_DATE_S = 1.0
_UNSYNCHRONISED = 0x40  # STA_UNSYNC of <sys/timex.h>
_MEND = "start an NTP client (chrony, systemd-timesyncd) and let it synchronise"


def check(settings: Settings, samples: list[SampledMessage]) -> Iterator[Finding]:
    """Check the system's clock, then compare it with registries and with messages."""
    yield _system()
    for key, registry in (
        ("schemas.registry", settings.schemas.registry),
        ("schemas.publish", settings.schemas.publish),
    ):
        if registry.url:
            asked_s = time.time()
            date = date_of(registry_settings(registry), settings.limits)
            yield _against_date(key, date, asked_s, time.time())
    if not samples:
        why = "brokers tell no time, and there is no message whose timestamp could be compared"
        yield not_applicable("clock", "messages", why)
    yield from map(against_message, samples)


class _Timex(ctypes.Structure):
    """The first fields of ``struct timex``, with room for the others."""

    _fields_ = (
        ("modes", ctypes.c_uint), ("offset", ctypes.c_long), ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long), ("esterror", ctypes.c_long), ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    )  # fmt: skip


def _system() -> Finding:
    """Check that the kernel's clock is synchronised; reading its state needs no privilege."""
    if not sys.platform.startswith("linux"):
        return not_applicable("clock", "system", f"{sys.platform} is not asked")
    timex = _Timex()
    if ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(timex)) < 0:
        return not_applicable("clock", "system", "the kernel does not tell")
    if timex.status & _UNSYNCHRONISED:
        return Finding(
            "clock", "system", State.WARNING, "the kernel calls it not synchronised",
            "synchronised", _MEND + "; in a container that is the host's to do",
        )  # fmt: skip
    return ok("clock", "system", f"synchronised, to {timex.maxerror / 1000:.0f} ms at worst")


def _against_date(key: str, date: str | None, asked_s: float, answered_s: float) -> Finding:
    """Compare with a registry's clock, which was read between request and answer."""
    try:
        there_s = parsedate_to_datetime(date or "").timestamp()
    except ValueError:
        return not_applicable("clock", key, "its answers are not dated")
    apart_s = max(there_s - answered_s, asked_s - (there_s + _DATE_S), 0.0)
    return _difference(key, apart_s, f"{apart_s:.1f} s or more from the date of its answers")


def against_message(sample: SampledMessage) -> Finding:
    """Check that a message was stamped before now, by the producer's or the broker's clock."""
    subject = f"messages of {sample.topic}"
    if sample.timestamp_ms is None:
        return not_applicable("clock", subject, "they have no timestamps")
    age_s = time.time() - sample.timestamp_ms / 1000
    who = sample.stamped_by or "broker or producer"
    if age_s >= 0:
        return ok("clock", subject, f"the newest looked at was stamped {age_s:.0f} s ago by {who}")
    return _difference(subject, -age_s, f"one was stamped {-age_s:.1f} s from now by {who}")


def _difference(subject: str, apart_s: float, found: str) -> Finding:
    if apart_s <= _WARN_S:
        return ok("clock", subject, f"within {_WARN_S:.0f} s")
    state = State.FAILED if apart_s > _FAIL_S else State.WARNING
    mend = f"{_MEND}, here or there: latencies and shedding by age go by both"
    return Finding("clock", subject, state, found, f"within {_WARN_S:.0f} s", mend)
