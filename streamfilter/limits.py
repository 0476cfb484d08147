"""Bounds on one message: they keep memory finite whatever arrives."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Bounds on one message; a message beyond one of them is rejected, not read."""

    # LSST's largest packets are about 0.3 MB; frames have limits of their own.
    max_message_bytes: int = 8 * 2**20
    # One stamp's FITS after gzip; LSST's 102 px with variance and PSF is 0.15 MB.
    max_decompressed_bytes: int = 8 * 2**20
    # Of a larger stamp than the network takes only the part around the alert is kept.
    max_stamp_side_px: int = 1024
    # A writer schema: ZTF's is 26 kB, LSST's 60 kB.
    max_schema_bytes: int = 2**20
    # Items in all arrays and maps of one record; a year of LSST's history has 1,200.
    max_array_items: int = 100_000

    def __post_init__(self) -> None:
        """Refuse bounds that would reject every message.

        Raises
        ------
        ValueError
            A bound is not positive.
        """
        for name in self.__slots__:
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0")
