"""Field maps: the fields of each survey's packets that make up an Alert.

A survey is a file: ``schemas/surveys/NAME.toml`` in the package, or any ``*.toml`` in a folder
that the configuration names (which replaces a bundled file of the same survey).
"""

import re
import tomllib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)

from streamfilter.contaminants import BY_CODE
from streamfilter.errors import ConfigurationInvalid, plain_words
from streamfilter.files import bundled_folder
from streamfilter.records import FieldKind, Plane

TIMESTAMPS = {
    "timestamp-millis": "unix-ms", "timestamp-micros": "unix-us", "timestamp-nanos": "unix-ns",
}  # fmt: skip
"""Scales of Avro's own time types, which name their unit."""
NIGHT_BEGINS_UTC_H = 12.0
"""As Rubin's ``day_obs`` has it: noon of the date, 12 h behind Greenwich."""
_LONGEST_WORDS = 200  # characters of what is wrong with a value
_NUMBERS = frozenset({"int", "long", "float", "double", "null"})
_NAMES = frozenset({"int", "long", "string", "fixed", "null"})
_TYPES: Mapping[str, frozenset[str]] = {
    "alert_id": _NAMES,
    "object_id": _NAMES,
    "time": _NUMBERS | frozenset(TIMESTAMPS),
    "exposure_s": _NUMBERS,
    "flags": _NUMBERS | {"boolean"},
    "sign": _NUMBERS | {"boolean", "enum", "string"},
    **{plane: frozenset({"bytes", "null"}) for plane in Plane},
}
_FIELD_TYPES: Mapping[FieldKind, frozenset[str]] = {
    FieldKind.NUMBER: _NUMBERS | {"boolean"},
    FieldKind.TEXT: frozenset({"enum", "null", "string"}),
    FieldKind.ANY: _NUMBERS | {"boolean", "enum", "string"},
}


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


FieldName = Annotated[str, Field(pattern=r"^\w+$")]
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
    night_begins_utc_h: Annotated[float, Field(ge=-24, le=24)] = NIGHT_BEGINS_UTC_H
    """Hour of UTC at which a night begins that has this date; below 0 on the day before."""


SignValues = Annotated[tuple[str | bool | int | float, ...], Field(min_length=1)]
"""Values of the field that tells the sign of a difference stamp."""


