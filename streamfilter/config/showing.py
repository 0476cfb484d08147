"""Settings as TOML, without their secrets."""

import re
from collections.abc import Mapping
from typing import Any

import tomli_w

from streamfilter.config.sections import Settings

_HIDDEN = re.compile(
    r"password|passphrase|secret|token|key|credential|authorization|user\.info|jaas|oauthbearer\.config",
    re.IGNORECASE,
)
# Where a secret lies is none.
_PLACES = re.compile(r"(location|_file)$", re.IGNORECASE)
# Receivers of webhooks put a secret into the path.
_WEBHOOK, _PATH_IN_URL = "\0webhook\0url", re.compile(r"(?<=[^/])/[^/].*$", re.DOTALL)
# Every collector has another name for its token.
_TRACE_HEADERS = "\0traces\0headers\0"
_LOGIN_IN_URL = re.compile(r"//[^/@\s]*@")


def show(settings: Settings) -> str:
    """The settings as TOML: ``${...}`` as it was written, other secrets hidden."""
    return tomli_w.dumps(shown(settings))


def shown(settings: Settings) -> dict[str, Any]:
    """The same as a tree."""
    tree = _plain(settings.model_dump(mode="json", exclude_none=True))
    hidden = _hide(tree, settings._references)
    assert isinstance(hidden, dict), "settings are a table"
    return hidden


def hides(key: str) -> bool:
    """Whether a key's value is not shown, whatever it is."""
    return bool(_HIDDEN.search(key) or key.startswith(("webhook.url", "traces.headers")))


def _plain(value: Any) -> Any:
    """What TOML can hold."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if item is not None}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _hide(value: Any, references: Mapping[str, str], key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _hide(item, references, f"{key}\0{name}") for name, item in value.items()}
    if isinstance(value, list):
        return [_hide(item, references, f"{key}\0{index}") for index, item in enumerate(value)]
    if key in references:
        return references[key]
    if value in (None, "", True, False) or not isinstance(value, str | int | float):
        return value
    name = key.rpartition("\0")[2]
    if key.startswith(_TRACE_HEADERS) or (_HIDDEN.search(name) and not _PLACES.search(name)):
        return "(hidden)"
    if key == _WEBHOOK:
        value = _PATH_IN_URL.sub("/(hidden)", str(value))
    return _LOGIN_IN_URL.sub("//(hidden)@", value) if isinstance(value, str) else value
