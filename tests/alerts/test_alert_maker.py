"""Alerts, made from the values of a field map's fields."""

import gzip
import io
from collections.abc import Collection
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from astropy.io import fits
from field_maps import MAP, field_map

from streamfilter.alerts.alert_maker import AlertMaker
from streamfilter.alerts.surveys import RuleField, SurveyMap
from streamfilter.errors import MessageRejected, Reason
from streamfilter.limits import Limits
from streamfilter.records import Alert, FieldKind, Message, NotEvaluated, Origin, Plane

# 2026-01-01T00:00:00 UTC is MJD 61041; the TAI clock is 37 s ahead.
MJD_TAI = 61041 + 37 / 86400
NEW_YEAR = 1767225600.0


def alert_of(
    survey: SurveyMap,
    planes: Collection[Plane] = tuple(Plane),
    said: list[tuple[str, str]] | None = None,
    /,
    **values: object,
) -> Alert:
    """An alert of these fields; all others are null. What is reported of it is said."""
    named = [values.get(field.path.replace(".", "_")) for field in survey.wanted()]
    maker = AlertMaker(
        survey, Limits(), report=lambda *report: None if said is None else said.append(report)
    )
    return maker.alert(Message(Origin("t", 0, 0), b""), named, planes)


def stamp(shape: tuple[int, int] = (4, 5)) -> bytes:
    """A small FITS file."""
    return file_of(np.ones(shape, ">f4"))


def file_of(image: npt.NDArray[np.floating], **extensions: npt.NDArray[np.floating]) -> bytes:
    """A FITS file of an image, and of further ones by the name of their extension."""
    buffer = io.BytesIO()
    images = [fits.ImageHDU(each, name=name) for name, each in extensions.items()]
    fits.HDUList([fits.PrimaryHDU(image), *images]).writeto(buffer)
    return buffer.getvalue()


def test_ids_are_texts(tmp_path: Path) -> None:
    """The first that is there counts, and an object 0 is none."""
    survey = field_map(tmp_path)
    alert = alert_of(survey, id=2**60, old_id=7, object=0, solar=5)
    assert (str(2**60), "5") == (alert.alert_id, alert.object_id)
    assert ("7", None) == (alert_of(survey, old_id=7).alert_id, alert_of(survey, id=1).object_id)


def test_an_alert_without_an_id_is_rejected(tmp_path: Path) -> None:
    """Nothing could refer to it."""
    with pytest.raises(MessageRejected, match=r"id or old\.id is null") as caught:
        alert_of(field_map(tmp_path))
    assert Reason.FIELD_MISSING == caught.value.reason


@pytest.mark.parametrize(
    ("scale", "refers_to", "time", "end"),
    [
        ("mjd-tai", "middle", MJD_TAI, NEW_YEAR + 5),
        ("mjd-tai", "start", MJD_TAI, NEW_YEAR + 10),
        ("mjd-utc", "end", 61041.0, NEW_YEAR),
        ("jd-utc", "start", 2461041.5, NEW_YEAR + 10),
        ("jd-tai", "end", 2461041.5, NEW_YEAR - 37),
        ("unix-s", "start", NEW_YEAR, NEW_YEAR + 10),
        ("unix-ms", "end", NEW_YEAR * 1e3, NEW_YEAR),
        ("unix-us", "end", NEW_YEAR * 1e6, NEW_YEAR),
    ],
)
def test_the_end_of_the_light_is_utc(
    tmp_path: Path, scale: str, refers_to: str, time: float, end: float
) -> None:
    """The packet gives the start, middle or end of the exposure, in UTC or TAI."""
    text = MAP.replace("mjd-tai", scale).replace("middle", refers_to)
    alert = alert_of(field_map(tmp_path, text), id=1, mjd=time, seconds=10.0)
    assert alert.light_end_unix_s == pytest.approx(end, abs=1e-4)


@pytest.mark.parametrize("seconds", [None, -999.0, float("nan"), 0.0])
def test_a_missing_exposure_takes_the_default(tmp_path: Path, seconds: float | None) -> None:
    """Surveys write null, -999 or NaN for what they do not know."""
    alert = alert_of(field_map(tmp_path), id=1, mjd=MJD_TAI, seconds=seconds)
    assert alert.light_end_unix_s == pytest.approx(NEW_YEAR + 15, abs=1e-4)


def test_without_a_time_there_is_none(tmp_path: Path) -> None:
    """An undated packet is still an alert, unless the map requires the time."""
    assert alert_of(field_map(tmp_path), id=1).light_end_unix_s is None
    required = 'required = ["time"]\n' + MAP
    with pytest.raises(MessageRejected, match="time"):
        alert_of(field_map(tmp_path, required), id=1)


