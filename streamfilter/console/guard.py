"""Who may ask what: names of this machine, passwords, posts of our own pages, and headers."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from streamfilter.config import Console
from streamfilter.metrics.console import ConsoleMetrics
from streamfilter.service.logins import Logins

Scope = MutableMapping[str, Any]
Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

SESSION, PERSON = "streamfilter-console", "streamfilter-person"
"""Cookies: a random text that forms repeat, and the name of who labels."""

# Nothing of another host, nothing written into a page, no frame around it.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = (
    ("content-security-policy", _POLICY),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
)
_HERE = frozenset({"localhost", "127.0.0.1", "::1"})
# Asked by orchestrators, which have no password.
_OPEN = frozenset({"/healthz"})


class Guard:
    """Stands before the pages; what it refuses is counted.

    Parameters
    ----------
    listening
        Where the page listens: on this machine alone, other names than its own are refused, by
        which a page of another host could ask here (DNS rebinding).
    """

    def __init__(
        self, inner: Application, listening: Console, logins: Logins, metrics: ConsoleMetrics
    ) -> None:
        self._inner = inner
        self._names = {*_HERE, listening.host} if listening.loopback else None
        self._logins = logins
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request, or hands it on."""
        if scope["type"] != "http":
            return
        headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
        refusal = await self._refusal(scope, headers)
        if refusal is not None:
            status, words, more = refusal
            await _answer(send, status, words, more)
            return

        async def guarded(event: Event) -> None:
            if event["type"] == "http.response.start":
                more = [(k.encode(), v.encode()) for k, v in _HEADERS]
                event = {**event, "headers": [*event["headers"], *more]}
            await send(event)

        await self._inner(scope, receive, guarded)

    async def _refusal(
        self, scope: Scope, headers: dict[str, str]
    ) -> tuple[int, str, dict[str, str]] | None:
        """Status, words and headers of a refusal; None where the request is in order."""
        if self._names is not None and _name_of(headers.get("host", "")) not in self._names:
            self._metrics.refused.labels("host").inc()
            return 421, "this page is for this machine alone: ask for it as 127.0.0.1", {}
        if scope["path"] in _OPEN:
            return None
        client = (scope.get("client") or ("", 0))[0]
        given = headers.get("authorization", "")
        # A wrong password takes its time, on a thread.
        refused = await asyncio.to_thread(self._logins.refusal, given, client)
        if refused is not None:
            self._metrics.refused.labels("login").inc()
            status = int(refused.status.split()[0])
            return status, "console.user and console.password are needed", dict(refused.headers)
        if scope["method"] not in ("GET", "HEAD") and not _same_site(headers):
            self._metrics.refused.labels("cross_site").inc()
            return 403, "a page of another host may not post here", {}
        return None


def _name_of(host: str) -> str:
    """The name in a header ``Host``, without port and brackets."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _same_site(headers: dict[str, str]) -> bool:
    """Whether a post comes from a page of ours, as the browser says; it must say so."""
    if headers.get("sec-fetch-site", "same-origin") != "same-origin":
        return False
    origin = headers.get("origin", "")
    return bool(origin) and urlsplit(origin).netloc == headers.get("host", "")


async def _answer(send: Send, status: int, words: str, more: dict[str, str]) -> None:
    headers = [*_HEADERS, ("content-type", "text/plain; charset=utf-8"), *more.items()]
    encoded = [(k.lower().encode("latin-1"), v.encode("latin-1")) for k, v in headers]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": f"{words}\n".encode()})
