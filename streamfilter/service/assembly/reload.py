"""Puts a changed configuration in force while alerts flow: all of it between two alerts, or none.

Messages in flight keep the configuration with which they were read, to their last output. A refused
configuration is logged and counted, and the old one stays in force.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import structlog

from streamfilter.config import Settings, fingerprint, reloaded
from streamfilter.errors import (
    ConfigurationInvalid,
    StreamfilterError,
    TopicMissing,
    TransportFailed,
)
from streamfilter.kafka.inspection import WRITE, Inspector, TopicFacts
from streamfilter.metrics.process import ConfigMetrics
from streamfilter.service.alerts.ticket import InForce
from streamfilter.service.alerts.worker import AlertWorker
from streamfilter.service.assembly.alerts import Parts, checked, policy_of
from streamfilter.service.assembly.clients import names_of, producer_settings
from streamfilter.service.assembly.exposures import Reading, checked_exposures
from streamfilter.service.exposures.worker import ExposureWorker
from streamfilter.traces.spans import Tracer

log = structlog.get_logger(__name__)

# Each of a few questions to the brokers about topics that are new.
_ANSWER_S = 10.0

_OF_EXPOSURES = {"tracking", "contaminants", "masks"}

Adopt = Callable[[], None]
"""Puts a configuration in force; does not fail."""
Prepare = Callable[[Settings], Adopt]
"""Checks a configuration and builds what it changes; raises where it cannot be."""


class Reloader:
    """Reloads when asked, in a thread of its own.

    Parameters
    ----------
    settings
        In force now.
    load
        Reads them anew.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        load: Callable[[], Settings],
        metrics: ConfigMetrics,
    ) -> None:
        self._settings = settings
        self._load = load
        self._prepare: tuple[Prepare, ...] = ()
        self._metrics = metrics
        # Its put may interrupt itself, as a signal handler does.
        self._asked: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._closing = False
        self._thread = threading.Thread(target=self._serve, name="reload", daemon=True)
        metrics.in_force(fingerprint(settings), time.time())

    def start(self, prepare: Sequence[Prepare]) -> None:
        """Serve requests from now on, and those that came before.

        Parameters
        ----------
        prepare
            Of each worker; none adopts anything before all are prepared.
        """
        self._prepare = tuple(prepare)
        self._thread.start()

    def ask(self) -> None:
        """Ask for a reload; safe in a signal handler."""
        self._asked.put(None)

    def close(self, timeout_s: float = 0.0) -> None:
        """Serve no more requests; a configuration that is being prepared is not adopted."""
        self._closing = True
        self._asked.put(None)
        self._thread.join(timeout_s)

    def _serve(self) -> None:
        while True:
            self._asked.get()
            while not self._asked.empty():
                self._asked.get()
            if self._closing:
                return
            self.reload()

    def reload(self) -> bool:
        """Read the settings, and put in force what may change; returns whether that was done."""
        try:
            settings, left = reloaded(self._settings, self._load())
            adopt = [prepare(settings) for prepare in self._prepare]
        except StreamfilterError as error:
            self._refuse(str(error))
            return False
        except Exception:  # a bug in what is prepared; the worker goes on as it was
            log.error("internal error", exc_info=True)
            self._refuse("streamfilter's own code failed; the log has it as `internal error`")
            return False
        if self._closing:
            return False
        for each in adopt:
            each()
        old, self._settings = self._settings, settings
        self._metrics.taken(fingerprint(settings), time.time())
        log.info(
            "configuration reloaded",
            sha256=fingerprint(settings),
            changed=fingerprint(settings) != fingerprint(old),
        )
        if left:
            log.warning("changed, but needs a restart", keys=list(left))
        return True

    def _refuse(self, why: str) -> None:
        self._metrics.refused()
        log.error("configuration refused", error=why, in_force=fingerprint(self._settings))


def of_alerts(
    settings: Settings, worker: AlertWorker, parts: Parts, tracer: Tracer | None = None
) -> Prepare:
    """Returns how the worker for alerts takes other rules, planes and topics."""
    known = set(settings.outputs.model_dump().values())

    def prepare(changed: Settings) -> Adopt:
        checked(changed)
        outputs = changed.outputs
        _writable(changed, set(outputs.model_dump(exclude=_OF_EXPOSURES).values()) - known)
        # Of the surveys that are decoded; further field maps need a restart.
        networks = [each.manifest for each in parts.engines]
        policies = {name: policy_of(changed, name, networks) for name in parts.pipeline.surveys}
        pipeline = parts.pipeline.judging(planes=changed.alerts.planes, policies=policies)
        in_force = InForce(pipeline, outputs, tracer)
        parts.encoder.register(*in_force.annotation_topics)
        return partial(worker.reload, in_force)

    return prepare


def of_exposures(
    settings: Settings, worker: ExposureWorker, reading: Callable[[Settings], Reading]
) -> Prepare:
    """Returns how a worker for exposures takes another prior, patience and topics."""
    known = {reading(settings).output, settings.outputs.rejected}

    def prepare(changed: Settings) -> Adopt:
        checked_exposures(changed)
        new, rejected = reading(changed), changed.outputs.rejected
        _writable(changed, {new.output, rejected} - known)
        worker.announce(new.output)
        return partial(
            worker.reload,
            prior=changed.exposures.prior,
            wait_s=new.wait_s,
            topic=new.output,
            rejected_topic=rejected,
        )

    return prepare


def _writable(settings: Settings, topics: Iterable[str]) -> None:
    """Refuse topics that do not exist or may not be written: they would end the worker.

    Where each survey has its own, one that exists is enough; alerts of the others are rejected.
    """
    wanted = {topic: names_of(settings, topic) for topic in sorted(topics) if topic}
    if not wanted:
        return
    inspector = Inspector(producer_settings(settings), timeout_s=_ANSWER_S)
    found = inspector.topics(name for names in wanted.values() for name in names.values())
    for topic, names in wanted.items():
        _check_writable(topic, {survey: found[name] for survey, name in names.items()})


def _check_writable(topic: str, by_survey: Mapping[str, TopicFacts | TransportFailed]) -> None:
    """Refuse an output by what brokers say of its topic, or of the topics of all surveys."""
    missing = [survey for survey, each in by_survey.items() if isinstance(each, TopicMissing)]
    for each in by_survey.values():
        some_are_there = isinstance(each, TopicMissing) and len(missing) < len(by_survey)
        if isinstance(each, TransportFailed) and not some_are_there:
            raise ConfigurationInvalid(f"outputs: {topic!r}: {each}") from each
        if isinstance(each, TopicFacts) and each.rights and WRITE not in each.rights:
            raise ConfigurationInvalid(
                f"outputs: {each.name!r} may not be written; ask the broker's operators for the "
                "right"
            )
    if missing:
        log.info("surveys without topics", output=topic, surveys=missing)
