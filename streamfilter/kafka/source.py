"""The consumer: reads messages, commits offsets, and follows the assigned partitions."""

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
    ClientErrors,
    Settings,
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
from streamfilter.kafka.statistics import Statistics, parsed
from streamfilter.records import Headers, Message, Origin

OnStatistics = Callable[[Statistics], None]
Answer = list[Position] | KafkaError
"""Answer to a commit: each partition with its own error, or one error for all."""

DEFAULTS: Settings = {
    # A new group starts with the oldest messages of the topic: no alert is skipped.
    "auto.offset.reset": "earliest",
    # Prefetched messages are in memory: 32 MiB are 300 large alerts, and one fetch may add 16.
    "queued.max.messages.kbytes": 32 * 1024,
    "fetch.max.bytes": 16 * 2**20,
    # The default pause of a second after a full queue would starve a fast engine.
    "fetch.queue.backoff.ms": 20,
    # Nightly topics that match a pattern are found within this time.
    "topic.metadata.refresh.interval.ms": 30_000,
    # A batch on a slow engine takes seconds, and a drain up to 30 s.
    "max.poll.interval.ms": 300_000,
    "enable.partition.eof": False,
    # Messages of aborted transactions are no alerts; open transactions are waited for.
    "isolation.level": "read_committed",
    "statistics.interval.ms": 5_000,
}
GUARANTEES = {"enable.auto.commit": ("false",)}
# librdkafka itself would wait a minute for a broker that hangs; a whole drain has 30 s.
COMMIT_WAIT_S, CLOSE_WAIT_S = 10.0, 5.0
# A topic that is deleted and made again is silent for longer than the first; the second limits
# the question to the broker whether it was.
QUIET_S, ANSWER_S = 0.2, 1.0
# Wait for the end of a dead worker's transaction: its time-out and the broker's next check.
UNSTABLE_S = 120.0


def _named(positions: Sequence[Position]) -> Partitions:
    return tuple((each.topic, each.partition) for each in positions)


def _partition(message: Message) -> Partition:
    return message.origin.topic, message.origin.partition


