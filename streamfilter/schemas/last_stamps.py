"""Finds the stamps at the end of a record without reading what stands before them.

The length of an alert's history does not matter then. From the first bytes of a stamp on, the
lengths of the last fields must fill the record exactly.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

# More finds of an anchor are not looked at: then the fields are read.
_MOST_ANCHORS = 4


@dataclass(frozen=True, slots=True)
class LastStamp:
    """One of the last fields of a record, which ends with a stamp: wanted bytes."""

    slot: int
    branch: bytes
    """The byte of the union's branch; empty without one."""
    others: int
    """Strings and bytes before the stamp, where the field is a record."""

    @property
    def before_bytes(self) -> bytes:
        """What stands right before the stamp's length, as far as that is known."""
        return b"" if self.others else self.branch


class LastStamps:
    """The stamps in the last fields of a record.

    Parameters
    ----------
    chain
        The fields, in order, up to the record's end.
    anchors
        First bytes that a stamp may have; without any nothing is found.
    """

    def __init__(self, chain: Sequence[LastStamp], anchors: Sequence[bytes]) -> None:
        self._chain = tuple(chain)
        self._anchors = tuple(anchors) if chain else ()

    def first(self, body: bytes, position: int) -> int:
        """Returns where the length of the first stamp begins; -1 where it is not known.

        Parameters
        ----------
        position
            Where the search begins: the record's fields before it are read.
        """
        for anchor in self._anchors:
            found = position
            for _ in range(_MOST_ANCHORS):
                found = body.find(anchor, found)
                if found < 0:
                    break
                for start in _length_starts(body, found, self._chain[0].before_bytes):
                    if start >= position and self._fills(body, start):
                        if anchor != self._anchors[0]:  # of a survey all begin alike: next, first
                            others = (each for each in self._anchors if each != anchor)
                            self._anchors = (anchor, *others)
                        return start
                found += 1
        return -1

    def _fills(self, body: bytes, position: int) -> bool:
        """Returns whether the first stamp at this position, and all after it, end the record."""
        for index, link in enumerate(self._chain):
            values = 1
            if index:
                values += link.others
                begins = body[position : position + 1] if link.branch else b""
                position += len(link.branch)
                if begins != link.branch:
                    # The other branch of a nullable field is null, one byte.
                    if begins != bytes([2 - link.branch[0]]):
                        return False
                    continue
            for _ in range(values):
                size, start = _length(body, position)
                position = start + size
                if size < 0 or position > len(body):
                    return False
        return position == len(body)


def _length(body: bytes, position: int) -> tuple[int, int]:
    """Like ``read_long``, but returns (-1, position) for no number of up to five bytes."""
    result = 0
    for index, byte in enumerate(body[position : position + 5]):
        result |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return (result >> 1) ^ -(result & 1), position + index + 1
    return -1, position


def _length_starts(body: bytes, content: int, before: bytes) -> Iterator[int]:
    """Yields where a length may begin that ends at ``content`` and stands after ``before``."""
    for bytes_of_length in range(1, 6):
        at = content - bytes_of_length
        begins = at - len(before)
        if begins >= 0 and body[begins:at] == before and _length(body, at)[1] == content:
            yield at
