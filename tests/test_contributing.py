"""CONTRIBUTING.md: its commands are run, and what it names is there."""

import ast
import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import documents
import fastavro
import numpy as np
import pytest
from astropy.io import fits
from documents import ROOT
from test_architecture import ROOMS

PAGE = ROOT / "CONTRIBUTING.md"
PACKAGE = ROOT / "streamfilter"
PROGRAMS = ("make", "streamfilter", "pytest", "python", ".venv/bin/pre-commit")
# These are run; of the others it is seen that pytest finds what they name, for they run anyway.
QUICK = (
    "pytest tests/test_config.py",
    "pytest tests/alerts/test_surveys.py tests/alerts/test_recognition.py "
    "tests/test_documents_records.py",
)
SECONDS = 300.0
# As in the example of a field map in schemas/README.md.
PACKET = {
    "type": "record",
    "name": "mine.alert",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "object", "type": {"type": "record", "name": "O", "fields": [
            {"name": "id", "type": "long"}]}},
        {"name": "source", "type": {"type": "record", "name": "S", "fields": [
            {"name": "mjd", "type": "double"},
            {"name": "exposure", "type": "float"},
            {"name": "is_cosmic_ray", "type": "boolean"}]}},
        {"name": "cutout", "type": "bytes"},
    ],
}  # fmt: skip


def commands(*programs: str) -> list[str]:
    """Every command of the page that begins with one of these, in its order."""
    lines = [line for block in documents.blocks(PAGE) for line in block.splitlines()]
    lines += documents.spans(documents.prose(PAGE))
    found = [line.partition("  #")[0].strip() for line in lines]
    return [
        each for each in dict.fromkeys(found) if each.startswith(tuple(f"{p} " for p in programs))
    ]


def run(command: str, folder: Path, **more: str) -> str:
    """What a command prints, as a shell runs it; it must succeed."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    done = subprocess.run(
        ("sh", "-eu", "-c", command), cwd=folder, env={**clean, **more},
        capture_output=True, text=True, timeout=SECONDS,
    )  # fmt: skip
    assert 0 == done.returncode, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A contributor's folder: programs, ``deploy``, packets of a new survey and its field map."""
    programs = {"streamfilter": "-m streamfilter", "python": "", "pytest": "-m pytest"}
    programs[".venv/bin/pre-commit"] = "-m pre_commit"
    for name, words in programs.items():
        path = tmp_path / name if "/" in name else tmp_path / "bin" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} {words} "$@"\n')
        path.chmod(0o755)
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    shutil.copy(ROOT / ".pre-commit-config.yaml", tmp_path)
    (tmp_path / "maps").mkdir()
    (example,) = documents.blocks(ROOT / "schemas" / "README.md", "toml")
    (tmp_path / "maps" / "mine.toml").write_text(example)
    (tmp_path / "packets").mkdir()
    (tmp_path / "packets" / "one.avro").write_bytes(packet())
    return tmp_path


def packet() -> bytes:
    """An alert of the new survey, in a container: noise, and one hot pixel in its middle."""
    image = np.random.default_rng(1).normal(100, 3, (63, 63)).astype(">f4")
    image[31, 31] += 2000
    stamp, out = io.BytesIO(), io.BytesIO()
    fits.PrimaryHDU(image).writeto(stamp)
    source = {"mjd": 61041.0, "exposure": 30.0, "is_cosmic_ray": False}
    record = {"id": 5, "object": {"id": 7}, "source": source, "cutout": stamp.getvalue()}
    fastavro.writer(out, fastavro.parse_schema(PACKET), [record])
    return out.getvalue()


def test_the_page_is_read_in_one_sitting() -> None:
    """What is longer belongs into the page on its subject."""
    assert len(PAGE.read_text().splitlines()) <= 120


def test_every_command_of_the_page_is_one_that_is_tried() -> None:
    """A block holds nothing but commands, and there are some of each program."""
    lines = [line for block in documents.blocks(PAGE) for line in block.splitlines()]
    assert [] == [line for line in lines if not line.startswith(PROGRAMS)]
    assert [] == [program for program in PROGRAMS if not commands(program)]
    assert set() == set(QUICK) - set(commands("pytest"))


@pytest.mark.process
@pytest.mark.parametrize("command", commands("make"))
def test_make_knows_how_to_make_a_target(command: str) -> None:
    """As far as that is known without making it: recipes that call make are run even then."""
    if shutil.which("make") is None:
        pytest.skip("no make on the PATH")
    target = command.split()[1]
    found = re.search(rf"^{target}:.*\n((?:\t.*\n)*)", (ROOT / "Makefile").read_text(), re.M)
    assert found, f"the Makefile has no target {target}"
    if "$(MAKE)" not in found[1]:
        assert run(f"make --dry-run {target}", ROOT)


