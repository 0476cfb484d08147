"""The producer: outputs out, one word for each when the broker has it."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from threading import Lock

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka import Message as RawMessage

from streamfilter.errors import TransportFailed
from streamfilter.kafka.client import (
    Settings,
    Trouble,
    error_of,
    merged,
    refuse,
    settings_invalid,
    transport_failed,
)
from streamfilter.kafka.statistics import Statistics, parsed
from streamfilter.records import Output

DEFAULTS: Settings = {
    # A few milliseconds gather the outputs of one batch into one request.
    "linger.ms": 5,
    "compression.type": "lz4",
    # The largest alert that is read (8 MiB) and what is appended to it.
    "message.max.bytes": 9 * 2**20,
    # Bounds memory: beyond it ``send`` waits.
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
# The broker will not take this one message, whatever is done; others are not concerned.
REFUSALS = frozenset(
    {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_RECORD, KafkaError.RECORD_LIST_TOO_LARGE}
)
# Of the second producer, for outputs whose batch was refused.
ALONE: Settings = {"batch.num.messages": 1, "linger.ms": 0, "statistics.interval.ms": 0}
# How long ``send`` serves acknowledgements before it tries for room again.
ROOM_WAIT_S = 0.05


@dataclass(frozen=True, slots=True)
class Undeliverable:
    """Why the broker will never take one output; the stream goes on."""

    detail: str


OnStatistics = Callable[[Statistics], None]
Done = Callable[[Output, Undeliverable | None], None]
"""Called once per output: with None when it is acknowledged by all in-sync replicas."""


class KafkaSink:
    """An idempotent producer; several threads may use it.

    ``done`` is called in whichever thread is in ``send``, ``poll`` or ``flush``; it must not
    raise. After ``TransportFailed`` no more of them are called for what failed.

    Parameters
    ----------
    settings
        librdkafka's, over ``DEFAULTS``; ``bootstrap.servers`` is required.
    on_statistics
        Called every ``statistics.interval.ms``.

    Raises
    ------
    ConfigurationInvalid
        A setting is missing, unknown to librdkafka, or would let outputs be lost.
    """

    def __init__(self, settings: Settings, *, on_statistics: OnStatistics | None = None) -> None:
        refuse(settings, GUARANTEES)
        self._trouble = Trouble("producer", patient=True)
        ready = merged(DEFAULTS, settings, ("bootstrap.servers",))
        ready |= {"enable.idempotence": "true", "acks": "all"}
        ready.pop("request.required.acks", None)
        callbacks = self._trouble.settings()
        if on_statistics is not None:
            callbacks["stats_cb"] = partial(served_statistics, on_statistics)
        try:
            self._producer = Producer({**ready, **callbacks})
        except (KafkaException, TypeError, ValueError) as error:
            raise settings_invalid(error, "producer") from error
        self._alone_settings = {**ready, **self._trouble.settings(), **ALONE}
        self._alone: Producer | None = None
        self._lock = Lock()

    def send(self, output: Output, done: Done, *, timeout_s: float | None = None) -> None:
        """Hand an output over; wait for room when the queue is full.

        Raises
        ------
        TransportFailed
            The broker cannot be used, or there was no room within ``timeout_s``.
        """
        end = None if timeout_s is None else time.monotonic() + timeout_s
        self._trouble.check()
        while not self._produced(self._producer, output, done):
            if end is not None and time.monotonic() > end:
                raise TransportFailed(
                    f"no room for an output to {output.topic} within {timeout_s} s: "
                    "see that the broker is up and takes what is sent"
                )
            self._producer.poll(ROOM_WAIT_S)
            self._trouble.check()

    def poll(self, timeout_s: float) -> int:
        """Serve acknowledgements for at most ``timeout_s``; how many there were."""
        served = self._producer.poll(timeout_s)
        if self._alone is not None:
            served += self._alone.poll(0)
        self._trouble.check()
        return served

    def flush(self, timeout_s: float) -> int:
        """Wait until all is acknowledged; how many outputs are still in flight."""
        end = time.monotonic() + timeout_s
        left = self._producer.flush(timeout_s)
        if self._alone is not None:
            left += self._alone.flush(max(0.0, end - time.monotonic()))
        self._trouble.check()
        return left

    def close(self) -> None:
        """Throw away what is still in flight; ``flush`` first to keep it."""
        for producer in (self._producer, self._alone):
            if producer is not None:
                producer.purge()
                producer.flush(1.0)

    def _produced(self, producer: Producer, output: Output, done: Done) -> bool:
        """Whether there was room for the output, or it was refused at once."""
        try:
            producer.produce(
                output.topic,
                output.value,
                output.key,
                headers=list(output.headers) or None,
                on_delivery=partial(self._delivered, producer, output, done),
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
        error: KafkaError | None,
        _: RawMessage,
    ) -> None:
        if error is None:
            self._trouble.recovered()
            done(output, None)
        elif error.code() not in REFUSALS:
            self._trouble.fail(transport_failed(error, f"sending to {output.topic}"))
        elif producer is self._alone:
            done(output, refusal_of(output, error))
        else:
            self._send_alone(output, done)

    def _send_alone(self, output: Output, done: Done) -> None:
        """Send again, in a batch of one: brokers refuse a batch as a whole."""
        with self._lock:
            if self._alone is None:
                self._alone = Producer(self._alone_settings)
        # In a callback nothing can be raised: the next call of ``send`` or ``poll`` does.
        while not self._trouble.failed and not self._produced(self._alone, output, done):
            self._alone.poll(ROOM_WAIT_S)


def served_statistics(on_statistics: OnStatistics, text: str) -> None:
    """Hand librdkafka's JSON on as a value."""
    on_statistics(parsed(json.loads(text)))


def refusal_of(output: Output, error: KafkaError) -> Undeliverable:
    """Why an output is not taken, and what would let it pass."""
    size = len(output.value or b"") + len(output.key or b"")
    return Undeliverable(
        f"{output.topic} does not take {size} bytes: {error.str()}; raise max.message.bytes of "
        "the topic, and message.max.bytes of the producer"
    )
