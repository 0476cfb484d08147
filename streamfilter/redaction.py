"""Keeps the secrets of this process, and removes them from texts.

Whoever reads a secret makes it known to ``SECRETS``. Whoever lets a text out of the process (logs,
errors, pages, metrics, headers, records, figures, traces) cleans it with ``clean``.
"""

import base64
import io
import json
import re
import threading
from collections.abc import Iterator
from typing import Any, TextIO
from urllib.parse import quote, quote_plus, urlsplit

HIDDEN = "(hidden)"
SHORTEST = 6
"""Fewest characters of a secret that is searched for anywhere: shorter texts occur in words."""
# Shorter ones are found where they are a word of their own: "partition" may be a password.
_ANYWHERE = 12
# Pieces of a secret that come out alone: a line of a key, the password of "user:password", the
# token of "Bearer token". What stands before a colon or "=" is a name.
_SHORTEST_PIECE = 8
_PIECE = re.compile(r"(?:^|[\s:=,;\"'&?@])([^\s:=,;\"'&?@]+)(?=[\s,;\"'&?@]|$)")
# The end of a text is looked at for the beginning of a secret where the text may have been cut.
_SHORTEST_CUT, _SHORTEST_REST = 100, 8
# A representation is quoted in an exception, which is represented, and so on: so many times.
_ESCAPED = 3
_URL = re.compile(r"\b([A-Za-z][A-Za-z0-9+.-]*://)([^\s\"'<>|\\]+)")
_ALL_SAFE = "/%:@!$&'()*+,;=~"  # what calls over HTTPS leave as it stands


class Redactor:
    """Knows secrets and removes them from texts; any thread may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # What is looked for and what is shown for it, and the pattern that finds any of it.
        self._state: tuple[dict[str, str], re.Pattern[str] | None] = ({}, None)

    def learn(self, secret: str, shown: str = HIDDEN) -> None:
        """Search for a secret from now on, also escaped or encoded, and replace it by a text.

        One of fewer than ``SHORTEST`` characters is not looked for.
        """
        made = {form: shown for text in _texts(secret) for form in _spellings(text)}
        with self._lock:
            # What was learned first stays: a reload may know the same secret by another name.
            known = {**made, **self._state[0]}
            forms = [_alone(each) for each in sorted(known, key=len, reverse=True)]
            self._state = known, re.compile("|".join(forms)) if forms else None

    def forget(self) -> None:
        """Forget all secrets: for tests, whose process lives longer than their secrets."""
        with self._lock:
            self._state = {}, None

    def clean(self, text: str) -> str:
        """Returns the text without known secrets, and its URLs without user, password and query."""
        known, pattern = self._state
        # Nearly every text holds none: a plain search is many times faster than the pattern.
        if pattern is not None and any(secret in text for secret in known):
            text = pattern.sub(lambda found: known[found[0]], text)
        if "://" in text:
            text = bare_urls(text)
        return _without_cut_secret(text, known) if len(text) >= _SHORTEST_CUT else text


SECRETS = Redactor()
"""The redactor of this process."""


def clean(text: str) -> str:
    """Returns the text without secrets of this process; see ``Redactor.clean``."""
    return SECRETS.clean(text)


def clean_values(value: Any) -> Any:
    """Returns a value for a log line with all its texts cleaned; other objects become text."""
    if isinstance(value, str):
        return clean(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, dict):
        return {name: clean_values(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [clean_values(item) for item in value]
    return clean(repr(value))


class CleanStream(io.TextIOBase):
    """A text stream that writes no secret; everything else is the wrapped stream's."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text without its secrets."""
        self._stream.write(clean(text))
        return len(text)

    def flush(self) -> None:
        """Flush the stream."""
        self._stream.flush()

    def isatty(self) -> bool:
        """Whether the stream is a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """The stream's descriptor."""
        return self._stream.fileno()

    def writable(self) -> bool:
        """Returns True."""
        return True

    def close(self) -> None:
        """Does nothing: the wrapped stream belongs to another."""

    @property
    def buffer(self) -> Any:
        """The stream for bytes, which are written as they are."""
        return self._stream.buffer

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The stream's encoding."""
        return self._stream.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        """How the stream handles characters that cannot be encoded."""
        return self._stream.errors


