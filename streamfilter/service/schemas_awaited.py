"""Fetches writer schemas that are not known yet beside the stream, again and again."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import structlog

from streamfilter.errors import MessageRejected, Reason, SchemaUnavailable, own_mistake
from streamfilter.metrics.instruments import SchemaMetrics
from streamfilter.schemas.finder import SchemaKey, key_words

log = structlog.get_logger(__name__)

_FIRST_DELAY_S, _LONGEST_DELAY_S = 0.5, 15.0
"""Delay before a source that did not answer is asked again; it doubles each time."""
_REFUSED_S = 30.0  # for which a registry's "no such schema" is believed
# Anyone may write an id. Fewer than the finder keeps, so that what is ready here is known there.
_MOST_READY, _MOST_AWAITED = 128, 10_000
_MOST_ASKING = 16  # threads; one that hangs hinders no other


class Fetching(Protocol):
    """Fetches schemas, and whatever their messages need."""

    def fetch(self, key: SchemaKey) -> None:
        """Fetch one schema; raises MessageRejected or SchemaUnavailable."""


@dataclass(slots=True)
class _AwaitedSchema:
    """One schema: since when it is wanted, when it is asked for next, and the last answer."""

    since_s: float
    wanted_s: float
    due_s: float
    delay_s: float = _FIRST_DELAY_S
    asking: bool = False
    unavailable: SchemaUnavailable | None = None
    refused: MessageRejected | None = None
    refused_until_s: float = 0.0


class SchemasAwaited:
    """Knows of each schema whether its messages can go on; any thread may ask.

    A schema that cannot be fetched is asked for again with backoff while its messages wait. After
    the limit the messages are rejected, and the schema is still asked for. What a source denies is
    rejected at once.

    Parameters
    ----------
    schemas
        Asked for a schema, in threads of its own.
    wait_s
        Longest wait for a schema before its messages are rejected.
    """

    def __init__(
        self,
        schemas: Fetching,
        wait_s: float,
        metrics: SchemaMetrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._schemas = schemas
        self._wait_s = wait_s
        self._metrics = metrics
        self._clock = clock
        self._lock = threading.Lock()
        self._ready: OrderedDict[SchemaKey, None] = OrderedDict()
        self._awaited: OrderedDict[SchemaKey, _AwaitedSchema] = OrderedDict()
        self._asking = 0

    def ready(self, key: SchemaKey | None) -> bool:
        """Whether messages of a schema can be read now; False: ask again soon.

        Raises
        ------
        MessageRejected
            No source has it, or it is malformed.
        SchemaUnavailable
            It could not be had within the limit.
        """
        if key is None or key in self._ready:
            return True
        now = self._clock()
        with self._lock:
            entry = self._entry(key, now)
            entry.wanted_s = now
            if entry.refused is not None:
                # It is raised again and again: without this its traceback would grow.
                raise entry.refused.with_traceback(None)
            if not entry.asking and now >= entry.due_s and self._asking < _MOST_ASKING:
                entry.asking = True
                self._asking += 1
                threading.Thread(
                    target=self._ask, args=(key, entry), name="schema", daemon=True
                ).start()
            if now - entry.since_s > self._wait_s:
                said = entry.unavailable or "no answer"
                raise SchemaUnavailable(f"{said}; waited {self._wait_s:g} s")
        return False

    def forget(self) -> None:
        """Fetch each schema again, as what its messages need has changed."""
        with self._lock:
            self._ready.clear()
            self._awaited.clear()

    def _entry(self, key: SchemaKey, now: float) -> _AwaitedSchema:
        entry = self._awaited.get(key)
        if entry is not None:
            # A schema that nobody wanted for long is waited for anew: the source may be back.
            idle = now - entry.wanted_s > self._wait_s and not entry.asking
            if not idle and (entry.refused is None or now < entry.refused_until_s):
                return entry
        self._awaited[key] = entry = _AwaitedSchema(since_s=now, wanted_s=now, due_s=now)
        if len(self._awaited) > _MOST_AWAITED:
            self._awaited.popitem(last=False)
        return entry

    def _ask(self, key: SchemaKey, entry: _AwaitedSchema) -> None:
        """Ask for one schema, in a thread of its own."""
        refused: MessageRejected | None = None
        unavailable: SchemaUnavailable | None = None
        try:
            self._schemas.fetch(key)
        except MessageRejected as error:
            refused = error
        except SchemaUnavailable as error:
            unavailable = error
        except Exception as error:
            log.error("internal error", schema=key_words(key), exc_info=True)
            refused = MessageRejected(Reason.INTERNAL, own_mistake(error))
        now = self._clock()
        with self._lock:
            self._asking -= 1
            entry.asking = False
            entry.refused, entry.refused_until_s = refused, now + _REFUSED_S
            entry.unavailable = unavailable
            entry.due_s = now + entry.delay_s
            entry.delay_s = min(2 * entry.delay_s, _LONGEST_DELAY_S)
            if refused is None and unavailable is None and self._awaited.get(key) is entry:
                del self._awaited[key]
                self._ready[key] = None
                if len(self._ready) > _MOST_READY:
                    self._ready.popitem(last=False)
        if unavailable is not None:
            retry_s = round(entry.due_s - now, 1)
            log.warning(
                "schema unavailable", schema=key_words(key), error=str(unavailable), retry_s=retry_s
            )
        result = "unavailable" if unavailable else "refused" if refused else "found"
        self._metrics.fetches.labels(result).inc()
