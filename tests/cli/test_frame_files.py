"""Which files `track` and `mask` take."""

import threading
import time
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from streamfilter.cli import frame_files
from streamfilter.cli.mask import mask
from streamfilter.cli.track import track


def test_a_folder_without_frames_is_an_error(tmp_path: Path) -> None:
    """Exit code 1: there was nothing to judge."""
    result = CliRunner().invoke(track, [str(tmp_path)])
    assert 1 == result.exit_code
    assert "no FITS file" in result.output


@pytest.mark.parametrize("command", [track, mask])
def test_files_of_which_none_is_there_are_an_error(command: click.Command, tmp_path: Path) -> None:
    """A misspelt name is not a night without verdicts: exit code 1, before the engine is opened."""
    names = ["nofile.fits", "night*.fits[1]"]
    arguments = [*names, *(["-o", str(tmp_path)] if command is mask else [])]
    result = CliRunner().invoke(command, arguments)
    assert 1 == result.exit_code
    assert "Error: no such file: nofile.fits, night*.fits[1]\n" == result.stderr


def test_a_file_that_was_read_as_a_list_is_named(tmp_path: Path) -> None:
    """Otherwise its first words look like the name of a file that nobody gave."""
    (notes := tmp_path / "notes.txt").write_text("seeing 1.2\n")
    result = CliRunner().invoke(track, [str(notes)])
    assert f"no such file: seeing 1.2 (read from {notes}: a path in each line)" in result.stderr


@pytest.mark.parametrize(
    ("first", "second", "mask_name"),
    [
        ("a/0001.fits", "b/0001.fits", "0001.mask.fits"),
        ("x.fits", "x.fits.fz", "x.mask.fits"),
        ("a/x.fits[1]", "b/x.fit[1]", "x.mask1.fits"),
    ],
)
def test_files_whose_masks_have_one_name_are_refused(
    tmp_path: Path, first: str, second: str, mask_name: str
) -> None:
    """One mask would overwrite the other, so no mask is written."""
    paths = [str(tmp_path / each) for each in (first, second)]
    for path in paths:
        file = Path(path.removesuffix("[1]"))
        file.parent.mkdir(exist_ok=True)
        file.touch()
    result = CliRunner().invoke(mask, [*paths, "-o", str(tmp_path / "masks")])
    assert (1, False) == (result.exit_code, (tmp_path / "masks").exists())
    target = tmp_path / "masks" / mask_name
    assert f"{paths[0]} and {paths[1]} would both be masked in {target}" in result.stderr


def test_results_come_in_the_order_of_the_names() -> None:
    """Whichever is done first; and no more are begun than may be at a time."""
    running, most, lock = 0, 0, threading.Lock()

    def work(name: str) -> str:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.02 if name == "a" else 0.001)
        with lock:
            running -= 1
        return name.upper()

    assert list("ABCDEFG") == list(frame_files.in_order("abcdefg", work, 3))
    assert 1 < most <= 3


def test_a_bar_s_files_are_done_when_their_block_ends(tmp_path: Path) -> None:
    """By their bytes, within a file by its pixels; a file that is not there counts too."""
    (tmp_path / "a.fits").write_bytes(bytes(1000))
    names = [str(tmp_path / "a.fits"), "missing.fits"]
    progress = frame_files.FileProgress(names)
    with progress.shown():
        with progress.file(names[0]) as file:
            done = file.of(200)
            done(50)
            assert (250.0, 1001.0) == progress.way()
            done(10_000)
        with progress.file(names[1]):
            pass
    assert (1001.0, 1001.0) == progress.way()
