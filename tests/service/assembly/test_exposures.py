"""From settings to a worker for exposures: what cannot be stops it at the start."""

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
from prometheus_client import CollectorRegistry
from several_planes import offered

from streamfilter.config import Instrument, Settings
from streamfilter.errors import ConfigurationInvalid
from streamfilter.exposures import purposes
from streamfilter.exposures.frames import FrameRules
from streamfilter.exposures.records import NotJudged, SetAside
from streamfilter.service.assembly.exposures import (
    checked_exposures,
    cosmic_ray_engine,
    frame_rules,
    open_exposures,
    open_watcher,
)


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"webhook": {"url": "http://h.org/x"}}, "webhook.url: scheme 'http'; expected https"),
        ({"webhook": {"url": "https://me:pw@h.org/x"}}, "webhook.url: .*without user and password"),
        ({"webhook": {"url": "https:///x"}}, "webhook.url"),
        (
            {"webhook": {"url": "https://h.org"}, "outgoing": {"ca_file": "/none.pem"}},
            "outgoing.ca_file: /none.pem",
        ),
    ],
)
def test_a_webhook_that_cannot_be_called_stops_the_start(
    section: dict[str, Any], words: str, engine_home: Path
) -> None:
    """Before an exposure fails, and without the secret in the words."""
    secret = "0123456789abcdef"
    webhook = {**section["webhook"], "secret": secret}
    tree = {"exposures": {"topics": ["e"]}, "engine": {"home": engine_home}}
    settings = Settings.model_validate({**tree, **section, "webhook": webhook})
    with pytest.raises(ConfigurationInvalid, match=words) as raised:
        open_exposures(settings, registry=CollectorRegistry(), say=lambda line, **_: None)
    assert secret not in str(raised.value)


def exposures(**section: Any) -> Settings:
    return Settings.model_validate({"exposures": {"topics": ["e"], **section}})


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"engine": {"name": "maximask"}}, "exposures.engine.name: .*there are maxitrack"),
        ({"engine": {"runtime": "gpu"}}, "exposures.engine.runtime: .*auto.*onnxruntime"),
        ({"engine": {"precision": "int4"}}, "exposures.engine.precision: .*float32"),
        (
            {"contaminants": {"engine": {"name": "maxitrack"}}},
            "exposures.contaminants.engine.name: .*maximask",
        ),
        (
            {"contaminants": {"priors": {"RES": 0.1}}},
            "exposures.contaminants: maximask has no class RES; it has CR",
        ),
        (
            {"contaminants": {"cosmic_rays": "maxitrack"}},
            "contaminants.cosmic_rays: 'maxitrack' finds none; there are deepcr, maximask",
        ),
        (
            {"contaminants": {"engine": {"name": "deepcr"}}},
            "'deepcr' has CR alone, .* take maximask, and 'deepcr' for .*contaminants.cosmic_rays",
        ),
        ({"contaminants": {"group": "streamfilter"}}, "contaminants.group: .*kafka.group too"),
        (
            {"contaminants": {"group": "streamfilter-exposures"}},
            "contaminants.group: .*exposures.group too",
        ),
        (
            {"contaminants": {"topics": ["^streamfilter.*"]}},
            r"outputs\..*also read \(exposures.contaminants.topics\)",
        ),
    ],
)
def test_what_cannot_be_names_its_key(section: dict[str, Any], words: str) -> None:
    """A network for something else, a group that others use, a stream that feeds itself."""
    with pytest.raises(ConfigurationInvalid, match=words):
        checked_exposures(exposures(**section))


@pytest.mark.parametrize(
    ("precision", "runs_at"), [("float32", "float32"), ("bf16", "bf16"), ("fp16", "float32")]
)
def test_cosmic_rays_are_found_at_the_other_s_precision(precision: str, runs_at: str) -> None:
    """At float32 where deepcr is not offered at it: a GPU at fp16 goes on."""
    chosen = exposures(contaminants={"engine": {"precision": precision}}).exposures.contaminants
    found = cosmic_ray_engine(chosen)
    assert found is not None
    assert ("deepcr", runs_at) == (found.name, found.precision)
    program = chosen.model_copy(update={"cosmic_rays": ""})
    assert cosmic_ray_engine(program) is None


def test_a_frame_is_one_image(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A network of several planes is for alerts."""
    offered(monkeypatch, tmp_path)
    settings = exposures(contaminants={"engine": {"name": "several-planes"}})
    words = "contaminants.engine.name: 'several-planes' takes science, .* a frame is one image"
    with pytest.raises(ConfigurationInvalid, match=words):
        checked_exposures(settings)


def test_the_network_runs_where_the_settings_say(engine_home: Path) -> None:
    """On OpenVINO, from its own section: the alerts' engine stays as it is."""
    chosen = exposures(engine={"runtime": "openvino"})
    settings = chosen.model_copy(
        update={"engine": chosen.engine.model_copy(update={"home": engine_home})}
    )
    watcher = open_watcher(settings, lambda line, **_: None, threads=1)
    assert ("maxitrack", "openvino") == (
        watcher.engine.manifest.name,
        watcher.engine.runtime.split()[0],
    )


def test_an_instrument_s_section_becomes_rules_of_its_frames() -> None:
    """What is not named stays as the headers say."""
    chosen = exposures(instruments={"a": {"section": "[1:2,3:4]", "mask_extensions": []}, "b": {}})
    found = frame_rules(chosen.exposures)
    generic, most = purposes.MAPS["generic"], chosen.exposures.max_frame_planes
    rest = FrameRules(purposes=generic, most_planes=most)
    assert replace(rest, section="[1:2,3:4]", mask_extensions=()) == found["a"]
    assert rest == found["b"]


def test_an_instrument_chooses_its_map_of_purposes_and_adds_to_it() -> None:
    """The names of the maps that settings take are those that there are."""
    choices = get_args(Instrument.model_fields["purposes"].annotation)
    assert set(purposes.MAPS) == set(choices)
    own = {"purposes": "none", "not_judged": {"focus": ["PROG=focus *", "DEFOCUS!=0"]}}
    found = frame_rules(exposures(instruments={"a": own}).exposures)["a"].purposes
    header = {"OBSTYPE": "SKYFLAT", "DEFOCUS": 0.0}
    assert purposes.set_aside(header.get, found) is None
    aside = purposes.set_aside({**header, "PROG": "Focus 3"}.get, found)
    assert SetAside(NotJudged.FOCUS, "PROG is 'Focus 3'") == aside


def test_the_largest_frame_is_a_setting() -> None:
    """Also of an instrument with rules of its own; one of 10.5k x 10.5k is within the default."""
    assert 10_560**2 <= exposures(instruments={"a": {}}).exposures.max_frame_pixels
    found = frame_rules(exposures(max_frame_pixels=5, instruments={"a": {}}).exposures)
    assert 5 == found["a"].max_pixels
