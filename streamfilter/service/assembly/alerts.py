"""From settings to a worker: every part is made here, and only here."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from functools import partial
from pathlib import Path

import structlog
from prometheus_client import CollectorRegistry

from streamfilter.alerts.batch import Batcher
from streamfilter.alerts.decode import Decoder
from streamfilter.alerts.drift import Change
from streamfilter.alerts.encode import Encoder
from streamfilter.alerts.pipeline import FurtherEngine, Pipeline
from streamfilter.alerts.rules import policy
from streamfilter.alerts.surveys import Surveys
from streamfilter.alerts.verdict import Policy, rule_fields
from streamfilter.config import Flow, Registry, Scalar, Settings, Survey
from streamfilter.errors import ConfigurationInvalid, Reason
from streamfilter.inference import manifest
from streamfilter.inference.cache import default_home
from streamfilter.inference.engine import Engine
from streamfilter.kafka.ledger import Ledger
from streamfilter.kafka.source import KafkaSource
from streamfilter.kafka.topics import absent
from streamfilter.metrics.alerts import AlertMetrics
from streamfilter.records import Plane
from streamfilter.schemas.finder import SchemaFinder, SchemaSource
from streamfilter.schemas.published import ConfluentRegistrar, PublishedSource
from streamfilter.schemas.sources import FolderSource, PackageSource, RegistrySource
from streamfilter.schemas.store import SchemaFolder
from streamfilter.service.alerts.in_flight import InFlight
from streamfilter.service.alerts.intake import Intake
from streamfilter.service.alerts.judges import Judges, Waiting
from streamfilter.service.alerts.partition_order import PartitionOrder
from streamfilter.service.alerts.publisher import AlertPublisher
from streamfilter.service.alerts.schemas import AlertSchemas
from streamfilter.service.alerts.survey_topics import SurveyTopics
from streamfilter.service.alerts.ticket import InForce, Reloadable
from streamfilter.service.alerts.worker import AlertWorker
from streamfilter.service.assembly.clients import (
    ANSWER_S,
    Say,
    consumer_settings,
    named,
    names_of,
    open_source,
    producer_settings,
    watch_brokers,
    watch_group,
)
from streamfilter.service.assembly.delivery import checked_delivery, open_delivery
from streamfilter.service.assembly.engines import (
    checked_engine,
    chosen_engines,
    identity_of,
    opened,
    watch_device,
)
from streamfilter.service.delivery.parcel import Delivery
from streamfilter.service.schemas_awaited import SchemasAwaited
from streamfilter.traces.spans import Tracer

log = structlog.get_logger(__name__)

OUTPUTS = ("annotations", "enriched", "clean", "contaminated", "rejected")
"""The outputs of alerts; a reload may switch each on."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts that judge alerts, with or without a broker."""

    pipeline: Pipeline
    engine: Engine
    encoder: Encoder
    also: tuple[Engine, ...] = ()
    """Further engines, in the pipeline's order."""

    @property
    def engines(self) -> tuple[Engine, ...]:
        """All engines, in the order in which they are asked."""
        return (self.engine, *self.also)


