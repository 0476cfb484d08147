"""``streamfilter track`` on real frames."""

import bz2
import io
import json
import lzma
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from bad_frames import write_bad_frames
from click.testing import CliRunner
from compress_writer import compressed
from fields import Field

from streamfilter.cli.track import track

pytestmark = pytest.mark.engine


def test_a_line_of_json_holds_all_of_an_exposure(engine_home: Path, samples: Path) -> None:
    """Decision, voice, probability, the reference's mean, shapes and every tile."""
    path = str(samples / "exposures/tracking/AKB13475I0092.fits.gz")
    result = CliRunner().invoke(track, [path, "missing.fits", "--json"])
    assert 0 == result.exit_code, result.output
    trailed, missing = (json.loads(line) for line in result.stdout.splitlines())
    assert "tracking_error" == trailed["judgement"]["decision"]
    assert trailed["judgement"]["voice"] in ("shapes", "both")  # the network alone is unsure
    assert 0.5 < trailed["judgement"]["probability"] < 1
    assert 0.4 < trailed["judgement"]["reference_mean"]
    assert 4 == len(trailed["detectors"][0]["tiles"])
    assert "reference_missing" == missing["detectors"][0]["not_evaluated"]


def test_a_frame_that_is_meant_to_trail_is_not_judged(engine_home: Path, samples: Path) -> None:
    """The LCO frame follows a minor planet; its card is named."""
    path = str(samples / "exposures/trailed/lco0m4_banzai_trailed.fits.fz")
    line = json.loads(CliRunner().invoke(track, [path, "--json"]).stdout)
    assert ("cannot_tell", "non_sidereal") == (
        line["judgement"]["decision"],
        line["why_undecided"],
    )
    assert "SRCTYPE is 'MINORPLANET'" == line["detectors"][0]["detail"]
    assert "SRCTYPE is" in " ".join(CliRunner().invoke(track, [path]).stdout.split())


def test_the_table_and_the_figure_show_every_file(
    engine_home: Path, samples: Path, tmp_path: Path
) -> None:
    """Files as detectors of one exposure have a row for all of them."""
    folder = samples / "exposures/good"
    figure = tmp_path / "page.png"
    result = CliRunner().invoke(track, ["--together", str(folder), "--figure", str(figure)])
    assert 0 == result.exit_code, result.output
    assert "too_small" in result.stdout
    assert "all" in result.stdout
    assert 10_000 < figure.stat().st_size


def test_a_name_in_the_table_is_no_markup(engine_home: Path, tmp_path: Path) -> None:
    """Brackets stay in the name of a file, and in that of a detector, where they ended all."""
    header = fits.Header({"EXTNAME": "[/x]"})
    fits.PrimaryHDU(np.ones((9, 9), np.int16), header).writeto(tmp_path / "[red]a.fits")
    result = CliRunner().invoke(track, [str(tmp_path)], catch_exceptions=False)
    assert 0 == result.exit_code, result.output
    assert "[red]a.fits" in result.stdout
    assert "[/x]" in result.stdout


def test_a_cube_is_judged_by_all_its_planes(engine_home: Path, tmp_path: Path) -> None:
    """Colour cameras write them; a trailed one is a tracking error."""
    decisions = {}
    for name, trail in (("tracked", 0.0), ("trailed", 12.0)):
        planes = [Field(height=420, width=420, stars=60, trail_px=trail).image() for _ in "rgb"]
        fits.PrimaryHDU(np.stack(planes).astype(np.uint16)).writeto(tmp_path / f"{name}.fits")
        result = CliRunner().invoke(track, [str(tmp_path / f"{name}.fits"), "--json"])
        line = json.loads(result.stdout)
        decisions[name] = line["judgement"]["decision"]
        names = [each["detector"] for each in line["detectors"]]
        assert ["0 plane 1", "0 plane 2", "0 plane 3"] == names
    assert {"tracked": "ok", "trailed": "tracking_error"} == decisions


