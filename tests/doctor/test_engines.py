"""Which engines the doctor looks for, and runs."""

from pathlib import Path

import pytest

from streamfilter import config
from streamfilter.doctor import Finding, State, engines


def checked(home: Path, *more: str) -> list[Finding]:
    """Returns what is found of a worker that searches frames for contaminants, alerts aside."""
    topics = 'exposures.contaminants.topics=["exposures"]'
    chosen = ("engine.name=stampmask", topics, f"engine.home={home}", *more)
    found = engines.check(config.load(overrides=chosen), [])
    return [each for each in found if "stampmask" not in each.subject]


@pytest.mark.parametrize(
    ("cosmic_rays", "wanted"),
    [("deepcr", ["maximask", "deepcr"]), ("maximask", ["maximask"]), ("", ["maximask"])],
)
def test_masks_want_the_finder_of_cosmic_rays_too(
    cosmic_rays: str, wanted: list[str], tmp_path: Path
) -> None:
    """What is not in the cache is named, with the command that fetches it."""
    findings = checked(tmp_path, f"exposures.contaminants.cosmic_rays={cosmic_rays}")
    assert [State.FAILED] * len(wanted) == [each.state for each in findings]
    for name, finding in zip(wanted, findings, strict=True):
        assert finding.mend.endswith(f"streamfilter engines fetch {name}")


def test_a_finder_that_there_is_not_is_one_finding(tmp_path: Path) -> None:
    """With those that there are."""
    (finding,) = checked(tmp_path, "exposures.contaminants.cosmic_rays=nothing")
    assert (State.FAILED, True) == (finding.state, "there are deepcr, maximask" in str(finding))


@pytest.mark.engine
def test_both_networks_of_masks_are_run(engine_home: Path) -> None:
    """A worker would not start without one of them."""
    findings = checked(engine_home)
    assert {State.OK} == {each.state for each in findings}
    assert ["deepcr", "maximask"] == sorted(
        each.subject.split()[0] for each in findings if " on " in each.subject
    )
