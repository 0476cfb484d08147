"""The transactional producer: outputs and offsets in, all of them visible at once or never."""

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
    Settings,
    Trouble,
    error_of,
    merged,
    refuse,
    settings_invalid,
    transport_failed,
    within,
)
from streamfilter.kafka.ledger import Partition, Place
from streamfilter.kafka.sink import DEFAULTS as SINK_DEFAULTS
from streamfilter.kafka.sink import (
    GUARANTEES,
    REFUSALS,
    ROOM_WAIT_S,
    OnStatistics,
    Undeliverable,
    refusal_of,
    served_statistics,
)
from streamfilter.records import Output

DEFAULTS: Settings = {
    **SINK_DEFAULTS,
    # A coordinator that still writes the marks of the last transaction says "later": with
    # librdkafka's 100 ms every second transaction took 120 ms, with 5 it takes 25 (measured).
    "retry.backoff.ms": 5,
    "retry.backoff.max.ms": 200,
}
# One call of librdkafka, which is taken up again where it was left; how soon a stop is seen.
CALL_S = 1.0
ANSWER_S = 5.0  # of the group's coordinator
# A call that has not come back after this never will; it is for the offsets alone.
STUCK_S = 10.0
# An outage longer than this stops the service, with nothing committed.
OUTAGE_S = 300.0
# Failures that a new transaction with the same outputs may mend, though retrying does not.
_MENDED_BY_A_NEW_ONE = PASSING | {KafkaError._MSG_TIMED_OUT}


