"""What the doctor says of a message, against the field map of its survey."""

from pathlib import Path

import pytest
from several_planes import offered

from streamfilter import config
from streamfilter.doctor import Finding, State
from streamfilter.doctor.messages import check_message
from streamfilter.files import bundled_folder
from streamfilter.records import Message, Origin


@pytest.fixture
def alert(samples: Path) -> Message:
    """A packet of DECam, whose schema stands in it."""
    return Message(Origin("alerts", 0, 5), (samples / "decam/alert.avro").read_bytes())


def said(
    message: Message,
    maps: Path,
    *changes: tuple[str, str],
    planes: str = "science",
    engine: str = "maximask",
) -> Finding:
    """Returns the finding with a site's own map of DECam, in which some words are replaced."""
    text = (bundled_folder("schemas") / "surveys" / "decam.toml").read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (maps / "mine.toml").write_text(text)
    overrides = [f"alerts.survey_folders=['{maps}']", f"alerts.planes=['{planes}']"]
    overrides.append(f"engine.name={engine}")
    chosen = config.load(environment={}, overrides=overrides)
    return check_message(chosen, message, exposure=False)[0]


def test_a_message_of_which_all_is_read_is_well(alert: Message, tmp_path: Path) -> None:
    """The schema has every field that the map names."""
    assert State.OK == said(alert, tmp_path).state


def test_a_map_that_names_fields_which_are_not_there_is_told(
    alert: Message, tmp_path: Path
) -> None:
    """The finding names each field and its use; a worker reads alerts without them."""
    finding = said(alert, tmp_path, ("candidate.mjd", "candidate.mjdd"), ('"objectId"', '"object"'))
    assert State.WARNING == finding.state
    assert "object_id: no object; time: no candidate.mjdd" in finding.found
    assert "decam" in finding.mend


def test_a_stamp_that_is_to_be_judged_and_has_no_field_is_a_failure(
    alert: Message, tmp_path: Path
) -> None:
    """No alert could ever be judged by this stamp."""
    finding = said(alert, tmp_path, ("cutoutDifference", "cutoutDiff"), planes="difference")
    assert State.FAILED == finding.state
    assert "difference: no cutoutDiff" in finding.found


def test_a_stamp_that_is_to_be_judged_and_is_not_named_is_told(
    alert: Message, tmp_path: Path
) -> None:
    """A single message may lack the stamp; without a name in the map, all messages lack it."""
    change = 'difference = "cutoutDifference"\n', ""
    finding = said(alert, tmp_path, change, planes="difference")
    assert (State.WARNING, True) == (finding.state, "no stamp for difference" in finding.found)


def test_a_stamp_that_is_seen_beside_another_and_is_not_there_is_told(
    alert: Message, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alerts are judged without it, so it is no failure."""
    (engines := tmp_path / "engines").mkdir()
    offered(monkeypatch, engines)
    assert State.OK == said(alert, tmp_path, engine="several-planes").state
    for change in (('difference = "cutoutDifference"\n', ""), ("cutoutDifference", "cutoutDiff")):
        finding = said(alert, tmp_path, change, engine="several-planes")
        assert State.WARNING == finding.state
        assert "difference" in finding.found


def test_an_engine_that_is_not_there_is_a_failure(alert: Message, tmp_path: Path) -> None:
    """Which stamps it takes is not known."""
    finding = said(alert, tmp_path, engine="maxmask")
    assert (State.FAILED, True) == (finding.state, "no engine" in finding.found)
