"""Which fields of a survey's map a writer schema has, and which are missing."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from streamfilter.alerts.drift import UsedField, Writer
from streamfilter.alerts.surveys import SurveyMap, WantedField
from streamfilter.errors import MessageRejected, Reason, printable

_LONGEST_NAME = 100  # characters of a name in a report


@dataclass(frozen=True, slots=True)
class Gap:
    """A value of the survey's map that alerts of a writer schema never have, or one did not."""

    role: str
    """As ``WantedField.role``."""
    detail: str


@dataclass(frozen=True, slots=True)
class Gaps:
    """Gaps of one writer schema: all that it has itself, or one that an alert had."""

    survey: str
    schema: str
    """Name, with the version where the schema gives one; may hold any text."""
    gaps: tuple[Gap, ...]

    def concern(self, planes: Collection[str]) -> bool:
        """Returns whether one of these planes has no field: its stamps would never be judged."""
        return any(gap.role in planes for gap in self.gaps)

    def __str__(self) -> str:
        """Returns the gaps in words."""
        return (
            f"the field map of {self.survey} does not fit {printable(self.schema[:_LONGEST_NAME])}"
            f" in {'; '.join(printable(gap.detail) for gap in self.gaps)}"
        )


@dataclass(frozen=True, slots=True)
class FieldPlan:
    """The fields that are read from records of one writer schema."""

    paths: tuple[str, ...]
    """Paths to read, each once."""
    slots: tuple[int | None, ...]
    """For each of ``SurveyMap.wanted()`` the index of its path; None where it is not read."""
    types: tuple[frozenset[str] | None, ...]
    """For each of ``SurveyMap.wanted()`` its Avro types; None where it is not read."""
    gaps: tuple[Gap, ...]


def field_plan(writer: Writer, survey: SurveyMap, record: str) -> FieldPlan:
    """Returns which fields to read from records of a writer schema.

    A field whose type does not fit its role is treated as missing.

    Raises
    ------
    MessageRejected
        A value that the survey requires has no usable field.
    """
    used_fields = {(each.role, each.path): each for each in writer.used}
    wanted = survey.wanted()
    given = [used_fields.get((field.role, field.path)) for field in wanted]
    read = [
        used if used is not None and used.types <= field.types else None
        for field, used in zip(wanted, given, strict=True)
    ]
    paths = tuple(dict.fromkeys(used.path for used in read if used is not None))
    gaps = []
    for label in dict.fromkeys(field.label for field in wanted):
        places = [index for index, field in enumerate(wanted) if field.label == label]
        role = wanted[places[0]].role
        misfits = [
            _misfit(wanted[at], used) for at in places if (used := given[at]) and not read[at]
        ]
        is_read = any(read[at] for at in places)
        # Each flag is a value of its own; for other values the map may name several paths.
        if is_read and not (misfits and role == "flags"):
            continue
        named = " nor ".join(wanted[at].path for at in places)
        if role in survey.required:
            raise _refused(survey, record, misfits, named)
        if misfits or not survey.has_default(role):
            gaps.append(Gap(role, f"{label}: {', '.join(misfits) or f'no {named}'}"))
    return FieldPlan(
        paths,
        tuple(None if used is None else paths.index(used.path) for used in read),
        tuple(None if used is None else used.types for used in read),
        tuple(gaps),
    )


def _misfit(field: WantedField, used: UsedField) -> str:
    return (
        f"{field.path} is {' or '.join(sorted(used.types))}; "
        f"{field.role} can be {' or '.join(sorted(field.types))}"
    )


def _refused(survey: SurveyMap, record: str, misfits: Sequence[str], named: str) -> MessageRejected:
    if misfits:
        return MessageRejected(Reason.FIELD_TYPE, ", ".join(misfits))
    return MessageRejected(
        Reason.FIELD_MISSING, f"{record} has no {named}, which {survey.survey} needs"
    )
