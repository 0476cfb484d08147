"""Write `dashboards/*.json` anew, after a change of `boards/` or of the runbook.

    python deploy/grafana/make_dashboards.py

A test holds the files equal to what this writes.
"""

import re
from pathlib import Path

from boards import engines, exposures, night
from boards.drawing import drawn, drawn_runbook, url_of

HERE = Path(__file__).parent
BOARDS = (night.BOARD, engines.BOARD, exposures.BOARD)


def runbook_sections(words: str) -> dict[str, str]:
    """The text of each section of the runbook by its heading, the beginning first."""
    title, *parts = re.split(r"^## +(.+)$", words, flags=re.MULTILINE)
    beginning = title.partition("# Runbook\n")[2].strip()
    texts = [beginning, *(part.strip() for part in parts[1::2])]
    names = ["Runbook", *parts[0::2]]
    return {name: _linked(text, names) for name, text in zip(names, texts, strict=True)}


def _linked(text: str, names: list[str]) -> str:
    """Links between sections become links between their panels; files are not at hand there."""
    urls = {name.lower(): url_of(name) for name in names}

    def there(found: re.Match[str]) -> str:
        return f"]({urls[found[1]]})"

    linked = re.sub(r"\]\(#(\w+)\)", there, text)
    return re.sub(r"\[([^\]]+)\]\((?!/d/|https:)[^)]+\)", r"\1", linked)


def dashboards() -> dict[str, str]:
    """The JSON of each dashboard by the name of its file."""
    sections = runbook_sections((HERE.parent / "RUNBOOK.md").read_text(encoding="utf-8"))
    made = {f"{board.name}.json": drawn(board, list(sections)) for board in BOARDS}
    return made | {"runbook.json": drawn_runbook(sections)}


if __name__ == "__main__":
    for name, content in dashboards().items():
        (HERE / "dashboards" / name).write_text(content, encoding="utf-8")
