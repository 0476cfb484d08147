"""The consumer: reads messages, commits offsets, and follows the group's assignment."""

import json
import time
from collections.abc import Mapping, Sequence
from functools import partial

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException
from confluent_kafka import Message as RawMessage
from confluent_kafka import TopicPartition as Position

from streamfilter.errors import ConfigurationInvalid
from streamfilter.kafka.assignee import Assignee, Nobody, Partitions
from streamfilter.kafka.assignment import Assignment, named
from streamfilter.kafka.beginnings import Beginnings, OnSkipped
from streamfilter.kafka.client import (
    ClientErrors,
    Settings,
    error_of,
    lasting,
    log,
    make_client,
    transport_failed,
    within,
    words_of,
)
from streamfilter.kafka.commits import Commits
from streamfilter.kafka.consumer_settings import ReadySettings
from streamfilter.kafka.continuity import Continuity
from streamfilter.kafka.ledger import Partition, Place, partition_of
from streamfilter.kafka.messages import message_of
from streamfilter.kafka.progress import ReadingProgress, Stall
from streamfilter.kafka.remade import RemadeTopics
from streamfilter.kafka.starts import ERROR
from streamfilter.kafka.statistics import OnStatistics, parsed
from streamfilter.records import Message

Answer = list[Position] | KafkaError
"""The answer to a commit: each partition with its own error, or one error for all."""

