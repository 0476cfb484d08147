"""The messages of failures."""

import ast
import tomllib
from pathlib import Path

from streamfilter.errors import MessageRejected, Reason, how_to_install
from streamfilter.inference.runtimes import EXTRAS

ROOT = Path(__file__).parent.parent


def test_a_message_cannot_write_to_a_terminal() -> None:
    """What it put into a reason is escaped: colours, new lines, halves of characters."""
    found = MessageRejected(Reason.SURVEY_UNKNOWN, "record 'ä\x1b[31m\n\ud800\x9b'", 7).detail
    assert "record 'ä\\x1b[31m\\n\\ud800\\x9b' at byte 7" == found
    assert found.encode()


def test_an_extra_is_installed_from_a_checkout_or_a_wheel() -> None:
    """Two commands that a user can copy, and one for what has no extra."""
    assert (
        "pip install -e '.[s3]' in a checkout, or pip install "
        "'dist/streamfilter-0.1.0-py3-none-any.whl[s3]' with a wheel (make wheel)"
    ) == how_to_install("s3")
    assert how_to_install().startswith("pip install -e '.' in a checkout, or ")


def test_every_extra_that_a_message_names_exists() -> None:
    """In the package's own table; pip would only warn of another."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = {*EXTRAS.values(), *extras_of_calls("how_to_install"), *extras_of_calls("_missing")}
    extras = {"archive", "console", "dask", "figures", "openvino", "s3", "tensorrt", "traces"}
    assert extras == named
    assert named <= set(project["optional-dependencies"])


def extras_of_calls(function: str) -> set[str]:
    """The texts that stand last in the calls of a function, in the package."""
    return {
        node.args[-1].value
        for path in (ROOT / "streamfilter").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and function == ast.unparse(node.func) and node.args
        if isinstance(node.args[-1], ast.Constant) and isinstance(node.args[-1].value, str)
    }