def message_of(raw: RawMessage) -> Message:
    """Returns a message of librdkafka, which must be no error, as a value."""
    kind, timestamp = raw.timestamp()
    # The stubs allow None where librdkafka always sets a value on a message without error.
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

    Thread rule: one thread makes all calls. The assignee is called in that thread, inside ``poll``
    and ``close``, and may commit; ``poll`` or ``close`` then raises its exceptions.

    Parameters
    ----------
    settings
        librdkafka's settings, over ``DEFAULTS``; ``bootstrap.servers`` and ``group.id`` are
        required.
    topics
        Names, or patterns that begin with ``^``.
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
        self._errors = ClientErrors("consumer")
        self._assignee: Assignee = Nobody()
        self._on_statistics = on_statistics
        self._topics = list(topics)
        self._names = {name for name in topics if not name.startswith("^")}
        self._creates = str(settings.get("allow.auto.create.topics", "")).lower() == "true"
        self._assigned: dict[Partition, None] = {}
        self._held: set[Partition] = set()
        self._read: set[str] = set()  # topics
        self._revoked = False  # since the poll began
        self._paused = False
        self._closing = False
        self._in_callback = False
        self._uncommitted: dict[Partition, int] = {}
        self._issued: dict[Partition, int] = {}
        self._committed_offsets: dict[Partition, int] = {}  # those that the broker has
        self._last_message_s: dict[Partition, float] = {}
        ready = merged(DEFAULTS, settings, ("bootstrap.servers", "group.id"))
        ready["enable.auto.commit"] = "false"
        # The broker assigns in the newer protocol, which does not know the classic options.
        if ready.get("group.protocol", "classic").lower() != "consumer":
            ready.setdefault("partition.assignment.strategy", "cooperative-sticky")
        strategy = ready.get("partition.assignment.strategy", "cooperative-sticky")
        self._incremental = "cooperative" in strategy
        callbacks = {**self._errors.settings(), "on_commit": self._committed}
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
        """Returns messages: waits for the first one, and takes others that are already here.

        Returns
        -------
        list
            At most ``max_messages``; empty when none came within ``timeout_s``.

        Raises
        ------
        TransportFailed
            The broker cannot be used, and waiting would not mend it.
        """
        self._revoked = False
        try:
            first = self._consumer.poll(timeout_s)
            raw = [] if first is None else [first]
            if first is not None and max_messages > 1:
                raw += self._consumer.consume(max_messages - 1, 0)
        except KafkaException as error:
            raise transport_failed(error_of(error), "reading") from error
        self._errors.check()
        messages = [message_of(each) for each in raw if self._is_message(each)]
        if messages:
            self._errors.recovered()
            messages = self._without_recreated(messages)
        # The next owner of a partition that went during this poll reads its messages.
        if self._revoked:
            messages = [each for each in messages if _partition(each) in self._assigned]
        return messages

    def membership(self) -> object | None:
        """Returns our membership of the group, which a transaction names; None while not a member.

        Only the thread that polls may call: another one would wait for the end of the poll.
        """
        try:
            membership: object = self._consumer.consumer_group_metadata()
            # Without a member id a broker would accept offsets of any generation. The id is
            # checked last: it may go at any time, but does not come back between two polls.
            return membership if self._consumer.memberid() else None
        except RuntimeError:  # closed
            return None
        except KafkaException as error:
            raise transport_failed(error_of(error), "asking for the group") from error

    def committed(self, partitions: Sequence[Partition]) -> dict[Partition, Place]:
        """Returns the group's last committed offsets with their notes; none for no commit.

        Waits for offsets of a transaction under way, until the broker ends it.

        Raises
        ------
        TransportFailed
            The broker does not answer.
        """
        positions, end = [Position(*each) for each in partitions], time.monotonic() + UNSTABLE_S
        while positions:
            try:
                answer = self._consumer.committed(positions, COMMIT_WAIT_S)
            except KafkaException as error:
                if time.monotonic() > end:
                    raise transport_failed(error_of(error), "asking for offsets") from error
                continue
            return {
                (each.topic, each.partition): Place(each.offset, each.metadata or "")
                for each in answer
                if each.offset >= 0
            }
        return {}

    def note_committed(self, offsets: Mapping[Partition, int]) -> None:
        """Note offsets that a transaction committed; the thread of the transaction may call."""
        self._committed_offsets |= offsets

    def pause(self) -> None:
        """Fetch nothing, also from partitions that come later; keep polling meanwhile.

        Do not pause for every full queue: librdkafka drops its prefetched messages, and takes up to
        1 s (measured) to fetch again after ``resume``. A short time without polling costs nothing.
        """
        self._paused = True
        self._pause_or_resume(self._consumer.pause, self._assigned)

    def resume(self) -> None:
        """Fetch again from where reading stopped; held partitions stay held."""
        self._paused = False
        self._pause_or_resume(self._consumer.resume, set(self._assigned) - self._held)

    def hold(self, partition: Partition) -> None:
        """Fetch nothing from one partition until ``release``; drops its prefetched messages."""
        if partition in self._assigned:
            self._held.add(partition)
            self._pause_or_resume(self._consumer.pause, [partition])

    def release(self, partition: Partition) -> None:
        """Fetch again from a partition that was held."""
        if partition in self._held:
            self._held.discard(partition)
            if not self._paused:
                self._pause_or_resume(self._consumer.resume, [partition])

    def commit(self, offsets: Mapping[Partition, int], *, wait: bool) -> bool:
        """Commit the next offsets to read; partitions that are not assigned are left out.

        The next call, even without new ``offsets``, commits again what a broker refused.

        Returns
        -------
        bool
            With ``wait``, whether the broker has committed; else whether the commit was sent.
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
            # The bindings let no second thread in before the callback is over.
            answer = self._commit(positions, asynchronous=False)
        else:
            done = within(COMMIT_WAIT_S, partial(self._commit, positions, asynchronous=False))
            answer = done[0] if done else KafkaError(KafkaError._TIMED_OUT)
        return self._handle_answer(answer, positions)

    def close(self) -> None:
        """Leave the group; ``revoked`` is called once more for the assigned partitions.

        Returns soon even if the broker is away: the group then notices after the session time-out.
        """
        if self._closing:
            return
        if self._assigned:
            self._hand_over(self.assigned)
        self._closing = True
        if not within(CLOSE_WAIT_S, self._consumer.close):
            log.warning("group not left", waited_s=CLOSE_WAIT_S)
        self._assigned.clear()
        self._errors.check()

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

    def _handle_answer(self, answer: Answer, positions: list[Position]) -> bool:
        if isinstance(answer, KafkaError):
            return self._committed(answer, positions)
        return self._committed(None, answer)

    def _without_recreated(self, messages: list[Message]) -> list[Message]:
        """Returns the messages except of partitions whose topic was made again.

        Those partitions are read from their beginning: librdkafka would go on at its old offset in
        a new topic of the same name, and skip its beginning. A deleted topic is recognised by the
        group's offsets, which are deleted with it.
        """
        now, quiet = time.monotonic(), dict[Partition, None]()
        for each in messages:
            partition = _partition(each)
            if each.origin.offset < self._committed_offsets.get(partition, 0):
                del self._committed_offsets[partition]  # librdkafka noticed by itself
            elif (
                partition in self._committed_offsets
                and now - self._last_message_s.get(partition, now) > QUIET_S
            ):
                quiet[partition] = None
            self._last_message_s[partition] = now
        if not quiet:
            return messages
        try:
            answer = self._consumer.committed([Position(*each) for each in quiet], ANSWER_S)
        except KafkaException as error:  # asked again after the next silence
            log.warning("offsets not known", detail=error_of(error).str())
            return messages
        deleted = (each for each in answer if each.offset < 0 and each.error is None)
        recreated = [(each.topic, each.partition) for each in deleted]
        self._read_from_beginning(recreated)
        return [each for each in messages if _partition(each) not in recreated]

    def _read_from_beginning(self, partitions: Sequence[Partition]) -> None:
        """Read partitions from their beginning; ``lost`` forgets their earlier messages."""
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

    def _pause_or_resume(
        self, method: Callable[[list[Position]], None], partitions: Iterable[Partition]
    ) -> None:
        try:
            method([Position(topic, number) for topic, number in partitions])
        except KafkaException as error:
            raise transport_failed(error_of(error), "pausing or resuming") from error

    def _is_message(self, raw: RawMessage) -> bool:
        """Returns whether this is a message; logs passing errors, raises lasting ones."""
        error = raw.error()
        if error is None:
            return True
        code, topic = error.code(), raw.topic()
        if code == KafkaError._PARTITION_EOF:
            return False
        if code == KafkaError.UNKNOWN_TOPIC_OR_PART:
            # A topic that was read before has expired; one that never existed is a mistake.
            lasting = topic in self._names and topic not in self._read and not self._creates
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
            method = consumer.pause if self._paused else consumer.resume
            method(positions)
            partitions = _named(positions)
            self._assigned |= dict.fromkeys(partitions)
            self._read |= {topic for topic, _ in partitions}
            self._assignee.assigned(partitions)
        except Exception as error:  # raised by poll: librdkafka's callbacks cannot
            self._errors.fail(error)

    def _revoke(self, consumer: Consumer, positions: list[Position]) -> None:
        if not self._closing:
            self._in_callback = True
            self._hand_over(_named(positions))
            self._in_callback = False
        self._give_up(consumer, positions)

    def _hand_over(self, partitions: Partitions) -> None:
        try:
            self._assignee.revoked(partitions)
        except Exception as error:
            self._errors.fail(error)

    def _lose(self, consumer: Consumer, positions: list[Position]) -> None:
        self._give_up(consumer, positions)
        try:
            if not self._closing:
                self._assignee.lost(_named(positions))
        except Exception as error:
            self._errors.fail(error)

    def _give_up(self, consumer: Consumer, positions: list[Position]) -> None:
        self._revoked = True
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
            self._errors.fail(transport_failed(error_of(error), "giving partitions up"))

    def _forget(self, partition: Partition) -> None:
        """Forget the offsets of a partition that is no longer ours."""
        for offsets in (self._uncommitted, self._issued, self._committed_offsets):
            offsets.pop(partition, None)
        self._last_message_s.pop(partition, None)

    def _committed(self, error: KafkaError | None, positions: Sequence[Position]) -> bool:
        refused = [each for each in positions if error is not None or each.error is not None]
        if refused:
            detail = (error or refused[0].error or KafkaError(KafkaError.UNKNOWN)).str()
            log.warning("commit refused", partitions=len(refused), detail=detail, retried=True)
        if error is None:
            good = (each for each in positions if each.error is None)
            self._committed_offsets |= {(each.topic, each.partition): each.offset for each in good}
        for each in refused:
            partition = (each.topic, each.partition)
            # A later offset may be committed by now; going back would repeat messages.
            if self._issued.get(partition) == each.offset:
                self._uncommitted.setdefault(partition, each.offset)
        return not refused

    def _statistics(self, text: str) -> None:
        try:
            statistics = parsed(json.loads(text))
            if any(each.up for each in statistics.brokers):
                self._errors.recovered()
            if self._on_statistics is not None:
                self._on_statistics(statistics)
        except Exception as error:
            self._errors.fail(error)
