"""Reading a container file, and what a build of it sees of the checkout."""

import fnmatch
import string
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction, its lines joined."""

    word: str
    rest: str


@dataclass(slots=True)
class Stage:
    """From one FROM to the next, and what its steps made."""

    base: str
    name: str
    steps: list[Step] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    layer: Path = Path()
    """What lies over this machine's root."""
    folder: str = "/"
    said: dict[str, str] = field(default_factory=dict)
    """The last USER, ENTRYPOINT, CMD, HEALTHCHECK, ... of it."""


def steps(text: str) -> list[Step]:
    """Instructions of a container file; comments left out, continued lines joined."""
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
    whole = "\n".join(lines).replace("\\\n", " ")
    parted = (line.split(None, 1) for line in whole.splitlines() if line.strip())
    return [Step(word.upper(), rest.strip()) for word, rest in parted]


def stages(text: str, arguments: Mapping[str, str]) -> list[Stage]:
    """The stages of a container file; ``arguments`` are what ``--build-arg`` gives."""
    found: list[Stage] = []
    known: dict[str, str] = {}
    for step in steps(text):
        if step.word == "FROM":
            base, _, name = filled(step.rest, known).partition(" AS ")
            found.append(Stage(base, name))
        elif found:
            found[-1].steps.append(step)
        else:
            name, _, default = step.rest.partition("=")
            known[name] = arguments.get(name, default)
    return found


def ignored(path: str, rules: Sequence[str]) -> bool:
    """Whether ``.dockerignore`` keeps a path out of the build; the last rule that fits wins."""
    out = False
    for rule in rules:
        pattern = rule.removeprefix("!").rstrip("/")
        parts = path.split("/")
        heads = ["/".join(parts[:n]) for n in range(1, len(parts) + 1)]
        anywhere = pattern.startswith("**/")
        names = parts if anywhere else heads
        if any(fnmatch.fnmatchcase(name, pattern.removeprefix("**/")) for name in names):
            out = not rule.startswith("!")
    return out


def ignore_rules() -> list[str]:
    """The lines of ``.dockerignore`` that say something."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def context() -> Iterator[str]:
    """Files of the checkout that a build sees."""
    listed = subprocess.run(
        ("git", "ls-files", "--cached", "--others", "--exclude-standard"),
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    rules = ignore_rules()
    yield from (path for path in listed.stdout.splitlines() if not ignored(path, rules))


def filled(text: str, known: Mapping[str, str]) -> str:
    """A text with the variables that are known put in."""
    return string.Template(text).safe_substitute(known)
