"""Settings that cannot work are refused before anything is opened."""

from pathlib import Path
from typing import Any

import pytest
from memory_worker import CleanSky, SimulatedPipeline, finder
from prometheus_client import CollectorRegistry
from several_planes import MANIFEST, SeveralPlanes, asked_always, offered

from streamfilter.alerts.encode import Encoder
from streamfilter.config import Settings
from streamfilter.errors import ConfigurationInvalid, SchemaUnavailable
from streamfilter.records import Plane
from streamfilter.service.assembly.alerts import Parts, checked, open_parts, open_worker, policy_of

ON_DIFFERENCE = {
    "name": "hit", "contaminant": "CR", "statistic": "core", "above": 0.4, "plane": "difference",
}  # fmt: skip
SCORED = {
    "name": "hit", "contaminant": "CR", "statistic": "core", "above": 0.4,
    "when": {"reliability": {"above": 0.5}},
}  # fmt: skip


def settings(**sections: dict[str, Any]) -> Settings:
    return Settings.model_validate(sections)


def test_the_defaults_can_be() -> None:
    """What a user starts from passes, with every survey."""
    assert {"ztf", "lsst"} <= set(checked(settings()).names)


@pytest.mark.parametrize(
    ("sections", "named"),
    [
        ({"surveys": {"ltsst": {}}}, "surveys.ltsst: .*lsst"),
        ({"engine": {"name": "maxitrack"}}, "engine.name: .*maximask"),
        ({"engine": {"name": "maxmask"}}, "engine.name: .*maximask"),
        ({"engine": {"runtime": "gpu"}}, "engine.runtime: .*auto.*onnxruntime"),
        ({"engine": {"precision": "int4"}}, "engine.precision: .*float32, bf16"),
        ({"outputs": {"clean": "alerts"}}, "outputs.clean: 'alerts' is also read"),
        (
            {"outputs": {"clean": "{survey}"}, "alerts": {"topics": ["lsst"]}},
            "clean: 'lsst' is also",
        ),
        ({"alerts": {"topics": ["^stream.*"]}}, "outputs.annotations: .*narrower pattern"),
        ({"alerts": {"planes": ["difference"]}}, "alerts.planes: .*difference.*look at science"),
        ({"surveys": {"ztf": {"rules": [ON_DIFFERENCE]}}}, "surveys.ztf.rules: .*look at diff"),
        ({"surveys": {"ztf": {"rules": [SCORED]}}}, "surveys.ztf.rules: .*'reliability'.* drb, "),
    ],
)
def test_what_cannot_be_names_its_key(sections: dict[str, Any], named: str) -> None:
    """A network for tiles, an unknown runtime, a stream that feeds itself."""
    with pytest.raises(ConfigurationInvalid, match=named):
        checked(settings(**sections))


def test_a_plane_is_judged_where_a_rule_looks_at_it() -> None:
    """Of the surveys that the settings name; others may have rules for another stream."""
    rules = {"surveys": {"ztf": {"rules": [ON_DIFFERENCE]}, "lsst": {"rules": []}}}
    checked(settings(alerts={"planes": ["difference"]}, **rules))
    checked(settings(alerts={"planes": ["science", "difference"]}))


def test_a_rule_looks_at_the_fields_of_its_own_survey() -> None:
    """LSST's map names what ZTF's does not."""
    checked(settings(surveys={"lsst": {"rules": [SCORED]}}))


def test_other_rules_may_look_at_what_the_maps_in_force_name(engine_home: Path) -> None:
    """A map that a site has changed meanwhile is read at the next start."""
    parts = open_parts(settings(engine={"home": str(engine_home)}), threads=1, say=print)
    networks = [parts.engine.manifest]
    for name in ("lsst", "ztf"):
        changed = settings(surveys={name: {"rules": [SCORED]}})
        policies = {each: policy_of(changed, each, networks) for each in parts.pipeline.surveys}
        if name == "ztf":
            with pytest.raises(ConfigurationInvalid, match=r"no field 'reliability'.* next start"):
                parts.pipeline.judging(planes=[Plane.SCIENCE], policies=policies)
        else:
            parts.pipeline.judging(planes=[Plane.SCIENCE], policies=policies)


ON_FRINGES = {"name": "fringes", "contaminant": "FR", "statistic": "core", "above": 0.4}


@pytest.mark.parametrize(
    ("sections", "named"),
    [
        (
            {"alerts": {"planes": ["science", "difference"]}},
            "alerts.planes: science, difference, but .*several-planes judges the science stamp and "
            "sees template, difference, variance, valid beside it: leave alerts.planes out",
        ),
        (
            {"surveys": {"ztf": {"rules": [ON_FRINGES]}}},
            "surveys.ztf: rule 'fringes' names 'FR', .*of this engine; they are CR, TRL, HCL, DCL, "
            "HP, DP, SAT, SP, RES .*several-planes",
        ),
        (
            {"surveys": {"ztf": {"priors": {"NEB": 0.1}}}},
            "surveys.ztf: several-planes has no class NEB; it has CR, TRL",
        ),
        (
            {"surveys": {"lsst": {"thresholds": {"P": 0.1}}}},
            "surveys.lsst: several-planes has no class P;",
        ),
    ],
)
def test_an_engine_s_planes_and_classes_bound_the_settings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sections: dict[str, Any], named: str
) -> None:
    """What the other default engine could do, this one cannot."""
    offered(monkeypatch, tmp_path)
    checked(settings(**sections))
    with pytest.raises(ConfigurationInvalid, match=named):
        checked(settings(engine={"name": "several-planes"}, **sections))


