"""What the doctor says of places that frames come from and masks go to."""

from pathlib import Path

import pytest

from streamfilter import config
from streamfilter.config import Settings
from streamfilter.doctor import Finding, State, places

TOPICS = {"exposures.contaminants.topics": '["exposures"]'}


def loaded(overrides: dict[str, str]) -> Settings:
    pairs = [f"{key}={value}" for key, value in overrides.items()]
    return config.load(environment={}, overrides=pairs)


def masks(folder: Path | str, **others: str) -> Finding:
    """Returns the only finding about the masks' folder."""
    chosen = TOPICS | {"exposures.contaminants.folder": str(folder)} | others
    (finding,) = places.check_masks(loaded(chosen), [])
    return finding


@pytest.mark.parametrize("reader", ["exposures", "exposures.contaminants"])
@pytest.mark.parametrize("installed", [True, False])
def test_buckets_need_s3fs(reader: str, installed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """This holds for every worker that reads frames; the finding names the extra."""
    monkeypatch.setattr(places, "_installed", lambda module: installed)
    chosen = {f"{reader}.topics": '["x"]', "exposures.reference_buckets": '["survey"]'}
    (finding,) = places.check_references(loaded(chosen), [])
    assert "exposures.reference_buckets survey" == finding.subject
    assert (State.OK if installed else State.FAILED) is finding.state
    assert installed or ".[s3]" in finding.mend


def test_a_folder_of_masks_can_be_written_also_before_it_is_there(tmp_path: Path) -> None:
    """The check leaves no file in it."""
    for folder in (tmp_path, tmp_path / "a" / "b"):
        finding = masks(folder)
        assert (State.OK, f"exposures.contaminants.folder {folder}") == (
            finding.state,
            finding.subject,
        )
    assert [] == list(tmp_path.iterdir())


def test_a_folder_of_masks_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """A file is in its place, or the file system accepts no file."""
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "masks", "/proc/nowhere/masks"):
        finding = masks(folder)
        assert (State.FAILED, True) == (finding.state, "right" in finding.mend)


def test_no_masks_need_no_folder() -> None:
    """The worker is not configured, or its folder is not."""
    alone = loaded({"exposures.contaminants.folder": "/nope"})
    for settings in (alone, loaded(TOPICS)):
        (finding,) = places.check_masks(settings, [])
        assert State.NOT_APPLICABLE is finding.state
