"""All that a page is made of."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote

from streamfilter.alerts.surveys import Page
from streamfilter.console.cards import Card
from streamfilter.console.counts import Counts
from streamfilter.console.darkroom import Darkroom
from streamfilter.console.feed import FeedState
from streamfilter.console.labels import Book, Label
from streamfilter.console.mask_pictures import MaskPictures
from streamfilter.console.ring import Entry, Ring
from streamfilter.console.visits import Visits
from streamfilter.metrics.console import ConsoleMetrics
from streamfilter.records import Origin, Rule


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """What the pages show, and whom they ask."""

    ring: Ring
    counts: Counts
    book: Book
    visits: Visits
    darkroom: Darkroom
    feed_state: Callable[[], FeedState]
    fetch: Callable[[Origin], Card | None]
    """Reads a card that is no longer held from its topic; takes time. Raises StreamfilterError."""
    publish: Callable[[Label], None] | None
    """Sends a label and waits until the broker has it; None where no topic is named for them.
    Raises StreamfilterError."""
    annotation_topics: frozenset[str]
    rules: Mapping[str, Sequence[Rule]]
    """By survey."""
    pages: Mapping[str, Page]
    """By survey."""
    lag: Callable[[], int | None]
    """Alerts that the workers have not answered yet; None where it is not known."""
    masks: MaskPictures
    metrics: ConsoleMetrics
    boot: str
    """Names this process: numbers of cards begin anew with each."""
    stopping: threading.Event
    """Set once the process is to end: pages that follow are let go."""

    def now(self) -> datetime:
        """Returns the time in UTC."""
        return datetime.now(UTC)

    def page_of(self, survey: str) -> Page:
        """Returns what is shown of a survey's alerts."""
        return self.pages.get(survey, Page())

    def entry(self, place: Origin) -> Entry | None:
        """Returns a card that is held."""
        return self.ring.at(place)


def address_of_card(place: Origin) -> str:
    """Returns the path of a card, which stays as long as the annotation does."""
    return f"/card/{quote(place.topic, safe='')}/{place.partition}/{place.offset}"


def object_address(card: Card, page: Page) -> str:
    """Returns the address of the object's page at its survey or a broker; empty where none is."""
    if not page.object_url or (card.object_id is None and "{object_id}" in page.object_url):
        return ""
    return page.object_url.replace("{object_id}", quote(card.object_id or "", safe="")).replace(
        "{alert_id}", quote(card.alert_id, safe="")
    )
