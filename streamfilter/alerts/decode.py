"""Decodes the bytes of a message to an Alert, or to a Rejected with its reason."""

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache, partial

from streamfilter.alerts.alert_maker import AlertMaker
from streamfilter.alerts.drift import Drift, SchemaHistory, Writer, writer_of
from streamfilter.alerts.field_plan import Gap, Gaps, field_plan
from streamfilter.alerts.recognition import survey_of
from streamfilter.alerts.surveys import RuleField, SurveyMap, Surveys
from streamfilter.errors import MessageRejected, Reason
from streamfilter.limits import Limits
from streamfilter.records import Alert, Message, Plane, Rejected
from streamfilter.schemas.finder import SchemaFinder, SchemaKey
from streamfilter.schemas.walk import RecordWalk, Values
from streamfilter.schemas.wire import Envelope, WriterSchema, schema_id_of

# First bytes of LSST's plain FITS stamps: they locate the stamps after a history of any length.
_STAMP_ANCHOR = b"SIMPLE  ="
# Writer schemas in use at once, over all surveys.
_PLANS = 64
# Reports that nobody has fetched yet; beyond them the oldest go.
_MOST_REPORTS = 100


@dataclass(frozen=True, slots=True)
class _Plan:
    """How alerts of one writer schema are read."""

    writer: Writer
    walk: RecordWalk
    maker: AlertMaker
    slots: tuple[int | None, ...]
    """For each wanted field the index of its value among the walk's values; None: not read."""
    gaps: tuple[Gap, ...]

    def alert(self, message: Message, body: bytes, planes: Collection[Plane]) -> Alert:
        read: Values = self.walk.read(body)
        values = [None if slot is None else read[slot] for slot in self.slots]
        return self.maker.alert(message, values, planes)


@dataclass(frozen=True, slots=True)
class _NoPlan:
    """Why alerts of one writer schema cannot be read."""

    writer: Writer | None
    """None where no field map is for this schema."""
    reason: Reason
    detail: str


class Decoder:
    """Decodes messages, and keeps a plan for each writer schema.

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
        self._history = SchemaHistory()
        self._reports: deque[Drift | Gaps] = deque(maxlen=_MOST_REPORTS)
        self._unusable: set[tuple[str, str]] = set()

    @property
    def surveys(self) -> Surveys:
        """The field maps."""
        return self._surveys

    def decode(
        self,
        message: Message,
        planes: Collection[Plane] = tuple(Plane),
        fields: frozenset[RuleField] = frozenset(),
    ) -> Alert | Rejected:
        """Returns the Alert of a message, or why there is none.

        Only the fields of the field map are read. A history between the head of a record and its
        stamps is skipped unchecked where the lengths of the stamps fill the record exactly.

        Parameters
        ----------
        planes
            The stamps to read; the others are not opened.
        fields
            What rules look at of the maps' ``fields``; the maps must name them.

        Raises
        ------
        SchemaUnavailable
            The writer schema cannot be fetched now; the message may be decoded later.
        """
        value = message.value
        if message.unread:
            return Rejected(message, Reason.HEADERS_MALFORMED, message.unread)
        if not value:
            return Rejected(message, Reason.EMPTY, "the message has no value")
        envelope = None
        try:
            envelope = self._finder.open(value, message.headers)
            plan = self._plan(envelope.schema, fields)
            self._compare(message, envelope, plan.writer)
            if isinstance(plan, _NoPlan):
                raise MessageRejected(plan.reason, plan.detail)
            return plan.alert(message, envelope.body, planes)
        except MessageRejected as rejected:
            detail = _detail(rejected, value, envelope.body if envelope else value)
            return Rejected(message, rejected.reason, detail, schema_id_of(value, message.headers))

    def fetch(self, key: SchemaKey, fields: frozenset[RuleField] = frozenset()) -> str | None:
        """Fetch a writer schema now, so that its messages need not wait for it.

        Parameters
        ----------
        fields
            As those messages will be decoded with.

        Returns
        -------
        str or None
            The survey whose alerts are written by it; None where its messages are rejected.

        Raises
        ------
        MessageRejected
            No source knows it, or it is malformed.
        SchemaUnavailable
            It cannot be fetched now.
        """
        plan = self._plan(self._finder.find(key), fields)
        return plan.writer.survey if isinstance(plan, _Plan) else None

    def take_reports(self) -> list[Drift | Gaps]:
        """Returns new schemas and forms, gaps of new schemas, and of alerts, each once.

        A value that cannot be used in an alert is a gap of its schema, once for each survey and
        role.
        """
        reports = []
        while self._reports:
            reports.append(self._reports.popleft())
        return reports

    def _compare(self, message: Message, envelope: Envelope, writer: Writer | None) -> None:
        if writer is not None:
            topic, form = message.origin.topic, envelope.form
            drift = self._history.record(topic, form, envelope.schema_id, writer)
            if drift is not None:
                self._reports.append(drift)

    def _make_plan(self, schema: WriterSchema, fields: frozenset[RuleField]) -> _Plan | _NoPlan:
        try:
            survey = survey_of(schema, self._surveys).reading(fields)
        except MessageRejected as error:
            return _NoPlan(None, error.reason, error.detail)
        plan = self._plan_by(survey, schema)
        if isinstance(plan, _Plan) and plan.gaps:
            self._reports.append(Gaps(plan.writer.survey, plan.writer.name, plan.gaps))
        return plan

    def _plan_by(self, survey: SurveyMap, schema: WriterSchema) -> _Plan | _NoPlan:
        writer = writer_of(schema, survey)
        try:
            plan = field_plan(writer, survey, schema.name)
            walk = RecordWalk(schema, plan.paths, _STAMP_ANCHOR, self._limits)
            maker = AlertMaker(survey, self._limits, plan.types, partial(self._note, writer))
            return _Plan(writer, walk, maker, plan.slots, plan.gaps)
        except MessageRejected as error:
            return _NoPlan(writer, error.reason, error.detail)

    def _note(self, writer: Writer, role: str, found: str) -> None:
        if (writer.survey, role) not in self._unusable:
            self._unusable.add((writer.survey, role))
            self._reports.append(Gaps(writer.survey, writer.name, (Gap(role, found),)))


def _detail(rejected: MessageRejected, value: bytes, data: bytes) -> str:
    """Returns what was found, with its byte in the whole message instead of in the record."""
    if rejected.byte is None:
        return rejected.detail
    start = value.find(data)
    if start < 0:
        return f"{rejected.detail} of the record, which was compressed"
    return MessageRejected(rejected.reason, rejected.found, start + rejected.byte).detail
