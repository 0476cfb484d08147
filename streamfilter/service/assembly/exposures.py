"""Makes a worker for exposures from the settings."""

import os
from dataclasses import asdict, dataclass, replace
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry

from streamfilter.config import (
    Exposures,
    FrameContaminants,
    Instrument,
    MaskingEngine,
    Scalar,
    Settings,
)
from streamfilter.errors import AddressRefused, ConfigurationInvalid, Reason, plain_words
from streamfilter.exposures.decode import ExposureDecoder
from streamfilter.exposures.encode import TrackingEncoder
from streamfilter.exposures.focal_plane import FocalPlaneRules, FocalPlanes
from streamfilter.exposures.frames import MOST_PLANES, FrameRules
from streamfilter.exposures.purposes import MAPS, PurposeMap, joined, purpose_map
from streamfilter.exposures.records import NotJudged
from streamfilter.exposures.references import Place, References
from streamfilter.exposures.references.files import Files
from streamfilter.exposures.references.https import Https
from streamfilter.exposures.references.s3 import S3
from streamfilter.exposures.sky import Mesh
from streamfilter.exposures.tiles import SIDE_PX
from streamfilter.exposures.tracking import TrackingRules
from streamfilter.exposures.watcher import ExposureRules, Watcher
from streamfilter.inference.cache import default_home
from streamfilter.inference.manifest import InputPlane, Per, Precision, load, names
from streamfilter.kafka.ledger import Ledger
from streamfilter.kafka.properties import CONSUMER, fitted
from streamfilter.kafka.reader import read_topic
from streamfilter.limits import Limits
from streamfilter.metrics.exposures import ExposureMetrics
from streamfilter.metrics.webhook import WebhookMetrics
from streamfilter.outgoing import Allowed, Caller
from streamfilter.records import EngineIdentity
from streamfilter.resources import available_mib
from streamfilter.schemas.finder import SchemaFinder
from streamfilter.schemas.published import ConfluentRegistrar
from streamfilter.service.assembly.alerts import (
    refuse_reading_outputs,
    registry_settings,
    schema_sources,
)
from streamfilter.service.assembly.clients import (
    Say,
    consumer_settings,
    named,
    open_source,
    output_reader,
    watch_brokers,
    watch_group,
)
from streamfilter.service.assembly.delivery import checked_delivery, open_delivery
from streamfilter.service.assembly.engines import checked_engine, identity_of, opened, watch_device
from streamfilter.service.delivery.parcel import Delivery
from streamfilter.service.delivery.published_before import PublishedBefore
from streamfilter.service.exposures.alarm import Alarm
from streamfilter.service.exposures.earlier import EarlierVerdicts
from streamfilter.service.exposures.frame_masks import FrameMasks
from streamfilter.service.exposures.looker import Looker
from streamfilter.service.exposures.publisher import ExposurePublisher
from streamfilter.service.exposures.worker import ExposureWorker
from streamfilter.service.schemas_awaited import SchemasAwaited

