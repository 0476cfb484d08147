"""The transactional producer: outputs and offsets become visible all at once or never."""

import time
from collections.abc import Callable, Mapping
from functools import partial
from threading import Event
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka import Message as RawMessage
from confluent_kafka import TopicPartition as Position

from streamfilter.errors import TransactionAborted, TransportFailed
from streamfilter.kafka.client import (
    MENDS,
    PASSING,
    ClientErrors,
    Settings,
    error_of,
    make_client,
    merged,
    refuse,
    transport_failed,
    within,
)
from streamfilter.kafka.ledger import Partition, Place
from streamfilter.kafka.properties import TRANSACTIONS
from streamfilter.kafka.sink import DEFAULTS as SINK_DEFAULTS
from streamfilter.kafka.sink import (
    GUARANTEES,
    REFUSALS,
    ROOM_WAIT_S,
    Undeliverable,
    is_of_clock,
    own_stamp,
    refusal_of,
    say_clock_refused,
)
from streamfilter.kafka.statistics import OnStatistics, serve_statistics
from streamfilter.records import Output

DEFAULTS: Settings = {
    **SINK_DEFAULTS,
    # A coordinator that still writes the last transaction's markers asks to retry. With
    # librdkafka's 100 ms every second transaction took 120 ms, with 5 ms it takes 25 (measured).
    "retry.backoff.ms": 5,
    "retry.backoff.max.ms": 200,
}
# Time-out of one call of librdkafka, which the next call continues; a stop takes effect after it.
CALL_S = 1.0
ANSWER_S = 5.0  # limit for the group's coordinator
# A call about offsets that takes longer will never return.
STUCK_S = 10.0
# An outage longer than this stops the service, with nothing committed.
OUTAGE_S = 300.0
# Errors that retries do not mend, but a new transaction with the same outputs may.
_MENDED_BY_A_NEW_ONE = PASSING | {KafkaError._MSG_TIMED_OUT}


