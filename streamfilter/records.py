"""The frozen values of the pipeline; each carries the Origin of its message."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from streamfilter.errors import Reason
from streamfilter.redaction import clean

Image = npt.NDArray[np.float32]
"""A native, C-contiguous float32 array (height, width); NaN where there are no data."""

FieldValue = bool | int | float | str
"""A value of the packet that rules look at."""

PRODUCER_TIMESTAMP = "producer_timestamp"
"""Header of Rubin's producer with the time of sending, in Unix milliseconds as text."""
REPLAYED = "streamfilter-replayed"
"""Header of a replayed message with the number of replays, as text; ``0`` from files. It stays when
the message is rejected again, so that no message is replayed for ever."""
Headers = tuple[tuple[str, bytes | None], ...]
"""Kafka headers in order; a key may repeat."""
FROM_FILES: Headers = ((REPLAYED, b"0"),)
"""Headers of a message that is sent from a file, and was never rejected."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The place of a message in Kafka."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Message:
    """One message as Kafka delivered it; ``value`` is never changed."""

    origin: Origin
    value: bytes | None
    key: bytes | None = None
    timestamp_ms: int | None = None
    """The broker's or producer's timestamp (Unix, milliseconds); None where there is none."""
    headers: Headers = ()
    unread: str = ""
    """Why its headers could not be read; then it has none. Empty where they were."""


class Plane(StrEnum):
    """The images of an alert."""

    SCIENCE = "science"
    TEMPLATE = "template"
    DIFFERENCE = "difference"


class Place(NamedTuple):
    """The possible positions of an alert in a stamp, in pixels from 0.

    Usually there is one row and one column. There are two where a stamp was cut at the edge of the
    chip, because the stamp does not say on which side.
    """

    rows: tuple[float, ...]
    columns: tuple[float, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Stamp:
    """One image cut out around the alert.

    ``variance`` has the image's shape and its unit squared; ``psf`` is the kernel as sent. Both
    are None where the survey sends none.
    """

    image: Image
    variance: Image | None = None
    psf: Image | None = None
    place: Place | None = None
    """The place of the alert; None where only the image's shape is known."""


class NotEvaluated(StrEnum):
    """Why the network did not evaluate a stamp: a closed set."""

    STAMP_MISSING = "stamp_missing"
    STAMP_TOO_SMALL = "stamp_too_small"
    STAMP_TOO_LARGE = "stamp_too_large"
    NO_DATA = "no_data"
    """Too few pixels have data, none at the alert's place has, or the bytes are no image."""
    NO_VARIATION = "no_variation"


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Why a stamp of the packet cannot be used; the alert is judged without it."""

    why: NotEvaluated
    detail: str


@dataclass(frozen=True, slots=True, eq=False)
class Alert:
    """A decoded alert: the fields that every survey has, and the stamps."""

    message: Message
    survey: str
    alert_id: str
    object_id: str | None
    stamps: Mapping[Plane, Stamp]
    """Stamps by plane; a plane is absent where it was not requested or the packet has none. The
    difference is science minus template, also where the packet has it the other way round."""
    light_end_unix_s: float | None = None
    """End of the exposure (UTC, Unix seconds); None where the packet does not say."""
    flagged: frozenset[str] = frozenset()
    """Class codes that the survey's own flags raise."""
    flaggable: frozenset[str] = frozenset()
    """Class codes for which this packet has a flag of the survey, raised or not."""
    unreadable: Mapping[Plane, Unreadable] = field(default_factory=dict)
    """Planes that were requested and are in the packet, but cannot be used."""
    fields: Mapping[str, FieldValue] = field(default_factory=dict)
    """Values that rules look at, by their names in the survey's field map; a field is absent where
    the packet has no value."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A message that could not be used, unchanged, with the reason.

    ``detail`` holds no secret, whoever wrote it: it is logged and published.
    """

    message: Message
    reason: Reason
    detail: str
    schema_id: int | None = None

    def __post_init__(self) -> None:
        """Clean the detail."""
        object.__setattr__(self, "detail", clean(self.detail))


class Label(StrEnum):
    """The conclusion about an alert."""

    CLEAN = "clean"
    CONTAMINATED = "contaminated"
    SUSPECT = "suspect"
    NOT_EVALUATED = "not_evaluated"


def real_where(verdict: str | None, *, right: bool) -> bool | None:
    """Returns whether an alert is real whose verdict's label is right, or wrong.

    A contaminated or suspect one is no real source where that is right, a clean one is. None: of
    what was not evaluated neither tells anything.
    """
    return None if verdict == Label.NOT_EVALUATED else right == (verdict == Label.CLEAN)


class Action(StrEnum):
    """What the filter does with an alert."""

    KEEP = "keep"
    FLAG = "flag"
    DROP = "drop"


