"""Finds the survey whose field map reads the records of a writer schema."""

from collections.abc import Collection, Sequence

from streamfilter.alerts.surveys import SurveyMap, Surveys
from streamfilter.errors import MessageRejected, Reason
from streamfilter.schemas.walk import leaf_types
from streamfilter.schemas.wire import WriterSchema

# Without a matching name, a schema must have the fields of all these roles. Fewer do not decide:
# many surveys name the detector and a stamp alike. Flags and exposure times vary with versions.
_TELLING = ("alert_id", "object_id", "time", "science")
_LONGEST_NAME = 100  # characters in an error message


def survey_of(schema: WriterSchema, surveys: Surveys) -> SurveyMap:
    """Returns the field map for records of a writer schema.

    First come the maps whose ``record`` matches the name of the record. If the schema has all their
    required fields, the name decides. Otherwise the fields decide: Spark calls every record
    ``topLevelRecord``, and a broker that forwards alerts gives them names of its own.

    Returns
    -------
    SurveyMap
        The only map whose required fields the schema has. If there is none, the map that matches
        the name; decoding then reports the fields that are missing.

    Raises
    ------
    MessageRejected
        No map fits, or several maps fit and the name does not decide between them.
    """
    named = surveys.of_record(schema.name)
    fitting = [each for each in named if not _lacking(schema, each, each.required)]
    if not fitting and (not named or "." not in schema.name):
        others = [each for each in surveys.maps if each not in named]
        fitting = [each for each in others if not _lacking(schema, each, each.required)]
        if len(fitting) == 1 and _lacking(schema, fitting[0], _TELLING):
            fitting = []
    if len(fitting) > 1:
        raise _several(schema.name, fitting)
    if fitting:
        return fitting[0]
    if named:
        return named[0]
    raise _none(schema, surveys)


def _lacking(schema: WriterSchema, survey: SurveyMap, roles: Collection[str]) -> list[str]:
    """Returns, for each of these roles without a usable field, the fields that the map names."""
    words: dict[str, list[str]] = {}
    served = set()
    for field in survey.wanted():
        if field.role in roles:
            types = leaf_types(schema, field.path)
            odd = f" (here {' or '.join(sorted(types))})" if types else ""
            words.setdefault(field.role, []).append(field.path + odd)
            if types is not None and types <= field.types:
                served.add(field.role)
    return [" or ".join(each) for role, each in words.items() if role not in served]


def _several(name: str, fitting: Sequence[SurveyMap]) -> MessageRejected:
    surveys = " and ".join(sorted(each.survey for each in fitting))
    return MessageRejected(
        Reason.SURVEY_UNKNOWN,
        f"the record {name[:_LONGEST_NAME]!r} has the fields that the maps of {surveys} require: "
        "let `record` in one of them match its name, and in no other",
    )


def _none(schema: WriterSchema, surveys: Surveys) -> MessageRejected:
    """Returns the error for a record without a map, with the fields that the nearest map needs."""
    lacks = {
        each.survey: (_lacking(schema, each, (*each.required, *_TELLING)), each)
        for each in surveys.maps
    }

    def distance(survey: str) -> tuple[float, str]:
        absent, survey_map = lacks[survey]
        roles = {field.role for field in survey_map.wanted()} & {*survey_map.required, *_TELLING}
        return len(absent) / len(roles), survey

    name = f"no field map for the record {schema.name[:_LONGEST_NAME]!r}"
    mend = "a new survey is a new TOML file in a folder of alerts.survey_folders"
    nearest = min(lacks, key=distance, default="")
    if not nearest or distance(nearest)[0] == 1:
        known = ", ".join(surveys.names) or "none"
        words = f"it has no field that a map needs (there are {known})"
    else:
        missing = ", ".join(lacks[nearest][0])
        words = f"the nearest, that of {nearest}, needs {missing}, which is not there"
    return MessageRejected(Reason.SURVEY_UNKNOWN, f"{name}; {words}: {mend}")
