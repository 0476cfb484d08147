"""Settings that cannot work are refused before anything is opened."""

from typing import Any

import pytest

from streamfilter.config import Settings
from streamfilter.errors import ConfigurationInvalid
from streamfilter.service.build import checked


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
        ({"engine": {"runtime": "gpu"}}, "engine.runtime: .*onnxruntime"),
        ({"outputs": {"clean": "alerts"}}, "outputs.clean: 'alerts' is also read"),
        ({"alerts": {"topics": ["^stream.*"]}}, "outputs.annotations: .*narrower pattern"),
    ],
)
def test_what_cannot_be_names_its_key(sections: dict[str, Any], named: str) -> None:
    """A network for tiles, an unknown runtime, a stream that feeds itself."""
    with pytest.raises(ConfigurationInvalid, match=named):
        checked(settings(**sections))
