"""Helpers for the tests of several kinds of references."""

import hashlib

import pytest

from streamfilter.errors import MessageRejected, Reason
from streamfilter.exposures.records import FrameReference
from streamfilter.exposures.references import Place, References

CONTENT = b"SIMPLE  = " * 288
MOST = 10_000


def refer(uri: str) -> FrameReference:
    """A reference to the content."""
    return FrameReference(uri, len(CONTENT), hashlib.sha256(CONTENT).hexdigest())


def refused(references: References, reference: FrameReference) -> tuple[Reason, str]:
    """Why a reference is rejected."""
    with pytest.raises(MessageRejected) as raised:
        references.fetch(reference)
    return raised.value.reason, raised.value.detail


def reading(scheme: str, place: Place) -> References:
    """References of one scheme."""
    return References({scheme: place}, MOST)