@pytest.mark.parametrize(
    ("values", "flagged", "flaggable"),
    [
        ({}, set(), set()),
        ({"cr": False}, set(), {"CR"}),
        ({"cr": False, "cr_centre": True}, {"CR"}, {"CR"}),
        ({"bad": 0, "cr": None}, set(), {"HP", "DP"}),
        ({"bad": 3}, {"HP", "DP"}, {"HP", "DP"}),
        ({"bad": -999}, set(), {"HP", "DP"}),
    ],
)
def test_flags_raise_their_classes(
    tmp_path: Path, values: dict[str, object], flagged: set[str], flaggable: set[str]
) -> None:
    """Null flags say nothing; a group of classes is raised together."""
    alert = alert_of(field_map(tmp_path), id=1, **values)
    assert (flagged, flaggable) == (set(alert.flagged), set(alert.flaggable))


def test_a_null_stamp_is_absent(tmp_path: Path) -> None:
    """Stamps that are not null are present."""
    survey = field_map(tmp_path)
    assert {} == dict(alert_of(survey, id=1).stamps)
    assert (4, 5) == alert_of(survey, id=1, sci=stamp()).stamps[Plane.SCIENCE].image.shape


@pytest.mark.parametrize(
    ("keys", "place"),
    [
        ("", ((2.0, 1.0), (2.0,))),
        ("nominal_px = 7", ((3.0, 0.0), (3.0, 1.0))),
        ('place = "middle"', ((1.5,), (2.0,))),
    ],
)
def test_a_map_says_where_its_stamps_hold_the_alert(
    tmp_path: Path, keys: str, place: tuple[tuple[float, ...], ...]
) -> None:
    """A stamp of 4 x 5 px may be cut from a square, from a larger stamp, or not at all."""
    survey = field_map(tmp_path, MAP.replace('science = "sci"', f'science = "sci"\n{keys}'))
    assert place == alert_of(survey, id=1, sci=stamp()).stamps[Plane.SCIENCE].place


def test_of_a_large_stamp_only_what_is_judged_is_kept(tmp_path: Path) -> None:
    """An alert waits with this part only; the reason says where its place is ambiguous."""
    survey = field_map(tmp_path)
    alert = alert_of(survey, id=1, sci=stamp((300, 300)), ref=stamp((500, 300)))
    assert {Plane.SCIENCE: (128, 128)} == {p: s.image.shape for p, s in alert.stamps.items()}
    assert NotEvaluated.STAMP_TOO_LARGE is alert.unreadable[Plane.TEMPLATE].why
    alone = alert_of(survey, id=1, sci=stamp((500, 300)))
    assert ({}, {Plane.SCIENCE}) == (dict(alone.stamps), set(alone.unreadable))


def test_a_bad_stamp_names_its_plane(tmp_path: Path) -> None:
    """The reason is the stamp's."""
    with pytest.raises(MessageRejected, match="science stamp") as caught:
        alert_of(field_map(tmp_path), id=1, sci=b"junk")
    assert Reason.STAMP_MALFORMED == caught.value.reason


def test_no_bytes_are_no_stamp(tmp_path: Path) -> None:
    """A field of plain bytes cannot be null."""
    survey = field_map(tmp_path)
    alert = alert_of(survey, id=1, sci=stamp(), ref=b"")
    assert ({Plane.SCIENCE}, {}) == (set(alert.stamps), dict(alert.unreadable))
    assert {} == dict(alert_of(survey, id=1, sci=b"").stamps)
    assert {Plane.TEMPLATE} == set(alert_of(survey, id=1, ref=b"", old_ref=stamp()).stamps)


@pytest.mark.parametrize(
    ("data", "why"),
    [(b"junk", NotEvaluated.NO_DATA), (gzip.compress(bytes(10**8)), NotEvaluated.STAMP_TOO_LARGE)],
    ids=["junk", "bomb"],  # gzip writes the time: each process of a run would have its own name
)
def test_a_stamp_that_can_be_done_without_rejects_nothing(
    tmp_path: Path, data: bytes, why: NotEvaluated
) -> None:
    """The stamp is left out, and the reason is kept."""
    alert = alert_of(field_map(tmp_path), id=1, sci=stamp(), ref=data)
    assert {Plane.SCIENCE} == set(alert.stamps)
    assert {Plane.TEMPLATE} == set(alert.unreadable)
    assert why is alert.unreadable[Plane.TEMPLATE].why
    assert alert.unreadable[Plane.TEMPLATE].detail.startswith("stamp: ")


IMAGE = np.array([[-1.5, 0.0, np.nan], [np.inf, 2.0, -0.0], [3.0, 4.0, 5.0]], ">f4")


@pytest.mark.parametrize(("value", "factor"), [("t", 1), ("1", 1), ("f", -1), ("0", -1)])
def test_a_difference_is_science_minus_template(tmp_path: Path, value: str, factor: int) -> None:
    """It is turned back where the packet says so; no other plane is, nor variance and PSF."""
    data, said = file_of(IMAGE, UNCERT=IMAGE**2, PSFIMAGE=IMAGE), list[tuple[str, str]]()
    planes = {"sci": data, "diff": data}
    alert = alert_of(field_map(tmp_path), tuple(Plane), said, id=1, positive=value, **planes)
    found = alert.stamps[Plane.DIFFERENCE]
    assert found.variance is not None
    assert found.psf is not None
    np.testing.assert_array_equal(factor * IMAGE, found.image)
    np.testing.assert_array_equal(IMAGE**2, found.variance)
    np.testing.assert_array_equal(IMAGE, found.psf)
    np.testing.assert_array_equal(IMAGE, alert.stamps[Plane.SCIENCE].image)
    assert ("float32", True) == (str(found.image.dtype), found.image.flags.c_contiguous)
    assert [] == said


