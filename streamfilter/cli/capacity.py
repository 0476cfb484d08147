"""How many partitions, workers and GPUs a survey needs: arithmetic over measured rates.

Alerts come in bursts, one a visit. Workers are enough when a visit's alerts are judged in a given
share of the time to the next, so that there is time left to catch up after a stop.
"""

import math
from dataclasses import dataclass

ANNOTATION_BYTES = 640
"""Of one annotation, as published."""
# Divisible by many numbers of workers, so that each may have as many partitions as the others.
_EVEN = (1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
# The least and the most that one answer of a broker should hold.
_LEAST_FETCH_BYTES, _MOST_FETCH_BYTES = 2**20, 64 * 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class Survey:
    """What comes."""

    alerts_per_visit: int
    cadence_s: float
    """From one visit to the next."""
    alert_bytes: int
    """Of one message, on average."""
    planes: int = 1
    """Stamps of each alert that are judged (``alerts.planes``)."""

    @property
    def mean_per_s(self) -> float:
        """Alerts a second, over the night."""
        return self.alerts_per_visit / self.cadence_s


@dataclass(frozen=True, kw_only=True, slots=True)
class Operation:
    """How a site wants to run."""

    utilisation: float = 0.7
    """Share of the time between visits in which a visit is to be judged."""
    efficiency: float = 0.84
    """What a worker makes, from Kafka to Kafka, of the rate of its engine alone."""
    partitions: int | None = None
    """Of the topic that is read, where the survey has decided; None: to be decided."""
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
    """Time to work off what a stop of 1 s leaves waiting, while alerts go on coming, in s; infinite
    where there is nothing to spare."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Streams:
    """What brokers and the network carry, in bytes."""

    mean_in_per_s: float
    peak_in_per_s: float
    """While a visit is judged."""
    mean_out_per_s: float
    input_kept: float
    """With replicas, for the retention."""
    output_kept: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What is needed."""

    fleet: Fleet
    partitions: int
    enough_partitions: bool
    """False where the survey's topic has fewer partitions than workers are needed."""
    streams: Streams
    fetch_bytes: int
    """For ``fetch.max.bytes``: about what one worker judges in a second."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExposureWorkers:
    """What watching exposures takes: all messages of one have one key, so one worker judges it."""

    workers: int
    judged_s: float
    """From the first detector of an exposure to its verdict, on the one worker that has it."""
    partitions: int


def fleet(survey: Survey, operation: Operation, stamps_per_s: float) -> Fleet:
    """The workers that judge a visit in time.

    Parameters
    ----------
    stamps_per_s
        Of one worker's engine alone.
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
    """Workers, partitions, bytes and sizes for a survey.

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
            mean_out_per_s=survey.mean_per_s * ANNOTATION_BYTES,
            input_kept=kept * survey.alert_bytes,
            output_kept=kept * ANNOTATION_BYTES,
        ),
        fetch_bytes=min(max(second, _LEAST_FETCH_BYTES), _MOST_FETCH_BYTES),
    )


def exposure_workers(
    survey: Survey, operation: Operation, detectors: int, frames_per_s: float
) -> ExposureWorkers:
    """Workers that keep up with the exposures of a camera.

    Parameters
    ----------
    frames_per_s
        Detectors that one worker judges in a second.
    """
    judged_s = detectors / frames_per_s
    workers = max(1, math.ceil(judged_s / (survey.cadence_s * operation.utilisation)))
    return ExposureWorkers(workers=workers, judged_s=judged_s, partitions=even(4 * workers))


def even(least: int) -> int:
    """A number of partitions that many numbers of workers divide."""
    return next((each for each in _EVEN if each >= least), -(-least // 512) * 512)
