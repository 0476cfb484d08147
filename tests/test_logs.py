"""Log lines."""

import ast
import json
import re
from functools import cache
from pathlib import Path
from typing import Literal

import pytest
import structlog

from streamfilter import logs

ROOT = Path(__file__).parent.parent


@cache
def events() -> frozenset[str]:
    """Names of all log events, as far as they are written in the sources."""
    found = set()
    for module in (ROOT / "streamfilter").rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Call) and re.match(r"log\.|say$", ast.unparse(node.func)):
                name = node.args[0]
                first = name.values[0] if isinstance(name, ast.JoinedStr) else name
                if isinstance(first, ast.Constant):
                    found.add(str(first.value))
    return frozenset(found)


def test_events_are_named_by_words() -> None:
    """All events are written in one way, so that a search in a log finds them."""
    assert len(events()) > 25
    assert set() == {name for name in events() if "_" in name}


def test_the_runbook_names_events_that_there_are() -> None:
    """What a person is told to look for in a log can stand there."""
    text = (ROOT / "deploy" / "RUNBOOK.md").read_text()
    named = set(re.findall(r"`([^`]+)` in (?:the|its) log", text))
    assert "kafka unreachable" in named
    assert set() == {name for name in named if not any(e.startswith(name) for e in events())}


def stumble(form: Literal["json", "human"]) -> None:
    """Log an exception that has a secret nearby."""
    logs.configure(form=form)
    secret = "hunt" + "er2"
    try:
        raise ValueError(f"{len(secret)} characters")
    except ValueError:
        structlog.get_logger().error("internal error", exc_info=True)


@pytest.mark.parametrize("form", ["json", "human"])
def test_a_traceback_shows_no_values(
    form: Literal["json", "human"], capsys: pytest.CaptureFixture[str]
) -> None:
    """Settings with passwords are locals of many functions."""
    stumble(form)
    said = capsys.readouterr().err
    assert "7 characters" in said
    assert "hunter2" not in said


def test_an_event_is_one_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    """This includes an event with a traceback."""
    stumble("json")
    (line,) = capsys.readouterr().err.splitlines()
    assert "internal error" == json.loads(line)["event"]
