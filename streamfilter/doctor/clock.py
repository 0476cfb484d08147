"""This machine's clock, against all that tells a time without being written to."""

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

# Latencies are measured in milliseconds, and objectives in seconds.
_WARN_S, _FAIL_S = 1.0, 30.0
# Dates of HTTP are whole seconds.
_DATE_S = 1.0
_UNSYNCHRONISED = 0x40  # STA_UNSYNC of <sys/timex.h>
_MEND = "start an NTP client (chrony, systemd-timesyncd) and let it synchronise"


def check(settings: Settings, seen: list[SampledMessage]) -> Iterator[Finding]:
    """What the system says of its clock, then the registries' and the messages' times."""
    yield _system()
    for key, registry in (
        ("schemas.registry", settings.schemas.registry),
        ("schemas.publish", settings.schemas.publish),
    ):
        if registry.url:
            asked = time.time()
            date = date_of(registry_settings(registry), settings.limits)
            yield _against_date(key, date, asked, time.time())
    if not seen:
        why = "brokers tell no time, and there is no message whose timestamp could be compared"
        yield not_applicable("clock", "messages", why)
    yield from map(against_message, seen)


class _Timex(ctypes.Structure):
    """The first fields of ``struct timex``, with room for the others."""

    _fields_ = (
        ("modes", ctypes.c_uint), ("offset", ctypes.c_long), ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long), ("esterror", ctypes.c_long), ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    )  # fmt: skip


def _system() -> Finding:
    """Whether the kernel's clock is steered; reading that needs no right."""
    if not sys.platform.startswith("linux"):
        return not_applicable("clock", "system", f"{sys.platform} is not asked")
    said = _Timex()
    if ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(said)) < 0:
        return not_applicable("clock", "system", "the kernel does not tell")
    if said.status & _UNSYNCHRONISED:
        return Finding(
            "clock", "system", State.WARNING, "the kernel calls it not synchronised",
            "synchronised", _MEND + "; in a container that is the host's to do",
        )  # fmt: skip
    return ok("clock", "system", f"synchronised, to {said.maxerror / 1000:.0f} ms at worst")


def _against_date(key: str, date: str | None, asked_s: float, answered_s: float) -> Finding:
    """A registry's clock: it was read between question and answer."""
    try:
        there_s = parsedate_to_datetime(date or "").timestamp()
    except ValueError:
        return not_applicable("clock", key, "its answers are not dated")
    behind = max(there_s - answered_s, asked_s - (there_s + _DATE_S), 0.0)
    return _judged(key, behind, f"{behind:.1f} s or more from the date of its answers")


def against_message(seen: SampledMessage) -> Finding:
    """A message was stamped before now, whoever's clock did it."""
    subject = f"messages of {seen.topic}"
    if seen.timestamp_ms is None:
        return not_applicable("clock", subject, "they have no timestamps")
    age_s = time.time() - seen.timestamp_ms / 1000
    who = seen.stamped_by or "broker or producer"
    if age_s >= 0:
        return ok("clock", subject, f"the newest looked at was stamped {age_s:.0f} s ago by {who}")
    return _judged(subject, -age_s, f"one was stamped {-age_s:.1f} s from now by {who}")


def _judged(subject: str, apart_s: float, found: str) -> Finding:
    if apart_s <= _WARN_S:
        return ok("clock", subject, f"within {_WARN_S:.0f} s")
    state = State.FAILED if apart_s > _FAIL_S else State.WARNING
    mend = f"{_MEND}, here or there: latencies and shedding by age go by both"
    return Finding("clock", subject, state, found, f"within {_WARN_S:.0f} s", mend)
