"""What an open page is sent: new cards, at most so many a second, and the state of things."""

import asyncio
import json
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Mapping, Sequence

from streamfilter.console.card_views import card_html, numbers_html
from streamfilter.console.page_views import MOST_CARDS, status_words
from streamfilter.console.ring import Choice, Entry
from streamfilter.console.site import Site
from streamfilter.metrics.console import ConsoleMetrics
from streamfilter.records import Origin
from streamfilter.redaction import clean
from streamfilter.service.connections import address_of

MOST, MOST_OF_ADDRESS = 64, 32
"""Pages that follow what comes, at a time."""
PER_S = 2.0
"""Cards that a page is sent: more could not be looked at, and each takes four pictures."""
_BURST = 4
_LOOK_S = 0.25
_STATE_S = 1.0
_WINDOW_S = 10.0
# Cards that were sent before their packet was read, and are told of once it was.
_MOST_BARE = 50


class Onlookers:
    """Who follows, bounded in number and by address."""

    def __init__(self, metrics: ConsoleMetrics) -> None:
        self._by_address: Counter[str] = Counter()
        self._metrics = metrics

    def enter(self, host: str) -> bool:
        """Let one more follow; False where there is no room."""
        address = address_of(host)
        full = self._by_address.total() >= MOST or self._by_address[address] >= MOST_OF_ADDRESS
        if not full:
            self._by_address[address] += 1
            self._metrics.onlookers.inc()
        return not full

    def leave(self, host: str) -> None:
        """One follows no longer."""
        address = address_of(host)
        self._by_address[address] -= 1
        self._by_address += Counter()  # without those that have none
        self._metrics.onlookers.dec()


class Follower:
    """One open page.

    Parameters
    ----------
    kind
        Of the page; only ``live`` and ``wall`` are sent cards.
    after
        The last card that the page has, as ``BOOT-NUMBER``; of another process, or empty, what
        comes from now on is sent.
    """

    def __init__(
        self, site: Site, choice: Choice, *, kind: str, after: str, person: str, token: str
    ) -> None:
        self._site, self._choice = site, choice
        self._sends_cards = kind in ("live", "wall")
        self._person, self._token = ("" if kind == "wall" else person), token
        boot, _, number = after.partition("-")
        known = boot == site.boot and number.isdecimal() and len(number) < 15
        newest = site.ring.last_for(choice)
        self._last = min(int(number), newest) if known else newest
        self._allowed, self._counted_s = float(_BURST), time.monotonic()
        self._bare: deque[Origin] = deque(maxlen=_MOST_BARE)
        if self._sends_cards:
            self._remember(site.ring.newest(site.now(), choice, MOST_CARDS))
        self._window: deque[tuple[float, int, int]] = deque()

    async def events(self) -> AsyncIterator[str]:
        """Yields events of the form that EventSource reads, until the process is to end."""
        yield "retry: 1000\n\n"
        told_s = 0.0
        while not self._site.stopping.is_set():
            if self._sends_cards:
                cards = self._cards()
                if cards:
                    yield cards
            if time.monotonic() - told_s >= _STATE_S:
                told_s = time.monotonic()
                yield self._state()
                if learned := self._learned():
                    yield learned
            await asyncio.sleep(_LOOK_S)

    def _cards(self) -> str:
        """An event with the cards that may be sent now, the newest first; empty where none may."""
        site, now_s = self._site, time.monotonic()
        self._allowed = min(self._allowed + (now_s - self._counted_s) * PER_S, float(_BURST))
        self._counted_s = now_s
        last = site.ring.last_for(self._choice)
        if last == self._last:
            return ""
        most = int(self._allowed)
        entries, fitting = site.ring.since(self._last, site.now(), self._choice, most)
        self._last = last
        self._allowed -= len(entries)
        self._window.append((now_s, fitting, len(entries)))
        if not entries:
            return ""
        self._remember(entries)
        cards = [card_html(site, each, person=self._person, token=self._token) for each in entries]
        return _event("cards", f"{site.boot}-{last}", {"html": "".join(cards), "last": last})

    def _remember(self, entries: Sequence[Entry]) -> None:
        self._bare.extend(each.card.place for each in entries if each.facts is None)

    def _learned(self) -> str:
        """An event with the numbers of cards that were sent before their packet was read."""
        found: dict[str, str] = {}
        left: deque[Origin] = deque(maxlen=_MOST_BARE)
        for place in self._bare:
            entry = self._site.entry(place)
            if entry is not None and entry.facts is None:
                left.append(place)
            elif entry is not None:
                found[f"c{entry.number}"] = numbers_html(self._site, entry)
        self._bare = left
        return _event("numbers", "", found) if found else ""

    def _state(self) -> str:
        now_s = time.monotonic()
        while self._window and now_s - self._window[0][0] > _WINDOW_S:
            self._window.popleft()
        came = sum(fitting for _, fitting, _ in self._window)
        shown = sum(sent for _, _, sent in self._window)
        words = status_words(self._site)
        if came > shown:
            words += f"; showing a sample: {shown} of the {came:,} that came in the last 10 s"
        state = {
            "words": clean(words),
            "last": self._site.ring.last,
            "connected": self._site.feed_state().connected,
        }
        return _event("state", "", state)


def _event(name: str, id_: str, data: Mapping[str, object]) -> str:
    head = f"id: {id_}\n" if id_ else ""
    return f"event: {name}\n{head}data: {json.dumps(data)}\n\n"
