"""The default policies: consistent data, and verdicts on real alerts."""

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pytest
import several_planes

from streamfilter.alerts.field_plan import Gaps
from streamfilter.alerts.placement import around_alert
from streamfilter.alerts.rules import GENERIC, MEASURED, PRIORS, RULES, STAMPMASK, policy
from streamfilter.alerts.surveys import Surveys
from streamfilter.config import Settings
from streamfilter.contaminants import TABLE
from streamfilter.inference.manifest import load
from streamfilter.records import (
    Action,
    Alert,
    Label,
    Message,
    Origin,
    Plane,
    Rejected,
    Rule,
    Stamp,
    Statistic,
    Times,
    Verdict,
)
from streamfilter.service.assembly.alerts import Parts, open_parts

TRACK = "170587117053804617"
CHUNK = 16
MAXIMASK = load("maximask")


@pytest.fixture(scope="module")
def parts(engine_home: Path) -> Parts:
    settings = Settings.model_validate({"engine": {"home": engine_home}})
    return open_parts(settings, threads=0, say=print)


def packets(folder: Path) -> list[Message]:
    paths = [path for path in sorted(folder.iterdir()) if path.suffix in (".avro", ".bin")]
    return [Message(Origin(path.name, 0, i), path.read_bytes()) for i, path in enumerate(paths)]


def verdicts(parts: Parts, messages: Iterable[Message]) -> dict[str, Verdict]:
    found = {}
    for judged in parts.pipeline.judge(parts.engine, messages):
        assert not isinstance(judged, Rejected), judged
        found[judged[1].alert.alert_id] = judged[1].verdict
    return found


def ztf_verdicts(
    parts: Parts, folder: Path, wanted: Callable[[float, float], bool]
) -> list[Verdict]:
    """Verdicts on the archive's science stamps whose (rb, drb) are wanted."""
    with (folder / "stamps" / "ztf.csv").open() as file:
        scores = [(float(row["rb"] or 0), float(row["drb"] or 0)) for row in csv.DictReader(file)]
    stamps = np.load(folder / "stamps" / "ztf.npz")["stamps"]
    alerts = [
        Alert(Message(Origin("ztf", 0, i), b""), "ztf", str(i), None, {Plane.SCIENCE: Stamp(s[0])})
        for i, s in enumerate(stamps)
        if wanted(*scores[i])
    ]
    prepared = [parts.pipeline.prepare(alert) for alert in alerts]
    times, found = Times(0.0, 0.0, 0.0, 0.0), []
    for start in range(0, len(prepared), CHUNK):
        chunk = prepared[start : start + CHUNK]
        evidence = parts.pipeline.evaluate(parts.engine, [one.items[0] for one in chunk])
        for one, stamp in zip(chunk, evidence, strict=True):
            found.append(parts.pipeline.conclude(one.alert, [stamp], times).verdict)
    return found


@pytest.mark.parametrize("survey", [*Surveys.load().names, "a survey of tomorrow"])
def test_every_survey_has_a_policy(survey: str) -> None:
    """A survey without rules of its own is judged by the generic ones."""
    found = policy(survey, MAXIMASK)
    assert MAXIMASK.codes == tuple(prior.code for prior in found.priors)
    assert RULES.get(survey, GENERIC) == found.rules


@pytest.mark.parametrize("survey", ["ztf", "lsst"])
def test_a_second_engine_s_rules_stand_behind_the_first_s(survey: str) -> None:
    """Its measured rules still drop, each under a name of its own; the first's are unchanged."""
    ours, theirs = load("stampmask"), MAXIMASK
    both = policy(survey, ours, also=[theirs])
    first = policy(survey, ours).rules
    assert first == both.rules[: len(first)]
    names = [rule.name for rule in both.rules]
    assert len(names) == len(set(names))
    second = both.rules[len(first) :]
    assert {"maximask"} == {rule.engine for rule in second}
    expected = policy(survey, theirs)
    assert expected.rules == tuple(
        replace(rule, name=rule.name.removeprefix("maximask-"), engine="") for rule in second
    )
    (its,) = both.also
    assert (expected.priors, expected.classes) == (its.priors, its.classes)


