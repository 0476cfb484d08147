"""Nothing that a packet holds becomes markup."""

from html.parser import HTMLParser

import pytest

from streamfilter.console.markup import tag

HOSTILE = [
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "'-alert(1)-'", "</dd></dl>",
    "&lt;b&gt;", "\u202eevil",
]  # fmt: skip


class Elements(HTMLParser):
    """What a browser would make of it."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, list[tuple[str, str | None]]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, attrs))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("text", HOSTILE)
def test_a_text_is_escaped_as_a_child_and_as_a_value(text: str) -> None:
    """Only what was made here is markup."""
    found = tag("p", text, tag("b", text), title=text)
    parser = Elements()
    parser.feed(found)
    assert [("p", [("title", text)]), ("b", [])] == parser.found
    assert f"{text}{text}" == parser.text


def test_attributes_may_be_left_out() -> None:
    """None and False are not there, True has no value."""
    found = tag("input", name="a", value=None, checked=True, hidden=False, class_="b", data_x=1)
    assert '<input name="a" checked class="b" data-x="1">' == found
