"""Field maps: where each survey keeps what an Alert is made of.

A survey is a file: ``schemas/surveys/NAME.toml`` in the package, or any ``*.toml`` in a folder
that the configuration names (it wins over a bundled file of the same survey).
"""

import math
import re
import tomllib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from streamfilter.alerts.placement import LARGEST_SIDE_PX, around_alert, place_of
from streamfilter.contaminants import BY_CODE
from streamfilter.errors import ConfigurationInvalid, MessageRejected, Reason, told
from streamfilter.files import bundled_folder
from streamfilter.fits.stamps import Planes, read_stamp
from streamfilter.limits import Limits
from streamfilter.records import Alert, Message, NotEvaluated, Plane, Stamp, Unreadable

# TAI - UTC since 2017-01-01; no leap second has been announced since (IERS Bulletin C).
_TAI_MINUS_UTC_S = 37.0
_DAY_S = 86400.0
# Seconds of a unit, its count at 1970-01-01 UTC, and what has to be taken off the clock.
_SCALES: Mapping[str, tuple[float, float, float]] = {
    "jd-utc": (_DAY_S, 2440587.5, 0.0),
    "jd-tai": (_DAY_S, 2440587.5, _TAI_MINUS_UTC_S),
    "mjd-utc": (_DAY_S, 40587.0, 0.0),
    "mjd-tai": (_DAY_S, 40587.0, _TAI_MINUS_UTC_S),
    "unix-s": (1.0, 0.0, 0.0),
    "unix-ms": (1e-3, 0.0, 0.0),
    "unix-us": (1e-6, 0.0, 0.0),
    "unix-ns": (1e-9, 0.0, 0.0),
}
# What Avro's own types of time count; they say it themselves.
_TIMESTAMPS = {
    "timestamp-millis": "unix-ms", "timestamp-micros": "unix-us", "timestamp-nanos": "unix-ns",
}  # fmt: skip
# Share of the exposure that is still to come at the time that the packet gives.
_TO_COME: Mapping[str, float] = {"start": 1.0, "middle": 0.5, "end": 0.0}
_UUID_BYTES = 16
# Characters of a name: it is repeated in keys, headers and logs.
_LONGEST_NAME = 200
# What an annotation says of a stamp that cannot be read: its enumeration gets no new symbols.
_WHY: Mapping[Reason, NotEvaluated] = {Reason.STAMP_TOO_LARGE: NotEvaluated.STAMP_TOO_LARGE}
_NO_ONE_PLACE = (
    f"stamp: over {LARGEST_SIDE_PX} px, and cut at the chip's edge, so that the alert is at one of "
    'two places too far apart to be judged at once; place = "middle" in [stamps] of the field map, '
    "if it was not cut"
)
_NUMBERS = frozenset({"int", "long", "float", "double", "null"})
_NAMES = frozenset({"int", "long", "string", "fixed", "null"})
_TYPES: Mapping[str, frozenset[str]] = {
    "alert_id": _NAMES,
    "object_id": _NAMES,
    "time": _NUMBERS | frozenset(_TIMESTAMPS),
    "exposure_s": _NUMBERS,
    "flags": _NUMBERS | {"boolean"},
    **{plane: frozenset({"bytes", "null"}) for plane in Plane},
}


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


Paths = Annotated[
    tuple[Annotated[str, Field(pattern=r"^\w+(\.\w+)*$")], ...], BeforeValidator(_listed)
]
"""Dotted names of a field; of several, the first that is there and not null counts."""


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Light(_Table):
    """How a packet dates its exposure."""

    time: Paths
    scale: Literal[
        "jd-utc", "jd-tai", "mjd-utc", "mjd-tai", "unix-s", "unix-ms", "unix-us", "unix-ns"
    ]
    """Of a plain number; what is one of Avro's timestamps is read as that."""
    refers_to: Literal["start", "middle", "end"]
    exposure_s: Paths = ()
    default_exposure_s: Annotated[float, Field(ge=0)] | None = None
    """Where the packet does not say; without it such a packet stays undated."""