class TransactionalSink:
    """A producer with a transactional id; one thread calls everything but ``close``.

    Parameters
    ----------
    settings
        librdkafka's, over ``DEFAULTS``; ``bootstrap.servers`` is required.
    transactional_id
        Whoever begins later with the same one ends what this one left open, and fences it off.
    timeout_s
        After which the broker aborts a transaction whose producer is gone.
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
        self._trouble = Trouble("producer", patient=True)
        timeout_ms = round(timeout_s * 1000)
        # librdkafka wants no output to be tried for longer than its transaction lives.
        limits: Settings = {"transaction.timeout.ms": timeout_ms, "delivery.timeout.ms": timeout_ms}
        ready = merged({**DEFAULTS, **limits}, settings, ("bootstrap.servers",))
        ready |= {"enable.idempotence": "true", "acks": "all", "transactional.id": transactional_id}
        ready.pop("request.required.acks", None)
        callbacks: dict[str, Any] = self._trouble.settings()
        callbacks["delivery.report.only.error"] = True  # what is committed was delivered
        if on_statistics is not None:
            callbacks["stats_cb"] = partial(served_statistics, on_statistics)
        self._settings = {**ready, **callbacks}
        self._producer = self._made()
        self._stuck = self._committing = False
        self._closing = Event()
        self.refused: dict[Output, Undeliverable] = {}
        """What the broker did not take in the transaction under way, alone or with its batch."""

    def open(self) -> bool:
        """Take the transactional id, which ends what its last holder left open.

        Returns
        -------
        bool
            False where the broker did not answer within a second: call again.

        Raises
        ------
        TransportFailed
            It cannot be had.
        """
        try:
            self._producer.init_transactions(CALL_S)
        except KafkaException as exception:
            error = error_of(exception)
            self._trouble.check()
            if not (error.retriable() or error.code() in PASSING):
                raise transport_failed(error, "opening transactions") from exception
            return False
        return True

    def begin(self) -> None:
        """Begin a transaction."""
        self.refused.clear()
        self._committing = False
        self._insist("beginning a transaction", self._producer.begin_transaction)

    def send(self, output: Output) -> Undeliverable | None:
        """Hand an output over; wait for room when the queue is full.

        Returns
        -------
        Undeliverable or None
            Why it will never be taken, where the client itself refuses it: the transaction may
            go on without it.

        Raises
        ------
        TransactionAborted, TransportFailed
        """
        while True:
            try:
                self._producer.produce(
                    output.topic,
                    output.value,
                    output.key,
                    headers=list(output.headers) or None,
                    on_delivery=partial(self._failed, output),
                )
            except BufferError:
                self._producer.poll(ROOM_WAIT_S)
                self._check()
            except KafkaException as exception:
                error = error_of(exception)
                if error.code() in REFUSALS:
                    return refusal_of(output, error)
                self._trouble.check()
                if error.code() == KafkaError._STATE:  # an earlier output failed
                    raise TransactionAborted(f"sending to {output.topic}: {error.str()}") from None
                raise self._judged(error, f"sending to {output.topic}") from exception
            else:
                return None

    def send_alone(self, output: Output) -> Undeliverable | None:
        """Send an output in a batch of its own: brokers refuse a batch as a whole.

        Raises
        ------
        TransactionAborted, TransportFailed
            The first also where the broker refuses it.
        """
        self._flush()
        refusal = self.send(output)
        self._flush()
        if output in self.refused:
            raise TransactionAborted(self.refused[output].detail)
        return refusal

    def offsets(self, places: Mapping[Partition, Place], membership: object) -> None:
        """Let the offsets be committed with the outputs.

        Parameters
        ----------
        membership
            Of the consumer when it had these partitions; the broker refuses one that is over.

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
            # librdkafka waits for a coordinator that went, whatever its time-out (its issue 5456).
            self._stuck = True
            raise TransactionAborted(f"no answer about the offsets within {STUCK_S:.0f} s")
        if (error := answer[0]) is None:
            return
        if error.retriable():  # not taken up again, for the same reason
            raise TransactionAborted(f"sending offsets: {error.str()}")
        raise self._judged(error, "sending offsets")

    def commit(self) -> None:
        """Wait for the outputs, then make all visible and commit the offsets.

        Raises
        ------
        TransactionAborted, TransportFailed
        """
        self._committing = True
        self._insist("committing", partial(self._producer.commit_transaction, CALL_S))

    def abort(self) -> None:
        """Throw the transaction under way away.

        Raises
        ------
        TransportFailed
            The broker cannot be used; it ends the transaction itself after its timeout.
        """
        if not self._stuck:
            try:
                self._insist("aborting", partial(self._producer.abort_transaction, CALL_S))
            except TransportFailed as failure:
                # The broker knows of none: what would have begun it was lost when it went. After a
                # commit it may mean that all is committed, and sending it again would repeat it.
                if self._committing or not _invalid_state(failure):
                    raise
            else:
                return
        self._renew()

    def poll(self) -> None:
        """Serve what librdkafka has to say, without waiting."""
        self._producer.poll(0)
        self._trouble.check()

    def close(self) -> None:
        """Insist on nothing any more: what is under way comes to its end or is given up."""
        self._closing.set()

    def _made(self) -> Producer:
        try:
            return Producer(self._settings)
        except (KafkaException, TypeError, ValueError) as error:
            raise settings_invalid(error, "producer") from error

    def _renew(self) -> None:
        """A new producer of the same name fences the old one off, and ends what that left open."""
        self._producer = self._made()
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
        self._trouble.check()
        if self._closing.is_set():
            raise TransactionAborted("the worker ends")

    def _insist(self, doing: str, call: Callable[[], None]) -> None:
        """Call until it is done: what passes is tried again, what lasts is told apart."""
        end = time.monotonic() + OUTAGE_S
        while True:
            try:
                call()
            except KafkaException as exception:
                error = error_of(exception)
                passing = error.retriable() and not error.txn_requires_abort()
                if not passing or self._closing.is_set() or time.monotonic() > end:
                    raise self._judged(error, doing) from exception
            else:
                self._trouble.recovered()
                return

    def _judged(self, error: KafkaError, doing: str) -> TransactionAborted | TransportFailed:
        """What an error means: this transaction cannot be, or this producer cannot go on."""
        if self._closing.is_set():
            return TransactionAborted(f"{doing}: {error.str()}")
        if error.code() == KafkaError._FATAL:  # a poll raises what it is
            error = _error_in(lambda: self._producer.poll(ROOM_WAIT_S)) or error
        self._trouble.check()  # an output that failed knows why, what is committed only that it did
        if error.txn_requires_abort() and not _lasting(error):
            return TransactionAborted(f"{doing}: {error.str()}")
        return transport_failed(error, doing)

    def _failed(self, output: Output, error: KafkaError | None, _: RawMessage) -> None:
        if error is not None and error.code() in REFUSALS:
            self.refused[output] = refusal_of(output, error)
        elif error is not None and _lasting(error):
            self._trouble.fail(transport_failed(error, f"sending to {output.topic}"))


def _invalid_state(failure: TransportFailed) -> bool:
    cause = failure.__cause__
    return (
        isinstance(cause, KafkaException) and error_of(cause).code() == KafkaError.INVALID_TXN_STATE
    )


def _lasting(error: KafkaError) -> bool:
    """Whether somebody must mend it: a new transaction does not."""
    return error.code() in MENDS and error.code() not in _MENDED_BY_A_NEW_ONE


def _error_in(call: Callable[[], object]) -> KafkaError | None:
    """Why a call failed; None where it did not."""
    try:
        call()
    except KafkaException as exception:
        return error_of(exception)
    return None
