"""What an engine takes and gives, read from its ``engine.toml``."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """One engine's facts; see ``engines/README.md`` for the keys."""

    name: str
    version: str
