"""Settings that cannot work are refused before anything is opened."""

from pathlib import Path
from typing import Any

import pytest
from memory_worker import SimulatedPipeline, finder
from prometheus_client import CollectorRegistry
from several_planes import MANIFEST, SeveralPlanes, offered

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
    network = parts.engine.manifest
    for name in ("lsst", "ztf"):
        changed = settings(surveys={name: {"rules": [SCORED]}})
        policies = {each: policy_of(changed, each, network) for each in parts.pipeline.surveys}
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
