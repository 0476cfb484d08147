"""Frozen values that travel through the pipeline, each with the Origin it came from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from streamfilter.errors import Reason

Image = npt.NDArray[np.float32]
"""A native, C-contiguous float32 array (height, width); NaN where there is no data."""

PRODUCER_TIMESTAMP = "producer_timestamp"
"""Header of Rubin's producer: when it sent the message, Unix milliseconds as text."""
REPLAYED = "streamfilter-replayed"
"""Header of a message that was sent in again: how often after it was rejected, as text; ``0`` from
files. It stays when the message is rejected once more, so that none goes round for ever."""
Headers = tuple[tuple[str, bytes | None], ...]
"""Kafka headers in their order; a key may repeat."""
FROM_FILES: Headers = ((REPLAYED, b"0"),)
"""Of a message that is sent from a file, and was never rejected."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a message was read."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Message:
    """One message as it came; ``value`` is never changed."""

    origin: Origin
    value: bytes | None
    key: bytes | None = None
    timestamp_ms: int | None = None
    """The broker's or producer's timestamp (Unix, milliseconds); None where there is none."""
    headers: Headers = ()


class Plane(StrEnum):
    """The images of an alert."""

    SCIENCE = "science"
    TEMPLATE = "template"
    DIFFERENCE = "difference"


class Place(NamedTuple):
    """Where an alert may lie in a stamp, in pixels from 0: at each of the rows and columns.

    Of several the stamp does not say which.
    """

    rows: tuple[float, ...]
    columns: tuple[float, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Stamp:
    """One image cut out around the alert.

    ``variance`` has the image's shape, in its unit squared; ``psf`` is the kernel as sent. Both
    are None where the survey sends none.
    """

    image: Image
    variance: Image | None = None
    psf: Image | None = None
    place: Place | None = None
    """The alert's; None where nothing but the image's shape is known."""


class NotEvaluated(StrEnum):
    """Why a stamp was not put through the network: a closed set."""

    STAMP_MISSING = "stamp_missing"
    STAMP_TOO_SMALL = "stamp_too_small"
    STAMP_TOO_LARGE = "stamp_too_large"
    NO_DATA = "no_data"
    """Too few pixels with data, none at the alert's place, or bytes that are no image."""
    NO_VARIATION = "no_variation"


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Why a stamp that the packet carries cannot be used, where the alert can do without."""

    why: NotEvaluated
    detail: str


@dataclass(frozen=True, slots=True, eq=False)
class Alert:
    """A decoded alert: the words that every survey has, and its stamps."""

    message: Message
    survey: str
    alert_id: str
    object_id: str | None
    stamps: Mapping[Plane, Stamp]
    """A plane that was not asked for, or that the packet does not carry, is absent."""
    light_end_unix_s: float | None = None
    """When the exposure ended (UTC, Unix seconds), where the packet dates it."""
    flagged: frozenset[str] = frozenset()
    """Class codes that the survey's own flags raise."""
    flaggable: frozenset[str] = frozenset()
    """Class codes for which this packet carries a flag of the survey at all."""
    unreadable: Mapping[Plane, Unreadable] = field(default_factory=dict)
    """Planes that were asked for and are there, but cannot be used."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A message that could not be used, with the reason; the original bytes are in it."""

    message: Message
    reason: Reason
    detail: str
    schema_id: int | None = None


class Label(StrEnum):
    """What is believed of an alert."""

    CLEAN = "clean"
    CONTAMINATED = "contaminated"
    SUSPECT = "suspect"
    NOT_EVALUATED = "not_evaluated"


class Action(StrEnum):
    """What is done with an alert."""

    KEEP = "keep"
    FLAG = "flag"
    DROP = "drop"


class Statistic(StrEnum):
    """What a rule looks at: a number per class and stamp."""

    CORE = "core"
    """Highest posterior within 2 px of the centre."""
    PEAK = "peak"
    """Highest posterior in the stamp."""
    PIXELS = "pixels"
    """Number of pixels whose posterior is above the class threshold."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """A named rule: when ``statistic`` of ``contaminant`` is above ``above``, label and act.

    It is silent where a real source (BBG) is likelier than ``unless_source_above`` at the alert's
    place (core posterior): sharp stars resemble cosmic rays, and are told by that.
    """

    name: str
    contaminant: str
    statistic: Statistic
    above: float
    label: Label = Label.CONTAMINATED
    action: Action = Action.DROP
    plane: Plane = Plane.SCIENCE
    unless_source_above: float = 1.0


@dataclass(frozen=True, slots=True)
class ClassEvidence:
    """What the network says of one class in one stamp."""

    core_raw: float
    """Highest raw network output within 2 px of the centre."""
    core: float
    """The same after the prior change."""
    peak: float
    """Highest posterior in the stamp."""
    pixels: int
    """Pixels whose posterior is above the threshold."""
    distance_px: float | None
    """From the centre to the nearest such pixel; None where there is none."""


@dataclass(frozen=True, slots=True)
class StampEvidence:
    """What is known of one stamp: one ClassEvidence per class in the table's order, or why not."""

    plane: Plane
    not_evaluated: NotEvaluated | None
    filled_px: int = 0
    """Pixels without data that were filled for the network."""
    classes: tuple[ClassEvidence, ...] = ()
    detail: str | None = None
    """What was found in a stamp that is there and cannot be used."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was decided, and which rule on which class decided it (None when no rule spoke)."""

    label: Label
    action: Action
    contaminant: str | None = None
    rule: str | None = None


@dataclass(frozen=True, slots=True)
class EngineIdentity:
    """Which network spoke: enough to reproduce the numbers."""

    name: str
    sha256: str
    """Of the ONNX file."""
    runtime: str


@dataclass(frozen=True, slots=True)
class ClassPrior:
    """How raw outputs of one class were changed and judged."""

    code: str
    prior: float
    threshold: float


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds that the alert spent in each stage; Unix times of its way."""

    received_unix_s: float
    decode_s: float
    queue_s: float
    infer_s: float


@dataclass(frozen=True, slots=True)
class Annotation:
    """All that is published of an alert."""

    alert: Alert
    verdict: Verdict
    stamps: tuple[StampEvidence, ...]
    engine: EngineIdentity
    priors: tuple[ClassPrior, ...]
    times: Times


@dataclass(frozen=True, slots=True)
class Output:
    """One message to be published on behalf of an input."""

    origin: Origin
    topic: str
    value: bytes | None
    key: bytes | None = None
    headers: Headers = ()
