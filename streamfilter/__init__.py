"""A real-time filter for astronomical alert streams."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streamfilter.reading import read

__version__ = "0.1.0"
__all__ = ["__version__", "read"]


def __getattr__(name: str) -> Any:
    """Load ``read`` at its first use, so that importing the package costs nothing."""
    if name == "read":
        from streamfilter.reading import read

        return read
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
