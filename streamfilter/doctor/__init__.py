"""Is all here that a worker needs? Asked before a start, or beside a worker that runs.

Nothing is published, no consumer group is joined, nothing is fetched or built; what is asked of
others is bounded in time.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from time import monotonic

from streamfilter.config import Settings
from streamfilter.doctor import brokers, clock, configuration, engines, machine, places, registries
from streamfilter.doctor.findings import GIVEN, Finding, State, failed
from streamfilter.doctor.messages import SampledMessage
from streamfilter.errors import StreamfilterError

__all__ = ["Finding", "State", "examine"]

Check = Callable[[Settings, list[SampledMessage]], Iterator[Finding]]

_CHECKS: tuple[tuple[str, Check], ...] = (
    ("configuration", configuration.check),
    ("kafka", brokers.check),
    ("registry", registries.check),
    ("engine", engines.check),
    ("gpu", engines.check_gpu),
    ("clock", clock.check),
    ("disk", machine.check_disk),
    ("memory", machine.check_memory),
    ("cores", machine.check_cores),
    ("metrics", places.check_metrics),
    ("webhook", places.check_webhook),
    ("references", places.check_references),
    ("masks", places.check_masks),
    ("traces", places.check_traces),
)
"""In this order: what was read at the brokers is what registries and clocks are held against."""


def examine(settings: Settings, given: str = "") -> Iterator[Finding]:
    """Every finding, as it is made.

    Parameters
    ----------
    given
        Options with which a command takes the same settings, for mends that are commands.
    """
    options = f" {given}" if given else ""
    for finding in _examined(settings):
        yield replace(finding, mend=finding.mend.replace(GIVEN, options))


def _examined(settings: Settings) -> Iterator[Finding]:
    seen: list[SampledMessage] = []
    for name, check in _CHECKS:
        started = monotonic()
        try:
            for found in check(settings, seen):
                yield replace(found, took_s=monotonic() - started)
                started = monotonic()
        except StreamfilterError as error:
            yield replace(failed(name, "check", error), took_s=monotonic() - started)
