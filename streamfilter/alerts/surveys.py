"""Field maps: the fields of each survey's packets that make up an Alert.

A survey is a file: ``schemas/surveys/NAME.toml`` in the package, or any ``*.toml`` in a folder
that the configuration names (which replaces a bundled file of the same survey).
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
from streamfilter.errors import ConfigurationInvalid, MessageRejected, Reason, plain_words
from streamfilter.files import bundled_folder
from streamfilter.fits.stamps import Planes, read_stamp
from streamfilter.limits import Limits
from streamfilter.records import Alert, Message, NotEvaluated, Plane, Stamp, Unreadable

# TAI - UTC since 2017-01-01; no leap second has been announced since (IERS Bulletin C).
_TAI_MINUS_UTC_S = 37.0
_DAY_S = 86400.0
# Seconds per unit, the count at 1970-01-01 UTC, and the seconds to subtract to get UTC.
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
# Scales of Avro's own time types, which name their unit.
_TIMESTAMPS = {
    "timestamp-millis": "unix-ms", "timestamp-micros": "unix-us", "timestamp-nanos": "unix-ns",
}  # fmt: skip
# Share of the exposure that follows the time in the packet.
_REMAINING_SHARE: Mapping[str, float] = {"start": 1.0, "middle": 0.5, "end": 0.0}
_UUID_BYTES = 16
# Characters of a name, which is repeated in keys, headers and logs.
_LONGEST_NAME = 200
# The annotation's reason for an unreadable stamp: its enumeration gets no new symbols.
_UNREADABLE_REASONS: Mapping[Reason, NotEvaluated] = {
    Reason.STAMP_TOO_LARGE: NotEvaluated.STAMP_TOO_LARGE
}
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
"""Dotted paths of a value; the first one that exists and is not null is used."""


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Light(_Table):
    """How a packet gives the time of its exposure."""

    time: Paths
    scale: Literal[
        "jd-utc", "jd-tai", "mjd-utc", "mjd-tai", "unix-s", "unix-ms", "unix-us", "unix-ns"
    ]
    """Scale of a plain number; Avro's timestamp types have their own."""
    refers_to: Literal["start", "middle", "end"]
    exposure_s: Paths = ()
    default_exposure_s: Annotated[float, Field(ge=0)] | None = None
    """Used where the packet has no exposure time; without it the alert then has no time."""


class Stamps(_Table):
    """Fields with the stamps (FITS, plain or in gzip), and the place of the alert in them."""

    science: Paths = ()
    template: Paths = ()
    difference: Paths = ()
    place: Literal["edge", "middle"] = "edge"
    """``edge``: a stamp with a short side was cut at the chip's edge, and the alert is at its usual
    place from one end. ``middle``: the alert is in the middle of every stamp of any shape."""
    nominal_px: Annotated[int, Field(gt=0)] | None = None
    """Side of a stamp that was not cut; without it, the longer side of each stamp."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.place == "middle" and self.nominal_px is not None:
            raise ValueError('nominal_px says where cut stamps hold their alert; place = "middle"')
        return self


class Flags(_Table):
    """Flags of the survey: a field that is true, or above 0, raises all of these classes.

    There are several classes where the survey does not tell them apart.
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
class WantedField:
    """A field that a map names: its role and the Avro types that it may have."""

    role: str
    path: str
    types: frozenset[str]
    label: str
    """The role; for flags also the classes that they raise."""


