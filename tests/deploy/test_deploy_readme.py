"""The commands of deploy/README.md: run as they stand, or marked as not run."""

import os
import re
import subprocess
import sys
from pathlib import Path

import go_tools
import pytest
from go_tools import ROOT, ToolsUnavailable

README = ROOT / "deploy" / "README.md"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
SECONDS = 300.0


def blocks(kind: str) -> list[str]:
    """The command blocks that are run (sh) or not (console)."""
    return [text for found, text in BLOCK.findall(README.read_text()) if found == kind]


def before(block: str) -> str:
    """The paragraphs between a block and the one before."""
    return re.split(r"^```\w*$", README.read_text().split(block)[0], flags=re.M)[-2]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder to run in, where ``deploy`` is this checkout's."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "deploy").symlink_to(ROOT / "deploy")
    script = f'#!/bin/sh\nexec {sys.executable} -m streamfilter "$@"\n'
    (tmp_path / "bin" / "streamfilter").write_text(script)
    (tmp_path / "bin" / "streamfilter").chmod(0o755)
    return tmp_path


def test_every_block_is_run_or_said_not_to_be() -> None:
    """Nothing else than the two kinds; what is not run names why, or the test that does."""
    assert {"sh", "console"} == {kind for kind, _ in BLOCK.findall(README.read_text())}
    for block in blocks("sh"):
        assert "**Run by the tests**" in before(block)
    for block in blocks("console"):
        named = re.findall(r"`(tests/[\w/.]+)`", before(block))
        assert named or "**Not run**" in before(block)
        assert all((ROOT / each).exists() for each in named)


@pytest.mark.tool
@pytest.mark.engine
@pytest.mark.parametrize("block", blocks("sh"), ids=lambda text: text.splitlines()[0][:40])
def test_what_is_run_ends_well(block: str, place: Path, engine_home: Path) -> None:
    """As a shell runs it, in the root of a checkout."""
    if "helm " in block:
        try:
            (place / "bin" / "helm").symlink_to(go_tools.tool("helm"))
        except ToolsUnavailable as why:
            pytest.skip(f"no Helm: {why}")
    path = f"{place / 'bin'}:{os.environ['PATH']}"
    done = subprocess.run(
        ("sh", "-eu", "-c", block), cwd=place, env={**os.environ, "PATH": path},
        capture_output=True, text=True, timeout=SECONDS,
    )  # fmt: skip
    assert 0 == done.returncode, done.stdout + done.stderr


def test_what_is_linked_is_there() -> None:
    """Of this page and the one on sizes."""
    for page in (README, README.with_name("SIZING.md")):
        links = re.findall(r"\]\(([^)#:]+)(?:#[\w-]+)?\)", page.read_text())
        assert links
        assert [] == [each for each in links if not (page.parent / each).exists()]