class Statistic(StrEnum):
    """The number, per class and stamp, that a rule compares with its limit."""

    CORE = "core"
    """Highest posterior within 2 px of the centre."""
    PEAK = "peak"
    """Highest posterior in the stamp."""
    PIXELS = "pixels"
    """Number of pixels whose posterior is above the class threshold."""
    TOGETHER = "together"
    """The posterior at the centre from every engine that was asked: the sum of their log-odds under
    one prior, as if they were independent. That of the only one, where one was asked."""


class FieldKind(StrEnum):
    """What a condition compares a field with."""

    NUMBER = "number"
    """Numbers; true and false count as 1 and 0."""
    TEXT = "text"
    ANY = "any"
    """Numbers and texts: nothing is compared, the value is handed on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Condition:
    """A condition on one field of the packet: all comparisons that are given must hold."""

    above: float | None = None
    at_least: float | None = None
    below: float | None = None
    at_most: float | None = None
    equals: FieldValue | None = None
    """The number, text, or true or false that the field must be."""

    def __post_init__(self) -> None:
        """Raise ValueError for what could never hold, or always."""
        limits = [self.above, self.at_least, self.below, self.at_most]
        given = [each for each in (*limits, self.equals) if each is not None]
        if not given:
            raise ValueError("nothing is compared; give above, at_least, below, at_most or equals")
        if self.kind is FieldKind.TEXT and len(given) > 1:
            raise ValueError(f"equals {self.equals!r} and limits: a text has no order; give one")
        if any(each != each for each in given):
            raise ValueError("nan is no limit: no comparison with it holds")

    @property
    def kind(self) -> FieldKind:
        """What the field is compared with."""
        return FieldKind.TEXT if isinstance(self.equals, str) else FieldKind.NUMBER

    def holds(self, value: FieldValue | None) -> bool:
        """Returns whether a value meets the condition; None and a value of another kind do not."""
        if self.kind is FieldKind.TEXT or value is None or isinstance(value, str):
            return value is not None and value == self.equals
        return (
            (self.above is None or value > self.above)
            and (self.at_least is None or value >= self.at_least)
            and (self.below is None or value < self.below)
            and (self.at_most is None or value <= self.at_most)
            and (self.equals is None or value == self.equals)
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """A named rule: where ``statistic`` of ``contaminant`` is above ``above``, label and act.

    The numbers are those of ``engine``; empty: of the first engine that has the class. Where that
    engine was not asked, the rule does not apply.

    The rule does not apply where the core posterior of a real source (BBG) is above
    ``unless_source_above``: sharp stars resemble cosmic rays, and this tells them apart. The
    source is the same engine's; for ``together`` the likeliest of all that were asked.

    ``when`` and ``unless`` are conditions on the alert's own numbers, by their names in the
    survey's field map. The rule applies only where every condition of ``when`` holds, and none of
    ``unless``. A field without a value meets no condition.
    """

    name: str
    contaminant: str
    statistic: Statistic
    above: float
    label: Label = Label.CONTAMINATED
    action: Action = Action.DROP
    plane: Plane = Plane.SCIENCE
    engine: str = ""
    unless_source_above: float = 1.0
    when: Mapping[str, Condition] = field(default_factory=dict)
    unless: Mapping[str, Condition] = field(default_factory=dict)

    def allows(self, fields: Mapping[str, FieldValue]) -> bool:
        """Returns whether the alert's own numbers let the rule apply."""
        return all(each.holds(fields.get(name)) for name, each in self.when.items()) and not any(
            each.holds(fields.get(name)) for name, each in self.unless.items()
        )


def fields_of(rules: Iterable[Rule]) -> dict[str, FieldKind]:
    """Returns the fields that rules look at, by name, and what each is compared with.

    Raises
    ------
    ValueError
        A field is compared with a number and with a text: it can be one of them only.
    """
    kinds: dict[str, FieldKind] = {}
    for rule in rules:
        for name, condition in (*rule.when.items(), *rule.unless.items()):
            if kinds.setdefault(name, condition.kind) is not condition.kind:
                raise ValueError(
                    f"rule {rule.name!r}: {name} is compared with a {condition.kind}, and in "
                    f"another rule or condition with a {kinds[name]}; it can be one of them only"
                )
    return kinds