class Stamps(_Table):
    """Where the stamps are, the bytes of a FITS file, plain or in gzip; and the alert in them."""

    science: Paths = ()
    template: Paths = ()
    difference: Paths = ()
    place: Literal["edge", "middle"] = "edge"
    """Whether a stamp of which a side is short was cut at the chip's edge, which leaves the alert
    at its place from one end or the other; or holds its alert in the middle whatever its shape."""
    nominal_px: Annotated[int, Field(gt=0)] | None = None
    """Side of a stamp that was not cut; without it the longer side of each counts as that."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.place == "middle" and self.nominal_px is not None:
            raise ValueError('nominal_px says where cut stamps hold their alert; place = "middle"')
        return self


class Flags(_Table):
    """Fields of which one that is true, or a number above 0, raises all of these classes.

    Several classes stand together where the survey does not tell them apart.
    """

    classes: Annotated[tuple[str, ...], Field(min_length=1)]
    fields: Annotated[Paths, Field(min_length=1)]

    @field_validator("classes")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := sorted(code for code in value if code not in BY_CODE):
            raise ValueError(f"no class {', '.join(unknown)}; they are {', '.join(BY_CODE)}")
        return value


@dataclass(frozen=True, slots=True)
class Wanted:
    """A field that a map names: what it is for and which Avro types it may have."""

    role: str
    path: str
    types: frozenset[str]
    label: str
    """The role; of flags also the classes that they raise together."""


class SurveyMap(_Table):
    """One survey's field map."""

    survey: Annotated[str, Field(pattern=r"^[a-z0-9_-]+$")]
    record: str
    """Regular expression that the full name of the top record matches as a whole."""
    alert_id: Annotated[Paths, Field(min_length=1)]
    object_id: Paths = ()
    light: Light | None = None
    stamps: Stamps
    flags: tuple[Flags, ...] = ()
    required: tuple[
        Literal["alert_id", "object_id", "time", "science", "template", "difference"], ...
    ] = ("alert_id", "science")
    """Fields that a schema must have. A stamp may still be null or empty, the others may not; one
    that is asked for and cannot be read rejects the alert."""

    @field_validator("record")
    @classmethod
    def _expression(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"no regular expression: {told(error)}") from error
        return value

    @model_validator(mode="after")
    def _names_what_it_requires(self) -> Self:
        named = {field.role for field in self.wanted()}
        if missing := [role for role in self.required if role not in named]:
            rest = [role for role in self.required if role in named]
            raise ValueError(
                f"no field is named for {' and '.join(missing)}, which is required; "
                f"name one, or give required = {rest}"
            )
        return self

    def wanted(self) -> tuple[Wanted, ...]:
        """Every field that the map names, in the order in which ``alert`` takes the values."""
        fields: list[tuple[str, Paths, str]] = [("alert_id", self.alert_id, "")]
        fields += [("object_id", self.object_id, "")]
        if self.light:
            fields += [("time", self.light.time, ""), ("exposure_s", self.light.exposure_s, "")]
        fields += [(plane, getattr(self.stamps, plane), "") for plane in Plane]
        fields += [("flags", each.fields, f" of {', '.join(each.classes)}") for each in self.flags]
        return tuple(
            Wanted(role, path, _TYPES[role], role + words)
            for role, paths, words in fields
            for path in paths
        )

    def has_default(self, role: str) -> bool:
        """Whether nothing is lost where a schema has no field for this."""
        default = self.light.default_exposure_s if self.light else None
        return role == "exposure_s" and default is not None


