"""Encodes outputs: annotations, enriched alerts, and their Kafka headers."""

import contextlib
import math
import threading
import time
from collections.abc import Callable
from enum import StrEnum
from functools import lru_cache
from struct import Struct
from typing import Protocol

from streamfilter import __version__
from streamfilter.contaminants import CODES
from streamfilter.errors import MessageRejected
from streamfilter.headers import DETAIL_CHARACTERS, origin_headers, with_our_headers
from streamfilter.records import (
    Action,
    Annotation,
    ClassEvidence,
    ClassPrior,
    EngineIdentity,
    Headers,
    Label,
    NotEvaluated,
    Opinion,
    Output,
    Plane,
    StampEvidence,
    Verdict,
)
from streamfilter.schemas import binary
from streamfilter.schemas.finder import SchemaKey
from streamfilter.schemas.published import (
    Registrar,
    annotation_schema,
    confluent_header,
    single_object_header,
    subject,
)
from streamfilter.schemas.splice import FIELD, Splicer
from streamfilter.schemas.store import SchemaStore
from streamfilter.schemas.wire import VALUE_SCHEMA_ID, Envelope, WriterSchema

# The years 1 to 9999, which is all that readers can hold in a date.
_MOMENTS_UNIX_S = (-62_135_596_800, 253_402_300_799)

# Classes that were added to the schema later stand at the end of its records.
_LATER_CODES = ("RES",)
_FIRST_CODES = tuple(code for code in CODES if code not in _LATER_CODES)

_THREE_FLOATS = Struct("<3f")
_TWO_FLOATS = Struct("<2f")
_FOUND_NOWHERE = Struct("<c3f2s")
_NO_PIXELS = binary.long(0) + binary.NULL_BRANCH


class Agreement(StrEnum):
    """How the verdict's class agrees with the survey's own flags."""

    AGREE = "agree"
    """The survey flags the verdict's class too, or neither finds anything."""
    OTHER_CLASS = "other_class"
    """Both find something, but the survey flags another class."""
    SURVEY_ONLY = "survey_only"
    """The survey raises a flag, but no rule applied."""
    STREAMFILTER_ONLY = "streamfilter_only"
    """A rule applied, but the survey raises no flag, though it has one for the class."""
    NOT_COMPARABLE = "not_comparable"
    """The alert was not evaluated, or the packet has no flag that could be raised."""


def agreement(verdict: Verdict, flagged: frozenset[str], flaggable: frozenset[str]) -> Agreement:
    """Returns how a verdict agrees with the survey's own flags.

    Parameters
    ----------
    flagged, flaggable
        Class codes that the survey's flags raise, and class codes for which the packet has a flag.
    """
    code = verdict.contaminant
    if verdict.label is Label.NOT_EVALUATED or not flaggable:
        return Agreement.NOT_COMPARABLE
    if code is None:
        return Agreement.SURVEY_ONLY if flagged else Agreement.AGREE
    if code in flagged:
        return Agreement.AGREE
    if flagged:
        return Agreement.OTHER_CLASS
    return Agreement.STREAMFILTER_ONLY if code in flaggable else Agreement.NOT_COMPARABLE


class Finder(Protocol):
    """Opens messages and finds writer schemas."""

    def open(self, value: bytes, headers: Headers) -> Envelope:
        """Returns the message's form, writer schema and body."""
        ...

    def find(self, key: SchemaKey) -> WriterSchema:
        """Returns the writer schema of a key."""
        ...


