"""A reload takes all or nothing, and says what it could not take."""

import queue
from collections.abc import Callable, Iterator

import pytest
import structlog
from prometheus_client import CollectorRegistry

from streamfilter import config
from streamfilter.config import Settings, fingerprint, reloaded
from streamfilter.errors import ConfigurationInvalid
from streamfilter.metrics.process import ConfigMetrics
from streamfilter.service.assembly.reload import Reloader

NEW = ["exposures.prior=0.2", 'alerts.planes=["template"]', "outputs.clean=c", "batch.size=3"]


@pytest.fixture(autouse=True)
def log() -> Iterator[list[structlog.typing.EventDict]]:
    with structlog.testing.capture_logs() as events:
        yield events


def loaded(*overrides: str) -> Settings:
    return config.load(environment={}, overrides=overrides)


def reloader(
    registry: CollectorRegistry, *prepare: Callable[[Settings], Callable[[], None]]
) -> Reloader:
    """One whose file has changed."""
    made = Reloader(loaded(), load=lambda: loaded(*NEW), metrics=ConfigMetrics(registry))
    made.start(prepare)
    return made


def test_only_what_may_be_reloaded_is_taken() -> None:
    """The rest is named, and stays as it was."""
    settings, left = reloaded(loaded(), loaded(*NEW, 'kafka.settings={"sasl.password" = "x"}'))
    assert (0.2, ("template",), "c") == (
        settings.exposures.prior, settings.alerts.planes, settings.outputs.clean,
    )  # fmt: skip
    assert (16, {}) == (settings.batch.size, settings.kafka.settings)
    assert ("batch.size", "kafka.settings.sasl.password") == left


def test_the_fingerprint_is_made_of_no_secret() -> None:
    """It stands on an open page."""
    one, two = (loaded(f'kafka.settings={{"sasl.password" = "{word}"}}') for word in "ab")
    assert fingerprint(one) == fingerprint(two) != fingerprint(loaded("batch.size=3"))


def test_what_one_worker_cannot_take_none_does(log: list[structlog.typing.EventDict]) -> None:
    """Alerts and exposures are never under two configurations."""
    adopted: list[str] = []
    registry = CollectorRegistry()

    def refuse(_: Settings) -> Callable[[], None]:
        raise ConfigurationInvalid("no")

    made = reloader(registry, lambda _: lambda: adopted.append("first"), refuse)
    assert not made.reload()
    made.close(10.0)
    assert [] == adopted
    assert 0 == registry.get_sample_value("streamfilter_config_last_reload_successful")
    refused = {"result": "refused"}
    assert 1 == registry.get_sample_value("streamfilter_config_reloads_total", refused)
    (error,) = (event for event in log if event["log_level"] == "error")
    assert ("no", fingerprint(loaded())) == (error["error"], error["in_force"])


def test_a_stumble_of_our_own_is_a_refusal_too() -> None:
    """The stream goes on."""

    def stumble(_: Settings) -> Callable[[], None]:
        raise ZeroDivisionError

    made = reloader(CollectorRegistry(), stumble)
    assert not made.reload()
    made.close(10.0)


def test_what_is_asked_before_the_start_is_served_after_it() -> None:
    """A reload while engines are fetched neither ends the process nor is it lost."""
    adopted: queue.SimpleQueue[Settings] = queue.SimpleQueue()
    made = Reloader(loaded(), load=lambda: loaded(*NEW), metrics=ConfigMetrics(CollectorRegistry()))
    made.ask()
    made.ask()
    made.start([lambda settings: lambda: adopted.put(settings)])
    assert 0.2 == adopted.get(timeout=10).exposures.prior
    made.close(10.0)


def test_what_is_taken_stands_on_the_metrics_page(log: list[structlog.typing.EventDict]) -> None:
    """Its hash is that of what is in force, without what waits for a restart."""
    registry, adopted = CollectorRegistry(), list[Settings]()
    made = reloader(registry, lambda settings: lambda: adopted.append(settings))
    assert made.reload()
    made.close(10.0)
    (settings,) = adopted
    labels = {"sha256": fingerprint(settings)}
    assert 1 == registry.get_sample_value("streamfilter_config_info", labels)
    assert fingerprint(loaded(*NEW[:-1])) == fingerprint(settings)
    (named,) = (event for event in log if event["log_level"] == "warning")
    assert ["batch.size"] == named["keys"]
