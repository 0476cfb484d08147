"""Computes how many partitions, workers and GPUs a survey needs, from measured rates.

Alerts come in bursts, one a visit. There are enough workers when they judge a visit's alerts in a
given share of the time to the next visit. The rest is time to catch up after a stop.
"""

import math
from dataclasses import dataclass

from streamfilter.exposures.masking import MaskRules, computed_pixels
from streamfilter.exposures.tracking import TrackingRules
from streamfilter.inference import manifest

ANNOTATION_BYTES = 640
"""Size of one published annotation."""
OPINION_BYTES = 430
"""The same of what a further engine adds where it is asked."""
# Many numbers of workers divide these, so that all workers can have equally many partitions.
_EVEN = (1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
# Bounds of the size of one fetch.
_LEAST_FETCH_BYTES, _MOST_FETCH_BYTES = 2**20, 64 * 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class Survey:
    """The alerts that a survey sends."""

    alerts_per_visit: int
    cadence_s: float
    """From one visit to the next."""
    alert_bytes: int
    """Of one message, on average."""
    planes: int = 1
    """Stamps of each alert that are judged (``alerts.planes``)."""
    also_share: float = 0.0
    """Share of the alerts about which a further engine is asked."""

    @property
    def mean_per_s(self) -> float:
        """Mean alerts per second over the night."""
        return self.alerts_per_visit / self.cadence_s

    @property
    def annotation_bytes(self) -> float:
        """Of one annotation, on average."""
        return ANNOTATION_BYTES + self.also_share * OPINION_BYTES


@dataclass(frozen=True, kw_only=True, slots=True)
class Operation:
    """How a site wants to run its workers."""

    utilisation: float = 0.7
    """Share of the time between visits in which a visit must be judged."""
    efficiency: float = 0.84
    """Rate of a worker, from Kafka to Kafka, divided by the rate of its engine alone."""
    partitions: int | None = None
    """Of the input topic, if the survey has decided; None if not."""
    replication: int = 3
    retention_days: float = 7.0
    night_hours: float = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Fleet:
    """Workers of one kind."""

    alerts_per_s: float
    """Of one worker."""
    workers: int
    drain_s: float
    """From the first alert of a visit to the last verdict, all workers busy."""
    busy: float
    """Share of the time between visits that this takes."""
    catch_up: float
    """Time in s to catch up after a stop of 1 s, while new alerts come; infinite where workers have
    no time to spare."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Streams:
    """The data on the network and on brokers, in bytes."""

    mean_in_per_s: float
    peak_in_per_s: float
    """While a visit is judged."""
    mean_out_per_s: float
    input_kept: float
    """Kept on the brokers with all replicas, for the time of retention."""
    output_kept: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What a survey needs."""

    fleet: Fleet
    partitions: int
    enough_partitions: bool
    """False where the survey's topic has fewer partitions than the workers that are needed."""
    streams: Streams
    fetch_bytes: int
    """For ``fetch.max.bytes``: about what one worker judges in a second."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExposureWorkers:
    """What judging exposures needs.

    All messages of an exposure have one key, so one worker judges it.
    """

    workers: int
    judged_s: float
    """From the first detector of an exposure to its verdict, on the one worker that has it."""
    partitions: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Camera:
    """A focal plane of detectors that are alike."""

    name: str
    detectors: int
    height_px: int
    width_px: int

    @property
    def mpix(self) -> float:
        """Millions of pixels of one detector."""
        return self.height_px * self.width_px / 1e6


CAMERAS = {
    each.name: each
    for each in (
        Camera(name="lsst", detectors=189, height_px=4096, width_px=4004),
        Camera(name="decam", detectors=62, height_px=4096, width_px=2048),
    )
}
"""Those that take science: of LSST's the larger of two kinds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FrameCosts:
    """What frames cost one core, in s."""

    maximask_per_mpix: float
    """Of what the network computes, margins of tiles too."""
    deepcr_per_mpix: float
    maxitrack_per_tile: float
    sky_per_mpix: float
    """Sky, noise and stars of a frame."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FocalPlaneCosts:
    """What one exposure of a whole focal plane costs one core, in s; reading files is not in it."""

    tracking: float
    cosmic_rays: float
    """Masks of that class alone."""
    masks: float
    """Masks of all classes."""


def focal_plane(camera: Camera, costs: FrameCosts, rules: MaskRules) -> FocalPlaneCosts:
    """Returns what an exposure of a camera costs one core, tile by tile as frames are cut."""

    def computed(network: str) -> float:
        shape = camera.height_px, camera.width_px
        return computed_pixels(*shape, manifest.load(network), rules) / 1e6

    sky = costs.sky_per_mpix * camera.mpix
    cosmic_rays = sky + costs.deepcr_per_mpix * computed("deepcr")
    masks = cosmic_rays + costs.maximask_per_mpix * computed("maximask")
    tracking = sky + costs.maxitrack_per_tile * TrackingRules().tiles_enough
    return FocalPlaneCosts(
        tracking=tracking * camera.detectors,
        cosmic_rays=cosmic_rays * camera.detectors,
        masks=masks * camera.detectors,
    )


def fleet(survey: Survey, operation: Operation, stamps_per_s: float) -> Fleet:
    """Returns the workers that judge a visit in time.

    Parameters
    ----------
    stamps_per_s
        Rate of one worker's engine alone.
    """
    each = stamps_per_s / survey.planes * operation.efficiency
    allowed_s = survey.cadence_s * operation.utilisation
    workers = max(1, math.ceil(survey.alerts_per_visit / (each * allowed_s)))
    drain_s = survey.alerts_per_visit / (each * workers)
    busy = drain_s / survey.cadence_s
    return Fleet(
        alerts_per_s=each,
        workers=workers,
        drain_s=drain_s,
        busy=busy,
        catch_up=busy / (1 - busy) if busy < 1 else math.inf,
    )


def plan(survey: Survey, operation: Operation, stamps_per_s: float) -> Plan:
    """Returns workers, partitions, bytes and sizes for a survey.

    Partitions that are not decided yet are twice the workers: they can be doubled without moving
    any key to another partition.
    """
    needed = fleet(survey, operation, stamps_per_s)
    partitions = operation.partitions or even(2 * needed.workers)
    day_s = operation.night_hours * 3600 * operation.retention_days
    kept = survey.mean_per_s * day_s * operation.replication
    total_per_s = needed.alerts_per_s * needed.workers
    second = round(needed.alerts_per_s * survey.alert_bytes)
    return Plan(
        fleet=needed,
        partitions=partitions,
        enough_partitions=partitions >= needed.workers,
        streams=Streams(
            mean_in_per_s=survey.mean_per_s * survey.alert_bytes,
            peak_in_per_s=total_per_s * survey.alert_bytes,
            mean_out_per_s=survey.mean_per_s * survey.annotation_bytes,
            input_kept=kept * survey.alert_bytes,
            output_kept=kept * survey.annotation_bytes,
        ),
        fetch_bytes=min(max(second, _LEAST_FETCH_BYTES), _MOST_FETCH_BYTES),
    )


def exposure_workers(
    survey: Survey, operation: Operation, detectors: int, frames_per_s: float
) -> ExposureWorkers:
    """Returns the workers that keep up with the exposures of a camera.

    Parameters
    ----------
    frames_per_s
        Detectors that one worker judges in a second.
    """
    judged_s = detectors / frames_per_s
    workers = max(1, math.ceil(judged_s / (survey.cadence_s * operation.utilisation)))
    return ExposureWorkers(workers=workers, judged_s=judged_s, partitions=even(4 * workers))


def even(least: int) -> int:
    """Returns a number of partitions, at least ``least``, that many numbers of workers divide."""
    return next((each for each in _EVEN if each >= least), -(-least // 512) * 512)
