"""Arguments to paths."""

from pathlib import Path

import pytest

from streamfilter.exposures import frame_paths


def test_folders_and_lists_are_expanded_in_order(tmp_path: Path) -> None:
    """Folders give frames by name, without masks and other files; lists give their lines."""
    for name in ("b.fits", "a.fits.fz", "c.fit.gz", "b.mask.fits", "b.mask2.fits", "notes.md"):
        (tmp_path / name).touch()
    listed = tmp_path / "some.list"
    listed.write_text("x.fits[2]\n\n# comment\n y.fits \n")
    found = list(frame_paths.expand([str(tmp_path), str(listed), "z.fits[1]"]))
    frames = [str(tmp_path / name) for name in ("a.fits.fz", "b.fits", "c.fit.gz")]
    assert [*frames, "x.fits[2]", "y.fits", "z.fits[1]"] == found


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/data/x.fits", "x.mask.fits"),
        ("x.fits.fz", "x.mask.fits"),
        ("x.fit.gz", "x.mask.fits"),
        ("x.fits[2]", "x.mask2.fits"),
    ],
)
def test_masks_are_named_as_the_reference_program_names_them(path: str, expected: str) -> None:
    """x.fits.fz[2] gives x.mask2.fits."""
    assert expected == frame_paths.mask_name(path)