class TransactionalSink:
    """A producer with a transactional id; one thread makes all calls except ``close``.

    Parameters
    ----------
    settings
        librdkafka's settings, over ``DEFAULTS``; ``bootstrap.servers`` is required.
    transactional_id
        A later producer with the same id ends this one's open transaction and fences it off.
    timeout_s
        Time after which the broker aborts a transaction whose producer is gone.
    on_statistics
        Called every ``statistics.interval.ms``.

    Raises
    ------
    ConfigurationInvalid
        A setting is missing, unknown to librdkafka, or would let outputs be lost.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        transactional_id: str,
        timeout_s: float,
        on_statistics: OnStatistics | None = None,
    ) -> None:
        refuse(settings, GUARANTEES)
        self._errors = ClientErrors("producer", patient=True)
        timeout_ms = round(timeout_s * 1000)
        # librdkafka requires that no output is retried for longer than its transaction lives.
        limits: Settings = {"transaction.timeout.ms": timeout_ms, "delivery.timeout.ms": timeout_ms}
        ready = merged({**DEFAULTS, **limits}, settings, ("bootstrap.servers",), TRANSACTIONS)
        ready |= {"enable.idempotence": "true", "acks": "all", "transactional.id": transactional_id}
        ready.pop("request.required.acks", None)
        callbacks: dict[str, Any] = self._errors.settings()
        callbacks["delivery.report.only.error"] = True  # a commit confirms all others
        if on_statistics is not None:
            callbacks["stats_cb"] = partial(serve_statistics, on_statistics)
        self._settings = {**ready, **callbacks}
        self._producer = self._new_producer()
        self._stuck = self._committing = False
        self._clock_refused = False
        self._closing = Event()
        self.refused: dict[Output, Undeliverable] = {}
        """Outputs that the broker refused in the current transaction, alone or with their batch."""

    def open(self) -> bool:
        """Claim the transactional id; this ends the open transaction of its last owner.

        Returns
        -------
        bool
            False where the broker did not answer within a second: then call again.

        Raises
        ------
        TransportFailed
            The id cannot be claimed.
        """
        try:
            self._producer.init_transactions(CALL_S)
        except KafkaException as exception:
            error = error_of(exception)
            self._errors.check()
            if not (error.retriable() or error.code() in PASSING):
                raise transport_failed(error, "opening transactions") from exception
            return False
        return True

    def begin(self) -> None:
        """Begin a transaction."""
        self.refused.clear()
        self._committing = False
        self._retry("beginning a transaction", self._producer.begin_transaction)

    def send(self, output: Output) -> Undeliverable | None:
        """Queue an output; waits for room when the queue is full.

        Returns
        -------
        Undeliverable or None
            Why the client itself refuses the output for ever; the transaction may go on without
            it.

        Raises
        ------
        TransactionAborted, TransportFailed
        """
        stamp = own_stamp(output) if self._clock_refused else 0
        while True:
            try:
                self._producer.produce(
                    output.topic,
                    output.value,
                    output.key,
                    headers=list(output.headers) or None,
                    on_delivery=partial(self._on_failure, output),
                    timestamp=stamp,
                )
            except BufferError:
                self._producer.poll(ROOM_WAIT_S)
                self._check()
            except KafkaException as exception:
                error = error_of(exception)
                if error.code() in REFUSALS:
                    return refusal_of(output, error)
                self._errors.check()
                if error.code() == KafkaError._STATE:  # an earlier output failed
                    raise TransactionAborted(f"sending to {output.topic}: {error.str()}") from None
                raise self._failure_of(error, f"sending to {output.topic}") from exception
            else:
                return None

    def send_alone(self, output: Output) -> Undeliverable | None:
        """Send an output in a batch of its own: brokers refuse a batch as a whole.

        Raises
        ------
        TransactionAborted, TransportFailed
            TransactionAborted also where the broker refuses the output.
        """
        self._flush()
        refusal = self.send(output)
        self._flush()
        if output in self.refused:
            raise TransactionAborted(self.refused[output].detail)
        return refusal

    def offsets(self, places: Mapping[Partition, Place], membership: object) -> None:
        """Add offsets to the transaction; they are committed with the outputs.

        Parameters
        ----------
        membership
            The consumer's membership when it had these partitions; the broker refuses an old one.

        Raises
        ------
        TransactionAborted, TransportFailed
        """
        positions = [
            Position(topic, number, place.offset, place.note)
            for (topic, number), place in places.items()
        ]
        call = self._producer.send_offsets_to_transaction
        answer = within(STUCK_S, partial(_error_in, partial(call, positions, membership, ANSWER_S)))
        if not answer:
            # librdkafka ignores the time-out while a coordinator is away (its issue 5456).
            self._stuck = True
            raise TransactionAborted(f"no answer about the offsets within {STUCK_S:.0f} s")
        if (error := answer[0]) is None:
            return
        if error.retriable():  # no retry, for the same reason
            raise TransactionAborted(f"sending offsets: {error.str()}")
        raise self._failure_of(error, "sending offsets")

    def commit(self) -> None:
        """Wait for the outputs, then make them visible and commit the offsets.

        Raises
        ------
        TransactionAborted, TransportFailed
        """
        self._committing = True
        self._retry("committing", partial(self._producer.commit_transaction, CALL_S))

    def abort(self) -> None:
        """Abort the current transaction.

        Raises
        ------
        TransportFailed
            The broker cannot be used; it aborts the transaction itself after the time-out.
        """
        if not self._stuck:
            try:
                self._retry("aborting", partial(self._producer.abort_transaction, CALL_S))
            except TransportFailed as failure:
                # The broker has no transaction: the request that begins it was lost. After a
                # commit all may be committed already, and sending again would repeat it.
                if self._committing or not _invalid_state(failure):
                    raise
            else:
                return
        self._renew()

    def poll(self) -> None:
        """Serve librdkafka's callbacks, without waiting."""
        self._producer.poll(0)
        self._errors.check()

    def close(self) -> None:
        """Stop retrying: the current call ends by itself or is given up. Any thread may call."""
        self._closing.set()

    def _new_producer(self) -> Producer:
        return make_client(Producer, self._settings, "producer")

    def _renew(self) -> None:
        """Replace the producer; the new one ends the open transaction and fences the old off."""
        self._producer = self._new_producer()
        end = time.monotonic() + OUTAGE_S
        while not self.open():
            self._check()
            if time.monotonic() > end:
                raise TransportFailed(f"the broker did not answer for {OUTAGE_S:.0f} s")
        self._stuck = False

    def _flush(self) -> None:
        end = time.monotonic() + OUTAGE_S
        while self._producer.flush(CALL_S):
            self._check()
            if time.monotonic() > end:
                raise TransactionAborted(f"outputs not acknowledged within {OUTAGE_S:.0f} s")

    def _check(self) -> None:
        self._errors.check()
        if self._closing.is_set():
            raise TransactionAborted("the worker ends")

    def _retry(self, doing: str, call: Callable[[], None]) -> None:
        """Call until it succeeds: passing errors are retried, lasting ones raised."""
        end = time.monotonic() + OUTAGE_S
        while True:
            try:
                call()
            except KafkaException as exception:
                error = error_of(exception)
                passing = error.retriable() and not error.txn_requires_abort()
                if not passing or self._closing.is_set() or time.monotonic() > end:
                    raise self._failure_of(error, doing) from exception
            else:
                self._errors.recovered()
                return

    def _failure_of(self, error: KafkaError, doing: str) -> TransactionAborted | TransportFailed:
        """Returns the failure for an error: of this transaction only, or of the whole producer."""
        if self._closing.is_set():
            return TransactionAborted(f"{doing}: {error.str()}")
        if error.code() == KafkaError._FATAL:  # a poll raises the actual error
            error = _error_in(lambda: self._producer.poll(ROOM_WAIT_S)) or error
        self._errors.check()  # a failed output knows the cause, a failed commit does not
        of_clock = error.code() == KafkaError.INVALID_TIMESTAMP and self._stamp_next()
        if error.txn_requires_abort() and (of_clock or not _lasting(error)):
            return TransactionAborted(f"{doing}: {error.str()}")
        return transport_failed(error, doing)

    def _stamp_next(self) -> bool:
        """Give outputs their inputs' times from the next transaction on; False: they have them."""
        # Of several in a batch librdkafka reports INVALID_RECORD, of one the time itself.
        failed, known = tuple(self.refused), self._clock_refused
        if known or not failed or any(each.message_ms is None for each in failed):
            return False
        self.refused.clear()  # nothing is wrong with them
        self._clock_refused = True
        self._stuck = True  # this producer would still have to find a new epoch
        say_clock_refused(failed[0])
        return True

    def _on_failure(self, output: Output, error: KafkaError | None, _: RawMessage) -> None:
        if error is None:
            return
        of_clock = is_of_clock(error, output) and not self._clock_refused
        if of_clock or error.code() in REFUSALS:
            self.refused[output] = refusal_of(output, error)
        elif _lasting(error):
            self._errors.fail(transport_failed(error, f"sending to {output.topic}"))


def _invalid_state(failure: TransportFailed) -> bool:
    cause = failure.__cause__
    return (
        isinstance(cause, KafkaException) and error_of(cause).code() == KafkaError.INVALID_TXN_STATE
    )


def _lasting(error: KafkaError) -> bool:
    """Returns whether somebody must mend the error: a new transaction does not help."""
    return error.code() in MENDS and error.code() not in _MENDED_BY_A_NEW_ONE


def _error_in(call: Callable[[], object]) -> KafkaError | None:
    """Returns the error of a call; None where it succeeds."""
    try:
        call()
    except KafkaException as exception:
        return error_of(exception)
    return None