class AlertMaker:
    """Makes Alerts of one survey from the values of its fields.

    Parameters
    ----------
    survey
        The field map.
    limits
        Bounds on the stamps.
    types
        For each of ``SurveyMap.wanted()`` its Avro types; None where it is not read.
    """

    def __init__(
        self,
        survey: SurveyMap,
        limits: Limits,
        types: Sequence[frozenset[str] | None] = (),
    ) -> None:
        self.survey = survey
        self._limits = limits
        self._slots: dict[str, list[int]] = {}
        for index, field in enumerate(survey.wanted()):
            self._slots.setdefault(field.role, []).append(index)
        slots = iter(self._slots.get("flags", ()))
        self._flags = [
            (group.classes, [next(slots) for _ in group.fields]) for group in survey.flags
        ]
        self._times = [
            (slot, _scale(survey.light, types[slot] if types else None))
            for slot in self._slots.get("time", ())
        ]

    def alert(
        self,
        message: Message,
        values: Sequence[object],
        planes: Collection[Plane] = tuple(Plane),
    ) -> Alert:
        """The Alert.

        Parameters
        ----------
        message
            The message that was decoded.
        values
            One for each of ``SurveyMap.wanted()``, of its types; None where the field is null or
            the schema has none.
        planes
            The stamps to read.

        Raises
        ------
        MessageRejected
            A required value is null, a required stamp cannot be read, or none can though some are
            there.
        """
        found = self._first("alert_id", values)
        if found is None:
            raise MessageRejected(
                Reason.FIELD_MISSING, f"{' or '.join(self.survey.alert_id)} is null"
            )
        # Rubin writes 0 where an object is not associated.
        objects = [values[slot] for slot in self._slots.get("object_id", ())]
        alert_id, object_id = _name(found), next((_name(each) for each in objects if each), None)
        for role, name in (("alert_id", alert_id), ("object_id", object_id)):
            if name is not None and len(name) > _LONGEST_NAME:
                raise MessageRejected(
                    Reason.FIELD_TYPE, f"{role} has {len(name)} characters; at most {_LONGEST_NAME}"
                )
        light_end = self._light_end(values)
        for role, value in (("object_id", object_id), ("time", light_end)):
            if role in self.survey.required and value is None:
                raise MessageRejected(Reason.FIELD_MISSING, f"{role} is null or no number")
        flagged, flaggable = self._classes(values)
        stamps, unreadable = self._stamps(values, planes)
        return Alert(
            message=message,
            survey=self.survey.survey,
            alert_id=alert_id,
            object_id=object_id,
            stamps=stamps,
            unreadable=unreadable,
            light_end_unix_s=light_end,
            flagged=flagged,
            flaggable=flaggable,
        )

    def _first(self, role: str, values: Sequence[object]) -> object:
        for slot in self._slots.get(role, ()):
            if values[slot] is not None:
                return values[slot]
        return None

    def _stamps(
        self, values: Sequence[object], planes: Collection[Plane]
    ) -> tuple[Mapping[Plane, Stamp], Mapping[Plane, Unreadable]]:
        """The stamps that can be read, and why others cannot."""
        stamps: dict[Plane, Stamp] = {}
        unreadable: dict[Plane, Unreadable] = {}
        failed: dict[Plane, MessageRejected] = {}
        for plane in planes:
            # A field of plain bytes cannot be null: it says with no bytes that there is none.
            data = next(
                (each for slot in self._slots.get(plane, ()) if (each := values[slot])), None
            )
            if not isinstance(data, bytes):
                continue
            try:
                found = read_stamp(data, self._limits)
            except MessageRejected as error:
                failed[plane] = error
                continue
            if stamp := self._around_alert(found):
                stamps[plane] = stamp
            else:
                unreadable[plane] = Unreadable(NotEvaluated.STAMP_TOO_LARGE, _NO_ONE_PLACE)
        for plane, why in failed.items():
            if not (stamps or unreadable) or plane in self.survey.required:
                raise MessageRejected(why.reason, f"{plane} {why.detail}") from why
            unreadable[plane] = Unreadable(_WHY.get(why.reason, NotEvaluated.NO_DATA), why.detail)
        return MappingProxyType(stamps), MappingProxyType(unreadable)

    def _around_alert(self, planes: Planes) -> Stamp | None:
        given = self.survey.stamps
        place = place_of(*planes.image.shape, given.nominal_px, cut=given.place == "edge")
        return around_alert(Stamp(*planes, place))

    def _light_end(self, values: Sequence[object]) -> float | None:
        light = self.survey.light
        if light is None:
            return None
        exposure = _positive(self._first("exposure_s", values))
        exposure = light.default_exposure_s if exposure is None else exposure
        for slot, (unit_s, epoch, ahead_s) in self._times:
            if values[slot] is not None:
                time = _positive(values[slot])
                if time is None or exposure is None:
                    return None
                return (time - epoch) * unit_s - ahead_s + exposure * _TO_COME[light.refers_to]
        return None

    def _classes(self, values: Sequence[object]) -> tuple[frozenset[str], frozenset[str]]:
        """Classes that a flag raises, and classes for which there is a flag."""
        flagged: list[str] = []
        flaggable: list[str] = []
        for classes, slots in self._flags:
            known = [value for slot in slots if (value := values[slot]) is not None]
            if known:
                flaggable += classes
                if any(isinstance(value, int | float) and value > 0 for value in known):
                    flagged += classes
        return frozenset(flagged), frozenset(flaggable)


