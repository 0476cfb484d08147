"""Checks brokers, topics, rights and groups."""

import shlex
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass

from streamfilter.config import Scalar, Settings, digest
from streamfilter.doctor import messages
from streamfilter.doctor.findings import GIVEN, Finding, State, failed, not_applicable, ok
from streamfilter.doctor.messages import SampledMessage
from streamfilter.errors import ConfigurationInvalid, TopicMissing, TransportFailed
from streamfilter.kafka.inspection import READ, WRITE, Cluster, Inspector, TopicFacts
from streamfilter.kafka.inspection import client_version as client
from streamfilter.service.assembly import clients
from streamfilter.service.assembly.alerts import reads
from streamfilter.service.assembly.clients import Reader, names_of, outputs, readers
from streamfilter.service.assembly.delivery import EXACTLY_ONCE
from streamfilter.service.group_watch import client_id, others

# Time limit for each request to a broker, which may be on a slow line.
ANSWER_S = 6.0


@dataclass(frozen=True, slots=True)
class _Need:
    """A topic that a worker reads or writes, and the right that it needs for that."""

    key: str
    topic: str
    right: str
    whole: bool = False
    """Whether whole input messages go into it, which may be large."""
    survey: str = ""
    """Whose alerts alone go there; empty: of all."""


def check(settings: Settings, samples: list[SampledMessage]) -> Iterator[Finding]:
    """Check the brokers that a worker reads from, and those that it writes to."""
    reading = yield from _connected("kafka.bootstrap", clients.consumer_settings(settings))
    largest: dict[str, int | None] = {}
    if reading is not None:
        for reader in readers(settings):
            largest[reader.section] = yield from _check_reader(reading, settings, reader, samples)
    apart = settings.kafka.output_bootstrap
    key = "kafka.output_bootstrap" if apart else "kafka.bootstrap (producer)"
    writing = yield from _connected(key, clients.producer_settings(settings))
    if writing is not None:
        come = {each.survey for each in samples}
        yield from _check_outputs(writing, settings, largest, come)
        if settings.delivery.guarantee == EXACTLY_ONCE:
            why = "the right to its transactional.id is known only by beginning a transaction"
            yield not_applicable("transactions", "delivery.guarantee", why)


def _connected(
    key: str, client_settings: Mapping[str, Scalar]
) -> Generator[Finding, None, Inspector | None]:
    """Connect to the brokers; the generator's value is an inspector, None if this fails."""
    subject = f"{key} {client_settings['bootstrap.servers']}"
    try:
        inspector = Inspector(client_settings, timeout_s=ANSWER_S)
        cluster = inspector.cluster()
    except (TransportFailed, ConfigurationInvalid) as error:
        yield failed("brokers", subject, error)
        return None
    yield _cluster(subject, cluster, client_settings)
    return inspector


def _cluster(subject: str, cluster: Cluster, client_settings: Mapping[str, Scalar]) -> Finding:
    many = f"{len(cluster.brokers)} broker{'s' if len(cluster.brokers) > 1 else ''}"
    how = client_settings.get("security.protocol", "plaintext")
    found = f"{many} of {cluster.version or 'an unknown version'} over {how}; here {client()}"
    if not cluster.idempotent:
        return Finding(
            "brokers", subject, State.FAILED, found, "Kafka 0.11 or later, which keeps outputs "
            "from being doubled and takes headers", "update the brokers",
        )  # fmt: skip
    return ok("brokers", subject, found)


def _check_reader(
    inspector: Inspector, settings: Settings, reader: Reader, samples: list[SampledMessage]
) -> Generator[Finding, None, int | None]:
    """Check the topics of a reader.

    The generator's value is the size of the largest message that may come, None if not known.
    """
    key, configured = f"{reader.section}.topics", reader.topics
    client = clients.consumer_settings(settings)
    yield _group(inspector, reader, client, digest(settings, reader.section))
    existing = inspector.names()
    names = {each for each in configured if not each.startswith("^")}
    for pattern in (each for each in configured if each.startswith("^")):
        matching = {topic for topic in existing if reads(pattern, topic)}
        names |= matching
        yield _pattern(key, pattern, matching)
    sizes: list[int | None] = []
    for name, facts in inspector.topics(sorted(names)).items():
        yield _topic(_Need(key, name, READ), facts, client)
        if isinstance(facts, TopicFacts):
            sizes.append(facts.max_message_bytes)
            if not facts.rights or READ in facts.rights:
                yield from _check_last_message(inspector, settings, facts, reader, samples)
    return None if None in sizes else max((each for each in sizes if each), default=None)


