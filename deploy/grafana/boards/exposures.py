"""Whether the telescope tracks: probabilities, focal plane, failures, what cannot be told."""

from boards.panel import Board, Kind, Panel, Query, Unit, Variable, quantiles

_HERE = 'instance=~"$instance"'
_OF = f'{_HERE},instrument=~"$instrument"'
_DECIDED = f'streamfilter_exposure_decisions_total{{{_OF},kind="exposure"}}'
_FAILED = (
    f'streamfilter_exposure_decisions_total{{{_OF},kind="exposure",decision="tracking_error"}}'
)
# Each worker shows its own last exposure: the map is of the worker that judged last.
_NEWEST = (
    "and on (instance, instrument) topk by (instrument) "
    f"(1, streamfilter_exposure_judged_timestamp_seconds{{{_OF}}})"
)


def _rate(metric: str, by: str) -> Query:
    return Query(
        f"sum by ({by}) (rate({metric}{{{_HERE}}}[$__rate_interval])) > 0", f"{{{{{by}}}}}"
    )


_NOW = (
    Panel(
        title="Exposures that failed",
        text="Trailed exposures in the time chosen at the top. Anything but 0: tell the observer.",
        queries=(
            Query(
                f"sum by (instrument) (increase({_FAILED}[$__range]))",
                "{{instrument}}",
            ),
        ),
        unit=Unit.COUNT,
        kind=Kind.NUMBER,
        width=6,
        height=5,
        limits=(1, 1),
        runbook="StreamfilterTrackingError",
    ),
    Panel(
        title="Last exposure judged",
        text="How long ago, by instrument. Minutes by night mean that none arrive.",
        queries=(
            Query(
                "1000 * max by (instrument) "
                f"(streamfilter_exposure_judged_timestamp_seconds{{{_OF}}})",
                "{{instrument}}",
            ),
        ),
        unit=Unit.AGO,
        kind=Kind.NUMBER,
        width=6,
        height=5,
        runbook="StreamfilterNoExposures",
    ),
    Panel(
        title="Cannot tell",
        text="Share of exposures of the last half hour on which nothing can be said: clouds, too "
        "few stars, or masks.",
        queries=(
            Query(
                'streamfilter:cannot_tell:ratio_rate30m{instrument=~"$instrument"}',
                "{{instrument}}",
            ),
        ),
        unit=Unit.SHARE,
        kind=Kind.NUMBER,
        width=6,
        height=5,
        limits=(0.2, 0.5),
        runbook="StreamfilterCannotTell",
    ),
    Panel(
        title="Waiting for detectors",
        text="Exposures of which not all detectors have come. They close after exposures.wait_s.",
        queries=(Query(f"sum(streamfilter_exposure_open{{{_HERE}}})"),),
        unit=Unit.COUNT,
        kind=Kind.NUMBER,
        width=6,
        height=5,
        runbook="StreamfilterExposuresLate",
    ),
)

_TRACKING = (
    Panel(
        title="Probability of a tracking error",
        text="Of each instrument's last exposure, from network and stars together. From 0.5 on the "
        "decision is tracking_error. A gap: nobody can tell, or it is not to be judged.",
        queries=(
            Query(
                f"streamfilter_exposure_tracking_error_probability{{{_OF}}}",
                "{{instrument}} {{instance}}",
            ),
        ),
        unit=Unit.SHARE,
        most=1,
        width=16,
        limits=(0.5, 0.9),
        runbook="StreamfilterTrackingError",
    ),
    Panel(
        title="Decisions",
        text="Exposures a minute by decision: ok, tracking_error, cannot_tell.",
        queries=(
            Query(
                f"60 * sum by (instrument, decision) (rate({_DECIDED}[$__rate_interval]))",
                "{{instrument}} {{decision}}",
            ),
        ),
        unit=Unit.COUNT,
        kind=Kind.STACK,
        runbook="StreamfilterTrackingError",
    ),
    Panel(
        title="Focal plane of the last exposure",
        text="A tile for each detector, by name: green tracked, red trailed, grey cannot be told. "
        "All red: the mount. A few: optics, or crowded or empty fields.",
        queries=(
            Query(
                f"streamfilter_exposure_detector_tracking_error{{{_OF}}} {_NEWEST}",
                "{{instrument}} {{detector}}",
            ),
        ),
        unit=Unit.COUNT,
        kind=Kind.MAP,
        width=12,
        height=10,
        runbook="StreamfilterTrackingError",
    ),
    Panel(
        title="Worst detectors of the last exposure",
        text="Probability of a tracking error, the 20 highest; 0.5 and more is one.",
        queries=(
            Query(
                f"topk(20, streamfilter_exposure_detector_tracking_error_probability{{{_OF}}} "
                f"{_NEWEST})"
            ),
        ),
        unit=Unit.SHARE,
        kind=Kind.TABLE,
        width=6,
        height=10,
        columns=(("instrument", "instrument"), ("detector", "detector"), ("Value", "probability")),
        runbook="StreamfilterTrackingError",
    ),
    Panel(
        title="Exposures that failed, one by one",
        text="In the time chosen at the top, and when each was judged. A click on the name shows "
        "the minutes around it; the records are in the topic outputs.tracking.",
        queries=(
            Query(
                "1000 * (max by (instrument, exposure) (max_over_time("
                f"streamfilter_exposure_failure_timestamp_seconds{{{_OF}}}[$__range])) "
                "> ${__from:date:seconds})"
            ),
        ),
        unit=Unit.AGO,
        kind=Kind.TABLE,
        width=6,
        height=10,
        columns=(("exposure", "exposure"), ("instrument", "instrument"), ("Value", "judged")),
        runbook="StreamfilterTrackingError",
    ),
)