class Sign(_Table):
    """The field that tells of which sign a difference stamp is, and what its values mean.

    A survey may send the difference so that the detection is bright in it, whichever sign the
    detection has. A difference that is template minus science is turned back when it is read.
    """

    field: Annotated[Paths, Field(min_length=1)]
    science_minus_template: SignValues
    template_minus_science: SignValues

    @model_validator(mode="after")
    def _apart(self) -> Self:
        for value in self.science_minus_template:
            if value in self.template_minus_science:
                raise ValueError(f"{value!r} stands for both signs")
        return self


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
    sign: Sign | None = None
    """Without it, every difference is science minus template."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.sign and not self.difference:
            raise ValueError("sign tells how `difference` is sent, for which no field is named")
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


class Page(_Table):
    """What the live page shows of an alert, by the names of ``fields``."""

    arcsec_per_px: Annotated[float, Field(gt=0)] | None = None
    """Scale of the stamps."""
    scores: tuple[str, ...] = ()
    """Scores from 0 (bogus) to 1 (real); the first that has a value is shown."""
    detector: str = ""
    """A number."""
    filter: str = ""
    """A text; a number where ``filters`` names its values."""
    filters: dict[str, str] = {}
    object_url: str = ""
    """Page of the object; ``{object_id}`` and ``{alert_id}`` may stand in it."""

    @field_validator("object_url")
    @classmethod
    def _url(cls, value: str) -> str:
        if value and not value.startswith("https://"):
            raise ValueError("expected an address that begins with https://")
        if unknown := set(re.findall(r"{(.*?)}", value)) - {"object_id", "alert_id"}:
            raise ValueError(f"{{{unknown.pop()}}} stands for nothing; there is {{object_id}}")
        return value

    def named(self) -> dict[str, FieldKind]:
        """Returns the names of all fields that are shown, and what each holds."""
        named = dict.fromkeys((*self.scores, self.detector), FieldKind.NUMBER)
        named[self.filter] = FieldKind.NUMBER if self.filters else FieldKind.TEXT
        return {name: kind for name, kind in named.items() if name}


class RuleField(NamedTuple):
    """A field of a survey that rules look at, or that is handed on with the verdict."""

    survey: str
    name: str
    """As ``SurveyMap.fields`` has it."""
    kind: FieldKind

    @property
    def role(self) -> str:
        """As ``WantedField.role``."""
        return f"fields.{self.name}"


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
    fields: dict[FieldName, Annotated[Paths, Field(min_length=1)]] = {}
    """Fields by the names that rules have for them; only those that rules look at are read."""
    no_value: tuple[float, ...] = ()
    """Numbers that stand for no value in ``fields``."""
    page: Page = Page()
    required: tuple[
        Literal["alert_id", "object_id", "time", "science", "template", "difference"], ...
    ] = ("alert_id", "science")
    """Values that a schema must have a field for. A stamp may still be null or empty, other values
    may not. An alert is rejected where a required and requested stamp cannot be read."""
    _read_fields: tuple[RuleField, ...] = PrivateAttr(default=())

    @field_validator("record")
    @classmethod
    def _expression(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"no regular expression: {plain_words(error)}") from error
        return value

    @model_validator(mode="after")
    def _names_what_it_shows(self) -> Self:
        if unknown := sorted(set(self.page.named()) - set(self.fields)):
            raise ValueError(f"page shows {unknown[0]!r}, which is no name of [fields]")
        return self

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

    def reading(self, fields: Collection[RuleField]) -> "SurveyMap":
        """Returns the map with those of its ``fields`` among what is wanted that rules look at.

        Parameters
        ----------
        fields
            Of any survey; see ``Surveys.refuse_unnamed``.
        """
        survey = self.model_copy()
        survey._read_fields = tuple(sorted(each for each in fields if each.survey == self.survey))
        return survey

    @property
    def read_fields(self) -> tuple[RuleField, ...]:
        """Those of ``fields`` that are read, sorted."""
        return self._read_fields

    def wanted(self) -> tuple[WantedField, ...]:
        """Returns every field of the map, in the order of the values for ``AlertMaker.alert``."""
        fields: list[tuple[str, Paths, str]] = [("alert_id", self.alert_id, "")]
        fields += [("object_id", self.object_id, "")]
        if self.light:
            fields += [("time", self.light.time, ""), ("exposure_s", self.light.exposure_s, "")]
        fields += [(plane, getattr(self.stamps, plane), "") for plane in Plane]
        if self.stamps.sign:
            fields += [("sign", self.stamps.sign.field, " of the difference")]
        fields += [("flags", each.fields, f" of {', '.join(each.classes)}") for each in self.flags]
        wanted = [
            WantedField(role, path, _TYPES[role], role + words)
            for role, paths, words in fields
            for path in paths
        ]
        wanted += [
            WantedField(each.role, path, _FIELD_TYPES[each.kind], each.role)
            for each in self._read_fields
            for path in self.fields[each.name]
        ]
        return tuple(wanted)

    def has_default(self, role: str) -> bool:
        """Returns whether a default replaces the field where a schema has none."""
        default = self.light.default_exposure_s if self.light else None
        return role == "exposure_s" and default is not None


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

    def refuse_unnamed(self, fields: Iterable[RuleField]) -> None:
        """Refuse fields that the maps of their surveys do not name.

        Raises
        ------
        ConfigurationInvalid
            The message has the names that there are.
        """
        for survey, name, _ in sorted(fields):
            named = self._maps[survey].fields
            if name not in named:
                raise ConfigurationInvalid(
                    f"surveys.{survey}.rules: the field map of {survey} names no field {name!r}; "
                    f"there are {', '.join(sorted(named)) or 'none'} ([fields] of a map in "
                    "alerts.survey_folders adds others, at the next start)"
                )

    def named(self, name: str, kind: FieldKind) -> frozenset[RuleField]:
        """Returns the field of a name, of each survey whose map has it, to be read with an alert.

        Raises
        ------
        ConfigurationInvalid
            No map has it.
        """
        found = [each for each in self.maps if name in each.fields]
        if not found:
            there = sorted({every for each in self.maps for every in each.fields})
            raise ConfigurationInvalid(
                f"no field map names a field {name!r}; there are {', '.join(there)} ([fields] of a "
                "map in alerts.survey_folders adds others)"
            )
        return frozenset(RuleField(each.survey, name, kind) for each in found)

    def night_begins_utc_h(self, survey: str) -> float:
        """Returns the hour of UTC at which a survey's nights begin; below 0 on the day before."""
        light = self._maps[survey].light if survey in self._maps else None
        return NIGHT_BEGINS_UTC_H if light is None else light.night_begins_utc_h

    def of_record(self, name: str) -> tuple[SurveyMap, ...]:
        """Returns the maps for a record of this full name, the last loaded first."""
        return tuple(each for each in self.maps if re.fullmatch(each.record, name))


def night_of(moment: datetime, night_begins_utc_h: float) -> str | None:
    """Returns the date of the night that a moment (UTC) is of; None at the calendar's ends."""
    try:
        return (moment - timedelta(hours=night_begins_utc_h)).date().isoformat()
    except OverflowError:
        return None


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
    return f"{message}; found {found!r}"[:_LONGEST_WORDS] if plain else message
