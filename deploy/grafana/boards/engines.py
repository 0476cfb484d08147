"""The networks: which are in use, how full their batches are, how long stamps queue and compute."""

from boards.panel import Board, Kind, Panel, Query, Unit, Variable, quantiles

_HERE = 'instance=~"$instance"'
_QUEUE_AND_INFER = f'streamfilter_stage_seconds_bucket{{{_HERE},stage=~"queue|infer"}}'
_IDENTITY = (("instance", "worker"), ("name", "network"), ("runtime", "runtime and precision"),
             ("sha256", "sha256 of its ONNX file"))  # fmt: skip


def _mean(metric: str, by: str, only: str = _HERE) -> str:
    """Of what a histogram observed."""
    total, count = (
        f"sum by ({by}) (rate({metric}_{part}{{{only}}}[$__rate_interval]))"
        for part in ("sum", "count")
    )
    return f"{total} / {count}"


_IDENTITIES = (
    Panel(
        title="Networks in use",
        text="For alerts, exposures, and their masks: every worker should show the same name, "
        "sha256, runtime and precision. Verdicts of different networks are not the same.",
        queries=(
            Query(f"streamfilter_engine_info{{{_HERE}}}"),
            Query(f"streamfilter_also_info{{{_HERE}}}"),
            Query(f"streamfilter_exposure_engine_info{{{_HERE}}}"),
            Query(f"streamfilter_contaminants_masking_engine_info{{{_HERE}}}"),
        ),
        unit=Unit.COUNT,
        kind=Kind.TABLE,
        width=16,
        height=6,
        columns=_IDENTITY,
        runbook="StreamfilterEnginesDiffer",
    ),
    Panel(
        title="Versions",
        text="Version of streamfilter on each worker. During an upgrade there are two.",
        queries=(Query(f"streamfilter_build_info{{{_HERE}}}"),),
        unit=Unit.COUNT,
        kind=Kind.TABLE,
        width=8,
        height=6,
        columns=(("instance", "worker"), ("version", "streamfilter"), ("python", "Python")),
        runbook="StreamfilterEnginesDiffer",
    ),
)

_CONFIGURATIONS = (
    Panel(
        title="Configurations in force",
        text="Workers by the sha256 of their settings, secrets left out. Two for long: somebody "
        "forgot one of them.",
        queries=(Query(f"count by (sha256) (streamfilter_config_info{{{_HERE}}})"),),
        unit=Unit.COUNT,
        kind=Kind.TABLE,
        columns=(("sha256", "sha256"), ("Value", "workers")),
        runbook="StreamfilterConfigurationsDiffer",
    ),
    Panel(
        title="In force since",
        text="When each worker took its configuration: at its start, or by a reload.",
        queries=(
            Query(
                f"1000 * streamfilter_config_last_reload_success_timestamp_seconds{{{_HERE}}}",
                "{{instance}}",
            ),
        ),
        unit=Unit.AGO,
        kind=Kind.NUMBER,
        runbook="StreamfilterReloadRefused",
    ),
    Panel(
        title="Reloads",
        text="In the time chosen at the top, by their end. refused: the log says why.",
        queries=(
            Query(
                "sum by (result) "
                f"(increase(streamfilter_config_reloads_total{{{_HERE}}}[$__range]))",
                "{{result}}",
            ),
        ),
        unit=Unit.COUNT,
        kind=Kind.NUMBER,
        runbook="StreamfilterReloadRefused",
    ),
)

_BATCHES = (
    Panel(
        title="Stamps a batch, mean",
        text="By the side of the stamps in pixels. Near batch.size: the network is busy and gets "
        "full batches. Near 1: it waits for alerts.",
        queries=(Query(_mean("streamfilter_batch_stamps", "side"), "{{side}} px"),),
        unit=Unit.COUNT,
        runbook="StreamfilterLateMessageFast",
    ),
    Panel(
        title="Stamps a batch, spread",
        text="Median and largest hundredth over all sides.",
        queries=quantiles(f"streamfilter_batch_stamps_bucket{{{_HERE}}}"),
        unit=Unit.COUNT,
        runbook="StreamfilterLateMessageFast",
    ),
    Panel(
        title="Stamps a second",
        text="What goes through the network, by worker. Workers on like machines should be alike.",
        queries=(
            Query(
                "sum by (instance) "
                f"(rate(streamfilter_batch_stamps_sum{{{_HERE}}}[$__rate_interval]))",
                "{{instance}}",
            ),
        ),
        unit=Unit.PER_SECOND,
        runbook="StreamfilterLateMessageFast",
    ),
)

