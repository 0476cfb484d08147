"""Which settings may change while a worker runs, and how they are applied."""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from streamfilter.config.sections import Outputs, Settings
from streamfilter.config.showing import show

RELOADABLE = (
    "surveys",
    # Whether masks are made is decided when the worker starts; labels are the live page's.
    *(f"outputs.{name}" for name in Outputs.model_fields if name not in ("masks", "labels")),
    "alerts.planes",
    "exposures.prior",
    "exposures.wait_s",
)
"""Keys and whole sections that a reload applies; all others need a restart."""


def reloaded(old: Settings, new: Settings) -> tuple[Settings, tuple[str, ...]]:
    """Returns the old settings with the reloadable new ones, and the keys that need a restart."""
    changes: dict[str, Any] = {}
    for key in RELOADABLE:
        section, _, name = key.partition(".")
        value = getattr(new, section)
        if name:
            kept = changes.get(section, getattr(old, section))
            value = kept.model_copy(update={name: getattr(value, name)})
        changes[section] = value
    merged = old.model_copy(update=changes)
    left = _differing(merged.model_dump(), new.model_dump())
    return merged, tuple(sorted(left))


def fingerprint(settings: Settings) -> str:
    """Returns twelve hexadecimal digits of a hash over the settings without their secrets."""
    return hashlib.sha256(show(settings).encode()).hexdigest()[:12]


def _differing(one: Mapping[str, Any], other: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Yields the dotted keys whose values differ, without the values, which may be secret."""
    for name in {**one, **other}:
        here, there = one.get(name), other.get(name)
        if isinstance(here, Mapping) and isinstance(there, Mapping):
            yield from _differing(here, there, f"{path}{name}.")
        elif here != there:
            yield f"{path}{name}"
