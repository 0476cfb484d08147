"""The consumer: messages in, offsets out, partitions coming and going."""

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import cast

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException
from confluent_kafka import Message as RawMessage
from confluent_kafka import TopicPartition as Position

from streamfilter.errors import ConfigurationInvalid
from streamfilter.kafka.assignee import Assignee, Nobody, Partitions
from streamfilter.kafka.client import (
    MENDS,
    PASSING,
    Settings,
    Trouble,
    error_of,
    log,
    merged,
    refuse,
    settings_invalid,
    transport_failed,
    within,
    words_of,
)
from streamfilter.kafka.ledger import Partition, Place
from streamfilter.kafka.properties import CONSUMER
from streamfilter.kafka.statistics import Statistics, parsed
from streamfilter.records import Headers, Message, Origin

OnStatistics = Callable[[Statistics], None]
Answer = list[Position] | KafkaError
"""Of a commit: each partition with its own error, or one error for all."""

DEFAULTS: Settings = {
    # A new group starts with what the topic still holds: no alert is skipped.
    "auto.offset.reset": "earliest",
    # What is prefetched stays in memory: 32 MiB are 300 large alerts, and one fetch may add 16.
    "queued.max.messages.kbytes": 32 * 1024,
    "fetch.max.bytes": 16 * 2**20,
    # The default second of rest once the queue was full would starve a fast engine.
    "fetch.queue.backoff.ms": 20,
    # Nightly topics that match a pattern are found within this time.
    "topic.metadata.refresh.interval.ms": 30_000,
    # A batch on a slow engine takes seconds, a drain up to 30.
    "max.poll.interval.ms": 300_000,
    "enable.partition.eof": False,
    # What a producer threw away is no alert; and offsets of open transactions are waited for.
    "isolation.level": "read_committed",
    "statistics.interval.ms": 5_000,
}
GUARANTEES = {"enable.auto.commit": ("false",)}
# librdkafka itself waits a minute for a broker that hangs; a drain has 30 s in all.
COMMIT_WAIT_S, CLOSE_WAIT_S = 10.0, 5.0
# A topic that is deleted and made again is silent for longer; then the broker is asked, so long.
QUIET_S, ANSWER_S = 0.2, 1.0
# For the end of a transaction whose worker is gone: its time-out and the broker's next look.
UNSTABLE_S = 120.0


def _named(positions: Sequence[Position]) -> Partitions:
    return tuple((each.topic, each.partition) for each in positions)


def _partition(message: Message) -> Partition:
    return message.origin.topic, message.origin.partition


def message_of(raw: RawMessage) -> Message:
    """A message of librdkafka that is no error, as a value."""
    kind, timestamp = raw.timestamp()
    # Stubs allow None for what librdkafka always sets on a message without error.
    topic, partition, offset = raw.topic(), raw.partition(), raw.offset()
    return Message(
        Origin(cast("str", topic), cast("int", partition), cast("int", offset)),
        raw.value(),
        raw.key(),
        timestamp if kind else None,
        cast("Headers", tuple(raw.headers() or ())),
    )