def _pattern(key: str, pattern: str, matching: set[str]) -> Finding:
    if matching:
        return ok("topics", f"{key} {pattern}", f"takes {len(matching)} topics")
    return Finding(
        "topics", f"{key} {pattern}", State.WARNING, "takes no topic that is there now",
        "at least one", "right before the first night; else mend the pattern, or ask for rights",
    )  # fmt: skip


def _group(
    inspector: Inspector, reader: Reader, client_settings: Mapping[str, Scalar], own: str
) -> Finding:
    """Check a group's state, and that its members work by the settings with this digest."""
    group = reader.group
    subject = f"{reader.group_key} {group}"
    try:
        facts = inspector.group(group)
    except TransportFailed as error:
        return failed("group", subject, error)
    if facts.rights and READ not in facts.rights:
        return Finding(
            "group", subject, State.FAILED, f"rights: {', '.join(sorted(facts.rights))}",
            READ, _allow(client_settings, READ, "group", group),
        )  # fmt: skip
    # A broker calls a group dead that has no members and no offsets.
    state = "not used yet" if facts.state == "dead" else f"{facts.state}, {facts.members} members"
    name = str(client_settings.get("client.id", client_id(own)))
    if differing := others(name, facts.client_ids):
        many = ", ".join(f"{count} by {each}" for each, count in sorted(differing.items()))
        return Finding(
            "group", subject, State.WARNING, f"{state}; with other settings: {many}",
            f"all with {own}, of what decides verdicts and outputs, as these settings have",
            f"give all its workers the same settings, or these a {reader.group_key} of their own",
        )  # fmt: skip
    return ok("group", subject, state)


def _check_last_message(
    inspector: Inspector,
    settings: Settings,
    facts: TopicFacts,
    reader: Reader,
    samples: list[SampledMessage],
) -> Iterator[Finding]:
    try:
        message = inspector.last(facts.name, facts.partitions, reader.group)
    except TransportFailed as error:
        yield failed("message", facts.name, error)
        return
    if message is None:
        yield not_applicable("message", facts.name, "the topic holds none to look at")
        return
    kind = facts.config.get("message.timestamp.type", "")
    stamped_by = {"LogAppendTime": "broker", "CreateTime": "producer"}.get(kind, "")
    exposure = reader.section != "alerts"
    finding, survey = messages.check_message(settings, message, exposure=exposure)
    samples.append(messages.sample_of(message, stamped_by, survey))
    yield finding


def _check_outputs(
    inspector: Inspector,
    settings: Settings,
    largest: Mapping[str, int | None],
    come: Collection[str],
) -> Iterator[Finding]:
    """Check the topics that are written; ``come`` has the surveys of which alerts are there."""
    needs = {need.topic: need for need in _outputs(settings)}
    client = clients.producer_settings(settings)
    without: dict[str, list[str]] = {}
    for name, facts in inspector.topics(needs).items():
        need = needs[name]
        if need.survey and need.survey not in come and isinstance(facts, TopicMissing):
            without.setdefault(need.key, []).append(need.survey)
            continue
        yield (finding := _topic(need, facts, client))
        if isinstance(facts, TopicFacts) and finding.state is not State.FAILED and need.whole:
            yield _size(need, facts, settings, largest)
    for key, surveys in without.items():
        every = len(surveys) == sum(need.key == key for need in needs.values())
        output = getattr(settings.outputs, key.removeprefix("outputs."))
        yield _without_topics(f"{key} {output}", surveys, every=every)


def _outputs(settings: Settings) -> Iterator[_Need]:
    """Yields the topics that a worker with these settings writes."""
    for name, output in outputs(settings).items():
        whole = name in ("enriched", "clean", "contaminated", "rejected")
        for survey, topic in names_of(settings, output).items():
            yield _Need(f"outputs.{name}", topic, WRITE, whole, survey)


