"""What the service keeps of a message about exposures until it is settled."""

import threading
from dataclasses import dataclass, field, replace

from streamfilter.exposures.encode import ReceivedExposure
from streamfilter.exposures.records import Announced
from streamfilter.kafka.ledger import Partition
from streamfilter.records import Message, Origin


@dataclass(slots=True, eq=False)
class ExposureTicket:
    """A message in flight; ``left`` counts what must still be acknowledged or closed."""

    message: Message
    received_unix_s: float
    generation: int
    left: int = 1
    attempt: int = 1
    schema_awaited: bool = False
    out: bool = False
    """Whether an earlier worker has published its own records."""
    announced: Announced | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def origin(self) -> Origin:
        """The topic, partition and offset of the message."""
        return self.message.origin

    @property
    def partition(self) -> Partition:
        """Topic and partition of the message."""
        return self.origin.topic, self.origin.partition

    def received(self) -> ReceivedExposure:
        """The message as the encoder takes it."""
        assert self.announced is not None, "only decoded messages reach an exposure"
        return ReceivedExposure(
            replace(self.message, value=None), self.announced, self.received_unix_s
        )

    def more(self) -> None:
        """Count one more to wait for."""
        with self.lock:
            self.left += 1

    def done(self) -> bool:
        """Count one as done; True for the last."""
        with self.lock:
            self.left -= 1
            return self.left == 0
