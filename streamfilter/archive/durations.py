"""How long things took: counted in narrow bins, so that a night of millions takes no memory."""

import math
from collections import Counter

PERCENTS = (50, 90, 99)
"""The quantiles that are told, in per cent."""
_SMALLEST_S = 1e-4
_STEP = 1.02
"""From one bin's edge to the next; a quantile is off by at most 1 %."""


class Durations:
    """Durations in seconds, and their quantiles.

    Negative ones count too: two clocks differ. Those below 0.1 ms are 0.
    """

    def __init__(self) -> None:
        self._bins: Counter[int] = Counter()

    def add(self, seconds: float) -> None:
        """Count a duration."""
        if abs(seconds) < _SMALLEST_S:
            self._bins[0] += 1
        else:
            number = 1 + math.floor(math.log(abs(seconds) / _SMALLEST_S, _STEP))
            self._bins[number if seconds > 0 else -number] += 1

    @property
    def count(self) -> int:
        """How many there are."""
        return self._bins.total()

    def quantile(self, share: float) -> float | None:
        """Returns the duration (s) that a share of all does not exceed, within 1 %.

        None where there are none.
        """
        remaining = share * self.count
        for number in sorted(self._bins):
            remaining -= self._bins[number]
            if remaining <= 0:
                middle = _SMALLEST_S * _STEP ** (abs(number) - 0.5)
                return 0.0 if number == 0 else math.copysign(middle, number)
        return None

    def as_json(self) -> dict[str, float | int | None]:
        """Returns the count, and the median, 90 % and 99 % in seconds."""
        told = {f"p{percent}": self.quantile(percent / 100) for percent in PERCENTS}
        return {"alerts": self.count, **told}