class SurveyMap(_Table):
    """One survey's field map."""

    survey: Annotated[str, Field(pattern=r"^[a-z0-9_-]+$")]
    record: str
    """Regular expression that matches the whole full name of the top record."""
    alert_id: Annotated[Paths, Field(min_length=1)]
    object_id: Paths = ()
    light: Light | None = None
    stamps: Stamps
    flags: tuple[Flags, ...] = ()
    required: tuple[
        Literal["alert_id", "object_id", "time", "science", "template", "difference"], ...
    ] = ("alert_id", "science")
    """Values that a schema must have a field for. A stamp may still be null or empty, other values
    may not. An alert is rejected where a required and requested stamp cannot be read."""

    @field_validator("record")
    @classmethod
    def _expression(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"no regular expression: {plain_words(error)}") from error
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

    def wanted(self) -> tuple[WantedField, ...]:
        """Returns every field of the map, in the order of the values for ``AlertMaker.alert``."""
        fields: list[tuple[str, Paths, str]] = [("alert_id", self.alert_id, "")]
        fields += [("object_id", self.object_id, "")]
        if self.light:
            fields += [("time", self.light.time, ""), ("exposure_s", self.light.exposure_s, "")]
        fields += [(plane, getattr(self.stamps, plane), "") for plane in Plane]
        fields += [("flags", each.fields, f" of {', '.join(each.classes)}") for each in self.flags]
        return tuple(
            WantedField(role, path, _TYPES[role], role + words)
            for role, paths, words in fields
            for path in paths
        )

    def has_default(self, role: str) -> bool:
        """Returns whether a default replaces the field where a schema has none."""
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
        The Avro types of each field of ``SurveyMap.wanted()``; None where it is not read.
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
        """Returns the Alert of a message.

        Parameters
        ----------
        message
            The message that was decoded.
        values
            One value per field of ``SurveyMap.wanted()``; None where the field is null or missing
            in the schema.
        planes
            The stamps to read.

        Raises
        ------
        MessageRejected
            A required value is null, a required stamp cannot be read, or stamps are there but none
            can be read.
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
        """Returns the readable stamps, and why the others cannot be read."""
        stamps: dict[Plane, Stamp] = {}
        unreadable: dict[Plane, Unreadable] = {}
        failed: dict[Plane, MessageRejected] = {}
        for plane in planes:
            # A field of plain bytes cannot be null: no bytes mean no stamp.
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
            unreadable[plane] = Unreadable(
                _UNREADABLE_REASONS.get(why.reason, NotEvaluated.NO_DATA), why.detail
            )
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
                share = _REMAINING_SHARE[light.refers_to]
                return (time - epoch) * unit_s - ahead_s + exposure * share
        return None

    def _classes(self, values: Sequence[object]) -> tuple[frozenset[str], frozenset[str]]:
        """Returns the classes whose flag is raised, and the classes that have a flag."""
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
    """Returns the scale of an Avro timestamp type, else the scale of the map."""
    stamped = [scale for kind, scale in _TIMESTAMPS.items() if types and kind in types]
    return _SCALES[stamped[0] if stamped else light.scale if light else "unix-s"]


def _name(value: object) -> str:
    """Returns a name as text; 16 bytes become a UUID, other bytes hexadecimal."""
    if isinstance(value, bytes):
        return str(UUID(bytes=value)) if len(value) == _UUID_BYTES else value.hex()
    return str(value)


def _positive(value: object) -> float | None:
    """Returns a finite number above 0, else None: surveys write -999, 0 or NaN for no value."""
    if isinstance(value, int | float) and math.isfinite(value) and value > 0:
        return float(value)
    return None


class Surveys:
    """The loaded field maps.

    Parameters
    ----------
    maps
        Later maps replace earlier ones of the same survey.
    """

    def __init__(self, maps: Iterable[SurveyMap]) -> None:
        self._maps = {survey.survey: survey for survey in maps}

    @classmethod
    def load(cls, extra: Sequence[Path] = ()) -> "Surveys":
        """Load the bundled field maps, and those of further folders.

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
        """Names of the surveys, sorted."""
        return tuple(sorted(self._maps))

    @property
    def maps(self) -> tuple[SurveyMap, ...]:
        """All maps, the last loaded first."""
        return tuple(self._maps.values())[::-1]

    def of_record(self, name: str) -> tuple[SurveyMap, ...]:
        """Returns the maps for a record of this full name, the last loaded first."""
        return tuple(each for each in self.maps if re.fullmatch(each.record, name))


def read_survey(path: Path) -> SurveyMap:
    """Read one field map from its file; see ``Surveys.load``."""
    try:
        return SurveyMap.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigurationInvalid(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationInvalid(f"{path}: not TOML: {plain_words(error)}") from error
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
