"""Reads the outputs on a thread of its own: annotations, rejections, labels, exposures."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog

from streamfilter.console.cards import card_of
from streamfilter.console.counts import Counts
from streamfilter.console.labels import Book, from_record
from streamfilter.console.ring import Entry, Ring
from streamfilter.console.visits import Visits
from streamfilter.errors import StreamfilterError
from streamfilter.kafka.tail import Tail
from streamfilter.records import Message
from streamfilter.rejections import rejection_of

log = structlog.get_logger(__name__)

_POLL_S = 0.05
# Before a connection is opened anew that a person must mend.
_AGAIN_S = 5.0

Read = Callable[[Message], Mapping[str, Any]]
"""Returns the record in a message of ours; raises a StreamfilterError where there is none."""


@dataclass(frozen=True, slots=True)
class FeedState:
    """What a page says of its connection."""

    connected: bool
    behind: int
    """Messages that are there and were not read yet."""
    missing: tuple[str, ...]
    """Topics that are not there."""
    trouble: str
    """What a person must mend; empty while nothing is known."""
    since: datetime
    """From when on it is so."""


class Feed:
    """Reads the outputs and hands over what is in them.

    Parameters
    ----------
    open_tail
        Opens the connection; called again after trouble.
    kinds
        By topic: ``annotations``, ``rejected``, ``labels`` or ``exposures``.
    read
        Decodes what is ours.
    on_card
        Called with each new card, on the feed's thread; it must not wait.
    on_failure
        Called with what ended the thread: a page that stands still unseen would be a lie.
    """

    def __init__(
        self,
        open_tail: Callable[[], Tail],
        kinds: Mapping[str, str],
        read: Read,
        *,
        ring: Ring,
        counts: Counts,
        book: Book,
        visits: Visits,
        on_card: Callable[[Entry], None],
        on_failure: Callable[[Exception], None],
    ) -> None:
        self._open_tail, self._kinds, self._read = open_tail, kinds, read
        self._ring, self._counts, self._book, self._visits = ring, counts, book, visits
        self._on_card, self._on_failure = on_card, on_failure
        self._stopping = threading.Event()
        self._state = FeedState(False, 0, tuple(kinds), "", datetime.now(UTC))
        self._told = 0.0
        self._thread = threading.Thread(target=self._guarded, name="feed", daemon=True)

    @property
    def state(self) -> FeedState:
        """What is known of the connection."""
        return self._state

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """Stop reading, and wait for it."""
        self._stopping.set()
        self._thread.join(10.0)

    def _guarded(self) -> None:
        try:
            self._run()
        except Exception as error:
            self._on_failure(error)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                tail = self._open_tail()
                try:
                    self._follow(tail)
                finally:
                    tail.close()
            except StreamfilterError as error:
                log.error("outputs cannot be read", detail=str(error), again_s=_AGAIN_S)
                self._set(FeedState(False, 0, (), str(error), datetime.now(UTC)))
                self._stopping.wait(_AGAIN_S)

    def _follow(self, tail: Tail) -> None:
        while not self._stopping.is_set():
            messages = tail.poll(_POLL_S)
            for message in messages:
                self._take(message)
            # Asking for positions costs; what is known changes slowly.
            if time.monotonic() - self._told > 0.5:
                self._told = time.monotonic()
                now = datetime.now(UTC)
                behind = tail.behind()
                self._set(FeedState(tail.connected, behind, tail.missing, "", now))

    def _set(self, state: FeedState) -> None:
        before = self._state
        kept = before.connected == state.connected and before.trouble == state.trouble
        since = before.since if kept else state.since
        self._state = FeedState(state.connected, state.behind, state.missing, state.trouble, since)

    def _take(self, message: Message) -> None:
        kind = self._kinds.get(message.origin.topic, "")
        try:
            if kind == "rejected":
                rejection = rejection_of(message)
                self._counts.reject("unknown" if rejection is None else rejection.reason)
            elif kind == "annotations":
                self._add(message)
            elif kind == "labels":
                self._book.add(from_record(self._read(message)))
            elif kind == "exposures":
                self._visits.add(self._read(message))
        # Anybody may write to a topic; one message of another kind must not end the page.
        except (StreamfilterError, KeyError, TypeError, ValueError) as error:
            self._counts.fail()
            log.warning(
                "message not shown",
                topic=message.origin.topic,
                partition=message.origin.partition,
                offset=message.origin.offset,
                detail=f"{type(error).__name__}: {error}",
            )

    def _add(self, message: Message) -> None:
        card = card_of(message.origin, self._read(message))
        entry = self._ring.add(card)
        if entry is not None:
            self._counts.add(card)
            self._on_card(entry)
