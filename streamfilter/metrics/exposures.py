"""Metrics of a worker for exposures, among them gauges of the last exposure."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Info
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from streamfilter.metrics.instruments import (
    DEVICE_MEMORY_TEXT,
    LATENCY_S,
    Instruments,
    LatencyMetrics,
    SchemaMetrics,
)
from streamfilter.metrics.kafka import ClientStatistics, TransactionMetrics

SINCE_OF_EXPOSURES = ("received", "message", "mid_exposure")
_MOST_INSTRUMENTS = 32  # a telescope has a few
_MOST_DETECTORS = 256  # per instrument; LSST has 205
_MOST_FAILURES = 8  # per instrument; fewer fail between two scrapes
OTHER = "other"


@dataclass(frozen=True, slots=True)
class LastExposure:
    """The last exposure of an instrument, and the last failed ones."""

    judged_unix_s: float
    detectors: Mapping[str, tuple[float | None, float | None]]
    """By detector, tracking error (1, 0; None: undecided) and its probability (None: unknown)."""
    failures: Mapping[str, float] = field(default_factory=dict)
    """By failed exposure, when it was judged (Unix seconds), the latest last."""


@dataclass(slots=True, eq=False)
class LastExposures(Collector):
    """Gauges of the last exposure of each instrument; a new exposure replaces all of them.

    Names of instruments and detectors come from messages, so only a limited number is shown.
    """

    prefix: str
    """Prefix of the metrics' names."""
    last: Mapping[str, LastExposure] = field(default_factory=dict)

    def judged(
        self,
        instrument: str,
        exposure_id: str,
        failed: bool,
        detectors: Mapping[str, tuple[float | None, float | None]],
        now_unix_s: float,
    ) -> None:
        """Keep an exposure; a failure that a later revision corrects is removed."""
        before = self.last.get(instrument)
        failures = {
            k: v for k, v in (before.failures if before else {}).items() if k != exposure_id
        }
        if failed:
            failures[exposure_id] = now_unix_s
        # Detectors of different cameras under one label would make no sense.
        names = [] if instrument == OTHER else sorted(detectors)[:_MOST_DETECTORS]
        exposure = LastExposure(
            now_unix_s,
            {name: detectors[name] for name in names},
            dict(list(failures.items())[-_MOST_FAILURES:]),
        )
        self.last = {**self.last, instrument: exposure}

    def collect(self) -> Iterable[Metric]:
        """Returns the gauges of the last exposures."""
        prefix = self.prefix
        judged = GaugeMetricFamily(
            f"{prefix}_judged_timestamp_seconds",
            "When the last exposure was judged.",
            labels=("instrument",),
        )
        failure = GaugeMetricFamily(
            f"{prefix}_failure_timestamp_seconds",
            f"When exposures were judged to have a tracking error, the last {_MOST_FAILURES}.",
            labels=("instrument", "exposure"),
        )
        error = GaugeMetricFamily(
            f"{prefix}_detector_tracking_error",
            "1 where a detector of the last exposure has a tracking error, 0 where it has none, "
            "NaN where that cannot be told.",
            labels=("instrument", "detector"),
        )
        probability = GaugeMetricFamily(
            f"{prefix}_detector_tracking_error_probability",
            "Of the detectors of the last exposure; NaN where nobody can tell.",
            labels=("instrument", "detector"),
        )
        for instrument, exposure in self.last.items():
            judged.add_metric((instrument,), exposure.judged_unix_s)
            for exposure_id, at_unix_s in exposure.failures.items():
                failure.add_metric((instrument, exposure_id), at_unix_s)
            for detector, values in exposure.detectors.items():
                for family, value in zip((error, probability), values, strict=True):
                    family.add_metric((instrument, detector), _or_nan(value))
        return judged, failure, error, probability


def _or_nan(value: float | None) -> float:
    """Returns NaN for None: Prometheus has no other value for an unknown one."""
    return float("nan") if value is None else value


def describe_masking(registry: CollectorRegistry, identity: Mapping[str, str]) -> None:
    """Show which network searches exposures for contaminants, next to the tracking network."""
    masking = Info(
        "streamfilter_contaminants_masking_engine",
        "The network that searches exposures for contaminants.",
        registry=registry,
    )
    masking.info(dict(identity))


class ExposureMetrics:
    """All instruments of one worker for exposures.

    Parameters
    ----------
    of
        ``exposure``, or ``contaminants`` for the worker that searches frames for contaminants.
    """

    def __init__(self, registry: CollectorRegistry, of: str = "exposure") -> None:
        prefix = f"streamfilter_{of}"
        made = Instruments(registry, prefix)
        self.clients = ClientStatistics(prefix=prefix)
        registry.register(self.clients)
        self.last = LastExposures(prefix=prefix)
        registry.register(self.last)
        self.engine = Info(f"{prefix}_engine", "The network in use.", registry=registry)
        self.messages = made.counter("messages_total", "Messages of exposures read.")
        self.rejected = made.counter("rejected_total", "Messages rejected.", "reason")
        self.not_evaluated = made.counter(
            "frames_not_evaluated_total", "Frames that the network did not see.", "reason"
        )
        self.decisions = made.counter(
            "decisions_total",
            "Decisions on detectors and exposures.",
            "kind",
            "instrument",
            "decision",
        )
        self.not_judged = made.counter(
            "not_judged_total",
            "Detectors and exposures whose tracking is not to be judged; decisions leave them out.",
            "kind",
            "instrument",
            "reason",
        )
        self.probability = made.gauge(
            "tracking_error_probability",
            "Of the last exposure judged, from network and stars: 0.5 or more where it is a "
            "tracking error; NaN where nobody can tell.",
            "instrument",
        )
        self.latency = LatencyMetrics(
            made,
            "To the acknowledged verdict on an exposure: since its last message was received, that "
            "message's timestamp, or the middle of the exposure.",
            SINCE_OF_EXPOSURES,
        )
        self.look = made.histogram(
            "look_seconds", "Time spent on a message: unpacking, stars, the network.", LATENCY_S
        )
        self.transactions = TransactionMetrics(registry, prefix)
        self.output_failures = made.counter(
            "output_failures_total", "Messages that the broker refused."
        )
        self.area = made.gauge(
            "area_share",
            "Share of the last exposure's pixels that a class has, where those are searched.",
            "instrument",
            "contaminant",
        )
        self.schemas = SchemaMetrics(registry, prefix)
        self.open = made.gauge("open", "Exposures that wait for detectors.")
        self.ready = made.gauge("ready", "1 once it has partitions, as /readyz.")
        self.device_memory = made.gauge("device_memory_bytes", DEVICE_MEMORY_TEXT, "engine", "kind")
        self.healthy = made.gauge("healthy", "0 once it failed or makes no progress, as /healthz.")
        self._instruments: set[str] = set()

    def begin(self, *, reasons: Collection[str]) -> None:
        """Start all counters at 0: Prometheus sees no increase in the first value of a series."""
        for reason in reasons:
            self.rejected.labels(reason)

    def searched(self, instrument: str, shares: Mapping[str, float]) -> None:
        """Show the share of an exposure's area that each class of contaminants has."""
        for code, share in shares.items():
            self.area.labels(self.instrument(instrument), code).set(share)

    def instrument(self, name: str) -> str:
        """Returns the label of an instrument: its name for the first few, else ``other``."""
        if len(self._instruments) < _MOST_INSTRUMENTS:
            self._instruments.add(name)
        return name if name in self._instruments else OTHER
