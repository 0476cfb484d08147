"""Rules as they are written in TOML."""

from dataclasses import asdict
from enum import StrEnum
from typing import Any

from streamfilter.records import Rule


def rule_table(rule: Rule) -> dict[str, Any]:
    """Returns a rule as a table of ``[[surveys.NAME.rules]]``, without what is not given."""
    table = _written(asdict(rule))
    assert isinstance(table, dict)
    return table


def _written(value: object) -> object:
    if isinstance(value, dict):
        return {key: _written(each) for key, each in value.items() if each not in (None, {}, "")}
    return str(value) if isinstance(value, StrEnum) else value
