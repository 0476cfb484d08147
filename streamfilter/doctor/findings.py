"""What a check found, what it expected, and how to mend it."""

from dataclasses import dataclass
from enum import StrEnum

GIVEN = "\0given"
"""In a mend that is a command: the options that name these settings."""


class State(StrEnum):
    """How it stands."""

    OK = "ok"
    WARNING = "warning"
    """A worker starts, and something will be missing or slow."""
    FAILED = "failed"
    """A worker does not start, or does not do its work."""
    NOT_APPLICABLE = "not applicable"
    """The settings do not ask for it, or it cannot be looked at; ``found`` says which."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    check: str
    subject: str
    state: State
    found: str
    expected: str = ""
    mend: str = ""
    """A command that can be pasted, where one mends it; else words."""
    took_s: float = 0.0


def ok(check: str, subject: str, found: str) -> Finding:
    """All is well."""
    return Finding(check, subject, State.OK, found)


def not_applicable(check: str, subject: str, why: str) -> Finding:
    """Nothing to look at."""
    return Finding(check, subject, State.NOT_APPLICABLE, why)


def failed(check: str, subject: str, error: Exception, mend: str = "") -> Finding:
    """An error of ours, whose text ends with its mend after a semicolon."""
    found, _, told = str(error).rpartition("; ")
    return Finding(check, subject, State.FAILED, found or told, "", mend or (told if found else ""))
