"""The command line as a whole."""

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from streamfilter.cli import connection, root
from streamfilter.errors import TransportFailed


@pytest.mark.parametrize("command", sorted(root.list_commands(None)))  # type: ignore[arg-type]
def test_every_command_teaches(command: str) -> None:
    """--help says what it does in a sentence and works without any set-up."""
    found = CliRunner().invoke(root, [command, "--help"])
    assert (0, None) == (found.exit_code, found.exception)
    assert len(found.output.splitlines()) > 5


def test_help_lists_what_there_is() -> None:
    """A newcomer finds the way from the root."""
    found = CliRunner().invoke(root, ["--help"])
    assert found.exit_code == 0
    for command in ("demo", "run", "inspect", "replay", "engines", "config", "topics", "schemas"):
        assert f"\n  {command} " in found.output


@pytest.mark.parametrize("group", ["", "config", "engines", "rejected", "schemas", "topics"])
def test_help_says_of_each_command_what_it_does(group: str) -> None:
    """The sentence is whole: click by itself cuts it off at the end of a line."""
    context = click.Context(root)
    listing = root.get_command(context, group) if group else root
    assert isinstance(listing, click.Group)
    shown = " ".join(CliRunner().invoke(root, [*group.split(), "--help"]).output.split())
    names = listing.list_commands(context)
    assert 1 < len(names)
    for command in (listing.get_command(context, name) for name in names):
        assert command is not None
        first = " ".join((command.help or "").partition("\n\n")[0].split())
        assert f"{command.name} {first}" in shown


@pytest.mark.process
def test_a_failure_is_one_line() -> None:
    """No traceback for what the user can mend."""
    command = [sys.executable, "-m", "streamfilter", "config", "show", "--set", "batch.size=0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("streamfilter: --set: batch.size: ")
    assert len(done.stderr.splitlines()) == 1


def test_what_a_client_says_of_an_absent_broker_is_no_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commands without settings log warnings to standard error, and nothing below them."""
    monkeypatch.setattr(connection, "ANSWER_S", 1.0)
    arguments = ["replay", str(tmp_path), "--topic", "t", "--bootstrap", "127.0.0.1:1"]
    found = CliRunner().invoke(root, arguments)
    assert isinstance(found.exception, TransportFailed)
    assert "" == found.stdout
    levels = {json.loads(line)["level"] for line in found.stderr.splitlines()}
    assert {"warning"} == levels