_DEVICES = (
    Panel(
        title="Memory of GPUs",
        text="By network: buffers of its batches, what is free on the device, and all of it. Empty "
        "where networks run on the CPU. Little free: other processes are on the device.",
        queries=tuple(
            Query(
                "max by (instance, engine, kind) "
                f"(streamfilter{of}_device_memory_bytes{{{_HERE}}})",
                "{{instance}} {{engine}} {{kind}}",
            )
            for of in ("", "_exposure", "_contaminants")
        ),
        unit=Unit.BYTES,
        width=12,
        runbook="StreamfilterWorkerUnready",
    ),
    Panel(
        title="Memory of processes",
        text="Resident memory of each worker: networks on the CPU are in it, with what batches "
        "and frames under way need.",
        queries=(
            Query(
                f"process_resident_memory_bytes{{{_HERE}}} "
                "and on (instance, job) streamfilter_build_info",
                "{{instance}}",
            ),
        ),
        unit=Unit.BYTES,
        width=12,
        runbook="StreamfilterWorkerDown",
    ),
)

_TIMES = (
    Panel(
        title="Queue against compute, median",
        text="A stamp's wait (queue) beside its batch's time in the network (infer). queue much "
        "longer than infer: stamps pile up before the network.",
        queries=quantiles(
            _QUEUE_AND_INFER, "stage", of=(0.5,)
        ),
        unit=Unit.SECONDS, runbook="StreamfilterLateMessageFast",
    ),
    Panel(
        title="Queue against compute, slowest hundredth",
        text="As the medians. Far above them: something else works on the machine.",
        queries=quantiles(
            _QUEUE_AND_INFER, "stage", of=(0.99,)
        ),
        unit=Unit.SECONDS, runbook="StreamfilterLateMessageFast",
    ),
    Panel(
        title="Alerts about which a further engine is asked",
        text="Share of the alerts, by engine (engine.also). It rises where the first engine is in "
        "doubt more often: look at what the survey sends. Workers must be enough for it.",
        queries=(
            Query(
                "sum by (engine) "
                f"(rate(streamfilter_also_asked_total{{{_HERE}}}[$__rate_interval]))"
                f" / scalar(sum(rate(streamfilter_alerts_total{{{_HERE}}}[$__rate_interval])))",
                "{{engine}}",
            ),
        ),
        unit=Unit.SHARE, most=1, runbook="StreamfilterLagGrows",
    ),
    Panel(
        title="A batch in a further engine",
        text="Time of those of a batch that are in doubt, together (engine.also).",
        queries=quantiles(f"streamfilter_also_seconds_bucket{{{_HERE}}}", "engine"),
        unit=Unit.SECONDS, runbook="StreamfilterLateMessageFast",
    ),
    Panel(
        title="Batches in the network at a time",
        text="Seconds of compute a second, by worker. At engine.workers all of them are busy "
        "and more alerts only wait: add workers.",
        queries=(
            Query(
                f'sum by (instance) (rate(streamfilter_stage_seconds_sum{{{_HERE},stage="infer"}}'
                "[$__rate_interval]))",
                "{{instance}}",
            ),
            Query(
                f"sum by (instance, engine) (rate(streamfilter_also_seconds_sum{{{_HERE}}}"
                "[$__rate_interval]))",
                "{{instance}} {{engine}}",
            ),
        ),
        unit=Unit.COUNT, runbook="StreamfilterLagGrows",
    ),
    Panel(
        title="Stamps that wait",
        text="Read, decoded, and not yet in the network.",
        queries=(
            Query(f"sum by (instance) (streamfilter_queue_depth_stamps{{{_HERE}}})",
 "{{instance}}",),
        ),
        unit=Unit.COUNT, runbook="StreamfilterLagGrows",
    ),
    Panel(
        title="Reading paused",
        text="It is 1 while a worker reads nothing because enough is in flight. Often 1: more "
        "comes than it can take.",
        queries=(Query(f"max by (instance) (streamfilter_paused{{{_HERE}}})", "{{instance}}"),),
        unit=Unit.COUNT, most=1, runbook="StreamfilterLagGrows",
    ),
    Panel(
        title="A look at an exposure",
        text="Time spent on one message of an exposure: unpacking, stars, the network.",
        queries=quantiles(f"streamfilter_exposure_look_seconds_bucket{{{_HERE}}}"),
        unit=Unit.SECONDS, runbook="StreamfilterExposuresLate",
    ),
)  # fmt: skip

BOARD = Board(
    name="engines",
    title="streamfilter: engines",
    text="The networks in use, their batches, and what they wait for.",
    variables=(Variable("instance", "streamfilter_build_info"),),
    rows=(
        ("Which networks", _IDENTITIES),
        ("Which configurations", _CONFIGURATIONS),
        ("Batches", _BATCHES),
        ("Queue and compute", _TIMES),
        ("Memory", _DEVICES),
    ),
)
