"""From settings to a worker for exposures."""

import os
from dataclasses import asdict
from urllib.parse import urlsplit

import structlog
from prometheus_client import CollectorRegistry

from streamfilter.config import Settings
from streamfilter.decode_exposure import ExposureDecoder
from streamfilter.encode import Encoder
from streamfilter.encode_tracking import TrackingEncoder
from streamfilter.errors import AddressRefused, ConfigurationInvalid, Reason
from streamfilter.exposures import ExposureRules, Watcher
from streamfilter.focal_plane import FocalPlaneRules, FocalPlanes
from streamfilter.frame_references import Place, References
from streamfilter.frame_references.files import Files
from streamfilter.frame_references.https import Https
from streamfilter.frame_references.s3 import S3
from streamfilter.frames import FrameRules
from streamfilter.inference.cache import default_home
from streamfilter.inference.runtimes import open_engine
from streamfilter.kafka.sink import KafkaSink
from streamfilter.kafka.source import KafkaSource
from streamfilter.limits import Limits
from streamfilter.metrics import ExposureMetrics
from streamfilter.outgoing import Allowed, Caller
from streamfilter.schemas.finder import SchemaFinder
from streamfilter.schemas.published import ConfluentRegistrar
from streamfilter.service.alarm import Alarm
from streamfilter.service.awaited import Awaited
from streamfilter.service.build import Say, reads, registry_settings, schema_sources
from streamfilter.service.exposures import ExposureWorker
from streamfilter.service.looking import Looker
from streamfilter.service.sharing import identity_of
from streamfilter.tiles import SIDE_PX
from streamfilter.tracking import TrackingRules

log = structlog.get_logger(__name__)

ENGINE = "maxitrack"
RUNTIME = "onnxruntime"
_RESPONSE_BYTES = 512 * 2**20
_HEADROOM_BYTES = 2**20
"""Of keys, headers and framing, over the largest message."""


def checked_exposures(settings: Settings) -> None:
    """Refuse settings under which what is published would be read again.

    Raises
    ------
    ConfigurationInvalid
        Names the key and what was found.
    """
    for key, topic in settings.outputs.model_dump().items():
        if topic and any(reads(each, topic) for each in settings.exposures.topics):
            raise ConfigurationInvalid(
                f"outputs.{key}: {topic!r} is also read (exposures.topics), so what is published "
                "would come round for ever; choose another topic or a narrower pattern"
            )
    if settings.exposures.group == settings.kafka.group:
        raise ConfigurationInvalid(
            f"exposures.group: {settings.kafka.group!r} is kafka.group too; the two groups read "
            "different topics, choose another name"
        )


def open_exposures(settings: Settings, *, registry: CollectorRegistry, say: Say) -> ExposureWorker:
    """A worker for exposures with an open engine, which joins its group when it is run.

    Raises
    ------
    ConfigurationInvalid, EngineUnavailable
        What is missing, and how to mend it.
    SchemaUnavailable
        A registry is configured for what is published, and it does not take the record.
    """
    checked_exposures(settings)
    chosen = settings.exposures
    home = settings.engine.home or default_home(os.environ)
    threads = chosen.threads or os.cpu_count() or 1
    engine = open_engine(ENGINE, RUNTIME, home, threads, progress=say)
    side = engine.manifest.shape.side_px or SIDE_PX
    engine.warm_up(((1, 1, side, side),))
    limits = Limits(max_message_bytes=chosen.max_message_bytes)
    finder = SchemaFinder(schema_sources(settings, home), limits)
    watcher = Watcher(engine, ExposureRules(tracking=TrackingRules(prior=chosen.prior)))
    metrics = ExposureMetrics(registry)
    decoder = ExposureDecoder(finder)
    awaited = Awaited(decoder.fetch, settings.schemas.wait_s, metrics.schemas)
    looker = Looker(
        decoder=decoder,
        ready=awaited.ready,
        watcher=watcher,
        rules=FrameRules(max_bytes=chosen.max_frame_bytes),
        references=References(_places(settings), chosen.max_frame_bytes),
        attempts=chosen.reference_attempts,
        pictures=bool(settings.webhook.url) and settings.webhook.picture,
    )
    publish = settings.schemas.publish
    tracking = TrackingEncoder(
        identity_of(engine),
        registrar=ConfluentRegistrar(registry_settings(publish)) if publish.url else None,
    )
    if settings.outputs.tracking:
        tracking.register(settings.outputs.tracking)
    metrics.begin(reasons=list(Reason))
    metrics.engine.info(asdict(identity_of(engine)))
    return ExposureWorker(
        source=lambda worker: _source(settings, worker),
        sink=_sink(settings),
        looker=looker,
        planes=FocalPlanes(watcher.judge, FocalPlaneRules(wait_s=chosen.wait_s)),
        tracking=tracking,
        encoder=Encoder(finder),
        topic=settings.outputs.tracking,
        rejected_topic=settings.outputs.rejected,
        metrics=metrics,
        alarm=_alarm(settings, metrics),
    )


