"""Chooses the alerts to trace: OpenTelemetry's samplers, with a bound on their rate."""

import time

from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)


def sampler(*, ratio: float, max_per_s: float) -> Sampler:
    """Returns a sampler: producers decide on their alerts, ``ratio`` on the others, within one
    bound.

    Spans below a sampled one are sampled too, without counting towards the bound.
    """
    rate = _Rate(max_per_s)
    return ParentBased(
        root=_Limited(TraceIdRatioBased(ratio), rate),
        remote_parent_sampled=_Limited(ALWAYS_ON, rate),
    )


class _Rate:
    """A token bucket that holds a second's traces, at least one; for one thread."""

    def __init__(self, max_per_s: float) -> None:
        self._max_per_s = max_per_s
        self._tokens = max_per_s
        self._topped_up_s = time.monotonic()

    def take(self) -> bool:
        """Take a token; False where there is none."""
        now = time.monotonic()
        more = (now - self._topped_up_s) * self._max_per_s
        self._tokens = min(self._tokens + more, max(self._max_per_s, 1.0))
        self._topped_up_s = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class _Limited(Sampler):  # type: ignore[misc]
    """Samples what another sampler samples, while the rate allows it."""

    def __init__(self, wanted: Sampler, rate: _Rate) -> None:
        self._wanted = wanted
        self._rate = rate

    def should_sample(self, *args: object, **named: object) -> SamplingResult:
        """Decide on a span."""
        wanted = self._wanted.should_sample(*args, **named)
        if wanted.decision.is_sampled() and not self._rate.take():
            return ALWAYS_OFF.should_sample(*args, **named)
        return wanted

    def get_description(self) -> str:
        """Returns the name, as samplers do."""
        return f"Limited{{{self._wanted.get_description()}}}"
