"""The audit: every alert in against every output by key, and how soon the stream went on; pure."""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from types import MappingProxyType

JUDGED = (
    frozenset({"annotations"}),
    frozenset({"enriched"}),
    frozenset({"clean", "contaminated"}),
)
"""What a good alert becomes: one message for each of these sets, in any of its outputs."""
DAMAGED = (frozenset({"rejected"}),)
"""What a message becomes that cannot be used."""
UNREAD = ()
"""What a message becomes that was deleted before it was read, or stepped over: nothing at all."""

Due = tuple[frozenset[str], ...]
Excused = Mapping[bytes, frozenset[str]]
"""Outputs in which an alert may stand besides, such as one rejected and sent in again."""


@dataclass(frozen=True, slots=True)
class Account:
    """What an audit found."""

    alerts: int
    missing: tuple[bytes, ...] = ()
    """Alerts that lack an output that is due."""
    repeated: tuple[bytes, ...] = ()
    """Alerts that stand more than once in an output, or in two that exclude each other."""
    strange: tuple[bytes, ...] = ()
    """Alerts in an output that is not due to them, and keys that were never sent."""
    copies: Mapping[str, int] = field(default_factory=dict)
    """Messages by output."""


def account(
    due: Mapping[bytes, Due],
    found: Mapping[str, Counter[bytes | None]],
    excused: Excused = MappingProxyType({}),
) -> Account:
    """Hold what was found in the outputs against what is due to each alert.

    Raises
    ------
    ValueError
        No answer is due: an audit of nothing would always pass.
    """
    if not any(due.values()):
        raise ValueError("no answer is due, so there is nothing to audit")
    missing, repeated, strange = [], [], []
    for key, wanted in due.items():
        sums = [sum(found.get(name, Counter())[key] for name in names) for names in wanted]
        allowed = excused.get(key, frozenset()).union(*wanted)
        if 0 in sums:
            missing.append(key)
        if any(each > 1 for each in sums):
            repeated.append(key)
        if any(counts[key] for name, counts in found.items() if name not in allowed):
            strange.append(key)
    keys = {key for counts in found.values() for key in counts}
    strange += [key or b"(no key)" for key in keys if key not in due]
    copies = {name: counts.total() for name, counts in found.items()}
    return Account(len(due), tuple(missing), tuple(repeated), tuple(strange), copies)


def faults_found(seen: Account, *, most_repeated: int) -> list[str]:
    """What is wrong, in words; empty where the guarantee was kept."""
    wrong = []
    if seen.missing:
        wrong.append(f"{len(seen.missing)} missing: {_some(seen.missing)}")
    if len(seen.repeated) > most_repeated:
        wrong.append(
            f"{len(seen.repeated)} twice, at most {most_repeated} allowed: {_some(seen.repeated)}"
        )
    if seen.strange:
        wrong.append(f"{len(seen.strange)} not expected there: {_some(seen.strange)}")
    return wrong


def _some(keys: Sequence[bytes]) -> str:
    return ", ".join(each.decode(errors="replace") for each in sorted(keys)[:5])


@dataclass(frozen=True, slots=True)
class Answer:
    """One output message that answers an alert."""

    key: bytes
    appended_s: float
    """When the broker took it (Unix)."""
    arrived_s: float
    """When a consumer of what is committed had it (Unix)."""


def seconds_to_recover(
    fault_s: float, answers: Iterable[Answer], partitions: Mapping[bytes, Hashable]
) -> float | None:
    """Seconds after a fault until every partition that had alerts left has answered one again.

    Parameters
    ----------
    partitions
        Where each alert stands.

    Returns
    -------
    float or None
        None where nothing was answered after the fault.
    """
    first: dict[Hashable, float] = {}
    for each in answers:
        partition = partitions.get(each.key)
        if partition is not None and each.appended_s > fault_s:
            first[partition] = min(first.get(partition, each.arrived_s), each.arrived_s)
    return max(first.values()) - fault_s if first else None


def middle_and_longest(seconds: Sequence[float]) -> str:
    """Median and maximum, for the table."""
    return f"{median(seconds):.1f} / {max(seconds):.1f}" if seconds else "-"
