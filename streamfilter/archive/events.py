"""What workers of any engine tell the driver."""

from dataclasses import dataclass

from streamfilter.archive.ledger import Entry
from streamfilter.archive.tasks import Task
from streamfilter.errors import StreamfilterError


@dataclass(frozen=True, slots=True)
class Advanced:
    """Packets that a worker annotated and rejected since it said so last."""

    annotated: int
    rejected: int


@dataclass(frozen=True, slots=True)
class GivenUp:
    """A task that is not done, and why."""

    task: Task
    why: str


Event = Entry | Advanced | GivenUp


class WorkersFailed(StreamfilterError):
    """The workers cannot work: the network or a registry failed, or they die at the start."""
