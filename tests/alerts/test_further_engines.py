"""A second engine on real packets, with the real networks."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from factories import make_message
from memory_worker import CleanSky, SimulatedPipeline, packets
from several_planes import SeveralPlanes, asked_always

from streamfilter.alerts.encode import encode_annotation
from streamfilter.alerts.pipeline import FurtherEngine
from streamfilter.config import Settings
from streamfilter.posterior import update
from streamfilter.records import (
    Action,
    Alert,
    Annotation,
    Doubt,
    EngineIdentity,
    Label,
    Message,
    Origin,
    Plane,
    Rejected,
    StampEvidence,
    Times,
)
from streamfilter.service.assembly.alerts import Parts, open_parts, policy_of

TRACK = "170587117053804617"
SIX = ("CR", "TRL", "HCL", "DCL", "HP", "DP")
DOUBT = {"classes": SIX, "above": 0.02}
TIMES = Times(0.0, 0.0, 0.0, 0.0)

Open = Callable[..., Parts]


@pytest.fixture(scope="module")
def opened(engine_home: Path) -> Open:
    """Opens engines: the first by name, the further ones as their tables say."""

    def opened(name: str, *also: dict[str, object]) -> Parts:
        engine = {"home": engine_home, "name": name, "also": also}
        return open_parts(Settings.model_validate({"engine": engine}), threads=1, say=print)

    return opened


@pytest.fixture(scope="module")
def messages(samples: Path) -> list[Message]:
    """Real packets of ZTF and LSST, stamps of 30 to 93 px."""
    paths = [*sorted(samples.glob("lsst/*.bin")), *sorted(samples.glob("ztf/*.avro"))]
    assert len(paths) > 50
    return [Message(Origin(path.name, 0, 0), path.read_bytes()) for path in paths]


def judged(parts: Parts, messages: list[Message]) -> list[Annotation]:
    found = []
    for outcome in parts.pipeline.judge(parts.engine, messages, also=parts.also):
        assert not isinstance(outcome, Rejected), outcome
        found.append(outcome[1])
    return found


def test_each_engine_says_what_it_says_alone(opened: Open, messages: list[Message]) -> None:
    """The numbers of two are those of each, whatever else is asked; sides and planes differ."""
    both = judged(opened("stampmask", {"name": "maximask"}), messages)
    ours, theirs = (judged(opened(name), messages) for name in ("stampmask", "maximask"))
    for found, first, second in zip(both, ours, theirs, strict=True):
        own = tuple(replace(each, also={}, together={}) for each in found.stamps)
        assert (own, found.engine, found.priors) == (first.stamps, first.engine, first.priors)
        (opinion,) = found.also
        assert (opinion.engine, opinion.priors) == (second.engine, second.priors)
        assert opinion.stamps == second.stamps
        assert ("science",) == opinion.planes
    assert {Label.CLEAN, Label.SUSPECT, Label.CONTAMINATED} <= {each.verdict.label for each in both}


def test_one_engine_is_as_it_was(opened: Open, messages: list[Message]) -> None:
    """No opinion, nothing together, and one empty array at the end of its record."""
    for found in judged(opened("maximask"), messages[:8]):
        assert () == found.also
        assert all(not each.also and not each.together for each in found.stamps)
        assert encode_annotation(found, annotated_unix_s=0).endswith(b"\x00")


def test_the_second_is_asked_where_the_first_is_in_doubt(
    opened: Open, messages: list[Message]
) -> None:
    """About some of the packets of each survey, and what it says there is what it always says."""
    always = judged(opened("stampmask", {"name": "maximask"}), messages)
    doubted = judged(opened("stampmask", {"name": "maximask", "when": DOUBT}), messages)
    asked = {"lsst": 0, "ztf": 0}
    for found, whole in zip(doubted, always, strict=True):
        highest = max(found.stamps[0].classes[code].core for code in SIX)
        assert bool(found.also) == (highest > 0.02)
        assert not found.also or found.also[0].stamps == whole.also[0].stamps
        asked[found.alert.survey] += bool(found.also)
    assert 0 < asked["ztf"] < 33
    assert 0 < asked["lsst"] < 25


def test_the_second_decides_by_its_own_rules(opened: Open, messages: list[Message]) -> None:
    """MaxiMask's rules drop the half-repaired track, of which our network is in doubt."""
    parts = opened("stampmask", {"name": "maximask", "when": DOUBT})
    (track,) = (each for each in judged(parts, messages) if each.alert.alert_id == TRACK)
    verdict = track.verdict
    assert ("CR", "maximask-cosmic-ray", Action.DROP) == (
        verdict.contaminant,
        verdict.rule,
        verdict.action,
    )
    one, other = track.stamps[0].classes["CR"].core, track.also[0].stamps[0].classes["CR"].core
    together = track.stamps[0].together["CR"]
    assert one < 0.43 < 0.9 < other
    # By Bayes' rule: the odds of one are what the other is asked under.
    prior = {row.code: row.prior for row in track.priors}["CR"]
    assert float(update(other, prior, one)) == pytest.approx(together)


