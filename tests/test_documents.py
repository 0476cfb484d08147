"""What the pages say is there: links, commands, settings, code and figures."""

import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path

import click
import documents
import pytest
from documents import ROOT
from pydantic import BaseModel

from streamfilter.alerts.surveys import Surveys
from streamfilter.alerts.verdict import rule_fields
from streamfilter.cli import root
from streamfilter.config import Settings, load
from streamfilter.errors import how_to_install
from streamfilter.service.assembly.alerts import networks_of, policy_of

README = ROOT / "README.md"
CHART_PAGE = ROOT / "deploy" / "README.md"
RECORDS_PAGE = ROOT / "schemas" / "README.md"
PAGES = documents.pages()
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
every_page = pytest.mark.parametrize("page", PAGES, ids=NAMES)


def test_the_readme_takes_two_minutes() -> None:
    """What is longer has a page of its own."""
    assert len(README.read_text().splitlines()) <= 200


def test_the_readme_leads_to_every_page_for_users() -> None:
    """Those of the folders that it speaks of, and to the one for contributors."""
    linked = {(ROOT / each.partition("#")[0]).resolve() for each in documents.links(README)}
    folders = (ROOT / "deploy", ROOT / "schemas", ROOT / "engines")
    wanted = {page for page in PAGES if page.parent in folders} | {ROOT / "CONTRIBUTING.md"}
    assert set() == wanted - linked


@every_page
def test_every_link_leads_somewhere(page: Path) -> None:
    """To a file or folder of the project, and to a heading where it names one."""
    lost = []
    for link in documents.links(page):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if "://" in link:
            continue
        headings = documents.anchors(target) if target.suffix == ".md" and target.exists() else ()
        if not (target.is_relative_to(ROOT) and target.exists()) or anchor not in ("", *headings):
            lost.append(link)
    assert [] == lost


def commands(group: click.Group, *before: str) -> Iterator[tuple[str, click.Command]]:
    """Every command that can be run, by its words, in the order of the help."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, *before, name)
        elif command is not None:
            yield " ".join((*before, name)), command


COMMANDS = dict(commands(root))


def test_the_index_of_commands_is_the_program_s() -> None:
    """Neither has a command that the other lacks, and each stands once."""
    table = documents.rows(documents.section(README, "Every command"))
    named = [name for first, _ in table for name in documents.spans(first)]
    assert sorted(COMMANDS) == sorted(named)


def called(page: Path) -> Iterator[list[str]]:
    """The words behind ``streamfilter``, of every call in a page's blocks and lines."""
    texts = [block.replace("\\\n", " ") for block in documents.blocks(page)]
    for text in (*texts, *documents.spans(documents.prose(page))):
        for line in text.splitlines():
            found = re.match(r"(?:[\w./-]*/|\w+=\w+ )?streamfilter +([a-z].*)", line.strip())
            if found:
                yield shlex.split(found[1].partition(" > ")[0], comments=True)


@every_page
def test_every_command_that_a_page_calls_exists(page: Path) -> None:
    """With its options."""
    unknown = []
    for words in called(page):
        given = {word for word in words if word.startswith("-")}
        name = next((n for n in (" ".join(words[:2]), words[0]) if n in COMMANDS), None)
        if name is None:
            groups = {each.partition(" ")[0] for each in COMMANDS}
            # `rejected list|show|replay` and `streamfilter engines` name a group.
            unknown += [] if words[0] in groups and not given else [" ".join(words)]
        else:
            known = {"--help"} | {
                opt for each in COMMANDS[name].params for opt in (*each.opts, *each.secondary_opts)
            }
            unknown += [f"{name} {option}" for option in sorted(given - known)]
    assert [] == unknown


def make_targets() -> set[str]:
    """What ``make`` can be asked for: the targets that are no files."""
    text = (ROOT / "Makefile").read_text()
    phony = {name for line in re.findall(r"^\.PHONY:(.*)$", text, re.M) for name in line.split()}
    return phony & set(re.findall(r"^([\w-]+):(?!=)", text, re.M))


@every_page
def test_every_make_target_that_a_page_names_exists(page: Path) -> None:
    """In its blocks and lines; a target that is no file is named in .PHONY too."""
    texts = [line for block in documents.blocks(page) for line in block.splitlines()]
    texts += documents.spans(documents.prose(page))
    named = {found[1] for text in texts if (found := re.match(r"make ([\w-]+)", text.strip()))}
    assert set() == named - make_targets()