def checked(settings: Settings) -> Surveys:
    """Returns the field maps, after a check that settings, engines and maps fit each other.

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
    for key, each in (engines := chosen_engines(settings)).items():
        checked_engine(key, each, manifest.Per.PIXEL)
        if len([other for other in engines.values() if other.name == each.name]) > 1:
            raise ConfigurationInvalid(f"{key}.name: {each.name!r} is named twice; it judges once")
    networks = networks_of(settings)
    refuse_reading_outputs(settings, "alerts", settings.alerts.topics)
    policies = {name: policy_of(settings, name, networks) for name in surveys.names}
    _checked_planes(settings, policies, networks)
    _checked_doubts(settings, networks)
    surveys.refuse_unnamed(rule_fields(policies))
    checked_delivery(settings)
    return surveys


def networks_of(settings: Settings) -> tuple[manifest.Manifest, ...]:
    """Returns the facts of the engines that judge alerts, in the order in which they are asked.

    Raises
    ------
    EngineUnavailable
        There is no such engine, or its manifest is damaged.
    """
    return tuple(manifest.load(each.name) for each in chosen_engines(settings).values())


def _checked_planes(
    settings: Settings, policies: Mapping[str, Policy], networks: Sequence[manifest.Manifest]
) -> None:
    """Refuse planes that a network does not judge, and rules that all look at other planes."""
    judged, network = settings.alerts.planes, networks[0]
    for number, further in enumerate(networks[1:]):
        if len(further.planes) > 1 and Plane.SCIENCE not in judged:
            raise ConfigurationInvalid(
                f"engine.also.{number}.name: {further.name} judges the science stamp, and "
                f"alerts.planes has {', '.join(judged)}: add science, or leave the engine out"
            )
    if len(network.planes) > 1 and judged != (Plane.SCIENCE,):
        raise ConfigurationInvalid(
            f"alerts.planes: {', '.join(judged)}, but the engine {network.name} judges the science "
            f"stamp and sees {', '.join(network.planes[1:])} beside it: leave alerts.planes out, "
            "or take an engine of one plane (engine.name), which judges each stamp by itself"
        )
    looks = {name: {rule.plane for rule in each.rules} for name, each in policies.items()}
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


def _checked_doubts(settings: Settings, networks: Sequence[manifest.Manifest]) -> None:
    """Refuse classes of ``when`` that the first engine does not have."""
    codes = networks[0].codes
    for number, further in enumerate(settings.engine.also):
        classes = further.when.classes if further.when else ()
        if unknown := sorted(set(classes) - set(codes)):
            raise ConfigurationInvalid(
                f"engine.also.{number}.when: {networks[0].name}, which is asked first, has no "
                f"class {', '.join(unknown)}; it has {', '.join(codes)}"
            )


def refuse_reading_outputs(settings: Settings, section: str, topics: Sequence[str]) -> None:
    """Refuse topics to read that are among the topics that are written.

    Raises
    ------
    ConfigurationInvalid
        Names the output and the section.
    """
    for key, output in settings.outputs.model_dump().items():
        for topic in names_of(settings, output).values():
            if any(reads(each, topic) for each in topics):
                raise ConfigurationInvalid(
                    f"outputs.{key}: {topic!r} is also read ({section}.topics), so what is "
                    "published would come round for ever; choose another topic or a narrower "
                    "pattern"
                )


def reads(subscribed: str, topic: str) -> bool:
    """Whether a name or pattern of ``alerts.topics`` matches a topic."""
    if not subscribed.startswith("^"):
        return subscribed == topic
    try:
        return re.match(subscribed, topic) is not None
    except re.error:  # librdkafka and brokers know other dialects, and judge it themselves
        return False


def open_parts(settings: Settings, *, threads: int, say: Say) -> Parts:
    """Open the engine, which is fetched at first use, and make what stands around it.

    Raises
    ------
    ConfigurationInvalid, EngineUnavailable
        What is missing, and how to mend it.
    """
    surveys = checked(settings)
    home = settings.engine.home or default_home(os.environ)
    engine, *also = (
        opened(settings, each, say, threads=threads, workers=_judges(settings))
        for each in chosen_engines(settings).values()
    )
    networks = [each.manifest for each in (engine, *also)]
    finder = SchemaFinder(schema_sources(settings, home), settings.limits)
    pipeline = Pipeline(
        decoder=Decoder(finder, surveys, settings.limits),
        planes=settings.alerts.planes,
        policies={name: policy_of(settings, name, networks) for name in surveys.names},
        engine=identity_of(engine),
        network=engine.manifest,
        also=[
            FurtherEngine(
                identity=identity_of(each),
                network=each.manifest,
                when=chosen.when,
            )
            for each, chosen in zip(also, settings.engine.also, strict=True)
        ],
    )
    return Parts(pipeline, engine, encoder_of(settings, finder, home), tuple(also))


def encoder_of(settings: Settings, finder: SchemaFinder, home: Path) -> Encoder:
    """What writes outputs, in the wire form of the settings."""
    publish = settings.schemas.publish
    return Encoder(
        finder,
        registrar=ConfluentRegistrar(registry_settings(publish)) if publish.url else None,
        store=SchemaFolder(home / "schemas" / "published"),
    )


def unpublished(settings: Settings) -> Settings:
    """Returns settings that register no schema: single-object encoding needs no registry."""
    schemas = settings.schemas.model_copy(update={"publish": Registry()})
    return settings.model_copy(update={"schemas": schemas})


def _judges(settings: Settings) -> int:
    """Returns how many batches are in the network at a time."""
    return settings.engine.workers or os.cpu_count() or 1


def open_worker(
    settings: Settings,
    parts: Parts,
    *,
    registry: CollectorRegistry,
    tracer: Tracer | None = None,
) -> AlertWorker:
    """Returns a worker with a warm engine; it joins its group when it runs.

    Raises
    ------
    ConfigurationInvalid
        A setting of Kafka cannot be.
    SchemaUnavailable
        A registry is configured for what is published, and it does not take the annotation.
    """
    in_force = InForce(parts.pipeline, settings.outputs, tracer)
    parts.encoder.register(*in_force.annotation_topics)
    size = settings.batch.size
    for each in parts.engines:
        _warm_up(each, size)
    metrics = _begun(AlertMetrics(registry), parts)
    kafka, ledger = settings.kafka, Ledger()
    # The group may be given among the consumer's own settings.
    group = {"group.id": kafka.consumer.get("group.id", kafka.group)}
    client = named(settings, "alerts", consumer_settings(settings) | group)
    writing = producer_settings(settings)
    worker = assembled(
        in_force,
        engines=parts.engines,
        encoder=parts.encoder,
        source=open_source(client, settings.alerts.topics, metrics.clients),
        delivery=open_delivery(
            settings,
            ledger,
            group=kafka.group,
            metrics=metrics.transactions,
            on_statistics=lambda found: watch_brokers(metrics.clients, "producer", found),
        ),
        ledger=ledger,
        batcher=Batcher(max_items=size, max_wait_s=settings.batch.max_wait_s),
        judges=_judges(settings),
        flow=settings.flow,
        schema_wait_s=settings.schemas.wait_s,
        stall_s=settings.kafka.stall_s,
        survey_topics=SurveyTopics(partial(absent, writing, timeout_s=ANSWER_S)),
        metrics=metrics,
    )
    watch_group(client, metrics.clients, worker)
    return worker


def _begun(metrics: AlertMetrics, parts: Parts) -> AlertMetrics:
    """Returns the metrics, with all values that are known before the first alert."""
    metrics.begin(
        surveys=parts.pipeline.surveys,
        outputs=OUTPUTS,
        reasons=list(Reason),
        changes=list(Change),
        also=[each.manifest.name for each in parts.also],
    )
    for each in parts.engines:
        watch_device(each, metrics.device_memory)
    metrics.engine.info(asdict(identity_of(parts.engine)))
    for each in parts.also:
        name, sha256, runtime = astuple(identity_of(each))
        metrics.also.labels(name).info({"sha256": sha256, "runtime": runtime})
    return metrics


def _warm_up(engine: Engine, batch_size: int) -> None:
    """Run the network at each side in use, on one alert and on a full batch."""
    network = engine.manifest
    counts, channels = sorted({1, batch_size}), len(network.planes)
    engine.warm_up(tuple((n, channels, side, side) for side in network.sides_px for n in counts))
    log.info("warm", engine=network.name, version=network.version, runtime=engine.runtime)


def assembled(
    in_force: InForce,
    *,
    engines: Sequence[Engine],
    encoder: Encoder,
    source: KafkaSource,
    delivery: Delivery,
    ledger: Ledger,
    batcher: Batcher[int, Waiting],
    judges: int,
    flow: Flow,
    schema_wait_s: float,
    stall_s: float,
    survey_topics: SurveyTopics,
    metrics: AlertMetrics,
) -> AlertWorker:
    """Returns a worker of these parts, each made before the one that takes it."""
    current = Reloadable(in_force)
    in_flight = InFlight(ledger, flow.max_in_flight, flow.max_in_flight_bytes)
    order = PartitionOrder(delivery, in_flight)
    publisher = AlertPublisher(
        order=order,
        in_flight=in_flight,
        encoder=encoder,
        survey_topics=survey_topics,
        metrics=metrics,
    )
    at_work = Judges(
        engines=engines, publisher=publisher, batcher=batcher, number=judges, metrics=metrics
    )
    intake = Intake(
        in_force=current,
        judges=at_work,
        publisher=publisher,
        order=order,
        awaited=SchemasAwaited(AlertSchemas(current, encoder), schema_wait_s, metrics.schemas),
        in_flight=in_flight,
        flow=flow,
        metrics=metrics,
    )
    worker = AlertWorker(
        source=source,
        delivery=delivery,
        ledger=ledger,
        intake=intake,
        judges=at_work,
        order=order,
        in_flight=in_flight,
        flow=flow,
        stall_s=stall_s,
        metrics=metrics,
    )
    metrics.flow.in_flight.set_function(lambda: in_flight.messages)
    metrics.flow.in_flight_bytes.set_function(lambda: in_flight.bytes)
    metrics.flow.assigned.set_function(lambda: worker.assigned_partitions)
    metrics.ready.set_function(lambda: worker.unready() is None)
    metrics.healthy.set_function(lambda: worker.wrong() is None)
    return worker


def schema_sources(settings: Settings, home: Path) -> list[SchemaSource]:
    """Returns where writer schemas are looked up, the nearest first."""
    schemas = settings.schemas
    sources: list[SchemaSource] = [FolderSource(folder) for folder in schemas.folders]
    if schemas.registry.url:
        cache = home / "schemas" / "registry"
        sources.append(RegistrySource(registry_settings(schemas.registry), cache, settings.limits))
    if schemas.packages:
        sources.append(PackageSource())
    return [*sources, PublishedSource()]


def registry_settings(registry: Registry) -> dict[str, Scalar]:
    """Returns the settings of the registry's client."""
    return {"url": registry.url, **registry.settings}


def policy_of(settings: Settings, survey: str, networks: Sequence[manifest.Manifest]) -> Policy:
    """Returns how engines judge a survey's alerts: their defaults, changed by the settings.

    Parameters
    ----------
    networks
        In the order in which they are asked.

    Raises
    ------
    ConfigurationInvalid
        The settings name a class that no engine has, or a rule an engine that there is not.
    """
    chosen = settings.surveys.get(survey, Survey())
    try:
        return policy(
            survey,
            networks[0],
            also=networks[1:],
            priors=chosen.priors,
            thresholds=chosen.thresholds,
            rules=chosen.rules,
        )
    except ValueError as error:
        names = [repr(each.name) for each in networks]
        also = f", engine.also has {', '.join(names[1:])}" if names[1:] else ""
        raise ConfigurationInvalid(
            f"surveys.{survey}: {error} (engine.name is {names[0]}{also})"
        ) from error
