"""How what was concluded reaches the brokers: each output by itself, or in transactions."""

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from streamfilter.kafka.ledger import Ledger, Partition
from streamfilter.kafka.sink import KafkaSink, Undeliverable
from streamfilter.kafka.source import KafkaSource
from streamfilter.records import Origin, Output


@dataclass(slots=True, eq=False)
class Parcel:
    """Outputs that belong together, and what becomes of the messages behind them."""

    outputs: list[Output]
    """Those that are refused give way to what answers them."""
    origins: Mapping[Origin, int]
    """The messages that they are published for, each with the generation of its partition."""
    finished: tuple[Origin, ...]
    """The messages for which nothing more will be published."""
    instead: Callable[[Output, Undeliverable], Output | None]
    """What is published instead of an output that is refused for good; None: nothing."""
    delivered: Callable[["Parcel"], None]
    """Called once all is delivered."""
    dropped: Callable[["Parcel"], None]
    """Called if the partitions went before: their next owner publishes it."""

    def refuse(self, output: Output, refusal: Undeliverable) -> Output | None:
        """Replace a refused output by what answers it, which is returned."""
        answer = self.instead(output, refusal)
        place = self.outputs.index(output)
        self.outputs[place : place + 1] = [] if answer is None else [answer]
        return answer


class Delivery(Protocol):
    """Publishes parcels and commits offsets.

    ``send`` may be called by any thread; ``open``, ``attend``, ``assigned``, ``commit``, ``flush``
    and ``close`` are the reader's; ``serve`` is the delivery thread's, and so are the callbacks.
    """

    def open(self) -> bool:
        """Make ready to publish, before the group is joined; False: the broker is away, ask again.

        It takes a second at most.
        """

    def send(self, parcel: Parcel) -> None:
        """Take a parcel over; those of a partition come in the order of its messages."""

    def serve(self, timeout_s: float) -> None:
        """Publish, and tell what was delivered; for about so long."""

    def attend(self, source: KafkaSource) -> None:
        """Look after the group: called many times a second by whoever reads from it."""

    def assigned(self, source: KafkaSource, partitions: Sequence[Partition]) -> None:
        """Partitions have come, and nothing of them was read yet."""

    def commit(self, source: KafkaSource, *, wait: bool) -> bool:
        """Commit what is delivered and settled, where that is not done with it; whether any was."""

    def flush(self, timeout_s: float) -> int:
        """Wait until all is delivered; how much is not."""

    def close(self) -> None:
        """Hold on to nothing that is not delivered by now."""


@dataclass(slots=True, eq=False)
class _Unacknowledged:
    """A parcel whose outputs are not all acknowledged."""

    parcel: Parcel
    left: int
    lock: threading.Lock = field(default_factory=threading.Lock)

    def acknowledged(self) -> bool:
        """Count one output off; True at the last."""
        with self.lock:
            self.left -= 1
            return self.left == 0


class AtLeastOnce:
    """Outputs go out as they come, and offsets follow once all of a message is acknowledged."""

    def __init__(self, sink: KafkaSink, ledger: Ledger) -> None:
        self._sink = sink
        self._ledger = ledger
        self._answers: queue.SimpleQueue[tuple[_Unacknowledged, Output]] = queue.SimpleQueue()

    def open(self) -> bool:
        """Nothing is to be made ready."""
        return True

    def send(self, parcel: Parcel) -> None:
        """Produce its outputs; wait for room.

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
        """Serve acknowledgements, then send what answers refused outputs.

        Not while they are served: waiting for room there would wait for itself.

        Raises
        ------
        TransportFailed
            The broker cannot be used.
        """
        self._sink.poll(timeout_s)
        while not self._answers.empty():
            awaited, output = self._answers.get()
            self._sink.send(output, partial(self._done, awaited))

    def attend(self, source: KafkaSource) -> None:
        """The group is no concern of the producer's."""

    def assigned(self, source: KafkaSource, partitions: Sequence[Partition]) -> None:
        """They are read from their offsets, and there is nothing more to know."""

    def commit(self, source: KafkaSource, *, wait: bool) -> bool:
        """Commit the settled prefix of each partition."""
        offsets = self._ledger.committable()
        # Also without new offsets: the source has those that the broker refused before.
        source.commit(offsets, wait=wait)
        self._ledger.committed(offsets)
        return bool(offsets)

    def flush(self, timeout_s: float) -> int:
        """Wait until all is acknowledged; how many outputs are not.

        Raises
        ------
        TransportFailed
            The broker cannot be used.
        """
        return self._sink.flush(timeout_s)

    def close(self) -> None:
        """What is not acknowledged is not committed either, so nothing need be thrown away."""

    def _done(
        self, awaited: _Unacknowledged, output: Output, refusal: Undeliverable | None
    ) -> None:
        """One output is acknowledged, or refused for good (too large, say)."""
        if refusal is not None:
            with awaited.lock:
                answer = awaited.parcel.refuse(output, refusal)
            if answer is not None:
                self._answers.put((awaited, answer))
                return
        if awaited.acknowledged():
            awaited.parcel.delivered(awaited.parcel)