_MIB = 2**20
_RESPONSE_BYTES = 512 * 2**20
_HEADROOM_BYTES = 2**20
"""Room for keys, headers and framing, over the largest message."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """The name of a worker that reads exposures, and the topics of what it publishes."""

    section: str
    topics: tuple[str, ...]
    group: str
    wait_s: float
    output: str
    masks: str = ""


def checked_exposures(settings: Settings) -> None:
    """Refuse settings with which a worker would read what it publishes.

    Raises
    ------
    ConfigurationInvalid
        Names the key and what was found.
    """
    chosen, groups = settings.exposures, {settings.kafka.group: "kafka.group"}
    readers: dict[str, Exposures | FrameContaminants] = {
        "exposures": chosen,
        "exposures.contaminants": chosen.contaminants,
    }
    for section, reader in readers.items():
        refuse_reading_outputs(settings, section, reader.topics)
        if reader.group in groups:
            raise ConfigurationInvalid(
                f"{section}.group: {reader.group!r} is {groups[reader.group]} too; the two "
                "groups read on their own, choose another name"
            )
        groups[reader.group] = f"{section}.group"
    checked_engine("exposures.engine", chosen.engine, Per.TILE)
    _checked_masking(chosen.contaminants)
    checked_delivery(settings)


def cosmic_ray_engine(chosen: FrameContaminants) -> MaskingEngine | None:
    """Returns the settings of a network for cosmic rays; None where there is none of its own.

    They are those of the other network, at float32 where this one is not offered at its precision.

    Raises
    ------
    ConfigurationInvalid
        There is no such engine, or it has not the class; the message has those that there are.
    """
    if not chosen.cosmic_rays:
        return None
    fitting = [
        each
        for each in names()
        if (found := load(each)).per is Per.PIXEL
        and "CR" in found.codes
        and found.planes[0] == InputPlane.SCIENCE
    ]
    if chosen.cosmic_rays not in fitting:
        raise ConfigurationInvalid(
            f"exposures.contaminants.cosmic_rays: {chosen.cosmic_rays!r} finds none; "
            f"there are {', '.join(fitting)}"
        )
    known = load(chosen.cosmic_rays).precisions
    precision = chosen.engine.precision if chosen.engine.precision in known else Precision.FLOAT32
    return chosen.engine.model_copy(update={"name": chosen.cosmic_rays, "precision": precision})


def _checked_masking(chosen: FrameContaminants) -> None:
    """Refuse a network that takes more than a frame's one image, and classes that it lacks."""
    key = "exposures.contaminants"
    checked_engine(f"{key}.engine", chosen.engine, Per.PIXEL)
    network = load(chosen.engine.name)
    if len(network.planes) > 1:
        raise ConfigurationInvalid(
            f"{key}.engine.name: {network.name!r} takes {', '.join(network.planes)}, and a frame "
            "is one image; take maximask"
        )
    if lost := sorted({*chosen.priors, *chosen.thresholds} - set(network.codes)):
        raise ConfigurationInvalid(
            f"{key}: {network.name} has no class {', '.join(lost)}; it has "
            f"{', '.join(network.codes)}"
        )
    if len(network.codes) < len(load(MaskingEngine().name).codes):
        raise ConfigurationInvalid(
            f"{key}.engine.name: {network.name!r} has {', '.join(network.codes)} alone, and areas "
            f"of all classes are published; take maximask, and {network.name!r} for "
            f"{key}.cosmic_rays"
        )
    cosmic_ray_engine(chosen)


def open_exposures(settings: Settings, *, registry: CollectorRegistry, say: Say) -> ExposureWorker:
    """Returns a worker for exposures with an open engine; it joins its group when it runs.

    Raises
    ------
    ConfigurationInvalid, EngineUnavailable
        What is missing, and how to mend it.
    SchemaUnavailable
        A registry is configured for what is published, and it does not take the record.
    """
    checked_exposures(settings)
    chosen = settings.exposures
    metrics = ExposureMetrics(registry)
    reading = exposures_reading(settings)
    watcher = open_watcher(settings, say, threads=chosen.threads or os.cpu_count() or 1)
    watch_device(watcher.engine, metrics.device_memory)
    pictures = bool(settings.webhook.url) and settings.webhook.picture
    alarm = _alarm(settings, registry)
    return assembled(settings, reading, watcher, metrics, alarm=alarm, pictures=pictures)


def exposures_reading(settings: Settings) -> Reading:
    """Returns how the verdicts on tracking are read and published."""
    chosen = settings.exposures
    return Reading(
        section="exposures",
        topics=chosen.topics,
        group=chosen.group,
        wait_s=chosen.wait_s,
        output=settings.outputs.tracking,
    )


def open_watcher(settings: Settings, say: Say, *, threads: int) -> Watcher:
    """Returns the watcher that judges frames, with its engine open and warm."""
    chosen = settings.exposures
    engine = opened(settings, chosen.engine, say, threads=threads)
    side = engine.manifest.shape.side_px or SIDE_PX
    engine.warm_up(((1, 1, side, side),))
    return Watcher(engine, ExposureRules(mesh=mesh_of(settings), tracking=tracking_rules(chosen)))