def has_key(model: type[BaseModel], path: list[str]) -> bool:
    """Whether settings have a key, or it is one of a table whose keys are the operator's."""
    field = model.model_fields.get(path[0])
    if field is None or len(path) == 1:
        return field is not None
    inner = field.annotation
    if isinstance(inner, type) and issubclass(inner, BaseModel):
        return has_key(inner, path[1:])
    if is_dataclass(inner):
        return path[1:] in [[each.name] for each in fields(inner)]
    return str(inner).startswith("dict[")


def keys_named(page: Path) -> Iterator[str]:
    """``section.key`` in a page's code spans, and ``[section.table]``."""
    sections = "|".join(Settings.model_fields)
    key = re.compile(rf"\[?((?:{sections})(?:\.\w+)+)\]?(?: = .*)?")
    for span in documents.spans(documents.prose(page)):
        found = key.fullmatch(span)
        # The rest are files, and a property of librdkafka.
        if found and not found[1].endswith((".toml", ".json", ".ms")):
            yield found[1]


@every_page
def test_every_setting_that_a_page_names_exists(page: Path) -> None:
    """A key of the settings; some pages name the Helm chart's values or fields of records too."""
    chart = (ROOT / "deploy" / "helm" / "streamfilter" / "values.yaml").read_text()
    recorded = {row[0].strip("`") for row in documents.rows(RECORDS_PAGE.read_text())}
    unknown = [
        key
        for key in keys_named(page)
        if not has_key(Settings, key.split("."))
        if not (page == CHART_PAGE and f"{key.rpartition('.')[2]}:" in chart)
        if not (page == RECORDS_PAGE and key in recorded)
    ]
    assert [] == unknown


@every_page
def test_settings_and_code_in_pages_can_be_used(page: Path, tmp_path: Path) -> None:
    """Settings are read by our own reader; their rules look at fields that the maps name."""
    names = ("CONSOLE_PASSWORD", "RUBIN_PASSWORD", "WEBHOOK_SECRET", "WORKER")
    secrets = dict.fromkeys(names, "0123456789abcdef")
    for text in documents.blocks(page, "toml"):
        if "survey" not in tomllib.loads(text):  # a field map
            path = tmp_path / "site.toml"
            path.write_text(text)
            settings = load(path, environment=secrets)
            networks = networks_of(settings)
            policies = {name: policy_of(settings, name, networks) for name in settings.surveys}
            Surveys.load().refuse_unnamed(rule_fields(policies))
    for text in documents.blocks(page, "python"):
        compile(text, str(page), "exec")


def test_one_place_says_how_an_extra_is_installed() -> None:
    """The README says what error messages say, and names every extra for users."""
    install = documents.section(README, "Install")
    for command in re.findall(
        r"pip install '.*?'|pip install -e '.*?'", how_to_install("openvino")
    ):
        assert command in install
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = set(project["optional-dependencies"]) - {"dev", "fuzz", "rtx"}
    assert sorted(f"`{extra}`" for extra in extras) == [row[0] for row in documents.rows(install)]
    assert [] == [page for page in NAMES if "install 'streamfilter" in (ROOT / page).read_text()]


def test_figures_of_the_readme_are_those_of_the_page_behind_them() -> None:
    """Each number of its table stands there too, with how it was measured."""
    rows = documents.rows(documents.section(README, "What is measured"))
    assert rows
    for _, figures, link in rows:
        (target,) = re.findall(r"\]\(([^)#]+)", link)
        text = (ROOT / target).read_text()
        numbers = re.findall(r"\d[\d.]*", figures)
        assert numbers
        for number in numbers:
            assert re.search(rf"(?<![\d.]){re.escape(number)}(?![\d.])", text), (number, target)


def test_a_score_is_not_taken_for_the_truth() -> None:
    """What is claimed of real alerts is held against their history, with the count."""
    readme, rules = README.read_text(), (ROOT / "deploy" / "RULES.md").read_text()
    claimed = next(line for line in readme.splitlines() if "default rules drop |" in line)
    assert "drb" not in claimed
    assert "1 of 1,166: 0.1 % (0 to 0.5)" in claimed
    assert "| ZTF, real by history | 1,166 | drop 1: 0.1 % (0 to 0.5 %) |" in rules
    assert "of 7 verdicts none agrees" in rules
    assert "2 to 9 saturated pixels" in rules
