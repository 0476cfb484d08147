"""From settings to the live page: every part of it is made here."""

import os
import secrets
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import structlog
from prometheus_client import CollectorRegistry

from streamfilter import __version__
from streamfilter.alerts.decode import Decoder
from streamfilter.alerts.surveys import Surveys
from streamfilter.config import Settings
from streamfilter.console.cards import Card, Facts, card_of
from streamfilter.console.counts import Counts
from streamfilter.console.darkroom import Darkroom
from streamfilter.console.feed import Feed
from streamfilter.console.guard import Guard
from streamfilter.console.labels import Book, Label, encode, from_record
from streamfilter.console.mask_pictures import MaskPictures
from streamfilter.console.pictures import Painter
from streamfilter.console.ring import Entry, Ring
from streamfilter.console.site import Site
from streamfilter.console.visits import Visits
from streamfilter.errors import (
    ConfigurationInvalid,
    TransportFailed,
    how_to_install,
)
from streamfilter.inference.cache import default_home
from streamfilter.kafka.lag import GroupLag
from streamfilter.kafka.places import PlaceReader
from streamfilter.kafka.reader import read_topic
from streamfilter.kafka.sink import KafkaSink, Undeliverable
from streamfilter.kafka.tail import Tail
from streamfilter.metrics.console import ConsoleMetrics
from streamfilter.metrics.process import describe_process
from streamfilter.reading import read
from streamfilter.records import Message, Origin, Output, Rule
from streamfilter.schemas.finder import SchemaFinder
from streamfilter.schemas.published import (
    ConfluentRegistrar,
    confluent_header,
    label_schema,
    single_object_header,
    subject,
)
from streamfilter.service.assembly.alerts import (
    networks_of,
    open_parts,
    policy_of,
    registry_settings,
    schema_sources,
)
from streamfilter.service.assembly.clients import (
    Say,
    consumer_settings,
    names_of,
    output_reader,
    producer_settings,
)
from streamfilter.service.logins import Logins

log = structlog.get_logger(__name__)

_BACK = {"annotations": 200, "rejected": 0, "exposures": 300, "labels": None}
"""Messages of each partition before its end that are read at the start; None: all."""
_PUBLISH_S = 10.0
_FETCH_S = 5.0
_LAG_EVERY_S = 10.0