_TROUBLE = (
    Panel(
        title="Detectors by decision",
        text="Detectors a minute. cannot_tell on a few of many is normal; on all of them see "
        "the next panels.",
        queries=(
            Query(
                f"60 * sum by (decision) (rate(streamfilter_exposure_decisions_total{{{_OF},"
                'kind="detector"}[$__rate_interval]))',
                "{{decision}}",
            ),
        ),
        unit=Unit.COUNT,
        kind=Kind.STACK,
        runbook="StreamfilterCannotTell",
    ),
    Panel(
        title="Frames not evaluated, by reason",
        text="Frames that the network did not see: too small, without data, saturated, not FITS.",
        queries=(_rate("streamfilter_exposure_frames_not_evaluated_total", "reason"),),
        unit=Unit.PER_SECOND,
        kind=Kind.STACK,
        runbook="StreamfilterCannotTell",
    ),
    Panel(
        title="Not to be judged, by reason",
        text="Exposures a minute that their headers or messages set aside: comets, flats, focus "
        "runs, colour mosaics. Nobody is called for them.",
        queries=(
            Query(
                f"60 * sum by (instrument, reason) (rate(streamfilter_exposure_not_judged_total{{"
                f'{_OF},kind="exposure"}}[$__rate_interval])) > 0',
                "{{instrument}} {{reason}}",
            ),
        ),
        unit=Unit.COUNT,
        kind=Kind.STACK,
        runbook="StreamfilterCannotTell",
    ),
    Panel(
        title="Messages rejected, by reason",
        text="Messages that could not be used: frames that are not where they should be, or that "
        "cannot be read.",
        queries=(_rate("streamfilter_exposure_rejected_total", "reason"),),
        unit=Unit.PER_SECOND,
        kind=Kind.STACK,
        runbook="StreamfilterExposureRejects",
    ),
)

_CONTAMINANTS = (
    Panel(
        title="Area of contaminants",
        text="Share of the last exposure's pixels that each class covers, where frames are "
        "searched for them (exposures.contaminants). A class that jumps: a detector went bad.",
        queries=(
            Query(
                "max by (instrument, contaminant) (streamfilter_contaminants_area_share"
                f'{{{_OF},contaminant!~"BBG|BG"}})',
                "{{instrument}} {{contaminant}}",
            ),
        ),
        unit=Unit.SHARE,
        width=12,
        runbook="StreamfilterAreaJumps",
    ),
    Panel(
        title="Masks behind the exposure",
        text="From the middle of the exposure to the record with its contaminants. Minutes to "
        "hours are normal: masks wait for all else.",
        queries=quantiles(
            f'streamfilter_contaminants_latency_seconds_bucket{{{_HERE},since="mid_exposure"}}',
            of=(0.5, 0.98),
        ),
        unit=Unit.SECONDS,
        width=12,
        runbook="StreamfilterMasksLag",
    ),
)

_LATENCY = (
    Panel(
        title="Verdict since the middle of the exposure",
        text="Half of the exposure, readout, transfer, our look: until a failing mount is known.",
        queries=quantiles(
            f'streamfilter_exposure_latency_seconds_bucket{{{_HERE},since="mid_exposure"}}',
            of=(0.5, 0.98),
        ),
        unit=Unit.SECONDS, runbook="StreamfilterExposuresLate",
    ),
    Panel(
        title="Verdict since the last detector's message",
        text="Our own part, from Kafka's timestamp to the acknowledged verdict.",
        queries=quantiles(
            f'streamfilter_exposure_latency_seconds_bucket{{{_HERE},since="message"}}',
            of=(0.5, 0.98),
        ),
        unit=Unit.SECONDS, runbook="StreamfilterExposuresLate",
    ),
    Panel(
        title="Notices to the webhook",
        text="Of exposures that fail, by what became of them, in the time chosen. failed or "
        "dropped: nobody was told, look at the failures above.",
        queries=(
            Query(
                "sum by (result) (increase(streamfilter_webhook_notices_total"
                f"{{{_HERE}}}[$__range]))",
                "{{result}}",
            ),
        ),
        unit=Unit.COUNT, kind=Kind.NUMBER, runbook="StreamfilterWebhookFails",
    ),
)  # fmt: skip

BOARD = Board(
    name="exposures",
    title="streamfilter: exposures",
    text="Whether the telescope tracks, and what cannot be told.",
    variables=(
        Variable("instance", "streamfilter_build_info"),
        Variable("instrument", "streamfilter_exposure_decisions_total"),
    ),
    rows=(
        ("Now", _NOW),
        ("Tracking", _TRACKING),
        ("What could not be judged", _TROUBLE),
        ("Latency and notices", _LATENCY),
        ("Contaminants of frames", _CONTAMINANTS),
    ),
)
