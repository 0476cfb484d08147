"""The page on schemas: every key of a field map, every field and header of what is published."""

import ast
import json
import tomllib
import typing
from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import Any, Literal

import documents
import pytest
from documents import ROOT
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from streamfilter.alerts.surveys import Paths, SurveyMap, Surveys
from streamfilter.contaminants import TABLE

PAGE = ROOT / "schemas" / "README.md"
SCHEMAS = sorted((ROOT / "schemas" / "streamfilter" / "1").glob("*.avsc"))
BOUNDS = {"Ge(ge=0)": ", 0 or more", "Gt(gt=0)": ", above 0"}
CODES = {row.code.lower() for row in TABLE}


def keys(model: type[BaseModel], before: str = "") -> Iterator[tuple[str, str, str]]:
    """Name, type and default of every key of a map, tables within it too."""
    for name, field in model.model_fields.items():
        table, many = table_of(field.annotation)
        if table is None:
            yield before + name, type_of(field), default_of(field)
        else:
            yield from keys(table, f"{before}{name}{'[]' if many else ''}.")


def table_of(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    """The table that a key is, and whether there may be several."""
    inner = [each for each in typing.get_args(annotation) if each not in (NoneType, Ellipsis)]
    many = typing.get_origin(annotation) is tuple
    found = inner[0] if inner else annotation
    return (
        (found, many) if isinstance(found, type) and issubclass(found, BaseModel) else (None, many)
    )


def type_of(field: FieldInfo) -> str:
    """In the words of the page."""
    annotation = field.annotation
    arguments = [each for each in typing.get_args(annotation) if each is not NoneType]
    if annotation == typing.get_args(Paths)[0]:
        return "a field, or a list of fields"
    if typing.get_origin(annotation) is dict:
        return f"a table of names, each with {type_of(FieldInfo.from_annotation(arguments[1]))}"
    if typing.get_origin(annotation) is tuple:
        plain = {str: "texts", float: "numbers"}.get(arguments[0], "texts, numbers, true or false")
        return f"a list of {choices(arguments[0]) or plain}"
    if choice := choices(annotation):
        return f"one of {choice}"
    plain, *bounds = typing.get_args(arguments[0]) if arguments else (annotation,)
    words = {str: "a text", float: "a number", int: "a whole number"}[plain]
    return words + "".join(BOUNDS[str(each)] for bound in bounds for each in bound.metadata)


def choices(annotation: Any) -> str:
    """The values that are allowed; empty where they are no closed set."""
    if typing.get_origin(annotation) is not Literal:
        return ""
    return ", ".join(f"`{value}`" for value in typing.get_args(annotation))


def default_of(field: FieldInfo) -> str:
    """In TOML, or that there is none."""
    if field.is_required():
        return "must be given"
    value = field.default
    return "none" if value in (None, (), {}) else f"`{json.dumps(value)}`"


def test_every_key_of_a_field_map_is_explained() -> None:
    """With the type and default that the reader has; neither has a key that the other lacks."""
    table = documents.rows(documents.section(PAGE, "Every key"))
    named = [(name.strip("`"), kind, default) for name, kind, default, *_ in table]
    assert list(keys(SurveyMap)) == named


def test_the_examples_are_a_field_map() -> None:
    """All of them together, as the reader takes it."""
    lines: dict[str, list[str]] = {}
    for name, _, _, example, _ in documents.rows(documents.section(PAGE, "Every key")):
        table, _, key = name.strip("`").rpartition(".")
        lines.setdefault(table, []).append(f"{key} = {example.strip('`')}")
    text = "\n".join(lines.pop(""))
    for each in lines:
        head = f"[[{each[:-2]}]]" if each.endswith("[]") else f"[{each}]"
        text += f"\n{head}\n" + "\n".join(lines[each])
    SurveyMap.model_validate(tomllib.loads(text))
    for block in documents.blocks(PAGE, "toml"):
        SurveyMap.model_validate(tomllib.loads(block))


def test_every_known_survey_is_named() -> None:
    """With the file that reads it, and in the README."""
    named = {row[0] for row in documents.rows(documents.section(PAGE, "Field maps"))}
    lost = [name for name in Surveys.load().names if f"`{name}`" not in named]
    assert [] == lost, "give each a row in schemas/README.md, Field maps"
    readme = documents.section(ROOT / "README.md", "Look at your own packets").lower()
    lost = [name for name in Surveys.load().names if name not in readme]
    assert [] == lost, "name each in README.md, Look at your own packets"


def fields(record: dict[str, Any], before: str, seen: dict[str, str]) -> Iterator[list[str]]:
    """Name, type and meaning of every field, once for all classes of pixels."""
    for field in record["fields"]:
        of_class = field["name"] in CODES
        if of_class and field["name"] != "cr":
            continue
        path = f"{before}{'<class>' if of_class else field['name']}"
        words, inner = describe(field["type"], path, seen)
        meaning = f"{field['doc']} {meaning_of_symbols(field['type'])}".strip()
        if of_class:
            meaning = inner["doc"] if inner else meaning.partition(":")[0] + " of this class."
        yield [f"`{path}`", words, meaning]
        if inner is not None:
            yield from fields(inner, f"{path}{'[]' if 'list' in words else ''}.", seen)


def meaning_of_symbols(avro: Any) -> str:
    """What an enumeration says of its symbols, where it does."""
    if isinstance(avro, list):
        return "".join(map(meaning_of_symbols, avro))
    if not isinstance(avro, dict):
        return ""
    doc = avro.get("doc", "") if avro["type"] == "enum" else meaning_of_symbols(avro.get("items"))
    return doc if ":" in doc else ""


def describe(avro: Any, path: str, seen: dict[str, str]) -> tuple[str, dict[str, Any] | None]:
    """A type in words, and the record that it is where it is a new one."""
    if isinstance(avro, list):
        words, inner = describe(next(each for each in avro if each != "null"), path, seen)
        return f"{words} or null", inner
    if isinstance(avro, str):
        return (f"as `{seen[avro]}`" if avro in seen else avro), None
    kind = avro["type"]
    if kind == "array":
        words, inner = describe(avro["items"], path, seen)
        return f"list of {words}", inner
    if "name" in avro:
        seen[avro["name"]] = path
    if kind == "enum":
        return ", ".join(f"`{symbol}`" for symbol in avro["symbols"]), None
    if kind == "record":
        return "record", avro
    if kind == "fixed":
        return f"{avro['size']} bytes", None
    return {"timestamp-micros": "time", "timestamp-millis": "time"}[avro["logicalType"]], None


@pytest.mark.parametrize("path", SCHEMAS, ids=lambda path: path.stem)
def test_every_field_of_a_record_is_explained(path: Path) -> None:
    """In the schema's own order and words; what fails are the rows that the page should have."""
    record = json.loads(path.read_text())
    expected = list(fields(record, "", {}))
    table = documents.rows(documents.section(PAGE, record["name"]))
    lost = [f"| {' | '.join(row)} |" for row in expected if row not in table]
    assert [] == lost, f"put these rows into schemas/README.md, {record['name']}"
    assert expected == table, "the rows stand in the schema's order, and none is left over"


def test_every_class_is_explained() -> None:
    """With its bit in masks, and the prior and threshold that hold by default."""
    expected = [
        [f"`{row.code}`", f"{row.bit}", row.meaning, f"{row.prior:g}", f"{row.threshold:g}"]
        for row in TABLE
    ]
    assert expected == documents.rows(documents.section(PAGE, "Classes"))


def headers() -> Iterator[tuple[str, str]]:
    """Every table of headers in the package, name by name."""
    for path in sorted((ROOT / "streamfilter").rglob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.AnnAssign) and "HEADERS" == ast.unparse(node.target):
                assert node.value is not None
                yield from ast.literal_eval(node.value).items()


def test_every_header_is_explained() -> None:
    """In the words of the code that writes it."""
    table = documents.rows(documents.section(ROOT / "deploy" / "OUTPUTS.md", "Headers"))
    assert sorted(headers()) == sorted((name.strip("`"), meaning) for name, meaning in table)


def test_every_output_is_explained() -> None:
    """Each key of the section in the example configuration."""
    text = (ROOT / "deploy" / "streamfilter.toml").read_text()
    keys = set(tomllib.loads(text)["outputs"])
    table = documents.rows((ROOT / "deploy" / "OUTPUTS.md").read_text().partition("\n## ")[0])
    assert keys == {name for first, _ in table for name in documents.spans(first)}