@pytest.mark.parametrize("rules", [GENERIC, *RULES.values(), STAMPMASK])
def test_every_rule_has_a_name_of_its_own(rules: tuple[Rule, ...]) -> None:
    """The annotation names the rule that decided."""
    assert [] == [name for name, n in Counter(rule.name for rule in rules).items() if n > 1]


@pytest.mark.parametrize(
    ("rules", "source"),
    [*((rules, 0.8) for rules in (GENERIC, *RULES.values())), (STAMPMASK, 0.98)],
)
def test_what_drops_looks_at_the_alert_s_place_and_spares_sources(
    rules: tuple[Rule, ...], source: float
) -> None:
    """A real transient that is dropped is lost: all else only flags."""
    dropping = [rule for rule in rules if rule.action is Action.DROP]
    assert {Statistic.CORE} == {rule.statistic for rule in dropping}
    assert max(rule.unless_source_above for rule in dropping) <= source
    assert {Label.SUSPECT} == {rule.label for rule in rules if rule not in dropping}


def test_a_configuration_overrides_what_it_names() -> None:
    """Priors and thresholds by class, rules as a whole."""
    rule = replace(GENERIC[0], above=0.9)
    found = policy("ztf", MAXIMASK, priors={"CR": 0.02}, thresholds={"TRL": 0.5}, rules=[rule])
    table = {row.code: row for row in TABLE}
    for prior in found.priors:
        row = table[prior.code]
        expected = {"CR": 0.02}.get(row.code, PRIORS.get(row.code, row.prior))
        assert expected == prior.prior
        assert {"TRL": 0.5}.get(row.code, row.threshold) == prior.threshold
    assert (rule,) == found.rules


def test_an_engine_that_was_not_measured_drops_nothing() -> None:
    """Each of its classes is flagged at its threshold; its manifest's numbers go before others."""
    found = policy("ztf", several_planes.MANIFEST)
    by_code = {prior.code: prior for prior in found.priors}
    assert (2e-3, 0.35) == (by_code["TRL"].prior, by_code["TRL"].threshold)
    assert (PRIORS["HP"], 0.43) == (by_code["HP"].prior, by_code["HP"].threshold)
    assert {Action.FLAG} == {rule.action for rule in found.rules}
    assert {code: prior.threshold for code, prior in by_code.items() if code != "BBG"} == {
        rule.contaminant: rule.above for rule in found.rules
    }


@pytest.mark.parametrize("engine", MEASURED)
@pytest.mark.parametrize("survey", [*Surveys.load().names, "a survey of tomorrow"])
def test_measured_rules_fit_their_engine(engine: str, survey: str) -> None:
    """They name its classes alone."""
    assert policy(survey, load(engine)).rules


def test_an_unknown_class_is_refused() -> None:
    """A prior for nothing is a mistake in the configuration."""
    with pytest.raises(ValueError, match="XX"):
        policy("ztf", MAXIMASK, priors={"XX": 0.1})


@pytest.mark.engine
def test_of_lsst_s_packets_only_the_track_is_contaminated(parts: Parts, samples: Path) -> None:
    """The track is a cosmic ray; no rule applies to asteroids, galaxies and bright stars."""
    found = verdicts(parts, packets(samples / "lsst"))
    assert 25 == len(found)
    expected = Verdict(Label.CONTAMINATED, Action.DROP, "CR", "cosmic-ray")
    assert expected == found.pop(TRACK)
    assert {Verdict(Label.CLEAN, Action.KEEP)} == set(found.values())


