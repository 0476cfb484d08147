"""Arguments to paths."""

from pathlib import Path

import pytest

from streamfilter.exposures import frame_paths


def test_folders_and_lists_are_expanded_in_order(tmp_path: Path) -> None:
    """Folders give frames by name, without masks and other files; lists give their lines."""
    frames = ["a.fits.fz", "b.fits", "c.fit.gz", "d.fits.bz2", "e.fts.xz", "f.fits.Z", "g.FITS"]
    for name in (*frames, "b.mask.fits", "b.mask2.fits", "notes.md"):
        (tmp_path / name).touch()
    listed = tmp_path / "some.list"
    listed.write_text("x.fits[2]\n\n# comment\n y.fits \n")
    found = frame_paths.expand([str(tmp_path), str(listed), "z.fits[1]"]).paths
    assert (*(str(tmp_path / name) for name in frames), "x.fits[2]", "y.fits", "z.fits[1]") == found


def test_what_is_left_out_of_folders_is_told_in_one_line(tmp_path: Path) -> None:
    """How many, why, and the first names; of files that are named, nothing is left out."""
    for name in ("a.fits", "a.mask.fits", "b.fits.zst", "1.md", "2.md", "3.md", "4.md"):
        (tmp_path / name).touch()
    (tmp_path / "raw").mkdir()
    assert frame_paths.expand([str(tmp_path)]).left_out_line() == (
        "left out of folders: 1 compressed in a way that is not read (b.fits.zst); 1 folder (raw); "
        "1 mask (a.mask.fits); 4 not named as a FITS file (1.md, 2.md, 3.md, ...)"
    )
    assert "" == frame_paths.expand([str(tmp_path / "notes.md"), "a.mask.fits"]).left_out_line()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/data/x.fits", "x.mask.fits"),
        ("x.fits.fz", "x.mask.fits"),
        ("x.fit.gz", "x.mask.fits"),
        ("x.fits.bz2", "x.mask.fits"),
        ("x.fits.Z", "x.mask.fits"),
        ("x.fits[2]", "x.mask2.fits"),
    ],
)
def test_masks_are_named_as_the_reference_program_names_them(path: str, expected: str) -> None:
    """x.fits.fz[2] gives x.mask2.fits."""
    assert expected == frame_paths.mask_name(path)