@pytest.mark.process
@pytest.mark.parametrize("command", commands("pytest"))
def test_pytest_finds_what_is_to_be_run(command: str) -> None:
    """A quick one is run as it stands."""
    how = "-q -p no:cacheprovider" if command in QUICK else "-q -p no:cacheprovider --collect-only"
    said = run(f"{sys.executable} -m {command} {how}", ROOT)
    assert re.search(r"\d+ (tests collected|passed)", said)


@pytest.mark.parametrize("command", commands("streamfilter"))
def test_a_command_of_a_recipe_ends_well(command: str, place: Path, engine_home: Path) -> None:
    """In a folder with what the recipe speaks of."""
    path = f"{place / 'bin'}:{os.environ['PATH']}"
    said = run(command, place, PATH=path, STREAMFILTER_HOME=str(engine_home))
    if " inspect " in command:
        assert re.search(r"mine .* 5 .*HP .* hot-pixel", said)


@pytest.mark.process
@pytest.mark.parametrize("command", commands(".venv/bin/pre-commit"))
def test_what_runs_before_a_commit_can_be_put_there(command: str, place: Path) -> None:
    """In a repository of its own."""
    if shutil.which("git") is None:
        pytest.skip("no git on the PATH")
    run(f"git init --quiet && {command}", place, GIT_CONFIG_GLOBAL=os.devnull, HOME=str(place))
    assert (place / ".git" / "hooks" / "pre-commit").exists()


@pytest.mark.process
def test_the_boards_are_drawn_as_they_are(place: Path) -> None:
    """The recipe's command changes nothing where nothing was changed."""
    drawn = place / "deploy" / "grafana" / "dashboards"
    for path in drawn.iterdir():
        path.unlink()
    (command,) = commands("python")
    run(command, place, PATH=f"{place / 'bin'}:{os.environ['PATH']}")
    kept = (ROOT / "deploy" / "grafana" / "dashboards").iterdir()
    contents = {path.name: path.read_text() for path in kept}
    assert contents
    assert contents == {path.name: path.read_text() for path in drawn.iterdir()}


def test_every_room_is_named() -> None:
    """Those of the table of who may import whom."""
    table = documents.rows(documents.section(PAGE, "Where things go"))
    named = [name for first, _ in table for name in documents.spans(first)]
    assert sorted(set(ROOMS) - {"__main__"}) == sorted(named)


def names_in(path: Path) -> Iterator[str]:
    """Classes, and methods as ``Class.method``, of a module."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef):
            yield node.name
            inner = (each for each in node.body if isinstance(each, ast.FunctionDef))
            yield from (f"{node.name}.{each.name}" for each in inner)


@pytest.mark.parametrize("row", documents.rows(documents.section(PAGE, "The way of one message")))
def test_a_step_of_the_way_is_where_the_page_says(row: list[str]) -> None:
    """In one of its files."""
    _, step, files = row
    found = {name for each in documents.spans(files) for name in names_in(PACKAGE / each)}
    named = [name for name in documents.spans(step) if name[0].isupper()]
    assert named
    assert [] == [name for name in named if name not in found]


def test_every_file_that_the_page_names_is_there() -> None:
    """In the project or in the package; those of a contributor are in maps."""
    named = [
        each
        for each in documents.spans(documents.prose(PAGE))
        if re.fullmatch(r"\w[\w./-]*/[\w./-]*", each)
    ]
    own = [each for each in named if each.startswith("maps/")]
    folders = (ROOT, PACKAGE, PACKAGE / "service")
    lost = [each for each in named if not any((folder / each).exists() for folder in folders)]
    assert own == lost


def recipes() -> list[str]:
    """The paragraphs, one a recipe."""
    text = documents.section(PAGE, "Recipes, each with the command that must pass at its end")
    return [part for part in text.split("\n\n") if part.startswith("**")]


@pytest.mark.parametrize("recipe", recipes(), ids=lambda text: text.split(".")[0].strip("*"))
def test_what_a_recipe_has_changed_is_in_a_file_that_it_names(recipe: str) -> None:
    """A table in capitals begins a line of one of its files; each recipe ends with its tests."""
    paths = [ROOT / each for each in documents.spans(recipe) if (ROOT / each).exists()]
    files = [path / "__init__.py" if path.is_dir() else path for path in paths]
    text = "\n".join(path.read_text() for path in files if path.suffix == ".py" and path.exists())
    tables = [each for each in documents.spans(recipe) if re.fullmatch("[A-Z]+", each)]
    assert [] == [each for each in tables if not re.search(rf"^{each}\b", text, re.M)]
    assert documents.spans(recipe)[-1].startswith("pytest ")
