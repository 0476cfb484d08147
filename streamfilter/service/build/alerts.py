"""From settings to a worker: every part is made here, and only here."""

import os
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import structlog
from prometheus_client import CollectorRegistry

from streamfilter.alerts.batch import Batcher
from streamfilter.alerts.decode import Decoder
from streamfilter.alerts.drift import Change
from streamfilter.alerts.encode import Encoder
from streamfilter.alerts.normalise import SIDES_PX
from streamfilter.alerts.pipeline import Pipeline
from streamfilter.alerts.rules import policy
from streamfilter.alerts.surveys import Surveys
from streamfilter.alerts.verdict import Policy
from streamfilter.config import EngineSettings, Registry, Scalar, Settings, Survey, TrackingEngine
from streamfilter.errors import ConfigurationInvalid, Reason
from streamfilter.inference import manifest
from streamfilter.inference.cache import default_home
from streamfilter.inference.engine import Engine
from streamfilter.inference.runtimes import AUTO, RUNTIMES, open_engine
from streamfilter.kafka.source import KafkaSource
from streamfilter.kafka.statistics import Statistics
from streamfilter.metrics.alerts import AlertMetrics
from streamfilter.metrics.kafka import BrokerState, ClientStatistics
from streamfilter.schemas.finder import SchemaFinder, SchemaSource
from streamfilter.schemas.published import ConfluentRegistrar, PublishedSource
from streamfilter.schemas.sources import FolderSource, PackageSource, RegistrySource
from streamfilter.schemas.store import SchemaFolder
from streamfilter.service.alerts.publisher import AlertPublisher
from streamfilter.service.alerts.ticket import InForce
from streamfilter.service.alerts.worker import AlertWorker, Waiting
from streamfilter.service.build.delivery import checked_delivery, open_delivery
from streamfilter.service.sharing import identity_of, watch_device
from streamfilter.traces.spans import Tracer

log = structlog.get_logger(__name__)

OUTPUTS = ("annotations", "enriched", "clean", "contaminated", "rejected")
"""Of alerts; a reload may switch each on."""

Say = Callable[[str], None]
"""Takes one line for a human."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What judging alerts takes, with or without a broker."""

    pipeline: Pipeline
    engine: Engine
    encoder: Encoder


def checked(settings: Settings) -> Surveys:
    """The field maps, once the settings fit them, the engines and each other.

    Raises
    ------
    ConfigurationInvalid
        Names the key, what was found and what there is.
    """
    surveys = Surveys.load(settings.alerts.survey_folders)
    if unknown := sorted(set(settings.surveys) - set(surveys.names)):
        raise ConfigurationInvalid(
            f"surveys.{unknown[0]}: no field map of that name; there are "
            f"{', '.join(surveys.names)} (alerts.survey_folders adds others)"
        )
    checked_engine("engine", settings.engine, manifest.Per.PIXEL)
    for key, topic in settings.outputs.model_dump().items():
        if topic and any(reads(each, topic) for each in settings.alerts.topics):
            raise ConfigurationInvalid(
                f"outputs.{key}: {topic!r} is also read (alerts.topics), so what is published "
                "would come round for ever; choose another topic or a narrower pattern"
            )
    _checked_planes(settings, surveys)
    checked_delivery(settings)
    return surveys


def _checked_planes(settings: Settings, surveys: Surveys) -> None:
    """Refuse rules that all look at planes which are not judged: they would never speak."""
    judged = settings.alerts.planes
    looks = {
        name: {rule.plane for rule in policy_of(settings, name).rules} for name in surveys.names
    }
    for name, survey in settings.surveys.items():
        if survey.rules and looks[name].isdisjoint(judged):
            raise ConfigurationInvalid(
                f"surveys.{name}.rules: all look at {', '.join(sorted(looks[name]))}; "
                f"alerts.planes has {', '.join(judged)}: add what they look at"
            )
    if all(planes.isdisjoint(judged) for planes in looks.values()):
        named = ", ".join(sorted(set().union(*looks.values()))) or "nothing"
        raise ConfigurationInvalid(
            f"alerts.planes: {', '.join(judged)}, but all rules look at {named}: no alert would be "
            "judged; add that plane, or rules with another `plane` in [[surveys.NAME.rules]]"
        )


def checked_engine(key: str, chosen: EngineSettings | TrackingEngine, per: manifest.Per) -> None:
    """Refuse an engine that gives something else, and names that no runtime or precision has.

    Raises
    ------
    ConfigurationInvalid
        Names the key, what was found and what there is.
    """
    known = manifest.names()
    fitting = [each for each in known if manifest.load(each).per is per]
    if chosen.name not in fitting:
        quoted = repr(chosen.name)
        wrong = (
            f"{quoted} gives nothing per {per}" if chosen.name in known else f"no engine {quoted}"
        )
        raise ConfigurationInvalid(f"{key}.name: {wrong}; there are {', '.join(fitting)}")
    if chosen.runtime not in (AUTO, *RUNTIMES):
        runtimes = ", ".join((AUTO, *RUNTIMES))
        raise ConfigurationInvalid(
            f"{key}.runtime: no runtime {chosen.runtime!r}; there are {runtimes}"
        )
    if chosen.precision not in list(manifest.Precision):
        precisions = ", ".join(manifest.Precision)
        raise ConfigurationInvalid(
            f"{key}.precision: no {chosen.precision!r}; there are {precisions}"
        )


def reads(subscribed: str, topic: str) -> bool:
    """Whether a name or pattern of ``alerts.topics`` takes a topic."""
    if not subscribed.startswith("^"):
        return subscribed == topic
    try:
        return re.match(subscribed, topic) is not None
    except re.error:  # librdkafka and brokers know other dialects, and judge it themselves
        return False


