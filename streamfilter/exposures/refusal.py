"""The exception that carries why a frame cannot be used, up to where it becomes a value."""

from streamfilter.exposures.records import FrameReason

NO_MEMORY = "there is no memory left for it"
"""What is said of a frame that could not be allocated."""


class Refusal(Exception):
    """A reason and its detail; the readers of frames return them as a ``FrameRefused``."""

    def __init__(self, reason: FrameReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def too_many_bytes(found: str, most: int) -> Refusal:
    """Returns the refusal of a file beyond the limit, which names the setting that holds it."""
    return Refusal(FrameReason.TOO_LARGE, f"{found}; exposures.max_frame_bytes = {most}")