def test_a_reload_takes_rules_on_both(opened: Open, messages: list[Message]) -> None:
    """What is asked stays; a rule on what both say together drops the track, and few others."""
    parts = opened("stampmask", {"name": "maximask", "when": DOUBT})
    both = {"name": "both", "contaminant": "CR", "statistic": "together", "above": 0.99}
    surveys = {name: {"rules": [both]} for name in ("lsst", "ztf")}
    changed = Settings.model_validate({"surveys": surveys})
    networks = [each.manifest for each in parts.engines]
    policies = {name: policy_of(changed, name, networks) for name in parts.pipeline.surveys}
    pipeline = parts.pipeline.judging(planes=[Plane.SCIENCE], policies=policies)
    before = judged(parts, messages)
    after = judged(Parts(pipeline, parts.engine, parts.encoder, parts.also), messages)
    assert [each.also for each in before] == [each.also for each in after]
    rules = {each.alert.alert_id: each.verdict.rule for each in after if each.verdict.rule}
    assert "both" == rules[TRACK]
    assert len(rules) < 5


def test_planes_that_only_the_second_takes_are_read(opened: Open, messages: list[Message]) -> None:
    """MaxiMask judges the science stamp, and the second sees template and difference beside it."""
    found = judged(opened("maximask", {"name": "stampmask"}), messages)
    assert all(("science",) == each.planes for each in found)
    planes = {each.alert.survey: each.also[0].planes for each in found}
    assert ("science", "template", "difference", "variance", "valid") == planes["lsst"]
    assert ("science", "template", "difference", "valid") == planes["ztf"]


def test_a_bad_stamp_beside_is_told_with_the_second(opened: Open, samples: Path) -> None:
    """The first did not look for it, so its evidence does not have it."""
    parts = opened("maximask", {"name": "stampmask"})
    path = samples / "ztf" / "2695378462115010012.avro"
    alert = parts.pipeline.decode(make_message(path.read_bytes(), headers=()))
    assert isinstance(alert, Alert)
    template = alert.stamps[Plane.TEMPLATE]
    small = replace(template, image=template.image[:40, :40].copy())
    alert = replace(alert, stamps={**alert.stamps, Plane.TEMPLATE: small})
    items = parts.pipeline.prepare(alert).items
    evidence = parts.pipeline.evaluate(parts.engine, items)
    found = parts.pipeline.ask(0, parts.also[0], items, evidence)
    annotation = parts.pipeline.conclude(alert, found, TIMES)
    assert [Plane.SCIENCE] == [each.plane for each in annotation.stamps]
    (opinion,) = annotation.also
    science, bad = opinion.stamps
    assert (Plane.TEMPLATE, "stamp_too_small") == (bad.plane, bad.not_evaluated)
    assert ("science", "difference", "valid") == science.planes


def test_a_stamp_of_a_plane_that_the_second_does_not_judge_is_not_asked_about() -> None:
    """An engine of several planes judges the science stamp alone."""
    pipeline = SimulatedPipeline(also=[asked_always()])
    pipeline = pipeline.judging(  # type: ignore[assignment]
        planes=[Plane.DIFFERENCE, Plane.SCIENCE], policies=pipeline._policies
    )
    (value,) = packets(1)
    ((_, annotation),) = pipeline.judge(  # type: ignore[misc]
        CleanSky(), [make_message(value, headers=())], also=[SeveralPlanes()]
    )
    assert [Plane.DIFFERENCE, Plane.SCIENCE] == [each.plane for each in annotation.stamps]
    (opinion,) = annotation.also
    assert [Plane.SCIENCE] == [each.plane for each in opinion.stamps]


def test_doubt_is_about_the_highest_class() -> None:
    """Where the first engine is sure of one class, doubt about another does not ask."""
    between = FurtherEngine(
        identity=EngineIdentity("", "", ""),
        network=CleanSky.manifest,
        when=Doubt(above=0.02, below=0.9),
    )
    ((_, annotation),) = SimulatedPipeline().judge(  # type: ignore[misc]
        CleanSky(), [make_message(packets(1)[0], headers=())]
    )
    (stamp,) = annotation.stamps

    def with_cores(**cores: float) -> StampEvidence:
        changed = {code: replace(stamp.classes[code], core=core) for code, core in cores.items()}
        return replace(stamp, classes={**stamp.classes, **changed})

    for cores, asked in (
        ({}, False),
        ({"HP": 0.02}, False),
        ({"HP": 0.03}, True),
        ({"HP": 0.5, "CR": 0.95}, False),
        ({"BBG": 0.5}, False),
    ):
        assert asked is between.is_asked(Plane.SCIENCE, with_cores(**cores)), cores


def test_engines_and_pipeline_must_agree() -> None:
    """A pipeline that knows a further engine is not judged without it."""
    pipeline = SimulatedPipeline(also=[asked_always()])
    with pytest.raises(ValueError, match="shorter"):
        list(pipeline.judge(CleanSky(), [make_message(packets(1)[0], headers=())]))