def _places(settings: Settings) -> dict[str, Place]:
    """By scheme, from where frames may be read; nothing where nothing is allowed."""
    chosen, total_s = settings.exposures, settings.exposures.reference_timeout_s
    places: dict[str, Place] = {}
    if chosen.reference_folders:
        places["file"] = Files(chosen.reference_folders)
    if chosen.reference_hosts:
        # Who may be called in clear is the caller's affair.
        https = Https(caller(settings, chosen.reference_hosts), total_s)
        places |= {"https": https, "http": https}
    if chosen.reference_buckets:
        places["s3"] = S3(chosen.reference_buckets, chosen.s3, total_s)
    return places


def _alarm(settings: Settings, metrics: ExposureMetrics) -> Alarm | None:
    """The webhook; None without a url."""
    rules = settings.webhook
    if not rules.url:
        return None
    try:
        # The operator's own setting: its host is the one that may be called.
        calls = caller(settings, (urlsplit(rules.url).netloc,))
        calls.check(rules.url)
    except (AddressRefused, ValueError) as error:
        raise ConfigurationInvalid(f"webhook.url: {error}") from error
    return Alarm(rules, calls, metrics)


def caller(settings: Settings, hosts: tuple[str, ...]) -> Caller:
    """Who calls these hosts, under what holds for all calls out.

    Raises
    ------
    ConfigurationInvalid
        ``outgoing.ca_file`` cannot be used.
    """
    outgoing = settings.outgoing
    try:
        return Caller(Allowed(hosts, outgoing.internal_networks, outgoing.ca_file))
    except OSError as error:
        raise ConfigurationInvalid(f"outgoing.ca_file: {outgoing.ca_file}: {error}") from error


def _source(settings: Settings, worker: ExposureWorker) -> KafkaSource:
    kafka = settings.kafka
    largest = settings.exposures.max_message_bytes + _HEADROOM_BYTES
    return KafkaSource(
        {
            "bootstrap.servers": kafka.bootstrap,
            # One message fetched ahead is enough; smaller bounds would still take the largest.
            "fetch.max.bytes": largest,
            # A response beyond this is asked for again for ever; brokers bound messages.
            "receive.message.max.bytes": max(2 * largest, _RESPONSE_BYTES),
            **kafka.settings,
            **kafka.consumer,
            "group.id": settings.exposures.group,
        },
        settings.exposures.topics,
        on_assigned=worker.assigned,
        on_revoked=worker.revoked,
        on_lost=worker.lost,
    )


def _sink(settings: Settings) -> KafkaSink:
    kafka = settings.kafka
    output = {"bootstrap.servers": kafka.output_bootstrap} if kafka.output_bootstrap else {}
    return KafkaSink(
        {
            "bootstrap.servers": kafka.bootstrap,
            # A rejected message goes back whole.
            "message.max.bytes": settings.exposures.max_message_bytes + _HEADROOM_BYTES,
            **kafka.settings,
            **output,
            **kafka.producer,
        }
    )
