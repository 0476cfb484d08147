"""Parcels of outputs that belong together, and the interface of their delivery."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from streamfilter.kafka.ledger import Partition
from streamfilter.kafka.sink import Undeliverable
from streamfilter.kafka.source import KafkaSource
from streamfilter.records import Origin, Output


@dataclass(slots=True, eq=False)
class Parcel:
    """Outputs that belong together, and what happens to the messages behind them."""

    outputs: list[Output]
    """A refused output is replaced by what answers it."""
    origins: Mapping[Origin, int]
    """The messages that the outputs are for, each with the generation of its partition."""
    finished: tuple[Origin, ...]
    """The messages for which nothing more will be published."""
    instead: Callable[[Output, Undeliverable], Output | None]
    """What is published instead of an output that is refused for good; None: nothing. Raises
    TransportFailed where that would leave a message without an answer."""
    delivered: Callable[["Parcel"], None]
    """Called once all outputs are delivered."""
    dropped: Callable[["Parcel"], None]
    """Called if the partitions were revoked before: their next owner publishes the outputs."""

    def refuse(self, output: Output, refusal: Undeliverable) -> Output | None:
        """Replace a refused output; returns what answers it.

        Raises
        ------
        TransportFailed
            Nothing can answer it: the parcel is not delivered, and nothing of it is committed.
        """
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
        """Prepare to publish, before the group is joined; False where the broker is away.

        It takes a second at most.
        """

    def send(self, parcel: Parcel) -> None:
        """Take a parcel; those of a partition come in the order of its messages."""

    def serve(self, timeout_s: float) -> None:
        """Publish, and report what was delivered; returns after about the time-out."""

    def attend(self, source: KafkaSource) -> None:
        """Look after the group; whoever reads from it calls this many times a second."""

    def assigned(self, source: KafkaSource, partitions: Sequence[Partition]) -> None:
        """Partitions were assigned, and nothing of them was read yet."""

    def commit(self, source: KafkaSource, *, wait: bool) -> bool:
        """Commit what is settled, unless outputs carry the offsets; whether anything was."""

    def flush(self, timeout_s: float) -> int:
        """Wait until everything is delivered; returns how much is not."""

    def close(self) -> None:
        """Drop what is not delivered by now."""