# librdkafka itself waits a minute for a broker that hangs; a drain has 30 s in all.
COMMIT_WAIT_S, CLOSE_WAIT_S = 10.0, 5.0
# Limit for the question whether a topic was made again.
ANSWER_S = 1.0
END_WAIT_S = 0.5  # for the end of a partition; reading stands still meanwhile
# For the end of a transaction whose worker is gone: its time-out, and the broker's next check.
UNSTABLE_S = 120.0


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
    on_skipped
        Called where offsets are stepped over.

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
        on_skipped: OnSkipped | None = None,
    ) -> None:
        ready = ReadySettings(settings, topics)
        self._errors = ClientErrors("consumer", patient=True)
        self._assignee: Assignee = Nobody()
        self._on_statistics = on_statistics
        self._topics = list(topics)
        self._names = {name for name in topics if not name.startswith("^")}
        self._creates = str(settings.get("allow.auto.create.topics", "")).lower() == "true"
        self._read_topics: set[str] = set()
        self._revoked = self._closing = self._in_callback = self._broken = False
        self._commits = Commits()
        self._continuity = Continuity()
        self._remade = RemadeTopics()
        self._policy = ready.policy
        self._progress = ReadingProgress(ready.queue_bytes)
        callbacks = {
            **self._errors.settings(), "on_commit": self._committed, "stats_cb": self._statistics,
        }  # fmt: skip
        self._consumer = make_client(Consumer, {**ready.properties, **callbacks}, "consumer")
        self._assignment = Assignment(self._consumer, incremental=ready.incremental)
        self._assigned = self._assignment.partitions
        self._beginnings = Beginnings(
            self._consumer, self._assignment, self._commits, self._continuity,
            policy=ready.policy, on_skipped=on_skipped,
        )  # fmt: skip

    def join(self, assignee: Assignee | None = None) -> None:
        """Become a member of the group: the following polls assign partitions.

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
        """Returns the messages that have arrived; waits only for the first one.

        Returns
        -------
        list
            At most ``max_messages``; empty when none came within ``timeout_s``.

        Raises
        ------
        TransportFailed
            The broker cannot be used, and waiting would not mend it.
        """
        self._revoked, self._broken = False, True
        try:
            first = self._consumer.poll(timeout_s)
            raw = [] if first is None else [first]
            if first is not None and max_messages > 1:
                raw += self._consumer.consume(max_messages - 1, 0)
        except KafkaException as error:
            raise transport_failed(error_of(error), "reading") from error
        self._errors.check()
        self._ask_for_an_end()
        messages = self._without_gaps([message_of(each) for each in raw if self._good(each)])
        self._broken = False
        self._beginnings.begin()
        for each in messages:
            self._commits.read(partition_of(each.origin), each.origin.offset)
        if messages:
            self._errors.recovered()
            messages = self._of_this_topic(messages)
        # A partition that went while the others were taken is read by its next owner.
        if self._revoked:
            messages = [each for each in messages if partition_of(each.origin) in self._assigned]
        return messages

    def stalled(self, limit_s: float) -> tuple[Stall, ...]:
        """Returns partitions that have messages and gave none for longer; any thread may call."""
        return self._progress.stalled(limit_s)

    def membership(self) -> object | None:
        """Returns the consumer's membership of the group, for transactions; None without one.

        Only the thread that polls may call: another one would wait until the poll is over.
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
        """Returns the committed offset and its note of each partition that has one.

        It waits until the broker ends a transaction that is under way.

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
        """Note the offsets that a transaction has committed; any thread may call."""
        self._remade.committed(offsets)

    def pause(self) -> None:
        """Fetch nothing, also from partitions that are assigned later; go on polling meanwhile.

        Do not use it for every full queue: librdkafka discards what it had prefetched, and takes up
        to 1 s (measured) to fetch again after ``resume``. Not polling for a while costs nothing.
        """
        self._continuity.disturb(self._assigned)
        self._assignment.pause()

    def resume(self) -> None:
        """Fetch again from where reading stopped, except from partitions that are held."""
        self._assignment.resume()

    def hold(self, partition: Partition) -> None:
        """Fetch nothing from one partition until ``release``; prefetched messages are discarded."""
        self._continuity.disturb([partition])
        self._assignment.hold(partition)

    def release(self, partition: Partition) -> None:
        """Fetch again from a partition that was held."""
        self._assignment.release(partition)

    def commit(self, offsets: Mapping[Partition, int], *, wait: bool) -> bool:
        """Commit the next offsets to read; partitions that are not assigned are left out.

        What a broker refused is committed again with the next call, also with no new ``offsets``.

        Returns
        -------
        bool
            Whether the broker has it (``wait``), or it is on its way.
        """
        positions = self._commits.wanted(offsets, self._assigned)
        if not positions:
            return True
        if not wait:
            answer = self._commit(positions, asynchronous=True)
        elif self._in_callback:
            # librdkafka's bindings let no second thread in before the callback is over.
            answer = self._commit(positions, asynchronous=False)
        else:
            done = within(COMMIT_WAIT_S, partial(self._commit, positions, asynchronous=False))
            answer = done[0] if done else KafkaError(KafkaError._TIMED_OUT)
        return self._judged(answer, positions)

    def behind_marks(self, settled: Mapping[Partition, int]) -> dict[Partition, int]:
        """Returns positions that may be committed because only transaction markers lie before them.

        Parameters
        ----------
        settled
            Of the partitions of which all that is in the books is settled, the offset after it.
        """
        if self._broken or not self._assigned:
            return {}
        try:
            found = self._assignment.positions(self._assigned)
        except (KafkaException, RuntimeError):  # closed; the next commit is another chance
            return {}
        return self._commits.behind_marks(settled, found)

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

    def _judged(self, answer: Answer, positions: list[Position]) -> bool:
        if isinstance(answer, KafkaError):
            return self._committed(answer, positions)
        return self._committed(None, answer)

    def _without_gaps(self, messages: list[Message]) -> list[Message]:
        """Returns the messages before any suspicious gap, to which reading is sent back."""
        disturbed = self._assigned if self._errors.unreachable else ()
        good, back = self._continuity.checked(messages, disturbed)
        for partition, offset in back.items():
            self._seek(partition, offset)
        return good

    def _seek(self, partition: Partition, offset: int) -> None:
        try:
            self._consumer.seek(Position(*partition, offset))
        except KafkaException as error:
            raise transport_failed(error_of(error), "reading anew") from error

    def _of_this_topic(self, messages: list[Message]) -> list[Message]:
        """Returns the messages, but those of topics that were made again: they are read anew."""
        quiet = self._remade.suspects(messages)
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
        return [each for each in messages if partition_of(each.origin) not in anew]

    def _read_anew(self, partitions: Sequence[Partition]) -> None:
        """Read partitions from their beginning; ``lost`` forgets what was read there."""
        if not partitions:
            return
        log.warning("topic made again", partitions=[f"{topic}[{n}]" for topic, n in partitions])
        self._assignee.lost(tuple(partitions))
        for partition in partitions:
            self._seek(partition, OFFSET_BEGINNING)
            self.release(partition)
            self._forget(partition)
        self._commits.taken(self._assignment.positions(partitions))
        self._assignee.assigned(tuple(partitions))

    def _ask_for_an_end(self) -> None:
        """Ask for the ends of one partition that seems to be read to its end, now and then."""
        if (partition := self._progress.to_ask()) is None or partition not in self._assigned:
            return
        try:
            ends = self._consumer.get_watermark_offsets(Position(*partition), END_WAIT_S)
        except KafkaException as error:
            log.debug("end not known", partition=partition, detail=error_of(error).str())
        else:
            self._progress.set_ends(partition, *ends)

    def _good(self, raw: RawMessage) -> bool:
        error = raw.error()
        if error is None:
            return True
        code, topic = error.code(), raw.topic()
        if code == KafkaError._PARTITION_EOF:
            return False
        if code == KafkaError._AUTO_OFFSET_RESET and self._policy != ERROR:
            self._beginnings.without_offset((topic or "", raw.partition() or 0), raw.offset())
            return False
        if code == KafkaError.UNKNOWN_TOPIC_OR_PART:
            # A topic that was read and has expired is no failure; one never seen is a mistake.
            ends = topic in self._names and topic not in self._read_topics and not self._creates
        else:
            ends = lasting(error)
        if ends:
            raise transport_failed(error, f"reading {topic}" if topic else "reading")
        number, offset = raw.partition(), raw.offset()
        log.warning(
            "kafka trouble", client="consumer", topic=topic, partition=number, offset=offset,
            detail=error.str(),
        )  # fmt: skip
        if topic is not None and number is not None:
            self._progress.failed((topic, number), error.str())
        return False

    def _assign(self, consumer: Consumer, positions: list[Position]) -> None:
        try:
            self._assignment.take(positions)
            partitions = named(positions)
            self._continuity.forget(*partitions)
            self._commits.taken(self._assignment.positions(partitions))
            self._read_topics |= {topic for topic, _ in partitions}
            self._assignee.assigned(partitions)
        except Exception as error:  # raised by poll: librdkafka's callbacks cannot
            self._errors.fail(error)

    def _revoke(self, consumer: Consumer, positions: list[Position]) -> None:
        if not self._closing:
            self._in_callback = True
            self._handed_over(named(positions))
            self._in_callback = False
        self._give_up(consumer, positions)

    def _handed_over(self, partitions: Partitions) -> None:
        try:
            self._assignee.revoked(partitions)
        except Exception as error:
            self._errors.fail(error)

    def _lose(self, consumer: Consumer, positions: list[Position]) -> None:
        self._give_up(consumer, positions)
        try:
            if not self._closing:
                self._assignee.lost(named(positions))
        except Exception as error:
            self._errors.fail(error)

    def _give_up(self, consumer: Consumer, positions: list[Position]) -> None:
        self._revoked = True
        for partition in named(positions):
            self._forget(partition)
        try:
            self._assignment.give_up(positions)
        except KafkaException as error:
            self._errors.fail(transport_failed(error_of(error), "giving partitions up"))

    def _forget(self, partition: Partition) -> None:
        """Forget all that is kept of a partition."""
        self._assignment.unplace(partition)
        self._commits.forget(partition)
        self._continuity.forget(partition)
        self._beginnings.forget(partition)
        self._remade.forget(partition)
        self._progress.forget(partition)

    def _committed(self, error: KafkaError | None, positions: Sequence[Position]) -> bool:
        if error is None:
            good = (each for each in positions if each.error is None)
            self._remade.committed({(each.topic, each.partition): each.offset for each in good})
        return self._commits.answered(error, positions)

    def _statistics(self, document: str) -> None:
        try:
            statistics = parsed(json.loads(document))
            resting = self._assignment.resting
            self._progress.update(time.monotonic(), statistics, self.assigned, resting)
            if any(each.up for each in statistics.brokers):
                self._errors.recovered()
            if self._on_statistics is not None:
                self._on_statistics(statistics)
        except Exception as error:
            self._errors.fail(error)
