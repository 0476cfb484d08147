"""Writes the reference in deploy/LIBRARY.md from the docstrings: ``python library_page.py``."""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import streamfilter
from streamfilter.exposures.records import DetectorEvidence, Judgement, Shapes
from streamfilter.records import ClassEvidence, Rejected, StampEvidence, Verdict

PAGE = Path(__file__).parent.parent / "deploy" / "LIBRARY.md"
HEAD = "## Reference\n"
VALUES = (
    Verdict, StampEvidence, ClassEvidence, Rejected, Judgement, Shapes, DetectorEvidence,
)  # fmt: skip
"""What public names give back; they are read, and not made."""
_SECTION = re.compile(r"^(\w+(?: \w+)?)\n-{3,}$", re.M)


def reference() -> str:
    """The reference of every public name, in Markdown."""
    parts = [HEAD]
    for name in sorted(set(streamfilter.__all__) - {"__version__"}, key=str.lower):
        parts.append(_entry(name, getattr(streamfilter, name), "###"))
    parts.append("### Values\n\nThey are read, and not made; fields may be added.\n")
    for value in VALUES:
        parts.append(_entry(value.__name__, value, "####"))
    return "\n".join(parts)


def written() -> str:
    """The reference as the page has it."""
    text = PAGE.read_text()
    return text[text.index(HEAD) :]


def _entry(name: str, found: Any, level: str) -> str:
    text = f"{level} `{name}{_signature(found)}`\n\n{_words(found)}"
    if not inspect.isclass(found):
        return text
    if is_dataclass(found):
        text += "\n" + "".join(f"- {line}\n" for line in _fields(found))
    for member, value in _members(found):
        called = f"{name}[code]" if member == "__getitem__" else f"{name}.{member}"
        text += f"\n{level}# `{called}{_signature(value)}`\n\n{_words(value)}"
    return text


def _fields(found: type) -> Iterator[str]:
    """A dataclass's fields, with types as they are written and the words below them."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(found))).body[0]
    assert isinstance(tree, ast.ClassDef)
    for field, after in zip(tree.body, [*tree.body[1:], None], strict=True):
        if not isinstance(field, ast.AnnAssign) or ast.unparse(field.target).startswith("_"):
            continue
        words = ""
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            words = ": " + inspect.cleandoc(str(after.value.value)).replace("``", "`")
        kind = ast.unparse(field.annotation).replace("'", "")
        yield f"`{ast.unparse(field.target)}: {kind}`" + words.replace("\n", "\n  ")


def _members(found: type) -> Iterator[tuple[str, Any]]:
    for name, value in vars(found).items():
        public = not name.startswith("_") or name == "__getitem__"
        if public and (inspect.isfunction(value) or isinstance(value, property)):
            yield name, value


def _signature(found: Any) -> str:
    if isinstance(found, property):
        return _returned(found.fget)
    if getattr(found, "__name__", "") == "__getitem__":
        return _returned(found)
    if inspect.isclass(found) and found is not streamfilter.Filter:
        return ""
    parameters = inspect.signature(found).parameters.values()
    shown, keyword_only = [], False
    for each in parameters:
        if each.name == "self":
            continue
        if each.kind is each.KEYWORD_ONLY and not keyword_only:
            keyword_only = True
            shown.append("*")
        shown.append(each.name + ("" if each.default is each.empty else f"={each.default!r}"))
    return f"({', '.join(shown)})" + ("" if inspect.isclass(found) else _returned(found))


def _returned(found: Any) -> str:
    """What a function returns, as it is written."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(found))).body[0]
    assert isinstance(tree, ast.FunctionDef)
    if tree.returns is None or (kind := ast.unparse(tree.returns).strip("'")) == "None":
        return ""
    return f" -> {kind}"


def _words(found: Any) -> str:
    """The docstring: its sections as lists, code spans as Markdown has them."""
    text = _SECTION.sub(r"**\1**\n", (inspect.getdoc(found) or "").replace("``", "`"))
    lines, code, listed = [], False, False
    for line in text.splitlines():
        listed = listed or line.startswith("**")
        example = line.startswith((">>>", "..."))
        if example != code:
            lines.append("```python" if example else "```")
            code = example
        named = listed and line and not line.startswith((" ", "*", ">>>", "..."))
        lines.append(line[4:] if example else f"- *{line}*:" if named else line.rstrip())
    return "\n".join([*lines, *(["```"] if code else [])]) + "\n"


if __name__ == "__main__":
    before = PAGE.read_text().partition(HEAD)[0]
    PAGE.write_text(before + reference())