def bare_urls(text: str) -> str:
    """Returns a text with its URLs, if any, without user, password, query and fragment."""
    return _URL.sub(_bare_url, text)


def url_secrets(text: str) -> Iterator[str]:
    """Returns what is secret in a URL: user and password, the query, and its values."""
    try:
        parts = urlsplit(text)
        login = parts.netloc.rpartition("@")[0]
    except ValueError:
        return
    if not parts.netloc:
        return
    yield from (each for each in (login, login.partition(":")[2]) if each)
    for query in (parts.query, parts.fragment):
        if query:
            yield query
            yield from (each.partition("=")[2] or each for each in query.split("&"))


def _texts(secret: str) -> Iterator[str]:
    """Returns a secret, and its parts that could appear alone."""
    secret = secret.strip()
    if len(secret) < SHORTEST:
        return
    yield secret
    if "://" in secret and not any(each.isspace() for each in secret):
        # The host alone is none: it is what an operator needs to see.
        place = urlsplit(secret).path.strip("/")
        pieces = [place, place.rpartition("/")[2], *url_secrets(secret)]
    else:
        pieces = [*secret.splitlines(), *secret.split(","), *_PIECE.findall(secret)]
    fit = (each.strip() for each in pieces if "-----" not in each)
    yield from (each for each in fit if len(each) >= _SHORTEST_PIECE)


def _spellings(text: str) -> set[str]:
    """Returns the forms in which a text may be written: escaped, in a URL, or within base64."""
    forms = {text, text.lower()}  # names of hosts become lower case
    for _ in range(_ESCAPED):
        forms |= {escaped for form in forms for escaped in _escaped(form)}
    forms |= {
        quote(text, safe=""),
        quote(text, safe="/"),
        quote(text, safe=_ALL_SAFE),
        quote_plus(text),
    }
    content = text.encode("utf-8", "surrogatepass")
    for before in range(3):  # where it begins among the groups of three bytes
        encoded = base64.b64encode(b"\0" * before + content).decode().rstrip("=")
        # The first and last characters hold bits of what stands beside it.
        inside = encoded[(before * 4 + 2) // 3 : len(encoded) - 1]
        if len(inside) >= _ANYWHERE:
            forms |= {inside, inside.translate(str.maketrans("+/", "-_"))}
    return {each for each in forms if len(each) >= SHORTEST}


def _escaped(text: str) -> Iterator[str]:
    yield json.dumps(text)[1:-1]
    yield json.dumps(text, ensure_ascii=False)[1:-1]
    yield repr(text)[1:-1]
    yield text.encode("unicode_escape").decode("ascii")


def _alone(secret: str) -> str:
    """Returns a pattern for a secret; a short one must not be a part of a word."""
    if len(secret) >= _ANYWHERE:
        return re.escape(secret)
    before = "(?<![A-Za-z0-9])" if secret[0].isalnum() else ""
    after = "(?![A-Za-z0-9])" if secret[-1].isalnum() else ""
    return before + re.escape(secret) + after


def _bare_url(found: re.Match[str]) -> str:
    """Returns a URL without what may be secret in it."""
    rest = found[2].rstrip(".,:;")
    after = found[2][len(rest) :]
    end = next((place for place, each in enumerate(rest) if each in "/?#"), len(rest))
    host = rest[:end].rpartition("@")[2]
    path, mark, _ = rest[end:].partition("?")
    path, fragment, _ = path.partition("#")
    return f"{found[1]}{host}{path}{f'?{HIDDEN}' if mark or fragment else ''}{after}"


def _without_cut_secret(text: str, known: dict[str, str]) -> str:
    """Returns a text without the beginning of a secret at its end, where the text was cut."""
    for secret, shown in known.items():
        if len(secret) <= _SHORTEST_REST:
            continue
        tail = text[-len(secret) + 1 :]
        place = tail.find(secret[:_SHORTEST_REST])
        while place >= 0:
            if secret.startswith(tail[place:]):
                return text[: len(text) - len(tail) + place] + shown
            place = tail.find(secret[:_SHORTEST_REST], place + 1)
    return text