def open_parts(settings: Settings, *, threads: int, say: Say) -> Parts:
    """Open the engine (fetched at first use, which is said) and what stands around it.

    Raises
    ------
    ConfigurationInvalid, EngineUnavailable
        What is missing, and how to mend it.
    """
    surveys = checked(settings)
    home = settings.engine.home or default_home(os.environ)
    chosen = settings.engine
    engine = open_engine(
        chosen.name,
        chosen.runtime,
        home,
        threads,
        workers=_judges(settings),
        precision=chosen.precision,
        plans=chosen.plans,
        progress=say,
    )
    finder = SchemaFinder(schema_sources(settings, home), settings.limits)
    publish = settings.schemas.publish
    encoder = Encoder(
        finder,
        registrar=ConfluentRegistrar(registry_settings(publish)) if publish.url else None,
        store=SchemaFolder(home / "schemas" / "published"),
    )
    pipeline = Pipeline(
        decoder=Decoder(finder, surveys, settings.limits),
        planes=settings.alerts.planes,
        policies={name: policy_of(settings, name) for name in surveys.names},
        engine=identity_of(engine),
    )
    return Parts(pipeline, engine, encoder)


def _judges(settings: Settings) -> int:
    """How many batches are in the network at a time."""
    return settings.engine.workers or os.cpu_count() or 1


def open_worker(
    settings: Settings,
    parts: Parts,
    *,
    registry: CollectorRegistry,
    tracer: Tracer | None = None,
) -> AlertWorker:
    """A worker with a warm engine, which joins its group when it is run.

    Raises
    ------
    ConfigurationInvalid
        A setting of Kafka cannot be.
    SchemaUnavailable
        A registry is configured for what is published, and it does not take the annotation.
    """
    if settings.outputs.annotations:
        parts.encoder.register(settings.outputs.annotations)
    metrics = AlertMetrics(registry)
    judges = _judges(settings)
    size = settings.batch.size
    parts.engine.warm_up(tuple((n, 1, side, side) for side in SIDES_PX for n in sorted({1, size})))
    metrics.begin(
        surveys=parts.pipeline.surveys,
        outputs=OUTPUTS,
        reasons=list(Reason),
        changes=list(Change),
    )
    watch_device(parts.engine, metrics.device_memory)
    network, runtime = parts.engine.manifest, parts.engine.runtime
    metrics.engine.info(asdict(identity_of(parts.engine)))
    log.info("warm", engine=network.name, version=network.version, runtime=runtime)
    batcher: Batcher[int, Waiting] = Batcher(max_items=size, max_wait_s=settings.batch.max_wait_s)
    return AlertWorker(
        in_force=InForce(parts.pipeline, settings.outputs, tracer),
        engine=parts.engine,
        delivery=open_delivery(
            settings,
            group=settings.kafka.group,
            metrics=metrics.transactions,
            on_statistics=lambda found: watch_brokers(metrics.clients, "producer", found),
        ),
        publisher=lambda delivery, settled, dropped: AlertPublisher(
            delivery=delivery,
            encoder=parts.encoder,
            metrics=metrics,
            settled=settled,
            dropped=dropped,
        ),
        source=lambda worker: _source(settings, worker, metrics),
        batcher=batcher,
        flow=settings.flow,
        schema_wait_s=settings.schemas.wait_s,
        judges=judges,
        metrics=metrics,
    )


def _source(settings: Settings, worker: AlertWorker, metrics: AlertMetrics) -> KafkaSource:
    kafka = settings.kafka

    made = KafkaSource(
        {
            "bootstrap.servers": kafka.bootstrap,
            **kafka.settings,
            "group.id": kafka.group,
            **kafka.consumer,
        },
        settings.alerts.topics,
        on_assigned=worker.assigned,
        on_revoked=worker.revoked,
        on_lost=worker.lost,
        on_statistics=lambda statistics: watch_consumer(metrics.clients, made, statistics),
    )
    return made


def schema_sources(settings: Settings, home: Path) -> list[SchemaSource]:
    """Where writer schemas are looked up, the nearest first."""
    schemas = settings.schemas
    sources: list[SchemaSource] = [FolderSource(folder) for folder in schemas.folders]
    if schemas.registry.url:
        cache = home / "schemas" / "registry"
        sources.append(RegistrySource(registry_settings(schemas.registry), cache, settings.limits))
    if schemas.packages:
        sources.append(PackageSource())
    return [*sources, PublishedSource()]


def registry_settings(registry: Registry) -> dict[str, Scalar]:
    """Settings of the registry's client."""
    return {"url": registry.url, **registry.settings}


def policy_of(settings: Settings, survey: str) -> Policy:
    """How a survey's alerts are judged: its defaults, changed by the settings."""
    chosen = settings.surveys.get(survey, Survey())
    return policy(survey, priors=chosen.priors, thresholds=chosen.thresholds, rules=chosen.rules)


def watch_consumer(shown: ClientStatistics, source: KafkaSource, statistics: Statistics) -> None:
    """Replace what is shown of a consumer by its last statistics."""
    watch_brokers(shown, "consumer", statistics)
    # The client goes on naming partitions that other workers read by now.
    lag = statistics.lag
    shown.lag = {each: lag[each] for each in source.assigned if each in lag}


def watch_brokers(shown: ClientStatistics, client: str, statistics: Statistics) -> None:
    """Replace what is shown of one client's brokers by its last statistics."""
    queued = statistics.prefetched_messages + statistics.queued_messages  # one of them is 0
    shown.queued = {**shown.queued, client: queued}
    others = {key: state for key, state in shown.brokers.items() if key[0] != client}
    shown.brokers = others | {
        (client, broker.name): BrokerState(broker.up, broker.rtt_s, broker.errors)
        for broker in statistics.brokers
    }
