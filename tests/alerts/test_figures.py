import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from matplotlib.image import imread

from streamfilter.alerts.figures import InspectedAlert, draw, fields_in_words
from streamfilter.alerts.maps import StampMaps
from streamfilter.alerts.stamp_views import COLOURS
from streamfilter.contaminants import CODES, TABLE
from streamfilter.errors import ConfigurationInvalid
from streamfilter.records import (
    Action,
    Alert,
    Annotation,
    ClassEvidence,
    ClassPrior,
    EngineIdentity,
    FieldValue,
    Label,
    Message,
    NotEvaluated,
    Origin,
    Plane,
    Stamp,
    StampEvidence,
    Times,
    Verdict,
)

SIDE = 30


def inspected(code: str | None = None, *, flat: float | None = None) -> InspectedAlert:
    """An alert whose central 6x6 px are of a class, or of none; ``flat`` fills its stamps."""
    noise = np.random.default_rng(1).normal(0, 1, (SIDE, SIDE)).astype(np.float32)
    image = noise if flat is None else np.full_like(noise, flat)
    posteriors = {each: np.zeros((SIDE, SIDE)) for each in CODES}
    classes = dict.fromkeys(CODES, ClassEvidence(0.0, 0.0, 0.0, 0, None))
    verdict = Verdict(Label.CLEAN, Action.KEEP)
    if code is not None:
        posteriors[code][12:18, 12:18] = 0.99
        classes[code] = ClassEvidence(0.99, 0.99, 0.99, 36, 0.7)
        verdict = Verdict(Label.CONTAMINATED, Action.DROP, code, "a-rule")
    stamps = {plane: Stamp(image) for plane in Plane}
    alert = Alert(Message(Origin("t", 0, 0), b""), "lsst", "170", None, stamps)
    limits = {row.code: row.threshold for row in TABLE}
    masks = {each: found > limits[each] for each, found in posteriors.items()}
    return InspectedAlert(annotation(alert, verdict, classes), StampMaps(posteriors, masks))


def annotation(
    alert: Alert, verdict: Verdict, classes: dict[str, ClassEvidence], why: str | None = None
) -> Annotation:
    """With the table's own priors."""
    reason = None if why is None else NotEvaluated(why)
    return Annotation(
        alert,
        verdict,
        (StampEvidence(Plane.SCIENCE, reason, 0, classes),),
        EngineIdentity("maximask", "0" * 64, "onnxruntime 1"),
        tuple(ClassPrior(row.code, row.prior, row.threshold) for row in TABLE),
        Times(0.0, 0.0, 0.0, 0.0),
    )


def page(tmp_path: Path, *rows: InspectedAlert, most_rows: int = 12) -> npt.NDArray[np.float32]:
    """The pixels of a page of these rows."""
    path = tmp_path / "page.png"
    draw(rows, path, most_rows=most_rows)
    return np.asarray(imread(path))


def near(pixels: npt.NDArray[np.float32], colour: str) -> int:
    """How many pixels have exactly this colour."""
    wanted = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
    return int((np.abs(pixels[..., :3] * 255 - wanted) < 1.5).all(axis=2).sum())


def test_every_contaminant_has_a_colour_of_its_own() -> None:
    """Normal classes have no colour, because they are not drawn."""
    assert {row.code for row in TABLE if not row.normal} == set(COLOURS)
    assert len(COLOURS) == len(set(COLOURS.values()))


@pytest.mark.parametrize("code", ["CR", "DCL", "TRL"])
def test_contaminated_pixels_are_outlined_in_the_colour_of_their_class(
    tmp_path: Path, code: str
) -> None:
    """A clean alert's page has none of it."""
    assert near(page(tmp_path, inspected(code)), COLOURS[code]) > 50
    assert 0 == near(page(tmp_path, inspected()), COLOURS[code])


def test_what_several_planes_were_there_is_said(tmp_path: Path) -> None:
    """Of a network that sees one there is nothing to say."""
    plain = inspected()

    def judged_by(*planes: str) -> npt.NDArray[np.float32]:
        stamps = (replace(plain.annotation.stamps[0], planes=planes),)
        return page(tmp_path, replace(plain, annotation=replace(plain.annotation, stamps=stamps)))

    assert np.array_equal(judged_by(), judged_by("science"))
    assert not np.array_equal(judged_by("science"), judged_by("science", "difference", "valid"))


