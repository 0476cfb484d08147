"""Finds the survey whose field map reads the records of a writer schema."""

from collections.abc import Collection, Sequence

from streamfilter.alerts.surveys import SurveyMap, Surveys
from streamfilter.errors import MessageRejected, Reason
from streamfilter.schemas.walk import leaf_types
from streamfilter.schemas.wire import WriterSchema

# What a record must have to be taken for a survey's by its fields alone. A detector's number and a
# stamp are the same in many surveys; flags and exposures come and go with versions.
_TELLING = ("alert_id", "object_id", "time", "science")
_LONGEST_NAME = 100  # characters that are shown


def survey_of(schema: WriterSchema, surveys: Surveys) -> SurveyMap:
    """Returns the field map for records of a writer schema.

    A map whose ``record`` matches the record's name comes first, if the fields that it requires are
    there. Else the fields alone decide: programs name their records alike (all of Spark's are
    ``topLevelRecord``), and brokers that send alerts on give them names of their own.

    Returns
    -------
    SurveyMap
        The one map whose required fields are there; or the one that is named for the record, which
        then says itself what it lacks.

    Raises
    ------
    MessageRejected
        No map fits, or several do and the name does not tell them apart.
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
    """Returns the fields that a map names for these roles, of which the schema has none."""
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
    """Returns the error of a record without a map; it names what the nearest map lacks."""
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