class KafkaSource:
    """A member of a consumer group, from ``join`` on.

    Thread rule: one thread calls everything; the assignee is called in it, inside ``poll`` and
    ``close``, and may commit. An exception of the assignee is raised by the call that it ran in.

    Parameters
    ----------
    settings
        librdkafka's, over ``DEFAULTS``; ``bootstrap.servers`` and ``group.id`` are required.
    topics
        Names, and patterns that begin with ``^``.
    on_statistics
        Called every ``statistics.interval.ms``.

    Raises
    ------
    ConfigurationInvalid
        A setting is missing, unknown to librdkafka, or would let alerts be lost.
    """

    def __init__(
        self,
        settings: Settings,
        topics: Sequence[str],
        *,
        on_statistics: OnStatistics | None = None,
    ) -> None:
        refuse(settings, GUARANTEES)
        self._trouble = Trouble("consumer")
        self._assignee: Assignee = Nobody()
        self._on_statistics = on_statistics
        self._topics = list(topics)
        self._names = {name for name in topics if not name.startswith("^")}
        self._creates = str(settings.get("allow.auto.create.topics", "")).lower() == "true"
        self._assigned: dict[Partition, None] = {}
        self._held: set[Partition] = set()
        self._seen: set[str] = set()
        self._gone = False
        self._paused = False
        self._closing = False
        self._in_callback = False
        self._uncommitted: dict[Partition, int] = {}
        self._issued: dict[Partition, int] = {}
        self._known: dict[Partition, int] = {}  # commits that the broker has
        self._heard_s: dict[Partition, float] = {}
        ready = merged(DEFAULTS, settings, ("bootstrap.servers", "group.id"), CONSUMER)
        ready["enable.auto.commit"] = "false"
        # The broker assigns in the newer protocol, which does not know the classic options.
        if ready.get("group.protocol", "classic").lower() != "consumer":
            ready.setdefault("partition.assignment.strategy", "cooperative-sticky")
        strategy = ready.get("partition.assignment.strategy", "cooperative-sticky")
        self._incremental = "cooperative" in strategy
        callbacks = {**self._trouble.settings(), "on_commit": self._committed}
        if on_statistics is not None:
            callbacks["stats_cb"] = self._statistics
        try:
            self._consumer = Consumer({**ready, **callbacks})
        except (KafkaException, TypeError, ValueError) as error:
            raise settings_invalid(error, "consumer") from error

    def join(self, assignee: Assignee | None = None) -> None:
        """Become a member of the group: partitions come with the polls that follow.

        Raises
        ------
        ConfigurationInvalid
            A name or pattern of the topics cannot be.
        """
        self._assignee = assignee or Nobody()
        try:
            self._consumer.subscribe(
                self._topics, on_assign=self._assign, on_revoke=self._revoke, on_lost=self._lose
            )
        except (KafkaException, TypeError, ValueError) as error:
            raise ConfigurationInvalid(
                f"topics {', '.join(self._topics)}: {words_of(error)}; expected names, or regular "
                "expressions that begin with ^"
            ) from error

    @property
    def assigned(self) -> Partitions:
        """The partitions that this worker reads now."""
        return tuple(self._assigned)

    def poll(self, max_messages: int, timeout_s: float) -> list[Message]:
        """Messages that are here: the first is waited for, the others are taken without waiting.

        Returns
        -------
        list
            At most ``max_messages``; empty when none came within ``timeout_s``.

        Raises
        ------
        TransportFailed
            The broker cannot be used, and waiting would not mend it.
        """
        self._gone = False
        try:
            first = self._consumer.poll(timeout_s)
            raw = [] if first is None else [first]
            if first is not None and max_messages > 1:
                raw += self._consumer.consume(max_messages - 1, 0)
        except KafkaException as error:
            raise transport_failed(error_of(error), "reading") from error
        self._trouble.check()
        messages = [message_of(each) for each in raw if self._good(each)]
        if messages:
            self._trouble.recovered()
            messages = self._of_this_topic(messages)
        # A partition that went while the others were taken is read by its next owner.
        if self._gone:
            messages = [each for each in messages if _partition(each) in self._assigned]
        return messages

    def membership(self) -> object | None:
        """Who we are in the group, for transactions; None while we are no member.

        Only for the thread that polls: another one would wait until the poll is over.
        """
        try:
            membership: object = self._consumer.consumer_group_metadata()
            # Without a member's name a broker would take offsets of whatever generation. The name
            # is asked for last: it may go at any time, but does not come back between two polls.
            return membership if self._consumer.memberid() else None
        except RuntimeError:  # closed
            return None
        except KafkaException as error:
            raise transport_failed(error_of(error), "asking for the group") from error

    def committed(self, partitions: Sequence[Partition]) -> dict[Partition, Place]:
        """What the group committed last, with what was kept beside it; without those it has not.

        Offsets of a transaction under way are waited for, until the broker ends it.

        Raises
        ------
        TransportFailed
            The broker does not answer.
        """
        asked, end = [Position(*each) for each in partitions], time.monotonic() + UNSTABLE_S
        while asked:
            try:
                found = self._consumer.committed(asked, COMMIT_WAIT_S)
            except KafkaException as error:
                if time.monotonic() > end:
                    raise transport_failed(error_of(error), "asking for offsets") from error
                continue
            return {
                (each.topic, each.partition): Place(each.offset, each.metadata or "")
                for each in found
                if each.offset >= 0
            }
        return {}

    def note_committed(self, offsets: Mapping[Partition, int]) -> None:
        """A transaction committed these; its thread may call."""
        self._known |= offsets

    def pause(self) -> None:
        """Fetch nothing, from partitions that come later neither; go on polling meanwhile.

        Not for every full queue: librdkafka throws away what it had prefetched, and takes up to
        1 s (measured) to fetch again after ``resume``. Not polling for a while costs nothing.
        """
        self._paused = True
        self._steer(self._consumer.pause, self._assigned)

    def resume(self) -> None:
        """Fetch again, from where reading stopped; not what is held."""
        self._paused = False
        self._steer(self._consumer.resume, set(self._assigned) - self._held)

    def hold(self, partition: Partition) -> None:
        """Fetch nothing from one partition until ``release``; what was fetched ahead is dropped."""
        if partition in self._assigned:
            self._held.add(partition)
            self._steer(self._consumer.pause, [partition])

    def release(self, partition: Partition) -> None:
        """Fetch again from a partition that was held."""
        if partition in self._held:
            self._held.discard(partition)
            if not self._paused:
                self._steer(self._consumer.resume, [partition])

    def commit(self, offsets: Mapping[Partition, int], *, wait: bool) -> bool:
        """Commit the next offsets to read; partitions that are not assigned are left out.

        What a broker refused is committed again with the next call, also with no new ``offsets``.

        Returns
        -------
        bool
            Whether the broker has it (``wait``), or it is on its way.
        """
        wanted = {**self._uncommitted, **offsets}
        self._uncommitted = {}
        positions = [
            Position(topic, partition, offset)
            for (topic, partition), offset in wanted.items()
            if (topic, partition) in self._assigned
        ]
        if not positions:
            return True
        self._issued |= {(each.topic, each.partition): each.offset for each in positions}
        if not wait:
            answer = self._commit(positions, asynchronous=True)
        elif self._in_callback:
            # librdkafka's bindings let no second thread in before the callback is over.
            answer = self._commit(positions, asynchronous=False)
        else:
            done = within(COMMIT_WAIT_S, partial(self._commit, positions, asynchronous=False))
            answer = done[0] if done else KafkaError(KafkaError._TIMED_OUT)
        return self._judged(answer, positions)

    def close(self) -> None:
        """Leave the group; ``revoked`` is called once more for what is still assigned.

        Returns soon even if the broker is away: the group then notices by itself, after its
        session time-out.
        """
        if self._closing:
            return
        if self._assigned:
            self._handed_over(self.assigned)
        self._closing = True
        if not within(CLOSE_WAIT_S, self._consumer.close):
            log.warning("group not left", waited_s=CLOSE_WAIT_S)
        self._assigned.clear()
        self._trouble.check()

    def _commit(self, positions: list[Position], *, asynchronous: bool) -> Answer:
        try:
            if asynchronous:
                self._consumer.commit(offsets=positions, asynchronous=True)
                return []
            return self._consumer.commit(offsets=positions, asynchronous=False)
        except KafkaException as error:
            return error_of(error)
        except RuntimeError:  # closed while it waited
            return KafkaError(KafkaError._DESTROY)

    def _judged(self, answer: Answer, positions: list[Position]) -> bool:
        if isinstance(answer, KafkaError):
            return self._committed(answer, positions)
        return self._committed(None, answer)

    def _of_this_topic(self, messages: list[Message]) -> list[Message]:
        """All but those of partitions whose topic was made again, which are read anew.

        librdkafka goes on where it stood, also in another topic of that name, whose beginning it
        would skip. A group's offsets go with a topic that is deleted, which tells.
        """
        now, quiet = time.monotonic(), dict[Partition, None]()
        for each in messages:
            partition = _partition(each)
            if each.origin.offset < self._known.get(partition, 0):
                del self._known[partition]  # librdkafka found out by itself
            elif partition in self._known and now - self._heard_s.get(partition, now) > QUIET_S:
                quiet[partition] = None
            self._heard_s[partition] = now
        if not quiet:
            return messages
        try:
            found = self._consumer.committed([Position(*each) for each in quiet], ANSWER_S)
        except KafkaException as error:  # the next silence is another chance
            log.warning("offsets not known", detail=error_of(error).str())
            return messages
        gone = (each for each in found if each.offset < 0 and each.error is None)
        anew = [(each.topic, each.partition) for each in gone]
        self._read_anew(anew)
        return [each for each in messages if _partition(each) not in anew]

    def _read_anew(self, partitions: Sequence[Partition]) -> None:
        """Read partitions from their beginning; ``lost`` forgets what was read there."""
        if not partitions:
            return
        log.warning("topic made again", partitions=[f"{topic}[{n}]" for topic, n in partitions])
        self._assignee.lost(tuple(partitions))
        for partition in partitions:
            try:
                self._consumer.seek(Position(*partition, OFFSET_BEGINNING))
            except KafkaException as error:
                raise transport_failed(error_of(error), "reading anew") from error
            self.release(partition)
            self._forget(partition)
        self._assignee.assigned(tuple(partitions))

    def _steer(
        self, what: Callable[[list[Position]], None], partitions: Iterable[Partition]
    ) -> None:
        try:
            what([Position(topic, number) for topic, number in partitions])
        except KafkaException as error:
            raise transport_failed(error_of(error), "pausing or resuming") from error

    def _good(self, raw: RawMessage) -> bool:
        error = raw.error()
        if error is None:
            return True
        code, topic = error.code(), raw.topic()
        if code == KafkaError._PARTITION_EOF:
            return False
        if code == KafkaError.UNKNOWN_TOPIC_OR_PART:
            # A topic that was read and has expired is no failure; one never seen is a mistake.
            lasting = topic in self._names and topic not in self._seen and not self._creates
        else:
            lasting = error.fatal() or (code in MENDS and code not in PASSING)
        if lasting:
            raise transport_failed(error, f"reading {topic}" if topic else "reading")
        log.warning("kafka trouble", client="consumer", topic=topic, detail=error.str())
        return False

    def _assign(self, consumer: Consumer, positions: list[Position]) -> None:
        try:
            if self._incremental:
                consumer.incremental_assign(positions)
            else:
                consumer.assign(positions)
            # A partition that was held when it went is not held when it comes back.
            steer = consumer.pause if self._paused else consumer.resume
            steer(positions)
            partitions = _named(positions)
            self._assigned |= dict.fromkeys(partitions)
            self._seen |= {topic for topic, _ in partitions}
            self._assignee.assigned(partitions)
        except Exception as error:  # raised by poll: librdkafka's callbacks cannot
            self._trouble.fail(error)

    def _revoke(self, consumer: Consumer, positions: list[Position]) -> None:
        if not self._closing:
            self._in_callback = True
            self._handed_over(_named(positions))
            self._in_callback = False
        self._give_up(consumer, positions)

    def _handed_over(self, partitions: Partitions) -> None:
        try:
            self._assignee.revoked(partitions)
        except Exception as error:
            self._trouble.fail(error)

    def _lose(self, consumer: Consumer, positions: list[Position]) -> None:
        self._give_up(consumer, positions)
        try:
            if not self._closing:
                self._assignee.lost(_named(positions))
        except Exception as error:
            self._trouble.fail(error)

    def _give_up(self, consumer: Consumer, positions: list[Position]) -> None:
        self._gone = True
        for partition in _named(positions):
            self._assigned.pop(partition, None)
            self._held.discard(partition)
            self._forget(partition)
        try:
            if self._incremental:
                consumer.incremental_unassign(positions)
            else:
                consumer.unassign()
        except KafkaException as error:
            self._trouble.fail(transport_failed(error_of(error), "giving partitions up"))

    def _forget(self, partition: Partition) -> None:
        """What was read and committed there is no concern of ours any more."""
        for books in (self._uncommitted, self._issued, self._known, self._heard_s):
            books.pop(partition, None)

    def _committed(self, error: KafkaError | None, positions: Sequence[Position]) -> bool:
        refused = [each for each in positions if error is not None or each.error is not None]
        if refused:
            detail = (error or refused[0].error or KafkaError(KafkaError.UNKNOWN)).str()
            log.warning("commit refused", partitions=len(refused), detail=detail, retried=True)
        if error is None:
            good = (each for each in positions if each.error is None)
            self._known |= {(each.topic, each.partition): each.offset for each in good}
        for each in refused:
            partition = (each.topic, each.partition)
            # A refusal may come after a later offset was committed; going back to it would repeat.
            if self._issued.get(partition) == each.offset:
                self._uncommitted.setdefault(partition, each.offset)
        return not refused

    def _statistics(self, text: str) -> None:
        try:
            statistics = parsed(json.loads(text))
            if any(each.up for each in statistics.brokers):
                self._trouble.recovered()
            if self._on_statistics is not None:
                self._on_statistics(statistics)
        except Exception as error:
            self._trouble.fail(error)
