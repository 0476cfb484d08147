"""A real-time filter for astronomical alert streams.

What may be called stands in ``__all__``; everything else may change with any version.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streamfilter.library.filter import Filter
    from streamfilter.library.frames import Masked, Tracked, mask, track
    from streamfilter.library.judged import Judged
    from streamfilter.library.shared_filters import annotate_batches
    from streamfilter.reading import read

__version__ = "0.1.0"
__all__ = [
    "Filter",
    "Judged",
    "Masked",
    "Tracked",
    "__version__",
    "annotate_batches",
    "mask",
    "read",
    "track",
]

_PLACES = {
    "Filter": "streamfilter.library.filter",
    "Judged": "streamfilter.library.judged",
    "Masked": "streamfilter.library.frames",
    "Tracked": "streamfilter.library.frames",
    "annotate_batches": "streamfilter.library.shared_filters",
    "mask": "streamfilter.library.frames",
    "read": "streamfilter.reading",
    "track": "streamfilter.library.frames",
}


def __getattr__(name: str) -> Any:
    """Load a name at its first use, so that importing the package costs nothing."""
    if name in _PLACES:
        return getattr(importlib.import_module(_PLACES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Returns the names that may be used."""
    return sorted(__all__)
