"""The producer: sends outputs, and reports each one when the broker has it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from threading import Lock

import structlog
from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka import Message as RawMessage

from streamfilter.errors import TransportFailed
from streamfilter.kafka.client import (
    MENDS,
    ClientErrors,
    Settings,
    error_of,
    make_client,
    merged,
    refuse,
    transport_failed,
)
from streamfilter.kafka.properties import PRODUCER
from streamfilter.kafka.statistics import OnStatistics, serve_statistics
from streamfilter.records import Output

log = structlog.get_logger(__name__)

DEFAULTS: Settings = {
    # A few milliseconds gather the outputs of one batch into one request.
    "linger.ms": 5,
    "compression.type": "lz4",
    # The largest alert (8 MiB) with the appended annotation.
    "message.max.bytes": 9 * 2**20,
    # Limits memory: where the queue is full, ``send`` waits.
    "queue.buffering.max.kbytes": 64 * 1024,
    # An outage longer than this stops the service, with nothing committed.
    "delivery.timeout.ms": 300_000,
    "statistics.interval.ms": 5_000,
}
GUARANTEES = {
    "enable.idempotence": ("true",),
    "acks": ("all", "-1"),
    "request.required.acks": ("all", "-1"),
    "delivery.report.only.error": ("false",),
}
# Errors of one message that the broker will never accept, and of those that shared its batch; other
# messages are not affected.
REFUSALS = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_RECORD, KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError._INVALID_DIFFERENT_RECORD,
    }
)  # fmt: skip
# Settings of the second producer, for outputs whose batch was refused.
ALONE: Settings = {"batch.num.messages": 1, "linger.ms": 0, "statistics.interval.ms": 0}
# Time that ``send`` serves acknowledgements before it tries again to find room.
ROOM_WAIT_S = 0.05


@dataclass(frozen=True, slots=True)
class Undeliverable:
    """Why the broker will never accept an output; the stream goes on."""

    detail: str


Done = Callable[[Output, Undeliverable | None], None]
"""Called once per output; with None once all in-sync replicas have acknowledged it."""


class KafkaSink:
    """An idempotent producer; several threads may use it.

    ``done`` is called in the thread that is in ``send``, ``poll`` or ``flush``; it must not raise.
    After ``TransportFailed`` it is not called for the failed outputs.

    Parameters
    ----------
    settings
        librdkafka's settings, over ``DEFAULTS``; ``bootstrap.servers`` is required.
    on_statistics
        Called every ``statistics.interval.ms``.

    Raises
    ------
    ConfigurationInvalid
        A setting is missing, unknown to librdkafka, or would let outputs be lost.
    """

    def __init__(self, settings: Settings, *, on_statistics: OnStatistics | None = None) -> None:
        refuse(settings, GUARANTEES)
        self._errors = ClientErrors("producer", patient=True)
        ready = merged(DEFAULTS, settings, ("bootstrap.servers",), PRODUCER)
        ready |= {"enable.idempotence": "true", "acks": "all"}
        ready.pop("request.required.acks", None)
        callbacks = self._errors.settings()
        if on_statistics is not None:
            callbacks["stats_cb"] = partial(serve_statistics, on_statistics)
        self._producer = make_client(Producer, {**ready, **callbacks}, "producer")
        self._alone_settings = {**ready, **self._errors.settings(), **ALONE}
        self._alone: Producer | None = None
        self._lock = Lock()
        self._clock_refused = False

    def send(self, output: Output, done: Done, *, timeout_s: float | None = None) -> None:
        """Queue an output; waits for room when the queue is full.

        Raises
        ------
        TransportFailed
            The broker cannot be used, or there was no room within ``timeout_s``.
        """
        end = None if timeout_s is None else time.monotonic() + timeout_s
        self._errors.check()
        while not self._try_produce(self._producer, output, done):
            if end is not None and time.monotonic() > end:
                raise TransportFailed(
                    f"no room for an output to {output.topic} within {timeout_s} s: "
                    "see that the broker is up and takes what is sent"
                )
            self._producer.poll(ROOM_WAIT_S)
            self._errors.check()

    def poll(self, timeout_s: float) -> int:
        """Serve acknowledgements for at most ``timeout_s``; returns how many there were."""
        served = self._producer.poll(timeout_s)
        if self._alone is not None:
            served += self._alone.poll(0)
        self._errors.check()
        return served

    def flush(self, timeout_s: float) -> int:
        """Wait until all is acknowledged; returns the number of outputs still in flight."""
        end = time.monotonic() + timeout_s
        left = self._producer.flush(timeout_s)
        if self._alone is not None:
            left += self._alone.flush(max(0.0, end - time.monotonic()))
        self._errors.check()
        return left

    def close(self) -> None:
        """Discard the outputs still in flight; call ``flush`` first to keep them."""
        for producer in (self._producer, self._alone):
            if producer is not None:
                producer.purge()
                producer.flush(1.0)

    def _try_produce(self, producer: Producer, output: Output, done: Done) -> bool:
        """Queue an output; returns False where there is no room. ``done`` gets a refusal."""
        stamp = own_stamp(output) if self._clock_refused else 0
        try:
            producer.produce(
                output.topic,
                output.value,
                output.key,
                headers=list(output.headers) or None,
                on_delivery=partial(self._delivered, producer, output, done, bool(stamp)),
                timestamp=stamp,
            )
        except BufferError:
            return False
        except KafkaException as exception:
            error = error_of(exception)
            if error.code() not in REFUSALS:
                raise transport_failed(error, f"sending to {output.topic}") from exception
            done(output, refusal_of(output, error))
        return True

    def _delivered(
        self,
        producer: Producer,
        output: Output,
        done: Done,
        stamped: bool,
        error: KafkaError | None,
        _: RawMessage,
    ) -> None:
        if error is None:
            self._errors.recovered()
            done(output, None)
        elif is_of_clock(error, output) and not stamped:
            if not self._clock_refused:
                self._clock_refused = True
                say_clock_refused(output)
            self._send_alone(output, done)
        elif error.code() not in REFUSALS:
            self._errors.fail(transport_failed(error, f"sending to {output.topic}"))
        elif producer is self._alone:
            done(output, refusal_of(output, error))
        else:
            self._send_alone(output, done)

    def _send_alone(self, output: Output, done: Done) -> None:
        """Send an output again in a batch of its own: brokers refuse a batch as a whole."""
        with self._lock:
            if self._alone is None:
                self._alone = Producer(self._alone_settings)
        # A callback cannot raise: the next call of ``send`` or ``poll`` does.
        while not self._errors.failed and not self._try_produce(self._alone, output, done):
            self._alone.poll(ROOM_WAIT_S)


def is_of_clock(error: KafkaError, output: Output) -> bool:
    """Whether the broker refused this machine's time, and the output's input has one."""
    return error.code() == KafkaError.INVALID_TIMESTAMP and output.message_ms is not None


def own_stamp(output: Output) -> int:
    """Returns the time of an output's input; 0, for which the clock's is taken, without one."""
    return output.message_ms or 0


def say_clock_refused(output: Output) -> None:
    """Log once that outputs carry their inputs' times from now on."""
    log.error(
        "clock refused: outputs carry the times of the messages behind them",
        topic=output.topic,
        mend=MENDS[KafkaError.INVALID_TIMESTAMP],
    )


def refusal_of(output: Output, error: KafkaError) -> Undeliverable:
    """Returns why an output is refused, with the settings that would admit it."""
    size = len(output.value or b"") + len(output.key or b"")
    return Undeliverable(
        f"{output.topic} does not take {size} bytes: {error.str()}; raise max.message.bytes of "
        "the topic, and message.max.bytes of the producer"
    )
