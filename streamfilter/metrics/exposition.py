"""Prepares what a registry holds for the metrics page."""

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

_CREATED = "_created"


class WithoutCreated(Collector):
    """A registry's families without the moments at which their series began.

    Prometheus makes a series of each of those, a third of the page; no rule or board uses one.
    Other users of the library in this process keep theirs.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        """Returns the families, with the samples of counters and histograms alone."""
        yield from _without(self._registry.collect())

    def restricted_registry(self, names: Iterable[str]) -> Collector:
        """Returns the part that a query asks for by names of families (``name[]``)."""
        restricted = self._registry.restricted_registry(names)

        class Restricted(Collector):
            def collect(self) -> Iterator[Metric]:
                yield from _without(restricted.collect())

        return Restricted()


def _without(families: Iterable[Metric]) -> Iterator[Metric]:
    for family in families:
        # Only where they belong to a family: a gauge may have any name.
        if family.type in ("counter", "histogram", "summary"):
            family.samples = [s for s in family.samples if not s.name.endswith(_CREATED)]
        yield family
