"""The committed pages, and what stands in them: headings, links, tables, code."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^()\s]+)\)")
_SPAN = re.compile(r"`([^`\n]+)`")
# What tools and programs write, beside folders whose names begin with a dot.
_MADE = {"build", "dist", "streamfilter-demo"}


def pages() -> tuple[Path, ...]:
    """Every page of the project."""
    found = [
        path
        for path in ROOT.rglob("*.md")
        if not _MADE & set(path.relative_to(ROOT).parts)
        if all(part == ".github" or part[0] != "." for part in path.relative_to(ROOT).parts)
    ]
    return tuple(sorted(found))


def blocks(page: Path, language: str | None = None) -> list[str]:
    """Its code blocks, of one language or of all."""
    found = _FENCE.findall(page.read_text(encoding="utf-8"))
    return [text for named, text in found if language in (None, named)]


def prose(page: Path) -> str:
    """It without its code blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def spans(text: str) -> list[str]:
    """What stands between backticks."""
    return _SPAN.findall(text)


def links(page: Path) -> list[str]:
    """The targets of its links and pictures."""
    return _LINK.findall(prose(page))


def anchors(page: Path) -> set[str]:
    """What a link into it may name: GitHub's form of its headings."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.*)$", prose(page), re.M):
        anchor = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        again = sum(1 for each in found if re.fullmatch(rf"{re.escape(anchor)}(-\d+)?", each))
        found.add(f"{anchor}-{again}" if again else anchor)
    return found


def section(page: Path, heading: str) -> str:
    """The text below a heading, up to the next of its level or a higher one."""
    text = page.read_text(encoding="utf-8")
    start = re.search(rf"^(#+) {re.escape(heading)}$", text, re.M)
    assert start, f"{page.name} has no heading {heading!r}"
    rest = text[start.end() :]
    end = re.search(rf"^#{{1,{len(start[1])}}} ", rest, re.M)
    return rest[: end.start()] if end else rest


def rows(text: str) -> list[list[str]]:
    """The rows of all tables in a text, cell by cell, without their heads."""
    found, in_body = [], False
    for line in text.splitlines():
        if not line.startswith("|"):
            in_body = False
        elif re.fullmatch(r"[|\-: ]+", line):
            in_body = True
        elif in_body:
            found.append([cell.strip().replace("\\|", "|") for cell in _cells(line)])
    return found


def _cells(line: str) -> list[str]:
    return re.split(r"(?<!\\)\|", line.strip().strip("|"))