class Console:
    """The live page with all its threads.

    Parameters
    ----------
    say
        Takes a line about slow steps of opening the engine.

    Raises
    ------
    ConfigurationInvalid
        The extra is not installed, nothing is published that could be shown, or an address,
        certificate or setting of Kafka cannot be used.
    """

    def __init__(self, settings: Settings, say: Say) -> None:
        server, pages = _extra()
        self._settings = settings
        self._surveys = Surveys.load(settings.alerts.survey_folders)
        kinds = topics_shown(settings)
        registry = CollectorRegistry()
        describe_process(registry, __version__)
        self._metrics = ConsoleMetrics(registry)
        self.ring = Ring(settings.console.cards)
        self._counts = Counts(datetime.now(UTC))
        book, visits = Book(), Visits()
        self._darkroom = Darkroom(
            partial(PlaceReader, consumer_settings(settings)),
            partial(open_painter, settings, self._surveys, say),
            self._learn,
            self.failed,
            settings.console.packets_per_s,
        )
        self._feed = Feed(
            partial(Tail, output_reader(settings), _with_starts(kinds)),
            kinds,
            partial(_read, settings),
            ring=self.ring,
            counts=self._counts,
            book=book,
            visits=visits,
            on_card=self._note,
            on_failure=self.failed,
        )
        self._lag: int | None = None
        self._failure: Exception | None = None
        self._stopping = threading.Event()
        self._publisher = Publisher(settings) if settings.outputs.labels else None
        self._fetcher = Fetcher(settings)
        site = Site(
            ring=self.ring,
            counts=self._counts,
            book=book,
            visits=visits,
            darkroom=self._darkroom,
            feed_state=lambda: self._feed.state,
            fetch=self._fetcher.card,
            publish=None if self._publisher is None else self._publisher.publish,
            annotation_topics=frozenset(t for t, kind in kinds.items() if kind == "annotations"),
            rules=_rules(settings, self._surveys),
            pages={each.survey: each.page for each in self._surveys.maps},
            lag=lambda: self._lag,
            masks=MaskPictures(settings.exposures.contaminants.folder),
            metrics=self._metrics,
            boot=secrets.token_hex(4),
            stopping=self._stopping,
        )
        listening = settings.console
        secure = listening.certificate_file is not None
        application = pages(site, registry, secure=secure).application()
        self._logins = Logins(
            listening.user, listening.password, lambda: None, setting="console.password"
        )
        self.server = server(Guard(application, listening, self._logins, self._metrics), listening)
        self.url: str = self.server.url

    def run(self) -> None:
        """Show what comes until ``stop`` is called; raises what ended one of the threads."""
        self._feed.start()
        self._darkroom.start()
        threading.Thread(target=self._ask_lag, name="lag", daemon=True).start()
        try:
            self.server.run()
        finally:
            self._stopping.set()
            self._logins.close()
            self._feed.stop()
            self._darkroom.stop()
            self._fetcher.close()
            if self._publisher is not None:
                self._publisher.close()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """End ``run``; from any thread."""
        self._stopping.set()
        self.server.stop()

    def failed(self, error: Exception) -> None:
        """End ``run`` with an error; from any thread."""
        self._failure = self._failure or error
        self.stop()

    def _note(self, entry: Entry) -> None:
        self._metrics.cards.inc()
        self._darkroom.note(entry)

    def _learn(self, card: Card, facts: Facts) -> None:
        self._metrics.packets.inc()
        if self.ring.learn(card.place, facts):
            self._counts.learn(card, facts)

    def _ask_lag(self) -> None:
        kafka = self._settings.kafka
        group = str(kafka.consumer.get("group.id", kafka.group))
        own = {k: v for k, v in consumer_settings(self._settings).items() if k != "group.id"}
        own.pop("group.instance.id", None)
        lag = GroupLag(own, group, self._settings.alerts.topics)
        while not self._stopping.is_set():
            self._lag = lag.messages()
            self._stopping.wait(_LAG_EVERY_S)
        lag.close()


def _extra() -> tuple[Any, Any]:
    """The modules that need the extra: server and pages."""
    try:
        from streamfilter.console.app import Pages
        from streamfilter.console.server import Server
    except ImportError as error:
        raise ConfigurationInvalid(
            f"the live page needs starlette and uvicorn: {how_to_install('console')}"
        ) from error
    return Server, Pages


def _rules(settings: Settings, surveys: Surveys) -> dict[str, Sequence[Rule]]:
    """By survey, the rules that hold."""
    networks = networks_of(settings)
    return {name: policy_of(settings, name, networks).rules for name in surveys.names}


def topics_shown(settings: Settings) -> dict[str, str]:
    """Returns the topics that the page reads, and what is in each.

    Raises
    ------
    ConfigurationInvalid
        Annotations are not published.
    """
    outputs = settings.outputs
    annotations = names_of(settings, outputs.annotations).values()
    if not annotations:
        raise ConfigurationInvalid(
            "outputs.annotations is empty: the live page shows annotations; name their topic"
        )
    kinds = dict.fromkeys(annotations, "annotations")
    exposures = settings.exposures
    if outputs.rejected:
        kinds[outputs.rejected] = "rejected"
    if outputs.labels:
        kinds[outputs.labels] = "labels"
    if outputs.tracking and exposures.topics:
        kinds[outputs.tracking] = "exposures"
    if outputs.contaminants and exposures.contaminants.topics:
        kinds[outputs.contaminants] = "exposures"
    return kinds


def _with_starts(kinds: dict[str, str]) -> dict[str, int | None]:
    return {topic: _BACK[kind] for topic, kind in kinds.items()}