@pytest.mark.parametrize(
    ("value", "words"),
    [(None, "is null in"), ("x", "is 'x' in"), ("T" * 50, "is 'TTT"), (0, "is 0 in"), (b"f", "f")],
)
def test_a_difference_of_unknown_sign_stays_as_it_was_sent(
    tmp_path: Path, value: object, words: str
) -> None:
    """That is reported with what was found."""
    said: list[tuple[str, str]] = []
    alert = alert_of(
        field_map(tmp_path), tuple(Plane), said, id=1, diff=file_of(IMAGE), positive=value
    )
    np.testing.assert_array_equal(IMAGE, alert.stamps[Plane.DIFFERENCE].image)
    ((role, detail),) = said
    assert ("sign", True, True) == (role, words in detail, len(detail) < 150)


def test_the_sign_of_a_difference_that_is_not_read_is_not_asked(tmp_path: Path) -> None:
    """Nobody is told of a sign that changes nothing."""
    said: list[tuple[str, str]] = []
    alert_of(field_map(tmp_path), [Plane.SCIENCE], said, id=1, sci=stamp(), positive="x")
    alert_of(field_map(tmp_path), tuple(Plane), said, id=1, sci=stamp(), positive="x")
    assert [] == said


def test_a_sign_may_be_a_number_or_true_and_false(tmp_path: Path) -> None:
    """As the map writes it."""
    text = MAP.replace('["t", "1"]', "[true, 1]").replace('["f", "0"]', "[false, -1.0]")
    for value, factor in ((True, 1), (1, 1), (False, -1), (-1.0, -1)):
        alert = alert_of(field_map(tmp_path, text), id=1, diff=file_of(IMAGE), positive=value)
        np.testing.assert_array_equal(factor * IMAGE, alert.stamps[Plane.DIFFERENCE].image)


def test_a_required_stamp_that_cannot_be_read_rejects(tmp_path: Path) -> None:
    """Other readable stamps do not help."""
    with pytest.raises(MessageRejected, match="science stamp"):
        alert_of(field_map(tmp_path), id=1, sci=b"junk", ref=stamp())


def test_an_alert_of_which_no_stamp_can_be_read_is_rejected(tmp_path: Path) -> None:
    """Its bytes are kept with the reason, so that it can be replayed."""
    with pytest.raises(MessageRejected, match="template stamp"):
        alert_of(field_map(tmp_path), id=1, ref=b"junk")


def test_a_stamp_that_was_not_asked_for_is_not_opened(tmp_path: Path) -> None:
    """This includes a required stamp, because nothing depends on it."""
    alert = alert_of(field_map(tmp_path), [Plane.TEMPLATE], id=1, sci=b"junk", ref=stamp())
    assert ({Plane.TEMPLATE}, {}) == (set(alert.stamps), dict(alert.unreadable))


SCORE = RuleField("mine", "score", FieldKind.NUMBER)
VERSION = RuleField("mine", "version", FieldKind.TEXT)


def test_values_that_rules_look_at_are_kept_by_their_names(tmp_path: Path) -> None:
    """The first path that is there and not null counts; nothing else is kept."""
    survey = field_map(tmp_path).reading([SCORE, VERSION])
    values = {"old_score": 0.0, "version": "v1"}
    assert {"score": 0.0, "version": "v1"} == alert_of(survey, id=1, **values).fields
    assert {"score": False, "version": ""} == alert_of(
        survey, id=1, score=False, old_score=1.0, version=""
    ).fields
    assert {} == alert_of(field_map(tmp_path), id=1, **values).fields


@pytest.mark.parametrize("score", [None, float("nan"), -999.0, -999, float(np.float32(-99.99))])
def test_a_value_that_stands_for_none_is_absent_and_reported(
    tmp_path: Path, score: float | None
) -> None:
    """Null, NaN, and the numbers that the map names, also in 32 bits."""
    survey, said = field_map(tmp_path).reading([SCORE, VERSION]), list[tuple[str, str]]()
    alert = alert_of(survey, tuple(Plane), said, id=1, score=score, version="-999.0")
    assert {"version": "-999.0"} == alert.fields
    words = "fields.score: score or old.score has no value in an alert; it meets no condition"
    assert [("fields.score", words)] == said


@pytest.mark.parametrize("name", ["id", "object"])
@pytest.mark.parametrize(("long", "said"), [("x" * 201, "201"), (b"x" * 101, "202")])
def test_a_name_without_end_is_refused(tmp_path: Path, name: str, long: object, said: str) -> None:
    """The name would be in the key, the headers and the log of every output."""
    values: dict[str, object] = {"id": "7", "sci": stamp(), name: long}
    with pytest.raises(MessageRejected, match=f"{said} characters") as caught:
        alert_of(field_map(tmp_path), **values)
    assert Reason.FIELD_TYPE == caught.value.reason
