"""Reads settings from a TOML file, the environment and the command line."""

import os
import re
import tomllib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError

from streamfilter.config.sections import Settings
from streamfilter.config.showing import secrets_in
from streamfilter.errors import ConfigurationInvalid, plain_words
from streamfilter.redaction import SECRETS

_ENVIRONMENT = "STREAMFILTER_"
# Keys whose value may be a secret, or hold one: it is not repeated.
_SECRETS = re.compile(r"pass|secret|token|key|user|url|endpoint|headers|settings|consumer|s3", re.I)
_SHOWN = 60  # most characters of a value in a message
# By pydantic's type of error, where its own words are Python's.
_EXPECTED = {
    "tuple_type": 'expected a list, such as ["a", "b"]',
    "dict_type": "expected a table of keys and values",
    "dataclass_type": "expected a section of keys and values",
    "model_type": "expected a section of keys and values",
}
_SECRET = re.compile(r"\$\{(file:)?([^}]+)\}")


def load(
    path: Path | None = None,
    *,
    environment: Mapping[str, str] = os.environ,
    overrides: Iterable[str] = (),
) -> Settings:
    """Read settings from a TOML file, the environment and ``section.key=value`` overrides.

    Raises
    ------
    ConfigurationInvalid
        A setting is wrong; the message names its key and place, the error and how to mend it.
    """
    tree: dict[str, Any] = _read_toml(path) if path else {}
    places: dict[str, str] = {}
    for name, text in environment.items():
        if name.startswith(_ENVIRONMENT) and "__" in name:
            key = name.removeprefix(_ENVIRONMENT).lower().replace("__", ".")
            _set(tree, key, text, places, f"environment variable {name}")
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator:
            raise ConfigurationInvalid(f"--set {override}: expected section.key=value")
        _set(tree, key.strip(), text.strip(), places, "--set")
    references: dict[str, str] = {}
    try:
        settings = Settings.model_validate(_expand(tree, environment, references))
    except ValidationError as error:
        raise ConfigurationInvalid(_explain(error, places, path, references)) from None
    settings._references = references
    for secret in secrets_in(settings):
        SECRETS.learn(secret)
    return settings


def expanded(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """Returns a text with its ``${NAME}`` and ``${file:PATH}`` replaced; the values become secrets.

    Raises
    ------
    ConfigurationInvalid
        There is no such variable, or the file cannot be read.
    """

    def found(match: re.Match[str]) -> str:
        if match[1]:
            try:
                return Path(match[2]).read_text(encoding="utf-8").strip()
            except OSError as error:
                raise ConfigurationInvalid(f"{match[0]}: {error.strerror}") from error
            except UnicodeDecodeError:  # its message would show bytes of the secret
                raise ConfigurationInvalid(f"{match[0]}: not UTF-8") from None
        if match[2] not in environment:
            raise ConfigurationInvalid(f"{match[0]}: set the environment variable {match[2]}")
        return environment[match[2]]

    def secret(match: re.Match[str]) -> str:
        value = found(match)
        SECRETS.learn(value, match[0])
        return value

    return _SECRET.sub(secret, text)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationInvalid(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationInvalid(f"{path}: not TOML: {plain_words(error)}") from error


def _set(tree: dict[str, Any], key: str, text: str, places: dict[str, str], place: str) -> None:
    """Set a key to a TOML value; a text that is no TOML value is a plain string."""
    for value in (text, tomli_w.dumps({"": text}).partition("=")[2]):
        try:
            update = tomllib.loads(f"{key} = {value}")
        except tomllib.TOMLDecodeError:
            continue
        _merge(tree, update, key, place)
        places[key] = place
        return
    raise ConfigurationInvalid(f"{place}: {key!r} is no key; expected section.key")


def _merge(tree: dict[str, Any], update: dict[str, Any], key: str, place: str) -> None:
    for name, value in update.items():
        old = tree.get(name)
        if isinstance(value, dict) and isinstance(old, dict):
            _merge(old, value, key, place)
        elif isinstance(value, dict) and old is not None:
            raise ConfigurationInvalid(f"{place}: {key}: {name} is a value, not a section")
        else:
            tree[name] = value


def _expand(
    value: Any, environment: Mapping[str, str], references: dict[str, str], key: str = ""
) -> Any:
    """Expand every string; ``references`` gets, by key, the texts before expansion."""
    if isinstance(value, dict):
        return {
            name: _expand(item, environment, references, f"{key}\0{name}")
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [
            _expand(item, environment, references, f"{key}\0{index}")
            for index, item in enumerate(value)
        ]
    if not isinstance(value, str) or not _SECRET.search(value):
        return value
    references[key] = value
    return expanded(value, environment)


def _explain(
    error: ValidationError,
    places: Mapping[str, str],
    path: Path | None,
    references: Collection[str],
) -> str:
    lines = []
    for item in error.errors(include_url=False):
        key = ".".join(str(part) for part in item["loc"] if part != "[key]")
        place = places.get(key) or (str(path) if path else "settings")
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
            message = f"no such key; there are {', '.join(_keys(item['loc'][:-1]))}"
        elif item["type"] != "value_error":
            message = _EXPECTED.get(item["type"], message)
            message += _found(item, references)
        lines.append(f"{place}: {key}: {message}")
    return "\n".join(lines)


def _found(item: Mapping[str, Any], references: Collection[str]) -> str:
    """Returns words for the value of a key; empty where the value may be a secret."""
    inside = "".join(f"\0{part}" for part in item["loc"])
    found = item["input"]
    secret = _SECRETS.search(inside) or any(each.startswith(inside) for each in references)
    if secret or not isinstance(found, str | int | float):
        return ""
    return f"; found {str(found)[:_SHOWN]!r}" if isinstance(found, str) else f"; found {found}"


def _keys(section: Iterable[str | int]) -> list[str]:
    """Returns every key of a section, also keys without a default."""
    schema = Settings.model_json_schema()

    def followed(part: Mapping[str, Any]) -> Mapping[str, Any]:
        part = part.get("anyOf", [part])[0]
        return schema["$defs"][part["$ref"].rpartition("/")[2]] if "$ref" in part else part

    part = followed(schema)
    for name in section:
        named = part.get("properties", {})
        part = followed(named.get(name) or part.get("additionalProperties") or part["items"])
    return list(part["properties"])
