"""``streamfilter track`` on real frames."""

import json
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from click.testing import CliRunner

from streamfilter.cli.track import track

pytestmark = pytest.mark.engine


def test_a_line_of_json_holds_all_of_an_exposure(engine_home: Path, samples: Path) -> None:
    """Decision, voice, probability, the reference's mean, shapes and every tile."""
    path = str(samples / "exposures/tracking/AKB13475I0092.fits.gz")
    result = CliRunner().invoke(track, [path, "missing.fits", "--json"])
    assert 0 == result.exit_code, result.output
    trailed, missing = (json.loads(line) for line in result.stdout.splitlines())
    assert ("tracking_error", "shapes") == (
        trailed["judgement"]["decision"],
        trailed["judgement"]["voice"],
    )
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