def test_a_source_is_not_drawn_as_contamination(tmp_path: Path) -> None:
    """BBG over its threshold leaves the masks as they are without it."""
    source = inspected()
    assert source.maps is not None
    everywhere = {**source.maps.masks, "BBG": np.ones((SIDE, SIDE), np.bool_)}
    bright = replace(source.maps, masks=everywhere)
    same = page(tmp_path, InspectedAlert(source.annotation, bright))
    assert np.array_equal(page(tmp_path, source), same)


def test_a_page_holds_so_many_rows_and_says_that_it_leaves_some_out(tmp_path: Path) -> None:
    """The height is that of the shown rows; the title differs where rows are omitted."""
    two = page(tmp_path, *[inspected()] * 2)
    cut = page(tmp_path, *[inspected()] * 5, most_rows=2)
    assert two.shape == cut.shape
    assert not np.array_equal(two[:60], cut[:60])
    assert np.array_equal(two[120:], cut[120:])


def test_a_long_name_stays_on_the_page(tmp_path: Path) -> None:
    """DECam names objects by file and position; the margin on the right stays white."""
    row = inspected("CR")
    name = "c4d_260708_015517_xxx_g_dts-1511-140151997" * 3
    alert = replace(row.annotation.alert, object_id=name)
    named = page(tmp_path, replace(row, annotation=replace(row.annotation, alert=alert)))
    assert not np.array_equal(page(tmp_path, row), named)
    assert {1.0} == set(np.unique(named[:, -10:, :3]))


def test_pixels_without_data_are_in_the_legend(tmp_path: Path) -> None:
    """They have a colour of their own; a page without such pixels does not name it."""
    row = inspected()
    image = row.annotation.alert.stamps[Plane.TEMPLATE].image.copy()
    image[:5] = np.nan
    stamps = {**row.annotation.alert.stamps, Plane.TEMPLATE: Stamp(image)}
    alert = replace(row.annotation.alert, stamps=stamps)
    gaps = page(tmp_path, replace(row, annotation=replace(row.annotation, alert=alert)))
    head = slice(30, 70)
    assert near(gaps[head], "#9FB0C8") > 50
    assert 0 == near(page(tmp_path, row)[head], "#9FB0C8")


@pytest.mark.parametrize("fill", [0.0, np.nan, -3.4028235e38, np.inf])
def test_stamps_of_nothing_are_drawn_all_the_same(tmp_path: Path, fill: float) -> None:
    """Zeros, NaN, infinity, and the lowest float32 that ZTF writes."""
    assert page(tmp_path, inspected(flat=fill)).std() > 0.05


def test_an_alert_without_stamps_or_evidence_has_its_row(tmp_path: Path) -> None:
    """The panels say that nothing was sent."""
    alert = Alert(Message(Origin("t", 0, 0), b""), "ztf", "1", "ZTF1", {})
    verdict = Verdict(Label.NOT_EVALUATED, Action.KEEP)
    row = InspectedAlert(annotation(alert, verdict, {}, "stamp_missing"), None)
    assert page(tmp_path, row).std() > 0.05


def test_without_matplotlib_the_error_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message says how to install it."""
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ConfigurationInvalid, match=r"pip install -e '\.\[figures\]'"):
        draw([inspected()], tmp_path / "page.png")


@pytest.mark.parametrize("name", ["none/page.png", "page.no_such_format"])
def test_a_file_that_cannot_be_written_is_named(tmp_path: Path, name: str) -> None:
    """A folder that is not there, an ending that is no format."""
    with pytest.raises(ConfigurationInvalid, match="page"):
        draw([inspected()], tmp_path / name)


def test_a_page_of_nothing_is_refused(tmp_path: Path) -> None:
    """There is no alert where every packet was rejected."""
    with pytest.raises(ConfigurationInvalid, match="no alert"):
        draw([], tmp_path / "page.png")


@pytest.mark.process
def test_importing_figures_does_not_import_matplotlib() -> None:
    """`streamfilter inspect` without a figure starts quickly, and needs no extra."""
    code = "import sys, streamfilter.alerts.figures; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert "False" == done.stdout.strip()


def test_the_fields_that_rules_look_at_are_told_in_short() -> None:
    """A text of a packet may be long and may move a cursor."""
    fields: dict[str, FieldValue] = {"drb": 0.1 + 0.2, "ndethist": 12, "isDipole": False}
    fields["band"] = "\x1b[2J" + "r" * 100
    words = fields_in_words(fields)
    assert words.startswith(r"drb 0.3, ndethist 12, isDipole False, band \x1b[2Jrrr")
    assert len(words) < 100
