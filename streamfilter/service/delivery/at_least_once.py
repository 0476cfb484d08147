"""Delivers at least once: outputs are sent one by one, and offsets follow acknowledgements."""

import queue
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from streamfilter.errors import TransportFailed
from streamfilter.kafka.ledger import Ledger, Partition
from streamfilter.kafka.sink import KafkaSink, Undeliverable
from streamfilter.kafka.source import KafkaSource
from streamfilter.records import Output
from streamfilter.service.delivery.parcel import Parcel


@dataclass(slots=True, eq=False)
class _Unacknowledged:
    """A parcel whose outputs are not all acknowledged."""

    parcel: Parcel
    left: int
    lock: threading.Lock = field(default_factory=threading.Lock)

    def acknowledged(self) -> bool:
        """Count an acknowledged output; True for the last one."""
        with self.lock:
            self.left -= 1
            return self.left == 0


class AtLeastOnce:
    """Sends outputs as they come, and commits a message once all its outputs are acknowledged."""

    def __init__(self, sink: KafkaSink, ledger: Ledger) -> None:
        self._sink = sink
        self._ledger = ledger
        self._failure: TransportFailed | None = None
        self._answers: queue.SimpleQueue[tuple[_Unacknowledged, Output]] = queue.SimpleQueue()

    def open(self) -> bool:
        """Does nothing: this producer needs no preparation."""
        return True

    def send(self, parcel: Parcel) -> None:
        """Produce the outputs of a parcel; waits for room.

        Raises
        ------
        TransportFailed
            The broker cannot be used.
        """
        outputs = tuple(parcel.outputs)
        awaited = _Unacknowledged(parcel, len(outputs))
        if not outputs:
            parcel.delivered(parcel)
        for output in outputs:
            self._sink.send(output, partial(self._done, awaited))

    def serve(self, timeout_s: float) -> None:
        """Serve acknowledgements, then send what replaces refused outputs.

        These are not sent from a callback: waiting for room there would wait for itself.

        Raises
        ------
        TransportFailed
            The broker cannot be used, or a message can have no answer.
        """
        self._sink.poll(timeout_s)
        self._check()
        while not self._answers.empty():
            awaited, output = self._answers.get()
            self._sink.send(output, partial(self._done, awaited))

    def attend(self, source: KafkaSource) -> None:
        """Does nothing: this producer knows no group."""

    def assigned(self, source: KafkaSource, partitions: Sequence[Partition]) -> None:
        """Does nothing: the partitions are read from their offsets."""

    def commit(self, source: KafkaSource, *, wait: bool) -> bool:
        """Commit the settled prefix of each partition."""
        offsets = self._ledger.committable()
        # Also without new offsets: the source has those that the broker refused before.
        marks = source.behind_marks(self._ledger.settled())
        source.commit({**offsets, **marks}, wait=wait)
        self._ledger.committed(offsets)
        return bool(offsets or marks)

    def flush(self, timeout_s: float) -> int:
        """Wait until everything is acknowledged; returns how many outputs are not.

        Raises
        ------
        TransportFailed
            The broker cannot be used.
        """
        left = self._sink.flush(timeout_s)
        self._check()
        return left

    def _check(self) -> None:
        """Raise a callback's failure in the delivery thread: callbacks cannot raise."""
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """Does nothing: what is not acknowledged is not committed either."""

    def _done(
        self, awaited: _Unacknowledged, output: Output, refusal: Undeliverable | None
    ) -> None:
        """Count an output that is acknowledged, or refused for good (too large, say)."""
        if refusal is not None:
            try:
                with awaited.lock:
                    answer = awaited.parcel.refuse(output, refusal)
            except TransportFailed as failure:  # never acknowledged, so never committed
                self._failure = self._failure or failure
                return
            if answer is not None:
                self._answers.put((awaited, answer))
                return
        if awaited.acknowledged():
            awaited.parcel.delivered(awaited.parcel)
