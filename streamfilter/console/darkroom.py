"""Reads alerts from their own topics, on a thread of its own: for pictures, and for facts."""

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Future

import structlog

from streamfilter.console.cards import Card, Facts
from streamfilter.console.pictures import Painter, Picture, Unreadable
from streamfilter.console.ring import Entry
from streamfilter.errors import StreamfilterError
from streamfilter.kafka.places import PlaceReader
from streamfilter.records import Action, Label, Message, Origin

log = structlog.get_logger(__name__)

_KEPT = 500
"""Pictures that are kept, some 20 kB each; of more the one that was asked for longest ago goes."""
_MOST_WAITING = 64
"""Pictures that are waited for; who asks for one more is told to come again."""
_AT_ONCE = 8
_READ_S = 5.0
_IDLE_S = 0.1
_MOST_FACTS_WAITING = 2000
_AGAIN_S = 5.0


class Busy(Exception):
    """Too many pictures are waited for."""


class Darkroom:
    """Pictures of cards that somebody looks at, and facts of others, as far as there is time.

    Parameters
    ----------
    open_reader
        Opens the connection to the brokers of the alerts.
    open_painter
        Opens engine and decoder, which takes seconds; called when it is first needed.
    on_facts
        Called with what was read of a card, on the darkroom's thread.
    on_failure
        Called with what ended the thread.
    packets_per_s
        Most alerts that are read for their facts alone.
    """

    def __init__(
        self,
        open_reader: Callable[[], PlaceReader],
        open_painter: Callable[[], Painter],
        on_facts: Callable[[Card, Facts], None],
        on_failure: Callable[[Exception], None],
        packets_per_s: float,
    ) -> None:
        self._open_reader, self._open_painter = open_reader, open_painter
        self._on_facts, self._on_failure = on_facts, on_failure
        self._per_s = packets_per_s
        self._changed = threading.Condition()
        self._pictures: OrderedDict[Origin, Future[Picture]] = OrderedDict()
        self._wanted: deque[tuple[Card, Future[Picture]]] = deque()
        self._first: deque[Card] = deque(maxlen=_MOST_FACTS_WAITING)
        self._later: deque[Card] = deque(maxlen=_MOST_FACTS_WAITING)
        self._stopping = False
        self._allowed, self._counted_s = 0.0, time.monotonic()
        self.trouble = ""
        """Why alerts cannot be read; empty while they can."""
        self._thread = threading.Thread(target=self._guarded, name="darkroom", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def stop(self) -> None:
        """Stop, and wait for it; pictures that are waited for are given up."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join(10.0)

    def picture(self, card: Card) -> Future[Picture]:
        """Returns the picture of a card, once it is drawn.

        Raises
        ------
        Busy
            Too many are waited for.
        """
        with self._changed:
            kept = self._pictures.get(card.origin)
            if kept is not None:
                self._pictures.move_to_end(card.origin)
                return kept
            if len(self._wanted) >= _MOST_WAITING:
                raise Busy
            future: Future[Picture] = Future()
            self._pictures[card.origin] = future
            if len(self._pictures) > _KEPT:
                self._pictures.popitem(last=False)
            self._wanted.append((card, future))
            self._changed.notify()
            return future

    def note(self, entry: Entry) -> None:
        """Read the facts of a new card when there is time: of what was not kept first."""
        with self._changed:
            doubtful = entry.card.action is Action.DROP or entry.card.label is Label.SUSPECT
            (self._first if doubtful else self._later).append(entry.card)
            self._changed.notify()

    def _guarded(self) -> None:
        try:
            self._run()
        except Exception as error:
            self._on_failure(error)

    def _run(self) -> None:
        reader: PlaceReader | None = None
        painter: Painter | None = None
        while not self._stopping:
            pictures, facts = self._next()
            if not pictures and not facts:
                continue
            try:
                reader = reader or self._open_reader()
                painter = painter or self._open_painter()
                self._work(reader, painter, pictures, facts)
                self.trouble = ""
            except StreamfilterError as error:
                self.trouble = str(error)
                log.error("alerts cannot be looked at", detail=str(error))
                for card, future in pictures:
                    if not future.done():
                        self._fail(card, future, Unreadable(str(error)))
                # What ended this connection may be mended by then.
                if reader is not None:
                    reader.close()
                    reader = None
                time.sleep(_AGAIN_S)
        if reader is not None:
            reader.close()

    def _next(self) -> tuple[list[tuple[Card, Future[Picture]]], list[Card]]:
        """Waits for work; returns pictures to draw, and cards whose facts may be read now."""
        with self._changed:
            if not self._wanted:
                self._changed.wait(_IDLE_S)
            pictures = [self._wanted.popleft() for _ in range(min(_AT_ONCE, len(self._wanted)))]
            now_s = time.monotonic()
            more = (now_s - self._counted_s) * self._per_s
            self._allowed, self._counted_s = min(self._allowed + more, self._per_s), now_s
            facts: list[Card] = []
            while self._allowed >= 1 and len(facts) < _AT_ONCE and (self._first or self._later):
                facts.append((self._first or self._later).pop())  # the newest
                self._allowed -= 1
            return pictures, facts

    def _work(
        self,
        reader: PlaceReader,
        painter: Painter,
        pictures: list[tuple[Card, Future[Picture]]],
        facts: list[Card],
    ) -> None:
        # What somebody waits for does not wait for the rest.
        found = reader.read([card.origin for card, _ in pictures], _READ_S)
        for card, future in pictures:
            self._draw(painter, card, future, found.get(card.origin))
        found = reader.read([card.origin for card in facts], _READ_S)
        for card in facts:
            message = found.get(card.origin)
            if message is not None:
                self._learn(painter, card, message)

    def _draw(
        self, painter: Painter, card: Card, future: Future[Picture], message: Message | None
    ) -> None:
        try:
            if message is None:
                raise Unreadable("the alert is no longer in its topic, or its broker is away")
            picture = painter.picture(card, message)
        except (Unreadable, StreamfilterError) as error:
            self._fail(card, future, error)
        else:
            future.set_result(picture)
            self._on_facts(card, picture.facts)

    def _learn(self, painter: Painter, card: Card, message: Message) -> None:
        try:
            self._on_facts(card, painter.facts(message))
        except (Unreadable, StreamfilterError) as error:
            log.debug("alert not read", alert_id=card.alert_id, detail=str(error))

    def _fail(self, card: Card, future: Future[Picture], error: Exception) -> None:
        """Give up a picture; who asks again tries again."""
        with self._changed:
            self._pictures.pop(card.origin, None)
        future.set_exception(error)
