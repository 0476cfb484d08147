"""The demo, over the embedded broker."""

import json
import time
from pathlib import Path

import pytest

from streamfilter.demo.alerts import ANNOTATIONS, DAMAGED, FIGURE, METRICS, Tally, run, survey
from streamfilter.demo.side_by_side import REAL, SideBySide
from streamfilter.demo.site import open_broker


@pytest.mark.parametrize("rate_per_s", [0.01, 3.0, 50.0])
def test_no_alert_is_sent_before_its_light_ended(rate_per_s: float) -> None:
    """However fast they are sent, alerts are of tonight: latencies from the light are real ones."""
    began_s = time.time()
    for number, alert in enumerate(survey(8, rate_per_s, seed=1)):
        assert began_s - 60 < alert.light_end_unix_s <= time.time() + number / rate_per_s


def test_the_demo_accounts_for_every_alert(tmp_path: Path, engine_home: Path) -> None:
    """Real events are kept, damaged packets rejected, most contaminants found."""
    said: list[str] = []
    with open_broker() as broker:
        tally, both = run(
            broker.bootstrap, count=120, rate_per_s=200, seed=3, out=tmp_path, home=engine_home,
            say=said.append, progress=lambda tally: None,
        )  # fmt: skip
    assert [] == tally.errors()
    table = tally.table()
    assert {"rejected": 1} == table[DAMAGED]
    assert table[REAL]["clean"] > 0.9 * table[REAL].total()
    found = sum(row["contaminated"] for truth, row in table.items() if truth not in (REAL, DAMAGED))
    assert found > 0
    assert len((tmp_path / ANNOTATIONS).read_text().splitlines()) == 119
    assert "streamfilter_alerts_total" in (tmp_path / METRICS).read_text()
    assert (tmp_path / FIGURE).exists()
    _compared(both)
    assert json.loads((tmp_path / ANNOTATIONS).read_text().splitlines()[0])["truth"]


def _compared(both: SideBySide) -> None:
    """Both networks judged the same alerts, found most of what was put in, and took time."""
    assert 120 == both.alerts.total()
    first, further = both.networks
    assert ("stampmask", "maximask") == (first.name, further.name)
    put_in = 120 - both.alerts[REAL]
    for network in both.networks:
        assert network.found.total() - network.found[REAL] > put_in / 2
        assert network.found[REAL] < 0.2 * both.alerts[REAL]
    assert 0 < first.ms < further.ms
    assert first.ms < both.doubted_ms < first.ms + further.ms
    assert 0 < both.doubted < 120


def test_a_lost_alert_is_an_error() -> None:
    """The audit reports it."""
    tally = Tally(truth={"1": REAL, "2": DAMAGED})
    tally.copies.update({("rejected", "2"): 1})
    assert {"lost": 1} == tally.table()[REAL]
    assert ["alert 1"] == [line.partition(" (")[0] for line in tally.errors()]


def test_an_alert_that_came_out_twice_is_an_error() -> None:
    """Duplicates are counted, not hidden."""
    tally = Tally(truth={"1": REAL})
    tally.annotations["1"] = {"verdict": {"label": "clean", "action": "keep"}}
    tally.copies.update({("annotations", "1"): 2, ("clean", "1"): 1})
    assert 1 == len(tally.errors())


def test_a_slow_survey_is_no_silence(
    tmp_path: Path, engine_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The demo does not wait for alerts that were not sent yet."""
    monkeypatch.setattr("streamfilter.demo.alerts._SILENCE_S", 1.5)
    with open_broker() as broker:
        tally, _ = run(
            broker.bootstrap, count=2, rate_per_s=0.5, seed=3, out=tmp_path, home=engine_home,
            say=lambda line: None, progress=lambda tally: None,
        )  # fmt: skip
    assert 2 == tally.done