class Encoder:
    """Turns annotations and rejections into values and headers of output messages.

    Parameters
    ----------
    finder
        Opens the alerts that are enriched.
    registrar
        Registers schemas; without one, outputs without a container are single-object encoded.
    store
        Keeps extended schemas of single-object messages for their readers.
    field
        Name of the field that is appended to an alert.
    clock
        Returns Unix seconds.

    Notes
    -----
    Methods may be called from several threads. The bytes of an annotation are the same in its own
    message and in the enriched alert that follows.
    """

    def __init__(
        self,
        finder: Finder,
        *,
        registrar: Registrar | None = None,
        store: SchemaStore | None = None,
        field: str = FIELD,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._finder = finder
        self._registrar = registrar
        self._splicer = Splicer(registrar=registrar, store=store, field=field)
        self._clock = clock
        self._header = lru_cache(None)(self._make_header)
        # One per thread: another thread's annotation may come in between.
        self._last = threading.local()

    def annotation(self, annotation: Annotation, topic: str) -> bytes:
        """Returns the value of an annotation's own message.

        Raises
        ------
        SchemaUnavailable
            The schema cannot be registered; only possible before the first message of a topic.
        """
        return self._header(topic) + self._body(annotation)

    def output(self, annotation: Annotation, topic: str, headers: Headers) -> Output:
        """Returns an annotation's own message, under the key of its alert or else its name.

        Raises as ``annotation`` does.
        """
        message, value = annotation.alert.message, self.annotation(annotation, topic)
        key = message.key or annotation.alert.alert_id.encode()
        return Output(message.origin, topic, value, key, headers, message.timestamp_ms)

    def register(self, *topics: str) -> None:
        """Register the schema of annotations now rather than with a topic's first annotation.

        Raises
        ------
        SchemaUnavailable
            The registry does not answer, or refuses it.
        """
        for topic in topics:
            self._header(topic)

    def enriched(self, annotation: Annotation, topic: str) -> bytes:
        """Returns the alert's message with the annotation appended to its record.

        Raises
        ------
        MessageRejected
            The alert already has a field of this name.
        SchemaUnavailable
            The extended schema can be neither registered nor stored.
        """
        message = annotation.alert.message
        assert message.value is not None, "an alert was decoded from a value"
        envelope = self._finder.open(message.value, message.headers)
        return self._splicer.splice(envelope, self._body(annotation), topic)

    def prepare(self, key: SchemaKey, topic: str) -> None:
        """Register or store a schema of enriched alerts before the first alert that needs it.

        Raises
        ------
        SchemaUnavailable
            The schema can be neither registered nor stored.
        """
        # Each message that cannot be enriched is rejected by itself.
        with contextlib.suppress(MessageRejected):
            self._splicer.prepare(self._finder.find(key), key[0], topic)

    def headers(self, annotation: Annotation) -> Headers:
        """Returns the original headers, then ours with the verdict and the original's place."""
        verdict, alert = annotation.verdict, annotation.alert
        texts = {
            "streamfilter-verdict": verdict.label,
            "streamfilter-action": verdict.action,
            "streamfilter-contaminant": verdict.contaminant,
            "streamfilter-rule": verdict.rule,
            "streamfilter-survey": alert.survey,
            "streamfilter-alert-id": alert.alert_id,
            **origin_headers(alert.message.origin),
        }
        return with_our_headers(alert.message.headers, texts)

    def _make_header(self, topic: str) -> bytes:
        schema = annotation_schema()
        if self._registrar is not None:
            return confluent_header(self._registrar.register(subject(topic), schema))
        return single_object_header(schema)

    def _body(self, annotation: Annotation) -> bytes:
        if getattr(self._last, "annotation", None) is not annotation:
            self._last.body = encode_annotation(annotation, annotated_unix_s=self._clock())
            self._last.annotation = annotation
        body: bytes = self._last.body
        return body


def written_anew(headers: Headers) -> Headers:
    """Returns the headers of a new value, which has a schema of its own.

    With the original's schema id, readers would decode it by the survey's schema.
    """
    return tuple(each for each in headers if each[0] != VALUE_SCHEMA_ID)


def encode_annotation(annotation: Annotation, *, annotated_unix_s: float) -> bytes:
    """Returns the record ``streamfilter.v1.Annotation`` in Avro's binary encoding, no header.

    Notes
    -----
    The record is written field by field: ``fastavro.schemaless_writer`` takes several times as long
    because of the unions. A test compares the two.
    """
    alert, origin = annotation.alert, annotation.alert.message.origin
    stamps = {stamp.plane: stamp for stamp in annotation.stamps}
    return b"".join(
        (
            binary.string(alert.survey),
            binary.string(alert.alert_id),
            binary.nullable_string(alert.object_id),
            binary.string(origin.topic),
            binary.long(origin.partition),
            binary.long(origin.offset),
            _verdict(annotation.verdict),
            *(_stamp(stamps.get(plane)) for plane in Plane),
            _priors(annotation.priors),
            binary.strings(sorted(alert.flagged)),
            binary.strings(sorted(alert.flaggable)),
            _AGREEMENTS[agreement(annotation.verdict, alert.flagged, alert.flaggable)],
            _engine(annotation.engine, annotation.planes),
            _times(annotation, annotated_unix_s),
            binary.string(__version__),
            binary.array([_opinion(each) for each in annotation.also]),
        )
    )


def _symbols(enum: type[StrEnum]) -> dict[StrEnum, bytes]:
    """Returns the bytes of an enum's values: Avro writes their positions."""
    return {symbol: binary.long(i) for i, symbol in enumerate(enum)}


_LABELS, _ACTIONS, _AGREEMENTS = _symbols(Label), _symbols(Action), _symbols(Agreement)
_NOT_EVALUATED = _symbols(NotEvaluated)


def _verdict(verdict: Verdict) -> bytes:
    return b"".join(
        (
            _LABELS[verdict.label],
            _ACTIONS[verdict.action],
            binary.nullable_string(verdict.contaminant),
            binary.nullable_string(verdict.rule),
        )
    )


def _stamp(stamp: StampEvidence | None) -> bytes:
    if stamp is None:
        return binary.NULL_BRANCH
    classes = stamp.classes
    return b"".join(
        (
            binary.VALUE_BRANCH,
            _why_not(stamp.not_evaluated),
            binary.long(stamp.filled_px),
            *(_evidence(classes.get(code)) for code in _FIRST_CODES),
            binary.nullable_string(stamp.detail and stamp.detail[:DETAIL_CHARACTERS]),
            *(_evidence(classes.get(code)) for code in _LATER_CODES),
            binary.nullable_float(stamp.no_data_distance_px),
        )
    )


def _why_not(reason: NotEvaluated | None) -> bytes:
    return binary.NULL_BRANCH if reason is None else binary.VALUE_BRANCH + _NOT_EVALUATED[reason]


def _evidence(evidence: ClassEvidence | None) -> bytes:
    if evidence is None:
        return binary.NULL_BRANCH
    values = evidence.core_raw, evidence.core, evidence.peak
    if not evidence.pixels and evidence.distance_px is None:  # as of most classes of most alerts
        return _FOUND_NOWHERE.pack(binary.VALUE_BRANCH, *values, _NO_PIXELS)
    return b"".join(
        (
            binary.VALUE_BRANCH,
            _THREE_FLOATS.pack(*values),
            binary.long(evidence.pixels),
            binary.nullable_float(evidence.distance_px),
        )
    )


@lru_cache(64)
def _priors(priors: tuple[ClassPrior, ...]) -> bytes:
    by_code = {row.code: row for row in priors}
    if unknown := sorted(set(by_code) - set(CODES)):
        raise ValueError(f"priors of {', '.join(unknown)}; the classes are {', '.join(CODES)}")
    return b"".join(
        binary.VALUE_BRANCH + _TWO_FLOATS.pack(by_code[code].prior, by_code[code].threshold)
        if code in by_code
        else binary.NULL_BRANCH
        for code in CODES
    )


@lru_cache(64)
def _engine(engine: EngineIdentity, planes: tuple[str, ...]) -> bytes:
    sha256 = bytes.fromhex(engine.sha256)
    if len(sha256) != 32:
        raise ValueError(f"sha256 {engine.sha256!r} has {len(sha256)} bytes, not 32")
    name, runtime = binary.string(engine.name), binary.string(engine.runtime)
    return name + sha256 + runtime + binary.strings(list(planes))


def _opinion(opinion: Opinion) -> bytes:
    stamps = {stamp.plane: stamp for stamp in opinion.stamps}
    return b"".join(
        (
            _engine(opinion.engine, opinion.planes),
            *(_stamp(stamps.get(plane)) for plane in Plane),
            _priors(opinion.priors),
            binary.FLOAT.pack(opinion.infer_s),
        )
    )


def _times(annotation: Annotation, annotated_unix_s: float) -> bytes:
    times, alert = annotation.times, annotation.alert
    message_ms = alert.message.timestamp_ms
    message_unix_s = None if message_ms is None else message_ms / 1000
    return b"".join(
        (
            binary.nullable_long(_moment(alert.light_end_unix_s, 1_000_000)),
            binary.nullable_long(_moment(message_unix_s, 1000)),
            binary.long(round(times.received_unix_s * 1e6)),
            binary.long(round(annotated_unix_s * 1e6)),
            _THREE_FLOATS.pack(times.decode_s, times.queue_s, times.infer_s),
        )
    )


def _moment(unix_s: float | None, per_second: int) -> int | None:
    """Returns ticks since 1970; None for a time outside the calendar, from a damaged packet."""
    if unix_s is None or not math.isfinite(unix_s):
        return None
    earliest, latest = _MOMENTS_UNIX_S
    return round(unix_s * per_second) if earliest <= unix_s <= latest else None
