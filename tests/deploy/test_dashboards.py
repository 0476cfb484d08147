"""Grafana's dashboards: as they are drawn, in plain words, with links that lead somewhere."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from make_dashboards import dashboards, runbook_sections

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
FOLDER = DEPLOY / "grafana" / "dashboards"
FILES = sorted(FOLDER.glob("*.json"))

Json = dict[str, Any]


def panels() -> list[Json]:
    """Every panel that asks Prometheus something."""
    boards = [json.loads(path.read_text()) for path in FILES]
    return [p for board in boards for p in board["panels"] if p["type"] not in ("row", "text")]


def named(panel: Json) -> str:
    return str(panel["title"])


def test_the_files_are_what_is_drawn() -> None:
    """After a change of the boards or the runbook: python deploy/grafana/make_dashboards.py."""
    drawn = dashboards()
    assert sorted(drawn) == [path.name for path in FILES]
    old = [path.name for path in FILES if path.read_text() != drawn[path.name]]
    assert [] == old, "write them anew: python deploy/grafana/make_dashboards.py"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_grafana_labs_own_model_reads_a_dashboard_whole(path: Path) -> None:
    """No key is misspelt: the model drops what it does not know."""
    register_default_plugins()
    board = json.loads(path.read_text())
    assert board == json.loads(JSONEncoder().encode(Dashboard.from_json(board)))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_panels_of_a_dashboard_have_numbers_and_places_of_their_own(path: Path) -> None:
    """None lies upon another, none sticks out."""
    shown = json.loads(path.read_text())["panels"]
    assert len({each["id"] for each in shown}) == len(shown)
    cells: set[tuple[int, int]] = set()
    for place in (each["gridPos"] for each in shown):
        columns = range(place["x"], place["x"] + place["w"])
        own = {(x, y) for x in columns for y in range(place["y"], place["y"] + place["h"])}
        assert not own & cells
        assert max(x for x, _ in own) < 24
        cells |= own


@pytest.mark.parametrize("panel", panels(), ids=named)
def test_a_panel_explains_itself(panel: Json) -> None:
    """A description in sentences, a unit, and what to show where there is nothing."""
    assert re.fullmatch(r"[A-Z`].{40,}\.", panel["description"])
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert "none" == panel["fieldConfig"]["defaults"]["noValue"]


@pytest.mark.parametrize("panel", panels(), ids=named)
def test_a_panel_links_to_its_section_of_the_runbook(panel: Json) -> None:
    """Which is there, in the dashboard that holds the runbook."""
    (link,) = panel["links"]
    number = int(link["url"].removeprefix("/d/streamfilter-runbook?viewPanel="))
    runbook = json.loads((FOLDER / "runbook.json").read_text())
    titles = {each["id"]: each["title"] for each in runbook["panels"]}
    assert titles[number] in runbook_sections((DEPLOY / "RUNBOOK.md").read_text())


def test_links_within_the_runbook_lead_to_its_panels() -> None:
    """Anchors and files mean nothing in a dashboard."""
    text = (FOLDER / "runbook.json").read_text()
    links = re.findall(r"\]\(([^)]*)\)", text)
    assert links
    assert [] == [each for each in links if not each.startswith("/d/streamfilter-runbook?")]
