"""The JSON schema of the configuration, for editors and checks of TOML files."""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from typing import Any

from streamfilter.config import sections
from streamfilter.config.sections import Section, Settings

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema() -> dict[str, Any]:
    """Returns every key with its type, default, bounds and meaning."""
    made = Settings.model_json_schema()
    of_class = {
        name: each
        for name, each in vars(sections).items()
        if isinstance(each, type) and issubclass(each, Section)
    }
    for name, definition in made["$defs"].items():
        if "properties" in definition:
            definition.setdefault("additionalProperties", False)  # frozen values refuse them too
        if name in of_class:
            _describe(definition, of_class[name])
    return {"$schema": _DIALECT, **made, "title": "streamfilter"}


def _describe(definition: dict[str, Any], section: type[Section]) -> None:
    """Add the texts of the sources to each key, those of the class and of its bases."""
    for each in reversed([c for c in section.__mro__ if issubclass(c, Section)]):
        for key, text in _told(each):
            if key in definition.get("properties", {}):
                definition["properties"][key]["description"] = text


def _told(section: type[Section]) -> Iterator[tuple[str, str]]:
    """Yields a section's keys, each with the text below it."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(section))).body
    assert isinstance(tree, ast.ClassDef)
    for key, text in zip(tree.body, tree.body[1:], strict=False):
        if not (isinstance(key, ast.AnnAssign) and isinstance(key.target, ast.Name)):
            continue
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            yield key.target.id, " ".join(str(text.value.value).replace("``", "`").split())