def _without_topics(subject: str, surveys: Sequence[str], *, every: bool) -> Finding:
    """Tell of surveys without a topic of their own; a worker starts if any survey has one."""
    found = f"none of {', '.join(surveys)}"
    if not every:
        return not_applicable("topics", subject, f"{found}: an alert of theirs would be rejected")
    return Finding(
        "topics", subject, State.FAILED, found, "one of each survey that is read",
        f"streamfilter topics create{GIVEN}",
    )  # fmt: skip


def _topic(
    need: _Need, facts: TopicFacts | TransportFailed, client_settings: Mapping[str, Scalar]
) -> Finding:
    subject = f"{need.key} {need.topic}"
    if isinstance(facts, TransportFailed):
        of = f" --survey {need.survey}" if need.survey else ""
        made = f"streamfilter topics create{of}{GIVEN}" if isinstance(facts, TopicMissing) else ""
        return failed("topics", subject, facts, made)
    if facts.rights and need.right not in facts.rights:
        return Finding(
            "topics", subject, State.FAILED, f"rights: {', '.join(sorted(facts.rights))}",
            need.right, _allow(client_settings, need.right, "topic", need.topic),
        )  # fmt: skip
    found = f"{facts.partitions} partitions, {facts.replicas} replicas"
    if facts.without_leader:
        return Finding(
            "topics", subject, State.FAILED, f"{found}, {facts.without_leader} without a leader",
            "a leader for each partition", "see which brokers are down",
        )  # fmt: skip
    least = int(facts.config.get("min.insync.replicas", 1))
    if need.right == WRITE and facts.in_step < least:
        return Finding(
            "topics", subject, State.FAILED, f"{facts.in_step} replicas in step",
            f"{least} (min.insync.replicas), else nothing can be written",
            "see which brokers are down",
        )  # fmt: skip
    if facts.in_step < facts.replicas:
        return Finding(
            "topics", subject, State.WARNING, f"{found}, {facts.in_step} of them in step",
            "all", "see which brokers are down or behind",
        )  # fmt: skip
    known = "may" if facts.rights else "not known whether it may"
    verb = "be written" if need.right == WRITE else "be read"
    return ok("topics", subject, f"{found}, {known} {verb}")


def _allow(client_settings: Mapping[str, Scalar], right: str, kind: str, name: str) -> str:
    """Returns the command of Kafka's own scripts that gives a right, for whoever may run it."""
    who = f"User:{client_settings.get('sasl.username', 'NAME')}"
    words = [
        "kafka-acls.sh", "--bootstrap-server", str(client_settings["bootstrap.servers"]), "--add",
        "--allow-principal", who, "--operation", right.title(), f"--{kind}", name,
    ]  # fmt: skip
    return shlex.join(words)


def _size(
    need: _Need, facts: TopicFacts, settings: Settings, largest: Mapping[str, int | None]
) -> Finding:
    """Check that a topic takes the largest message that may come in."""
    limits = {
        reader.section: settings.limits.max_message_bytes
        if reader.section == "alerts"
        else settings.exposures.max_message_bytes
        for reader in readers(settings)
        if reader.section == "alerts" or need.key == "outputs.rejected"
    }
    known = all(largest.get(key) is not None for key in limits)
    needed = max(min(limit, largest.get(key) or limit) for key, limit in limits.items())
    subject = f"{need.key} {need.topic}"
    takes = facts.max_message_bytes
    change = f"--property max.message.bytes={needed}"
    mend = f"streamfilter topics alter {shlex.quote(need.topic)} {change}{GIVEN}"
    if takes is None:
        return Finding(
            "size", subject, State.WARNING, "max.message.bytes may not be read",
            f"at least {needed}", "ask for DESCRIBE_CONFIGS, or ask the broker's operators",
        )  # fmt: skip
    if takes >= needed:
        return ok("size", subject, f"takes {takes:,} bytes; at most {needed:,} come")
    return Finding(
        "size", subject, State.FAILED if known else State.WARNING,
        f"takes {takes:,} bytes (max.message.bytes)",
        f"at least {needed:,}, which {'are read' if known else 'the limits let in'}; larger ones "
        "come out as rejected, or without their bytes", mend,
    )  # fmt: skip