def tracking_rules(chosen: Exposures) -> TrackingRules:
    """Returns how tracking is judged."""
    return TrackingRules(
        prior=chosen.prior,
        round=chosen.round,
        elongated=chosen.elongated,
        tiles_enough=chosen.tiles_enough,
    )


def mesh_of(settings: Settings) -> Mesh:
    """How the sky of frames is measured."""
    return Mesh(as_reference=settings.exposures.background == "reference")


def assembled(
    settings: Settings,
    reading: Reading,
    watcher: Watcher,
    metrics: ExposureMetrics,
    *,
    alarm: Alarm | None = None,
    pictures: bool = False,
    masks: FrameMasks | None = None,
    masking: EngineIdentity | None = None,
    cosmic_rays: EngineIdentity | None = None,
) -> ExposureWorker:
    """Returns a worker of these parts."""
    chosen = settings.exposures
    home = settings.engine.home or default_home(os.environ)
    finder = SchemaFinder(
        schema_sources(settings, home), Limits(max_message_bytes=chosen.max_message_bytes)
    )
    looker = _looker(settings, finder, watcher, metrics, pictures=pictures, masks=masks)
    engine, where = identity_of(watcher.engine), _registrar(settings)
    tracking = TrackingEncoder(engine, masking=masking, cosmic_rays=cosmic_rays, registrar=where)
    if reading.output:
        tracking.register(reading.output)
    metrics.begin(reasons=list(Reason))
    metrics.engine.info(asdict(engine))
    published, ledger = PublishedBefore(), Ledger()
    delivery = _delivery(settings, reading, ledger, published, metrics)
    publisher = ExposurePublisher(
        delivery=delivery,
        ledger=ledger,
        tracking=tracking,
        topic=reading.output,
        rejected_topic=settings.outputs.rejected,
        masks_topic=reading.masks,
        metrics=metrics,
        alarm=alarm,
    )
    earlier = _earlier(settings, reading, tracking)
    recall = None if earlier is None else earlier.of
    planes = FocalPlanes(watcher.judge, FocalPlaneRules(wait_s=reading.wait_s), recall)
    client = named(settings, reading.section, consumer_of_frames(settings, reading.group))
    worker = ExposureWorker(
        source=open_source(client, reading.topics, metrics.clients),
        delivery=delivery,
        ledger=ledger,
        publisher=publisher,
        published=published,
        looker=looker,
        planes=planes,
        metrics=metrics,
        stall_s=settings.kafka.stall_s,
        alarm=alarm,
        earlier=earlier,
    )
    watch_group(client, metrics.clients, worker)
    metrics.open.set_function(lambda: planes.open_exposures)
    metrics.ready.set_function(lambda: worker.unready() is None)
    metrics.healthy.set_function(lambda: worker.wrong() is None)
    return worker


def _registrar(settings: Settings) -> ConfluentRegistrar | None:
    """Returns where the schemas of outputs are registered; None without a registry."""
    publish = settings.schemas.publish
    return ConfluentRegistrar(registry_settings(publish)) if publish.url else None


def _earlier(
    settings: Settings, reading: Reading, tracking: TrackingEncoder
) -> EarlierVerdicts | None:
    """Returns what earlier workers published of exposures; None where nothing is published."""
    if not reading.output:
        return None
    client, topic = output_reader(settings), reading.output
    return EarlierVerdicts(
        lambda since_ms: read_topic(client, topic, since_ms=since_ms), tracking, topic
    )


def _delivery(
    settings: Settings,
    reading: Reading,
    ledger: Ledger,
    published: PublishedBefore,
    metrics: ExposureMetrics,
) -> Delivery:
    """Returns how records, masks and rejected messages are delivered."""
    return open_delivery(
        settings,
        ledger,
        group=reading.group,
        metrics=metrics.transactions,
        defaults=producer_of_frames(settings),
        on_statistics=lambda found: watch_brokers(metrics.clients, "producer", found),
        notes=published,
    )


