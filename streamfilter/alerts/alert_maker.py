"""Makes Alerts of one survey from the values of its fields, as its field map says."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from uuid import UUID

from streamfilter.alerts.placement import LARGEST_SIDE_PX, around_alert, place_of
from streamfilter.alerts.surveys import TIMESTAMPS, Light, SurveyMap
from streamfilter.errors import MessageRejected, Reason
from streamfilter.fits.stamps import EXTENSIONS, Planes, read_stamp
from streamfilter.limits import Limits
from streamfilter.records import (
    Alert,
    FieldValue,
    Message,
    NotEvaluated,
    Plane,
    Stamp,
    Unreadable,
)

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
_LONGEST_VALUE = 40  # characters of a value that cannot be used, in a report
# Share of a number by which one in 32 bits may differ from the same in a field map.
_SAME = 1e-6

Report = Callable[[str, str], None]
"""Takes what packets do not give: the role (as ``WantedField.role``), and what was found."""


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
    report
        Is told of every alert with a value that cannot be used.
    """

    def __init__(
        self,
        survey: SurveyMap,
        limits: Limits,
        types: Sequence[frozenset[str] | None] = (),
        report: Report = lambda role, found: None,
    ) -> None:
        self.survey = survey
        self._limits = limits
        self._report = report
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
        self._has_sign = self._is_read("sign", types)
        self._fields = [
            (field, self._slots[field.role])
            for field in survey.read_fields
            if self._is_read(field.role, types)
        ]

    def alert(
        self,
        message: Message,
        values: Sequence[object],
        planes: Collection[Plane] = tuple(Plane),
        extensions: Mapping[Plane, Collection[str]] = MappingProxyType({}),
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
        extensions
            Of these planes what is read beside the image; of others all.

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
        stamps, unreadable = self._stamps(values, planes, extensions)
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
            fields=self._named(values),
        )

    def _is_read(self, role: str, types: Sequence[frozenset[str] | None]) -> bool:
        """Returns whether the schema has a usable field for a value of the map."""
        return any(not types or types[slot] is not None for slot in self._slots.get(role, ()))

    def _first(self, role: str, values: Sequence[object]) -> object:
        for slot in self._slots.get(role, ()):
            if values[slot] is not None:
                return values[slot]
        return None

    def _stamps(
        self,
        values: Sequence[object],
        planes: Collection[Plane],
        extensions: Mapping[Plane, Collection[str]],
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
                found = read_stamp(data, self._limits, extensions.get(plane, EXTENSIONS))
            except MessageRejected as error:
                failed[plane] = error
                continue
            if plane is Plane.DIFFERENCE and self._is_turned(values):
                found = found._replace(image=-found.image)
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

    def _is_turned(self, values: Sequence[object]) -> bool:
        """Returns whether the difference is template minus science; reports what does not tell."""
        sign = self.survey.stamps.sign
        if sign is None or not self._has_sign:
            return False
        value = self._first("sign", values)
        if value in sign.template_minus_science:
            return True
        if value not in sign.science_minus_template:
            words = "null" if value is None else repr(value)[:_LONGEST_VALUE]
            self._report(
                "sign",
                f"sign of the difference: {' or '.join(sign.field)} is {words} in an alert; "
                "its difference stays as it was sent",
            )
        return False

    def _around_alert(self, planes: Planes) -> Stamp | None:
        given = self.survey.stamps
        place = place_of(*planes.image.shape, given.nominal_px, cut=given.place == "edge")
        return around_alert(Stamp(*planes, place))

    def _named(self, values: Sequence[object]) -> Mapping[str, FieldValue]:
        """Returns the values that rules look at; reports those that the packet does not have."""
        found: dict[str, FieldValue] = {}
        for field, slots in self._fields:
            value = next((each for slot in slots if (each := values[slot]) is not None), None)
            if isinstance(value, bool | int | float | str) and not self._is_none(value):
                found[field.name] = value
                continue
            paths = " or ".join(self.survey.fields[field.name])
            self._report(
                field.role, f"{field.role}: {paths} has no value in an alert; it meets no condition"
            )
        return found

    def _is_none(self, value: FieldValue) -> bool:
        """Returns whether a value stands for none: NaN, or a number that the map names."""
        if isinstance(value, str):
            return False
        return value != value or any(
            math.isclose(value, each, rel_tol=_SAME) for each in self.survey.no_value
        )

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
    stamped = [scale for kind, scale in TIMESTAMPS.items() if types and kind in types]
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
