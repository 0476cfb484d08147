"""What is shown of engines: here, of a GPU's memory."""

from types import SimpleNamespace
from typing import cast

from prometheus_client import CollectorRegistry

from streamfilter.inference.engine import DeviceMemory, Engine
from streamfilter.metrics.alerts import AlertMetrics
from streamfilter.service.assembly.engines import watch_device


def test_memory_of_a_gpu_is_shown_as_it_changes() -> None:
    """By engine and kind, in bytes."""
    engine = SimpleNamespace(
        manifest=SimpleNamespace(name="maximask"), device_memory=DeviceMemory(10, 20, 30)
    )
    registry = CollectorRegistry()
    watch_device(cast("Engine", engine), AlertMetrics(registry).device_memory)
    engine.device_memory = DeviceMemory(15, 15, 30)
    shown = [
        registry.get_sample_value(
            "streamfilter_device_memory_bytes", {"engine": "maximask", "kind": kind}
        )
        for kind in ("buffers", "free", "total")
    ]
    assert [15.0, 15.0, 30.0] == shown


def test_an_engine_on_a_cpu_shows_no_memory_of_a_gpu() -> None:
    """Zero would say that a GPU is full."""
    registry = CollectorRegistry()
    engine = SimpleNamespace(manifest=SimpleNamespace(name="maximask"))
    watch_device(cast("Engine", engine), AlertMetrics(registry).device_memory)
    samples = [each for family in registry.collect() for each in family.samples]
    assert not [each for each in samples if "device_memory" in each.name]
