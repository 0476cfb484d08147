"""Log lines."""

import json
from typing import Literal

import pytest
import structlog

from streamfilter import logs


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
    """Also one with a traceback."""
    stumble("json")
    (line,) = capsys.readouterr().err.splitlines()
    assert "internal error" == json.loads(line)["event"]
