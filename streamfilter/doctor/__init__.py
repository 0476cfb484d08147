"""Checks that all a worker needs is there, before its start or beside a running worker.

The checks publish nothing, join no consumer group, and fetch or build nothing. Calls to other
systems are bounded in time.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from time import monotonic

from streamfilter.config import Settings
from streamfilter.doctor import brokers, clock, configuration, engines, machine, places, registries
from streamfilter.doctor.findings import Finding, State, failed
from streamfilter.doctor.messages import SampledMessage
from streamfilter.errors import StreamfilterError
from streamfilter.redaction import clean

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
"""The order counts: registries and clocks are compared with messages that ``kafka`` reads."""


def examine(settings: Settings) -> Iterator[Finding]:
    """Yields each finding as soon as it is made, without secrets."""
    samples: list[SampledMessage] = []
    for name, check in _CHECKS:
        started = monotonic()
        try:
            for finding in check(settings, samples):
                yield _cleaned(finding, monotonic() - started)
                started = monotonic()
        except StreamfilterError as error:
            yield _cleaned(failed(name, "check", error), monotonic() - started)


def _cleaned(finding: Finding, took_s: float) -> Finding:
    return replace(
        finding,
        subject=clean(finding.subject),
        found=clean(finding.found),
        expected=clean(finding.expected),
        mend=clean(finding.mend),
        took_s=took_s,
    )
