"""The metrics page: what stands on it before anything happened, and how long it may grow."""

import math

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families as parsed

from streamfilter.alerts.drift import Change
from streamfilter.errors import Reason
from streamfilter.kafka.statistics import BrokerHealth, Statistics
from streamfilter.metrics.alerts import AlertMetrics
from streamfilter.metrics.exposures import ExposureMetrics
from streamfilter.metrics.process import describe_process
from streamfilter.service.assembly.clients import watch_brokers
from streamfilter.service.live import NotLive

Samples = dict[tuple[str, ...], float]


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def samples(registry: CollectorRegistry, name: str) -> Samples:
    """Values by the values of their labels, in the order of the labels' names."""
    families = parsed(generate_latest(registry).decode())
    found = (each for family in families for each in family.samples if each.name == name)
    return {tuple(v for _, v in sorted(each.labels.items())): each.value for each in found}


def test_what_may_be_counted_begins_at_zero(registry: CollectorRegistry) -> None:
    """Else the first refusal of an output is no increase to Prometheus, and no alert fires."""
    AlertMetrics(registry).begin(
        surveys=["ztf"], outputs=["clean"], reasons=list(Reason), changes=list(Change)
    )
    assert {("clean",): 0} == samples(registry, "streamfilter_output_failures_total")
    assert {("ztf",): 0} == samples(registry, "streamfilter_shed_total")
    assert {(each,): 0 for each in Reason} == samples(registry, "streamfilter_rejected_total")


# Their labels come from alerts, brokers and topics: which there will be is not known before.
NOT_KNOWN_BEFORE = {
    "streamfilter_alerts",
    "streamfilter_stamps_not_evaluated",
    "streamfilter_broker_errors",
    "streamfilter_skipped",
}


def test_every_counter_of_alerts_begins_at_zero(registry: CollectorRegistry) -> None:
    """Whatever its labels are: those of a new one are shown in ``begin`` too."""
    AlertMetrics(registry).begin(
        surveys=["ztf"],
        outputs=["clean"],
        reasons=list(Reason),
        changes=list(Change),
        also=["maximask"],
    )
    asked = samples(registry, "streamfilter_also_asked_total")
    assert {("maximask", "ztf"): 0} == asked
    families = parsed(generate_latest(registry).decode())
    bare = {each.name for each in families if each.type == "counter" and not each.samples}
    assert set() == bare - NOT_KNOWN_BEFORE, "show its labels at 0 in begin()"


def test_latencies_stand_at_zero_before_the_first(registry: CollectorRegistry) -> None:
    """This holds for every starting point of a latency, of alerts and of exposures."""
    AlertMetrics(registry), ExposureMetrics(registry)
    starts = {("received",), ("message",), ("producer",), ("light",)}
    assert starts == set(samples(registry, "streamfilter_latency_seconds_count"))
    assert starts == set(samples(registry, "streamfilter_live_latency_seconds_count"))
    whys = {(each,): 0 for each in NotLive}
    assert whys == samples(registry, "streamfilter_not_live_total")
    assert whys == samples(registry, "streamfilter_exposure_not_live_total")
    starts = {("received",), ("message",), ("mid_exposure",)}
    assert starts == set(samples(registry, "streamfilter_exposure_latency_seconds_count"))


def test_a_focal_plane_replaces_the_one_before(registry: CollectorRegistry) -> None:
    """No detector of an earlier exposure is left on the map."""
    last = ExposureMetrics(registry).last
    last.judged("cam", "e1", False, {"1": (0.0, 0.1), "2": (0.0, 0.1)}, 100.0)
    last.judged("cam", "e2", True, {"2": (1.0, None)}, 200.0)
    error = samples(registry, "streamfilter_exposure_detector_tracking_error")
    probability = samples(registry, "streamfilter_exposure_detector_tracking_error_probability")
    assert {("2", "cam"): 1} == error
    assert math.isnan(probability["2", "cam"])
    assert {("cam",): 200} == samples(registry, "streamfilter_exposure_judged_timestamp_seconds")


def test_a_failure_is_taken_back_by_a_later_revision(registry: CollectorRegistry) -> None:
    """Others stay listed."""
    last = ExposureMetrics(registry).last
    for name, failed, at in (("e1", True, 1.0), ("e2", True, 2.0), ("e1", False, 3.0)):
        last.judged("cam", name, failed, {}, at)
    assert {("e2", "cam"): 2} == samples(
        registry, "streamfilter_exposure_failure_timestamp_seconds"
    )


def test_names_from_messages_are_bounded_and_escaped(registry: CollectorRegistry) -> None:
    """Anyone may write a message: 256 detectors, 32 instruments, 8 failures of each."""
    metrics = ExposureMetrics(registry)
    for number in range(50):
        label = metrics.instrument(f'"{number}\n\\')
        plane = {f'"{n:03d}\n': (0.0, 0.0) for n in range(300)}
        for exposure in range(10):
            metrics.last.judged(label, f"{number}-{exposure}", True, plane, 1.0)
    map_ = samples(registry, "streamfilter_exposure_detector_tracking_error")
    assert (32 * 256, 0.0) == (len(map_), map_['"255\n', '"31\n\\'])
    assert "other" not in {instrument for _, instrument in map_}
    failures = samples(registry, "streamfilter_exposure_failure_timestamp_seconds")
    assert (33 * 8, 1.0) == (len(failures), failures["49-9", "other"])


def test_the_process_is_described_whatever_it_works_at(registry: CollectorRegistry) -> None:
    """A worker for exposures alone has a version and a memory too."""
    describe_process(registry, "1.2.3")
    ((_, version),) = samples(registry, "streamfilter_build_info")
    assert "1.2.3" == version
    assert samples(registry, "process_resident_memory_bytes")[()] > 1e6


def test_both_clients_of_a_worker_are_shown_until_their_next_statistics(
    registry: CollectorRegistry,
) -> None:
    """What librdkafka holds, and which requests failed since the client began."""
    shown = AlertMetrics(registry).clients
    for client, messages, errors in (("consumer", 7, 0), ("producer", 9, 3), ("producer", 2, 4)):
        (fetched, sent) = (messages, 0) if client == "consumer" else (0, messages)
        health = BrokerHealth("b1:9092", True, None, errors)
        watch_brokers(shown, client, Statistics({}, (health,), fetched, sent, 0))
    queued = samples(registry, "streamfilter_client_queued_messages")
    failed = samples(registry, "streamfilter_broker_errors_total")
    assert {("consumer",): 7, ("producer",): 2} == queued
    assert {("b1:9092", "consumer"): 0, ("b1:9092", "producer"): 4} == failed