@pytest.mark.engine
def test_stampmask_tells_what_is_wrong_with_alerts_that_ztf_scores_as_bogus(
    engine_home: Path, samples: Path
) -> None:
    """Of six MaxiMask names one; of 27 others two are residuals, and none is dropped."""
    settings = Settings.model_validate({"engine": {"name": "stampmask", "home": engine_home}})
    parts = open_parts(settings, threads=1, say=print)
    found = verdicts(parts, packets(samples / "ztf"))
    parts.engine.close()
    bogus = {id_: each for id_, each in found.items() if id_.startswith("8201289")}
    assert 6 == len(bogus)
    assert Label.CLEAN not in {each.label for each in bogus.values()}
    others = [each for id_, each in found.items() if id_ not in bogus]
    assert 27 == len(others)
    assert Action.DROP not in {each.action for each in others}
    assert 2 >= sum(each.label is not Label.CLEAN for each in others)


def in_a_frame(stamp: Stamp) -> Stamp:
    """The part of a frame of 300 or 301 px with a stamp and its reflections, around its alert."""
    margins = [(120 + (180 - n) // 2,) * 2 for n in stamp.image.shape]
    image = np.pad(stamp.image, margins, "symmetric")
    variance = None if stamp.variance is None else np.pad(stamp.variance, margins, "symmetric")
    part = around_alert(Stamp(image, variance))
    assert part is not None
    assert (128, 128) == part.image.shape
    return part


@pytest.mark.engine
@pytest.mark.parametrize(("survey", "count"), [("lsst", 25), ("ztf", 33)])
def test_a_stamp_in_a_larger_frame_is_judged_as_by_itself(
    parts: Parts, samples: Path, survey: str, count: int
) -> None:
    """Evidence moves with the context as between the network's sides (by .25), the action stays."""
    times, seen = Times(0.0, 0.0, 0.0, 0.0), 0
    for message in packets(samples / survey):
        alert = parts.pipeline.decode(message)
        assert isinstance(alert, Alert)
        larger = replace(alert, stamps={Plane.SCIENCE: in_a_frame(alert.stamps[Plane.SCIENCE])})
        pair = []
        for each in (alert, larger):
            evidence = parts.pipeline.evaluate(parts.engine, parts.pipeline.prepare(each).items)
            pair.append(parts.pipeline.conclude(each, evidence, times))
        alone, framed = pair
        assert alone.verdict.action is framed.verdict.action, message.origin
        cores = [[found.core for found in one.stamps[0].classes.values()] for one in pair]
        assert cores[0] == pytest.approx(cores[1], abs=0.26)
        seen += 1
    assert count == seen


@pytest.mark.engine
@pytest.mark.parametrize("survey", ["winter", "decam", "pgir"])
def test_other_surveys_real_alerts_are_kept(parts: Parts, samples: Path, survey: str) -> None:
    """Three cameras that the rules were not made for, two of them infrared, one half NaN."""
    found = verdicts(parts, packets(samples / survey))
    assert {Label.CLEAN} == {verdict.label for verdict in found.values()}


def with_rule(home: Path, survey: str, **changes: Any) -> Parts:
    """The parts where one rule drops all that its conditions let it: CR is above 0 everywhere."""
    rule = {"name": "hit", "contaminant": "CR", "statistic": "core", "above": 0.0} | changes
    settings = {"engine": {"home": home}, "surveys": {survey: {"rules": [rule]}}}
    return open_parts(Settings.model_validate(settings), threads=0, say=print)


def dropped(parts: Parts, folder: Path) -> set[str]:
    """Alerts that are dropped, of at least twenty."""
    found = verdicts(parts, packets(folder))
    assert len(found) > 20
    return {name for name, verdict in found.items() if verdict.action is Action.DROP}


# ZTF's packets of 2018 and of March 2019, which have no drb.
WITHOUT_DRB = {
    "516377976015010010", "516442333515015024", "820128985115015000", "820128985315015000",
    "820128985415010010", "820128985515010010", "820128985515010020", "820128985815015000",
}  # fmt: skip


@pytest.mark.engine
def test_ztf_s_alerts_are_judged_by_their_own_numbers(engine_home: Path, samples: Path) -> None:
    """Where a packet has no drb ``when`` does not let the rule speak, nor does ``unless`` spare."""
    all_of_them = dropped(with_rule(engine_home, "ztf"), samples / "ztf")
    assert 33 == len(all_of_them)
    low = dropped(with_rule(engine_home, "ztf", when={"drb": {"below": 0.5}}), samples / "ztf")
    assert {"2475433850315015013", "2475433850415015002"} == low
    spared = with_rule(engine_home, "ztf", unless={"drb": {"at_least": 0.5}})
    assert low | WITHOUT_DRB == dropped(spared, samples / "ztf")
    (gap,) = [str(each) for each in spared.pipeline.take_reports() if isinstance(each, Gaps)][:1]
    assert "fields.drb: no candidate.drb" in gap


@pytest.mark.engine
def test_a_site_may_drop_unless_seen_three_times(engine_home: Path, samples: Path) -> None:
    """With a text and a number: only positive detections, and once or twice seen ones."""
    rule = {"when": {"isdiffpos": {"equals": "t"}}, "unless": {"ndethist": {"at_least": 3}}}
    found = dropped(with_rule(engine_home, "ztf", **rule), samples / "ztf")
    for message in packets(samples / "ztf"):
        reader: Any = fastavro.reader(io.BytesIO(message.value or b""))
        candidate = next(reader)["candidate"]
        expected = candidate["isdiffpos"] == "t" and candidate["ndethist"] < 3
        assert expected == (str(candidate["candid"]) in found)
    assert 5 < len(found) < 33


@pytest.mark.engine
def test_lsst_s_alerts_are_judged_by_their_own_numbers(engine_home: Path, samples: Path) -> None:
    """The track has a reliability of 1; where extendedness is null a condition on it is silent."""
    cosmic_ray = RULES["lsst"][0].above
    reliable = {"above": cosmic_ray, "when": {"reliability": {"above": 0.5}}}
    assert {TRACK} == dropped(with_rule(engine_home, "lsst", **reliable), samples / "lsst")
    spared = {"above": cosmic_ray, "unless": {"reliability": {"above": 0.5}}}
    assert set() == dropped(with_rule(engine_home, "lsst", **spared), samples / "lsst")
    point = {"when": {"extendedness": {"at_most": 1}}}
    judged = with_rule(engine_home, "lsst", **point)
    assert 19 == len(dropped(judged, samples / "lsst"))
    said = [str(each) for each in judged.pipeline.take_reports() if isinstance(each, Gaps)]
    assert ["extendedness has no value in an alert" in each for each in said] == [True]


@pytest.mark.engine
def test_ztf_s_packets_with_a_high_score_are_kept(parts: Parts, samples: Path) -> None:
    """25 real sources of 2023, four of them beside missing data."""
    messages = [m for m in packets(samples / "ztf") if m.origin.topic.startswith("2")]
    found = verdicts(parts, messages)
    assert 25 == len(found)
    assert {Action.KEEP} == {verdict.action for verdict in found.values()}


@pytest.mark.engine
def test_ztf_s_real_sources_are_not_dropped(parts: Parts, samples: Path) -> None:
    """Of 298 sources with drb > 0.9 one is dropped, an undersampled star."""
    found = ztf_verdicts(parts, samples, lambda rb, drb: drb > 0.9)
    assert 298 == len(found)
    assert sum(verdict.action is Action.DROP for verdict in found) <= 2


@pytest.mark.engine
def test_ztf_s_cosmic_rays_are_dropped(parts: Parts, samples: Path) -> None:
    """Of 58 with rb < 0.3 some 27 are hits by eye; most others are bright stars."""
    found = ztf_verdicts(parts, samples, lambda rb, drb: 0 < rb < 0.3)
    dropped = [verdict.contaminant for verdict in found if verdict.action is Action.DROP]
    assert {"CR"} == set(dropped)
    assert len(dropped) >= 21
