"""Checks that a survey has the topics to which its alerts go, where each survey has its own."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from streamfilter.errors import MessageRejected, Reason, TransportFailed

log = structlog.get_logger(__name__)

Absent = Callable[[Sequence[str]], Sequence[str]]
"""Returns the names that no topic has; raises TransportFailed where brokers do not answer."""

_ASK_AGAIN_S = 30.0  # a missing topic is asked for again: somebody may have made it


@dataclass(frozen=True, slots=True)
class _Answer:
    """The missing ones of some topics, and until when (monotonic seconds) this is believed."""

    missing: Sequence[str]
    until_s: float


class SurveyTopics:
    """Asks brokers for a survey's topics at its first alert; any thread may call.

    Nobody has to make topics for all surveys that have a field map. A producer would wait for a
    missing topic and then end the worker: whoever may write alerts could end all workers so.

    Parameters
    ----------
    absent
        Asks the brokers.
    """

    def __init__(self, absent: Absent, clock: Callable[[], float] = time.monotonic) -> None:
        self._absent = absent
        self._clock = clock
        self._lock = threading.Lock()
        self._answers: dict[tuple[str, ...], _Answer] = {}

    def require(self, survey: str, topics: tuple[str, ...]) -> None:
        """Return at once where the topics are known to exist; else ask.

        Where brokers do not answer nothing is held back: the producer waits for them.

        Raises
        ------
        MessageRejected
            A topic is missing; the detail has the command that makes it.
        """
        if not topics:
            return
        answer = self._answers.get(topics)
        if answer is None or self._clock() > answer.until_s:
            with self._lock:
                answer = self._answer(topics)
        if answer.missing:
            raise MessageRejected(
                Reason.TOPIC_MISSING,
                f"survey {survey} has no topic {', '.join(answer.missing)}; make it: streamfilter "
                f"topics create --survey {survey} --config FILE, then replay what was rejected",
            )

    def _answer(self, topics: tuple[str, ...]) -> _Answer:
        now, known = self._clock(), self._answers.get(topics)
        if known is not None and now <= known.until_s:  # another thread asked
            return known
        try:
            missing = self._absent(topics)
            until_s = self._clock() + _ASK_AGAIN_S if missing else float("inf")
        except TransportFailed as error:
            log.warning("topics not looked at", detail=str(error))
            missing, until_s = (), self._clock() + _ASK_AGAIN_S
        self._answers[topics] = answer = _Answer(missing, until_s)
        return answer
