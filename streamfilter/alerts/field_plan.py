"""Which of the fields that a survey's map names a writer schema gives, and what is not given."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from streamfilter.alerts.drift import Used, Writer
from streamfilter.alerts.surveys import SurveyMap, Wanted
from streamfilter.errors import MessageRejected, Reason, printable

_LONGEST_NAME = 100  # characters that are shown


@dataclass(frozen=True, slots=True)
class Gap:
    """A value that alerts of a writer schema never have, though the survey's map names it."""

    role: str
    """As ``Wanted.role``."""
    detail: str


@dataclass(frozen=True, slots=True)
class Gaps:
    """All gaps of one writer schema."""

    survey: str
    schema: str
    """Its name with its version, where it says one: any text that a message made."""
    gaps: tuple[Gap, ...]

    def concern(self, planes: Collection[str]) -> bool:
        """Whether one of these planes has no field: its stamps would never be judged."""
        return any(gap.role in planes for gap in self.gaps)

    def __str__(self) -> str:
        """In plain words."""
        return (
            f"the field map of {self.survey} does not fit {printable(self.schema[:_LONGEST_NAME])}"
            f" in {'; '.join(printable(gap.detail) for gap in self.gaps)}"
        )


@dataclass(frozen=True, slots=True)
class FieldPlan:
    """What is read of records of one writer schema."""

    paths: tuple[str, ...]
    """Those to read, each once."""
    slots: tuple[int | None, ...]
    """For each of ``SurveyMap.wanted()`` the index of its path; None where it is not read."""
    types: tuple[frozenset[str] | None, ...]
    """For each of ``SurveyMap.wanted()`` its Avro types; None where it is not read."""
    gaps: tuple[Gap, ...]


def field_plan(writer: Writer, survey: SurveyMap, record: str) -> FieldPlan:
    """What to read of records of a writer schema.

    A field of a type that its role cannot have is not read, as one that is not there.

    Raises
    ------
    MessageRejected
        Nothing is left of what the survey requires.
    """
    found = {(each.role, each.path): each for each in writer.used}
    wanted = survey.wanted()
    given = [found.get((field.role, field.path)) for field in wanted]
    read = [
        used if used is not None and used.types <= field.types else None
        for field, used in zip(wanted, given, strict=True)
    ]
    paths = tuple(dict.fromkeys(used.path for used in read if used is not None))
    gaps = []
    for label in dict.fromkeys(field.label for field in wanted):
        places = [index for index, field in enumerate(wanted) if field.label == label]
        role = wanted[places[0]].role
        odd = [_odd(wanted[at], used) for at in places if (used := given[at]) and not read[at]]
        served = any(read[at] for at in places)
        # Each flag counts for itself; of other values several places are named for one.
        if served and not (odd and role == "flags"):
            continue
        named = " nor ".join(wanted[at].path for at in places)
        if role in survey.required:
            raise _refused(survey, record, odd, named)
        if odd or not survey.has_default(role):
            gaps.append(Gap(role, f"{label}: {', '.join(odd) or f'no {named}'}"))
    return FieldPlan(
        paths,
        tuple(None if used is None else paths.index(used.path) for used in read),
        tuple(None if used is None else used.types for used in read),
        tuple(gaps),
    )


def _odd(field: Wanted, used: Used) -> str:
    return (
        f"{field.path} is {' or '.join(sorted(used.types))}; "
        f"{field.role} can be {' or '.join(sorted(field.types))}"
    )


def _refused(survey: SurveyMap, record: str, odd: Sequence[str], named: str) -> MessageRejected:
    if odd:
        return MessageRejected(Reason.FIELD_TYPE, ", ".join(odd))
    return MessageRejected(
        Reason.FIELD_MISSING, f"{record} has no {named}, which {survey.survey} needs"
    )