def test_a_night_of_compressed_frames_is_judged(engine_home: Path, tmp_path: Path) -> None:
    """In bzip2, xz and compress; what is left out of the folder is told, the last line counts."""
    out = io.BytesIO()
    fits.PrimaryHDU(Field(height=420, width=420, stars=60).image()).writeto(out)
    content = out.getvalue()
    packed = {"bz2": bz2.compress(content), "xz": lzma.compress(content), "Z": compressed(content)}
    for ending, bytes_of_it in packed.items():
        (tmp_path / f"frame.fits.{ending}").write_bytes(bytes_of_it)
    (tmp_path / "notes.md").touch()
    result = CliRunner().invoke(track, [str(tmp_path), "--json", "--jobs", "2"])
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert ["Z", "bz2", "xz"] == [line["exposure"].rpartition(".")[2] for line in lines]
    assert {"ok"} == {line["judgement"]["decision"] for line in lines}
    first, *_, last = result.stderr.splitlines()
    assert "left out of folders: 1 not named as a FITS file (notes.md)" == first
    assert last.startswith("exposures: 0 tracking_error, 3 ok, 0 cannot_tell, in ")


def test_frames_of_every_bad_kind_have_a_reason_and_the_next_goes_on(
    engine_home: Path, tmp_path: Path
) -> None:
    """Each exposure has a line, with a reason of the closed set."""
    reasons = write_bad_frames(tmp_path / "night")
    good = tmp_path / "night" / "z.fits"
    fits.PrimaryHDU(Field(height=420, width=420, stars=60).image()).writeto(good)
    arguments = [str(tmp_path / "night"), "--json", "--exit-code"]
    result = CliRunner().invoke(track, arguments)
    lines = {
        Path(each["exposure"]).name: each for each in map(json.loads, result.stdout.splitlines())
    }
    assert 3 == result.exit_code
    assert "ok" == lines.pop("z.fits")["judgement"]["decision"]
    assert reasons == {name: each["detectors"][0]["not_evaluated"] for name, each in lines.items()}


@pytest.mark.parametrize(("trail_px", "code"), [(0.0, 0), (12.0, 4)])
def test_a_script_can_ask_for_the_decision(
    engine_home: Path, tmp_path: Path, trail_px: float, code: int
) -> None:
    """By the exit code, which is 0 where it is not asked for."""
    path = str(tmp_path / "x.fits")
    fits.PrimaryHDU(Field(height=420, width=420, stars=60, trail_px=trail_px).image()).writeto(path)
    assert 0 == CliRunner().invoke(track, [path]).exit_code
    assert code == CliRunner().invoke(track, [path, "--exit-code"]).exit_code


def test_the_settings_of_the_stream_hold_and_options_go_over_them(
    engine_home: Path, tmp_path: Path
) -> None:
    """The prior of both, the limits of the settings."""
    path = str(tmp_path / "x.fits")
    fits.PrimaryHDU(Field(height=420, width=420, stars=60).image()).writeto(path)
    runs = [["--set=exposures.prior=0.25"], ["--set=exposures.prior=0.25", "--prior=0.5"]]
    lines = [json.loads(CliRunner().invoke(track, [path, "--json", *each]).stdout) for each in runs]
    assert [0.25, 0.5] == [line["judgement"]["prior"] for line in lines]
    limited = CliRunner().invoke(track, [path, "--json", "--set=exposures.max_frame_bytes=9"])
    (detector,) = json.loads(limited.stdout)["detectors"]
    assert detector["detail"].endswith("; exposures.max_frame_bytes = 9")


def test_a_section_that_is_none_is_a_wrong_argument() -> None:
    """Otherwise every frame would be refused, one after the other."""
    result = CliRunner().invoke(track, ["x.fits", "--section", "1:100"])
    assert 2 == result.exit_code
    assert "expected [x1:x2,y1:y2]" in result.stderr


def test_the_sky_can_be_the_reference_program_s(engine_home: Path, samples: Path) -> None:
    """The reference's sky gives other numbers, and here the same decision."""
    path = str(samples / "exposures/good/mro2m4_didymos.fits.gz")
    runs = [["--background", "reference"], []]
    lines = [CliRunner().invoke(track, [path, "--json", *each]).stdout for each in runs]
    theirs, ours = (json.loads(line)["judgement"] for line in lines)
    assert ("ok", "ok") == (theirs["decision"], ours["decision"])
    assert theirs["shapes"] != ours["shapes"]