@dataclass(frozen=True, slots=True)
class ClassEvidence:
    """The network's result for one class in one stamp."""

    core_raw: float
    """Highest raw network output within 2 px of the centre."""
    core: float
    """The posterior of that output: its value after the prior change."""
    peak: float
    """Highest posterior in the stamp."""
    pixels: int
    """Pixels whose posterior is above the threshold."""
    distance_px: float | None
    """Distance from the centre to the nearest such pixel; None where there is none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Doubt:
    """Where a further engine is asked about a stamp, by what the first engine finds in it.

    It is asked where the highest core posterior of ``classes`` (empty: of all contaminants that the
    first engine has) is above ``above`` and below ``below``; None: no limit.
    """

    classes: tuple[str, ...] = ()
    above: float | None = None
    below: float | None = None

    def __post_init__(self) -> None:
        """Raise ValueError for a range that holds nothing, or everything."""
        low, high = (-1.0 if self.above is None else self.above), self.below
        if self.above is None and high is None:
            raise ValueError("no limit is given; give above or below, or leave `when` out: always")
        if not (low < 1.0 and (high is None or (low < high and high > 0.0))):
            raise ValueError(f"above {self.above}, below {high}: no probability lies between them")

    def holds(self, probability: float) -> bool:
        """Returns whether a probability lies within the range."""
        return (self.above is None or probability > self.above) and (
            self.below is None or probability < self.below
        )


@dataclass(frozen=True, slots=True)
class StampEvidence:
    """The results for one stamp, or why there are none."""

    plane: Plane
    not_evaluated: NotEvaluated | None
    filled_px: int = 0
    """Pixels without data that were filled for the network."""
    classes: Mapping[str, ClassEvidence] = field(default_factory=dict)
    """By code, the classes that the engine has; empty where the stamp was not evaluated."""
    detail: str | None = None
    """What is wrong with a stamp that the packet has but that cannot be used."""
    planes: tuple[str, ...] = ()
    """What the network judged it by, in the manifest's words and order."""
    no_data_distance_px: float | None = None
    """Distance from the alert to the nearest pixel without data; None where there is none."""
    also: Mapping[str, tuple["StampEvidence", ...]] = field(default_factory=dict)
    """By name, what further engines say that were asked about the stamp: each its evidence from the
    stamp, then why stamps that it would see beside it cannot be used."""
    together: Mapping[str, float] = field(default_factory=dict)
    """By code, the core posterior from all engines that were asked (``Statistic.TOGETHER``); of the
    classes of the further ones."""

    def __getitem__(self, code: str) -> ClassEvidence:
        """Returns the evidence of a class.

        Raises
        ------
        KeyError
            The stamp was not evaluated, or the engine has no such class; the words say which.
        """
        if code in self.classes:
            return self.classes[code]
        if self.not_evaluated is not None:
            why = f" ({self.detail})" if self.detail else ""
            raise KeyError(f"{code}: the {self.plane} was not evaluated: {self.not_evaluated}{why}")
        raise KeyError(f"no class {code!r}; there are {', '.join(self.classes)}")


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision, with the rule and class that made it; both None where no rule applied."""

    label: Label
    action: Action
    contaminant: str | None = None
    rule: str | None = None


@dataclass(frozen=True, slots=True)
class EngineIdentity:
    """The network that was used: enough to reproduce the numbers."""

    name: str
    sha256: str
    """sha256 of the ONNX file, in hexadecimal."""
    runtime: str


@dataclass(frozen=True, slots=True)
class ClassPrior:
    """The prior and threshold that were applied to one class."""

    code: str
    prior: float
    threshold: float


@dataclass(frozen=True, slots=True)
class Times:
    """When the alert was received (Unix seconds), and the seconds it spent in each stage."""

    received_unix_s: float
    decode_s: float
    queue_s: float
    infer_s: float
    """In the first engine."""
    also_s: Mapping[str, float] = field(default_factory=dict)
    """In further engines, by name; only of those that were asked."""


@dataclass(frozen=True, slots=True)
class Opinion:
    """What a further engine says of an alert."""

    engine: EngineIdentity
    priors: tuple[ClassPrior, ...]
    stamps: tuple[StampEvidence, ...]
    infer_s: float

    @property
    def planes(self) -> tuple[str, ...]:
        """What the network judged this alert by, over all its stamps."""
        return _planes(self.stamps)


@dataclass(frozen=True, slots=True)
class Annotation:
    """Everything that is published about an alert."""

    alert: Alert
    verdict: Verdict
    stamps: tuple[StampEvidence, ...]
    engine: EngineIdentity
    priors: tuple[ClassPrior, ...]
    times: Times
    also: tuple[Opinion, ...] = ()
    """Of the further engines that were asked, in the order of the settings."""

    @property
    def planes(self) -> tuple[str, ...]:
        """What the network judged this alert by, over all its stamps."""
        return _planes(self.stamps)


def _planes(stamps: Iterable[StampEvidence]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(plane for stamp in stamps for plane in stamp.planes))


@dataclass(frozen=True, slots=True)
class Output:
    """One message to publish as the result of an input."""

    origin: Origin
    topic: str
    value: bytes | None
    key: bytes | None = None
    headers: Headers = ()
    message_ms: int | None = None
    """Timestamp of the input (Unix, milliseconds), which the output gets where the broker refuses
    that of this machine's clock."""
