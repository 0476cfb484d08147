"""The result of a check: what it found, what it expected, and how to mend it."""

from dataclasses import dataclass
from enum import StrEnum

GIVEN = "\0given"
"""In a mend that is a command: the options that name these settings."""


class State(StrEnum):
    """The result of one check."""

    OK = "ok"
    WARNING = "warning"
    """A worker starts, but something will be missing or slow."""
    FAILED = "failed"
    """A worker does not start, or does not do its work."""
    NOT_APPLICABLE = "not applicable"
    """The settings do not need it, or it cannot be checked; ``found`` says which."""


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
    """Makes the finding that all is well."""
    return Finding(check, subject, State.OK, found)


def not_applicable(check: str, subject: str, why: str) -> Finding:
    """Makes the finding that there is nothing to check."""
    return Finding(check, subject, State.NOT_APPLICABLE, why)


def failed(check: str, subject: str, error: Exception, mend: str = "") -> Finding:
    """Makes a finding from an error of ours, whose text ends with "; " and how to mend it."""
    found, _, last = str(error).rpartition("; ")
    return Finding(check, subject, State.FAILED, found or last, "", mend or (last if found else ""))
