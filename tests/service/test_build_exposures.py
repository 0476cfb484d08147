"""From settings to a worker for exposures: what cannot be stops it at the start."""

from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from streamfilter.config import Settings
from streamfilter.errors import ConfigurationInvalid
from streamfilter.service.build_exposures import open_exposures


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