def _read(settings: Settings, message: Message) -> dict[str, Any]:
    """The record in a message of ours; schemas are looked for where ours are registered."""
    publish = settings.schemas.publish
    registry = registry_settings(publish) if publish.url else None
    return read(message.value or b"", headers=message.headers, registry=registry)


def open_painter(settings: Settings, surveys: Surveys, say: Say) -> Painter:
    """Open engine and decoder as a worker does.

    Raises
    ------
    ConfigurationInvalid, EngineUnavailable
        What is missing, and how to mend it.
    """
    parts = open_parts(settings, threads=1, say=say)
    home = settings.engine.home or default_home(os.environ)
    finder = SchemaFinder(schema_sources(settings, home), settings.limits)
    decoder = Decoder(finder, surveys, settings.limits)
    pages = {each.survey: each.page for each in surveys.maps}
    return Painter(decoder, parts.pipeline, parts.engine, pages)


def read_labels(settings: Settings) -> list[Label]:
    """Returns every label that holds, read from its topic.

    Raises
    ------
    ConfigurationInvalid
        No topic is named for labels.
    StreamfilterError
        The topic cannot be read, or a message in it is nothing of ours.
    """
    topic = settings.outputs.labels
    if not topic:
        raise ConfigurationInvalid(
            "outputs.labels is empty: name the topic that the live page writes labels to"
        )
    book = Book()
    for message in read_topic(output_reader(settings), topic):
        try:
            book.add(from_record(_read(settings, message)))
        except (KeyError, TypeError, ValueError) as error:
            at = f"{topic} [{message.origin.partition}] offset {message.origin.offset}"
            log.warning("message is no label", at=at, detail=f"{type(error).__name__}: {error}")
    return book.all()


class Fetcher:
    """Reads annotations that are no longer held; one at a time, from any thread."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._reader: PlaceReader | None = None

    def card(self, place: Origin) -> Card | None:
        """Returns the card of an annotation; None where it is not there.

        Raises
        ------
        StreamfilterError
            The broker cannot be used, or no annotation stands there.
        """
        with self._lock:
            self._reader = self._reader or PlaceReader(output_reader(self._settings))
            message = self._reader.read([place], _FETCH_S).get(place)
        return None if message is None else card_of(place, _read(self._settings, message))

    def close(self) -> None:
        """Leave the broker."""
        with self._lock:
            if self._reader is not None:
                self._reader.close()


class Publisher:
    """Sends labels, and waits until the broker has each; from any thread."""

    def __init__(self, settings: Settings) -> None:
        self._topic = settings.outputs.labels
        self._sink = KafkaSink(producer_settings(settings))
        self._lock = threading.Lock()
        publish = settings.schemas.publish
        self._registrar = ConfluentRegistrar(registry_settings(publish)) if publish.url else None

    def publish(self, label: Label) -> None:
        """Send a label.

        Raises
        ------
        TransportFailed
            The broker did not take it in time.
        SchemaUnavailable
            Its schema cannot be registered.
        """
        refused: list[str] = []

        def done(_: Output, trouble: Undeliverable | None) -> None:
            if trouble is not None:
                refused.append(trouble.detail)

        with self._lock:
            value = self._header() + encode(label)
            output = Output(label.origin, self._topic, value, label.alert_id.encode())
            self._sink.send(output, done, timeout_s=_PUBLISH_S)
            left = self._sink.flush(_PUBLISH_S)
        if left:
            raise TransportFailed(
                f"the label was not taken by {self._topic} within {_PUBLISH_S:.0f} s; it may be "
                "taken later: see that the broker is up"
            )
        if refused:
            raise TransportFailed(refused[0])

    def close(self) -> None:
        """Leave the broker."""
        self._sink.close()

    def _header(self) -> bytes:
        schema = label_schema()
        if self._registrar is not None:
            return confluent_header(self._registrar.register(subject(self._topic), schema))
        return single_object_header(schema)
