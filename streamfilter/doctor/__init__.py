"""Checks that all a worker needs is there, before its start or beside a running worker.

The checks publish nothing, join no consumer group, and fetch or build nothing. Calls to other
systems are bounded in time.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from time import monotonic

from streamfilter.config import Settings
from streamfilter.doctor import brokers, clock, configuration, engines, machine, places, registries
from streamfilter.doctor.findings import GIVEN, Finding, State, failed
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


def examine(settings: Settings, given: str = "") -> Iterator[Finding]:
    """Yields each finding as soon as it is made, without secrets.

    Parameters
    ----------
    given
        Options with which a command takes the same settings, for mends that are commands.
    """
    options = f" {given}" if given else ""
    for finding in _examined(settings):
        yield _cleaned(replace(finding, mend=finding.mend.replace(GIVEN, options)))


def _examined(settings: Settings) -> Iterator[Finding]:
    samples: list[SampledMessage] = []
    for name, check in _CHECKS:
        started = monotonic()
        try:
            for finding in check(settings, samples):
                yield replace(finding, took_s=monotonic() - started)
                started = monotonic()
        except StreamfilterError as error:
            yield replace(failed(name, "check", error), took_s=monotonic() - started)


def _cleaned(finding: Finding) -> Finding:
    return replace(
        finding,
        subject=clean(finding.subject),
        found=clean(finding.found),
        expected=clean(finding.expected),
        mend=clean(finding.mend),
    )