ON_RESIDUALS = {"name": "residual", "contaminant": "RES", "statistic": "core", "above": 0.4}
TOGETHER = {"name": "both", "contaminant": "CR", "statistic": "together", "above": 0.9}


def two(when: object = None, **changes: Any) -> dict[str, Any]:
    """Settings of stampmask, and of MaxiMask where it is asked."""
    return {"name": "stampmask", "also": [{"name": "maximask", "when": when, **changes}]}


def test_a_further_engine_adds_its_classes_and_rules() -> None:
    """Priors, rules and thresholds may name what one of the engines has."""
    rules = [
        {**ON_RESIDUALS},
        {**ON_FRINGES, "engine": "maximask"},
        {**TOGETHER, "unless_source_above": 0.5},
    ]
    ztf = {"priors": {"NEB": 0.1, "RES": 0.1}, "rules": rules}
    checked(settings(engine=two(), surveys={"ztf": ztf}))
    checked(settings(engine=two({"classes": ["RES"], "above": 0.1}), surveys={"ztf": ztf}))


@pytest.mark.parametrize(
    ("sections", "named"),
    [
        (
            {"engine": {"name": "maximask", "also": [{"name": "maximask"}]}},
            "engine.name: 'maximask' is named twice",
        ),
        ({"engine": two(name="nobody")}, r"engine\.also\.0\.name: no engine 'nobody'; there are"),
        (
            {"engine": two(name="maxitrack")},
            "engine.also.0.name: 'maxitrack' gives nothing per pix",
        ),
        ({"engine": two(runtime="abacus")}, "engine.also.0.runtime: no runtime 'abacus'"),
        ({"engine": two(precision="fp4")}, "engine.also.0.precision: no 'fp4'"),
        (
            {"engine": two({"classes": ["NEB"], "above": 0.1})},
            "engine.also.0.when: stampmask, which is asked first, has no class NEB; it has CR",
        ),
        (
            {"engine": {"also": [{"name": "stampmask"}]}, "alerts": {"planes": ["difference"]}},
            "engine.also.0.name: stampmask judges the science stamp, and alerts.planes has diff",
        ),
        (
            {"engine": two(), "surveys": {"ztf": {"rules": [{**ON_RESIDUALS, "engine": "x"}]}}},
            "surveys.ztf: rule 'residual' has engine 'x'; there are stampmask, maximask",
        ),
        (
            {
                "engine": two(),
                "surveys": {"ztf": {"rules": [{**ON_RESIDUALS, "engine": "maximask"}]}},
            },
            "surveys.ztf: rule 'residual' names 'RES', .* of this engine; they are CR, HCL",
        ),
        (
            {"engine": two(), "surveys": {"ztf": {"rules": [{**TOGETHER, "engine": "maximask"}]}}},
            "rule 'both' looks at all engines together; leave engine = 'maximask' out",
        ),
        (
            {"surveys": {"ztf": {"rules": [{**ON_FRINGES, "engine": "stampmask"}]}}},
            "rule 'fringes' has engine 'stampmask'; there are maximask",
        ),
    ],
)
def test_a_further_engine_that_cannot_be_asked_is_refused(
    sections: dict[str, Any], named: str
) -> None:
    """The key is named, and what there is."""
    with pytest.raises(ConfigurationInvalid, match=named):
        checked(settings(**sections))


def test_every_engine_is_warm_before_alerts_are_read(tmp_path: Path) -> None:
    """The further ones too, of one alert and of a full batch."""
    chosen = settings(engine={"home": str(tmp_path)}, batch={"size": 8})
    further = SeveralPlanes()
    pipeline, registry = SimulatedPipeline(also=[asked_always()]), CollectorRegistry()
    open_worker(
        chosen,
        Parts(pipeline, CleanSky(), Encoder(finder()), (further,)),
        registry=registry,
    )
    expected = {(n, 5, side, side) for n in (1, 8) for side in (32, 64, 96, 128)}
    assert expected == set(further.warmed)
    labels = {"name": "several-planes", "sha256": "", "runtime": "none"}
    assert 1.0 == registry.get_sample_value("streamfilter_also_info", labels)


def test_maximask_has_no_residuals() -> None:
    """A rule on them would never apply."""
    rule = {"name": "residual", "contaminant": "RES", "statistic": "core", "above": 0.4}
    with pytest.raises(ConfigurationInvalid, match=r"'RES', .* of this engine; they are CR, HCL,"):
        checked(settings(surveys={"ztf": {"rules": [rule]}}))


def test_an_engine_of_several_planes_is_warm_at_every_side_before_it_reads(
    tmp_path: Path,
) -> None:
    """One alert and a full batch, of all its planes."""
    chosen = settings(engine={"home": str(tmp_path)}, batch={"size": 8})
    engine = SeveralPlanes()
    parts = Parts(SimulatedPipeline(network=MANIFEST), engine, Encoder(finder()))
    open_worker(chosen, parts, registry=CollectorRegistry())
    expected = {(n, 5, side, side) for n in (1, 8) for side in (32, 64, 96, 128)}
    assert expected == set(engine.warmed)


def test_a_registry_that_does_not_answer_is_a_start_up_error(engine_home: Path) -> None:
    """Without it every alert would be rejected, slowly, all night."""
    publish = {"url": "http://127.0.0.1:9"}
    chosen = settings(schemas={"publish": publish}, engine={"home": str(engine_home)})
    parts = open_parts(chosen, threads=1, say=print)
    with pytest.raises(SchemaUnavailable, match=r"127\.0\.0\.1:9"):
        open_worker(chosen, parts, registry=CollectorRegistry())
