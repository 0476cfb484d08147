"""Message bytes to an Alert, or to a Rejected with its reason."""

import contextlib
from dataclasses import dataclass
from functools import lru_cache

from streamfilter.errors import MessageRejected, Reason
from streamfilter.limits import Limits
from streamfilter.records import Alert, Message, Rejected
from streamfilter.schemas.finder import SchemaFinder, SchemaKey
from streamfilter.schemas.walk import RecordWalk, Values, leaf_types
from streamfilter.schemas.wire import WriterSchema, schema_id_of
from streamfilter.surveys import AlertMaker, SurveyMap, Surveys

# What LSST's plain FITS stamps begin with: with it their chain is found behind any history.
_STAMP_ANCHOR = b"SIMPLE  ="
# Writer schemas in use at once, over all surveys.
_PLANS = 64


@dataclass(frozen=True, slots=True)
class _Plan:
    """How alerts of one writer schema are read."""

    walk: RecordWalk
    maker: AlertMaker
    slots: tuple[int | None, ...]
    """For each wanted field the index of its value in what the walk gives."""

    def alert(self, message: Message, body: bytes) -> Alert:
        found: Values = self.walk.read(body)
        values = [None if slot is None else found[slot] for slot in self.slots]
        return self.maker.alert(message, values)


class Decoder:
    """Decodes messages; what it learns of a writer schema is kept.

    Parameters
    ----------
    finder
        Opens messages and finds their writer schemas.
    surveys
        The field maps.
    limits
        Bounds on the stamps.
    """

    def __init__(self, finder: SchemaFinder, surveys: Surveys, limits: Limits) -> None:
        self._finder = finder
        self._surveys = surveys
        self._limits = limits
        self._plan = lru_cache(maxsize=_PLANS)(self._make_plan)

    def decode(self, message: Message) -> Alert | Rejected:
        """The Alert of a message, or why there is none.

        Only what the field map names is read. Histories between the head of a record and its
        stamps are passed unchecked where the stamps' lengths fill the record exactly.

        Raises
        ------
        SchemaUnavailable
            The writer schema could not be had now; the message may be decoded later.
        """
        value = message.value
        if not value:
            return Rejected(message, Reason.EMPTY, "the message has no value")
        envelope = None
        try:
            envelope = self._finder.open(value)
            return self._plan(envelope.schema).alert(message, envelope.body)
        except MessageRejected as rejected:
            detail = _detail(rejected, value, envelope.body if envelope else value)
            return Rejected(message, rejected.reason, detail, schema_id_of(value))

    def fetch(self, key: SchemaKey) -> None:
        """Learn a writer schema now, so that its messages need not wait for it.

        Raises
        ------
        MessageRejected
            No source knows it, or it is malformed.
        SchemaUnavailable
            It could not be had now.
        """
        schema = self._finder.find(key)
        # What does not fit a field map is said of each message.
        with contextlib.suppress(MessageRejected):
            self._plan(schema)

    def _make_plan(self, schema: WriterSchema) -> _Plan:
        survey = self._surveys.of_record(schema.name)
        paths, slots = _resolved(schema, survey)
        walk = RecordWalk(schema, paths, _STAMP_ANCHOR, self._limits)
        return _Plan(walk, AlertMaker(survey, self._limits), slots)


def _detail(rejected: MessageRejected, value: bytes, data: bytes) -> str:
    """What was found, at which byte of the whole message: a record is read without its header."""
    if rejected.byte is None:
        return rejected.detail
    start = value.find(data)
    if start < 0:
        return f"{rejected.detail} of the record, which was compressed"
    return MessageRejected(rejected.reason, rejected.found, start + rejected.byte).detail


def _resolved(schema: WriterSchema, survey: SurveyMap) -> tuple[list[str], tuple[int | None, ...]]:
    """Those wanted paths that the schema has, and for each wanted field its index among them."""
    paths: list[str] = []
    slots: list[int | None] = []
    there: set[str] = set()
    for field in survey.wanted():
        types = leaf_types(schema, field.path)
        if types is None:
            slots.append(None)
            continue
        if not types <= field.types:
            raise MessageRejected(
                Reason.FIELD_TYPE,
                f"{field.path} is {' or '.join(sorted(types))}; "
                f"{field.role} can be {' or '.join(sorted(field.types))}",
            )
        there.add(field.role)
        if field.path not in paths:
            paths.append(field.path)
        slots.append(paths.index(field.path))
    for role in survey.required:
        if role not in there:
            named = [field.path for field in survey.wanted() if field.role == role]
            raise MessageRejected(
                Reason.FIELD_MISSING,
                f"{schema.name} has no {' nor '.join(named) or role}, which {survey.survey} needs",
            )
    return paths, tuple(slots)
