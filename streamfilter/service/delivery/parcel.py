"""Outputs that belong together, and what a way of delivering them offers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from streamfilter.kafka.ledger import Partition
from streamfilter.kafka.sink import Undeliverable
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
    """What is published instead of an output that is refused for good; None: nothing. Raises
    TransportFailed where that would leave a message without an answer."""
    delivered: Callable[["Parcel"], None]
    """Called once all is delivered."""
    dropped: Callable[["Parcel"], None]
    """Called if the partitions went before: their next owner publishes it."""

    def refuse(self, output: Output, refusal: Undeliverable) -> Output | None:
        """Replace a refused output by what answers it, which is returned.

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
