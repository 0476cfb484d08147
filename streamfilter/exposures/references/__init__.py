"""Reads the frames that messages refer to, and refuses files that differ from the reference."""

import hashlib
from collections.abc import Mapping
from typing import Protocol

from streamfilter.errors import MessageRejected, Reason
from streamfilter.exposures.records import FrameReference


class Place(Protocol):
    """Reads references of one URI scheme."""

    def read(self, uri: str, most: int) -> bytes:
        """Returns the content, or its first ``most`` bytes if it is longer.

        Raises
        ------
        MessageRejected
            The place is not allowed, or the file does not exist.
        CallFailed
            The place cannot be reached now; a retry may help.
        """
        ...


class References:
    """Reads references from allowed places.

    Parameters
    ----------
    places
        The allowed places by URI scheme.
    max_bytes
        Larger files are refused.
    """

    def __init__(self, places: Mapping[str, Place], max_bytes: int) -> None:
        self._places = dict(places)
        self._max_bytes = max_bytes

    def fetch(self, reference: FrameReference) -> bytes:
        """Returns the content of a referenced file.

        Raises
        ------
        MessageRejected
            The file is not allowed, missing, too large, or not the one announced.
        CallFailed
            The file cannot be reached now; a retry may help.
        """
        scheme, separator, _ = reference.uri.partition(":")
        place = self._places.get(scheme.lower())
        if place is None or not separator:
            raise MessageRejected(
                Reason.REFERENCE_REFUSED,
                f"scheme {scheme[:20]!r}; allowed here: {', '.join(self._places) or 'none'}, "
                "or the frame inside the message",
            )
        if reference.size > self._max_bytes:
            detail = f"{reference.size} bytes announced; the limit is {self._max_bytes}"
            raise MessageRejected(Reason.REFERENCE_TOO_LARGE, detail)
        content = place.read(reference.uri, reference.size + 1)
        if len(content) != reference.size:
            size = f"over {reference.size}" if len(content) > reference.size else len(content)
            detail = f"{size} bytes; {reference.size} are announced"
            raise MessageRejected(Reason.REFERENCE_DIFFERS, detail)
        if hashlib.sha256(content).hexdigest() != reference.sha256:
            detail = f"its sha256 is not {reference.sha256[:12]}..., which is announced"
            raise MessageRejected(Reason.REFERENCE_DIFFERS, detail)
        return content