def _scale(light: Light | None, types: frozenset[str] | None) -> tuple[float, float, float]:
    """That of Avro's own type where it is one of its timestamps, else the map's."""
    stamped = [scale for kind, scale in _TIMESTAMPS.items() if types and kind in types]
    return _SCALES[stamped[0] if stamped else light.scale if light else "unix-s"]


def _name(value: object) -> str:
    """The text of a number, a text, or fixed bytes: a UUID where they are 16, else hexadecimal."""
    if isinstance(value, bytes):
        return str(UUID(bytes=value)) if len(value) == _UUID_BYTES else value.hex()
    return str(value)


def _positive(value: object) -> float | None:
    """A finite number above 0; surveys write -999, 0 or NaN where they have none."""
    if isinstance(value, int | float) and math.isfinite(value) and value > 0:
        return float(value)
    return None


class Surveys:
    """The field maps that are known.

    Parameters
    ----------
    maps
        Later ones win over earlier ones of the same survey.
    """

    def __init__(self, maps: Iterable[SurveyMap]) -> None:
        self._maps = {survey.survey: survey for survey in maps}

    @classmethod
    def load(cls, extra: Sequence[Path] = ()) -> "Surveys":
        """The bundled field maps, and those of further folders.

        Raises
        ------
        ConfigurationInvalid
            A folder or file cannot be read, or a key is wrong; the file and the key are named.
        """
        maps: list[SurveyMap] = []
        for place in (bundled_folder("schemas") / "surveys", *extra):
            if not place.is_dir():
                raise ConfigurationInvalid(f"{place}: no such folder of field maps")
            maps += [read_survey(path) for path in sorted(place.glob("*.toml"))]
        return cls(maps)

    @property
    def names(self) -> tuple[str, ...]:
        """The surveys, in the order of their names."""
        return tuple(sorted(self._maps))

    @property
    def maps(self) -> tuple[SurveyMap, ...]:
        """All of them, the one that was read last first."""
        return tuple(self._maps.values())[::-1]

    def of_record(self, name: str) -> tuple[SurveyMap, ...]:
        """The maps whose ``record`` matches a full name, the one that was read last first."""
        return tuple(each for each in self.maps if re.fullmatch(each.record, name))


def read_survey(path: Path) -> SurveyMap:
    """One field map from its file; see ``Surveys.load``."""
    try:
        return SurveyMap.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigurationInvalid(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationInvalid(f"{path}: not TOML: {told(error)}") from error
    except ValidationError as error:
        lines = [
            f"{path}: {'.'.join(str(part) for part in item['loc'])}: {_words(item)}"
            for item in error.errors(include_url=False)
        ]
        raise ConfigurationInvalid("\n".join(lines)) from None


def _words(item: Mapping[str, Any]) -> str:
    """What is wrong with a value of a map, and what stands there."""
    message = str(item["msg"]).removeprefix("Value error, ")
    found = item["input"]
    plain = isinstance(found, str | int | float) and item["type"] not in ("value_error", "missing")
    return f"{message}; found {found!r}"[:_LONGEST_NAME] if plain else message
