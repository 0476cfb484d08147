"""Reports exposures that fail to a webhook, in a thread of its own: the stream never waits."""

import queue
import threading
import time
from collections.abc import Sequence

import structlog

from streamfilter.config import Webhook
from streamfilter.errors import AddressRefused, CallFailed, plain_words
from streamfilter.exposures import figures
from streamfilter.exposures.figures import DetectorPicture, Row
from streamfilter.exposures.records import Announced, Decision, ExposureVerdict
from streamfilter.metrics.webhook import WebhookMetrics
from streamfilter.outgoing import Caller
from streamfilter.service.exposures import webhook
from streamfilter.service.exposures.webhook import Notice

log = structlog.get_logger(__name__)

_FIRST_DELAY_S, _LONGEST_DELAY_S = 1.0, 30.0
_POLL_S = 0.2
_AGAIN = frozenset({408, 409, 425, 429})
"""Answers after which a retry helps, beside those of 500 and above."""
_PICTURED = 3
"""Detectors in a picture, each of half a megabyte while its exposure is remembered."""
_EXPOSURES_PICTURED, _EXPOSURES_REMEMBERED = 16, 256
_PICTURE_BYTES = 400_000

Key = tuple[str, str]


class Alarm:
    """The webhook of a worker; ``start`` begins and ``close`` ends it."""

    def __init__(
        self,
        rules: Webhook,
        caller: Caller,
        metrics: WebhookMetrics,
        *,
        first_delay_s: float = _FIRST_DELAY_S,
    ) -> None:
        self._rules, self._caller, self._metrics = rules, caller, metrics
        self._first_delay_s = first_delay_s
        self._waiting: queue.Queue[tuple[Notice, tuple[DetectorPicture, ...], float]] = queue.Queue(
            rules.max_waiting
        )
        self._last_decisions: dict[Key, Decision] = {}
        self._pictures: dict[Key, tuple[DetectorPicture, ...]] = {}
        self._in_hand: Notice | None = None
        self._stopping = threading.Event()
        self._end_s = float("inf")
        self._thread = threading.Thread(target=self._work, name="webhook", daemon=True)

    def start(self) -> None:
        """Begin to deliver."""
        self._thread.start()

    def keep_pictures(self, announced: Announced, pictures: Sequence[DetectorPicture]) -> None:
        """Keep pictures of the worst detectors of an exposure."""
        key = (announced.instrument, announced.exposure_id)
        both = (
            *self._pictures.pop(key, ()),
            *(each for each in pictures if each.thumbnail is not None),
        )
        worst = sorted(both, key=lambda each: webhook.loudness(each.evidence), reverse=True)
        self._pictures[key] = tuple(worst[:_PICTURED])
        while len(self._pictures) > _EXPOSURES_PICTURED:
            del self._pictures[next(iter(self._pictures))]

    def judged(self, verdict: ExposureVerdict, announced: Announced) -> None:
        """Queue a notice of a verdict, if it is news; never waits."""
        key = (verdict.instrument, verdict.exposure_id)
        decision, previous = verdict.judgement.decision, self._last_decisions.pop(key, None)
        self._last_decisions[key] = decision
        while len(self._last_decisions) > _EXPOSURES_REMEMBERED:
            del self._last_decisions[next(iter(self._last_decisions))]
        if not webhook.worth_telling(decision, previous):
            return
        notice = Notice(verdict, announced, previous)
        try:
            self._waiting.put_nowait((notice, self._pictures.get(key, ()), time.monotonic()))
        except queue.Full:
            self._end("dropped", notice, f"{self._rules.max_waiting} notices wait already")

    def close(self) -> None:
        """Deliver what waits, each notice in one more attempt, for ``stop_s`` at most."""
        self._end_s = time.monotonic() + self._rules.stop_s
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(self._rules.stop_s + 2 * _POLL_S)
        in_hand, self._in_hand = self._in_hand, None
        if in_hand is not None:
            self._end("dropped", in_hand, "no answer before the stop")
        while not self._waiting.empty():
            self._end("dropped", self._waiting.get()[0], "no time left before the stop")

    def _work(self) -> None:
        while time.monotonic() < self._end_s:
            try:
                notice, pictures, since_s = self._waiting.get(timeout=_POLL_S)
            except queue.Empty:
                if self._stopping.is_set():
                    return
                continue
            self._in_hand = notice
            try:
                trouble = self._deliver(notice, pictures)
            except Exception as error:  # the next notice may fare better
                log.error("internal error", exposure=notice.verdict.exposure_id, exc_info=True)
                trouble = f"no notice could be made: {plain_words(error)}"
            if self._in_hand is None:
                return  # given up meanwhile
            self._in_hand = None
            self._end("failed" if trouble else "delivered", notice, trouble)
            self._metrics.seconds.observe(time.monotonic() - since_s)

    def _deliver(self, notice: Notice, pictures: Sequence[DetectorPicture]) -> str:
        """Attempt until a notice is accepted; returns the last trouble, empty without any."""
        content = webhook.body(notice, self._picture(notice, pictures))
        delay_s = self._first_delay_s
        for attempt in range(1, self._rules.attempts + 1):
            try:
                status = self._attempt(notice, content)
                if 200 <= status < 300:
                    return ""
                trouble, again = f"status {status}", status >= 500 or status in _AGAIN
            except AddressRefused as error:
                trouble, again = str(error), False
            except CallFailed as error:
                trouble, again = str(error), True
            if not again or attempt == self._rules.attempts or self._stopping.is_set():
                break
            log.warning("webhook attempt failed", detail=trouble, attempt=attempt, retry_s=delay_s)
            self._stopping.wait(delay_s)
            delay_s = min(2 * delay_s, _LONGEST_DELAY_S)
        return trouble

    def _attempt(self, notice: Notice, content: bytes) -> int:
        total_s = min(self._rules.timeout_s, max(self._end_s - time.monotonic(), _POLL_S))
        headers = webhook.headers(self._rules.secret, notice, content, time.time())
        with self._caller.call(
            "POST", self._rules.url, total_s=total_s, body=content, headers=headers
        ) as answer:
            return answer.status

    def _picture(self, notice: Notice, pictures: Sequence[DetectorPicture]) -> bytes | None:
        """Returns a picture of the worst detectors; None where there is nothing to draw with."""
        if not pictures or not self._rules.picture:
            return None
        verdict = notice.verdict
        title = f"{verdict.instrument} {verdict.exposure_id}"
        try:
            return figures.png(
                Row(title, verdict.judgement, tuple(pictures)), max_bytes=_PICTURE_BYTES
            )
        except Exception as error:  # the news is worth more than its picture
            log.warning("webhook picture failed", detail=plain_words(error), exc_info=True)
            return None

    def _end(self, result: str, notice: Notice, trouble: str) -> None:
        """Count and log the result of a notice, once."""
        self._metrics.notices.labels(result).inc()
        verdict = notice.verdict
        words = {"exposure": verdict.exposure_id, "instrument": verdict.instrument}
        words |= {"decision": str(verdict.judgement.decision)}
        if trouble:
            log.error(f"webhook notice {result}", detail=trouble, **words)
        else:
            log.info("webhook notice delivered", **words)
