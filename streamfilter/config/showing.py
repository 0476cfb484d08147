"""Shows settings as TOML, without their secrets."""

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import tomli_w

from streamfilter.config.sections import Settings
from streamfilter.redaction import HIDDEN, url_secrets

_HIDDEN = re.compile(
    r"password|passphrase|secret|token|key|credential|authorization|user\.info|jaas|oauthbearer\.config",
    re.IGNORECASE,
)
# The path of a secret is no secret.
_PLACES = re.compile(r"(location|_file|endpoint\.url)$", re.IGNORECASE)
# Some receivers of webhooks put a secret into the path.
_WEBHOOK, _PATH_IN_URL = "\0webhook\0url", re.compile(r"(?<=[^/])/[^/].*$", re.DOTALL)
# Each collector has its own name for its token, so all headers are hidden.
_TRACE_HEADERS = "\0traces\0headers\0"
_LOGIN = re.compile(r"(?<=//)([^/@\s]*)(?=@)")
_QUERY = re.compile(r"(?<=[?#])(\S*)(?=$|\s)")
# A name before a value, or a reference: nothing of that is secret.
_NAMES = re.compile(r"\$\{[^}]+\}|(?:^|[&#])[\w.~-]*[=:]|[&#]")


def show(settings: Settings) -> str:
    """Returns the settings as TOML: ``${...}`` as it was written, other secrets hidden."""
    return tomli_w.dumps(shown(settings))


def shown(settings: Settings) -> dict[str, Any]:
    """Returns the settings as a tree: ``${...}`` as it was written, other secrets hidden."""
    tree = _plain(settings.model_dump(mode="json", exclude_none=True))
    hidden = _hide(tree, settings._references)
    assert isinstance(hidden, dict), "settings are a table"
    return hidden


def hides(key: str) -> bool:
    """Whether a key's value is not shown, whatever it is."""
    return bool(_HIDDEN.search(key) or key.startswith(("webhook.url", "traces.headers")))


def secrets_in(settings: Settings) -> Iterator[str]:
    """What ``show`` does not show because of where it stands; ``${...}`` is known already."""
    for key, value in _leaves(settings.model_dump(mode="json", exclude_none=True)):
        text = "" if isinstance(value, bool) else str(value)
        if _is_secret(key):
            yield text
        elif "://" in text:
            yield from url_secrets(text)
            if key == _WEBHOOK:
                yield urlsplit(text).path.strip("/")


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every single value, by its key."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for name, item in items:
            yield from _leaves(item, f"{key}\0{name}")
    else:
        yield key, value


def _plain(value: Any) -> Any:
    """Returns a value without None, which TOML cannot hold."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if item is not None}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _hide(value: Any, references: Mapping[str, str], key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _hide(item, references, f"{key}\0{name}") for name, item in value.items()}
    if isinstance(value, list):
        return [_hide(item, references, f"{key}\0{index}") for index, item in enumerate(value)]
    if key in references:
        # It can be loaded again, unless a secret was written out beside the reference.
        return _QUERY.sub(_hide_written, _LOGIN.sub(_hide_written, references[key]))
    if value in (None, "", True, False) or not isinstance(value, str | int | float):
        return value
    if _is_secret(key):
        return HIDDEN
    if key == _WEBHOOK:
        value = _PATH_IN_URL.sub(f"/{HIDDEN}", str(value))
    if not isinstance(value, str):
        return value
    if "://" not in value:
        return value
    return _QUERY.sub(_hide_written, _LOGIN.sub(_hide_written, value))


def _hide_written(found: re.Match[str]) -> str:
    """A part of a URL in which secrets stand, if it holds nothing but names and references."""
    return found[0] if not _NAMES.sub("", found[0]) else HIDDEN


def _is_secret(key: str) -> bool:
    """Whether a key's value is a secret by the key's name."""
    name = key.rpartition("\0")[2]
    named = _HIDDEN.search(name) and not _PLACES.search(name)
    return key.startswith(_TRACE_HEADERS) or bool(named)