def _looker(
    settings: Settings,
    finder: SchemaFinder,
    watcher: Watcher,
    metrics: ExposureMetrics,
    *,
    pictures: bool,
    masks: FrameMasks | None,
) -> Looker:
    """Returns the looker, which turns a message into its frames' evidence."""
    chosen = settings.exposures
    decoder = ExposureDecoder(finder)
    awaited = SchemasAwaited(decoder, settings.schemas.wait_s, metrics.schemas)
    return Looker(
        decoder=decoder,
        awaited=awaited,
        watcher=watcher,
        rules=frame_limits(chosen),
        instruments=frame_rules(chosen),
        references=References(_places(settings), chosen.max_frame_bytes),
        attempts=chosen.reference_attempts,
        pictures=pictures,
        masks=masks,
        free_mib=available_mib,
    )


def frame_rules(chosen: Exposures) -> dict[str, FrameRules]:
    """Returns how frames are read by instrument, for those that the settings name."""
    return {
        name: replace(
            frame_limits(chosen),
            auxiliary_extensions=each.auxiliary_extensions,
            use_sections=each.use_sections,
            section=each.section or None,
            mask_extensions=each.mask_extensions,
            mask_planes=each.mask_planes,
            saturation=each.saturation or None,
            purposes=_purposes(each),
        )
        for name, each in chosen.instruments.items()
    }


def _purposes(instrument: Instrument) -> PurposeMap:
    """Returns the headers that say that an instrument's frames are not to be judged."""
    own = {NotJudged(reason): texts for reason, texts in instrument.not_judged.items()}
    return joined(MAPS[instrument.purposes], purpose_map(own))


def frame_limits(chosen: Exposures) -> FrameRules:
    """Returns how frames are read of instruments without a section."""
    return FrameRules(
        max_bytes=chosen.max_frame_bytes,
        max_pixels=chosen.max_frame_pixels,
        most_planes=chosen.max_frame_planes,
        purposes=_purposes(Instrument()),
    )


def file_frame_limits(chosen: Exposures, at_once: int = 1) -> FrameRules:
    """Returns how frames in files are read: cubes too, within the free memory."""
    free = available_mib()
    memory = None if free is None else free * _MIB // at_once
    return replace(frame_limits(chosen), most_planes=MOST_PLANES, memory_bytes=memory)


def _places(settings: Settings) -> dict[str, Place]:
    """Returns from where frames may be read, by scheme; empty where nothing is allowed."""
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


def _alarm(settings: Settings, registry: CollectorRegistry) -> Alarm | None:
    """Returns the webhook; None without a URL."""
    rules, metrics = settings.webhook, WebhookMetrics(registry)
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
    """Returns a caller for these hosts, under the settings of all calls out.

    Raises
    ------
    ConfigurationInvalid
        ``outgoing.ca_file`` cannot be used.
    """
    outgoing = settings.outgoing
    try:
        return Caller(Allowed(hosts, outgoing.internal_networks, outgoing.ca_file))
    except OSError as error:
        raise ConfigurationInvalid(
            f"outgoing.ca_file: {outgoing.ca_file} holds no certificates (PEM): "
            f"{plain_words(error)}"
        ) from error


def producer_of_frames(settings: Settings) -> dict[str, Scalar]:
    """Returns defaults of a producer that sends rejected messages with whole frames."""
    return {"message.max.bytes": settings.exposures.max_message_bytes + _HEADROOM_BYTES}


def consumer_of_frames(settings: Settings, group: str) -> dict[str, Scalar]:
    """Returns librdkafka's settings of a consumer whose messages may hold frames."""
    largest = settings.exposures.max_message_bytes + _HEADROOM_BYTES
    given = consumer_settings(settings)
    defaults: dict[str, Scalar] = {
        # One message fetched ahead is enough; smaller bounds would still take the largest.
        "fetch.max.bytes": largest,
        # A response beyond this is asked for again for ever; brokers bound messages.
        "receive.message.max.bytes": max(2 * largest, _RESPONSE_BYTES),
    }
    return {**fitted(defaults, given, CONSUMER), **given, "group.id": group}
