"""A registry client with limits: a registry may hang, be slow, or send without end."""

import importlib
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from streamfilter.errors import ConfigurationInvalid, SchemaUnavailable
from streamfilter.limits import Limits

Result = TypeVar("Result")

# A registry that takes longer has a problem; the caller tries again later.
CLIENT_DEFAULTS: Mapping[str, Any] = {"timeout": 10, "max.retries": 2, "retries.wait.ms": 200}
# An answer is JSON that contains the schema as a string: quotes are escaped, references named.
_ANSWER_PER_SCHEMA, _ANSWER_BYTES = 4, 2**14
# The client's time-out is for each read, so a slow answer could take hours.
_LONGEST_S = 40.0
# Each open call takes two threads, and connections to the registry.
_AT_ONCE = 8


def open_client(settings: Mapping[str, Any], limits: Limits) -> Any:
    """Open a ``SchemaRegistryClient`` whose answers are limited in size.

    Raises
    ------
    ValueError, TypeError, OSError
        The client refuses the settings.
    ConfigurationInvalid
        Answers cannot be limited with this version of the client.
    """
    # The import loads an HTTP stack, which only users with a registry should wait for.
    from confluent_kafka.schema_registry import SchemaRegistryClient

    client = SchemaRegistryClient({**CLIENT_DEFAULTS, **settings})
    session: Any = getattr(getattr(client, "_rest_client", None), "session", None)
    if not hasattr(session, "event_hooks"):
        raise ConfigurationInvalid(
            "this confluent-kafka has no HTTP session that can be bounded: install the newest 2.x"
        )
    # A compressed answer could unpack to any size.
    session.headers["Accept-Encoding"] = "identity"
    # A schema is asked for once: an open connection would only wait for the process to end.
    session.headers["Connection"] = "close"
    most = _ANSWER_PER_SCHEMA * limits.max_schema_bytes + _ANSWER_BYTES
    session.event_hooks = {"request": [], "response": [_bound(session, most)]}
    return client


def date_of(settings: Mapping[str, Any], limits: Limits) -> str | None:
    """Returns the HTTP ``Date`` of a registry's answer; None without an answer or a date."""
    dates: list[str] = []
    try:
        client = open_client(settings, limits)
        hooks = client._rest_client.session.event_hooks["response"]
        hooks.append(lambda response: dates.append(response.headers.get("Date", "")))
        TimedCalls().run(lambda: client.get_schema(1))
    except Exception:  # an unknown schema has a date too; callers notice a missing answer
        pass
    return dates[-1] if dates else None


def _bound(session: Any, most: int) -> Callable[[Any], None]:
    """Returns a hook that raises where a response has more than ``most`` bytes."""
    stack = importlib.import_module(type(session).__module__.partition(".")[0])

    class Bounded(stack.SyncByteStream):  # type: ignore[misc, name-defined]
        def __init__(self, stream: Any) -> None:
            self._stream = stream

        def __iter__(self) -> Iterator[bytes]:
            size = 0
            for part in self._stream:
                size += len(part)
                if size > most:
                    raise SchemaUnavailable(f"an answer of over {most} bytes")
                yield part

        def close(self) -> None:
            self._stream.close()

    def bound(response: Any) -> None:
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise SchemaUnavailable("a compressed answer, which was not asked for")
        response.stream = Bounded(response.stream)

    return bound


class TimedCalls:
    """Runs each call in a thread of its own, with a time limit; a call that hangs blocks no other.

    Parameters
    ----------
    longest_s
        Time limit of one call, with all requests that it makes.
    at_once
        Most calls that may be under way; further calls fail at once.
    """

    def __init__(self, longest_s: float = _LONGEST_S, at_once: int = _AT_ONCE) -> None:
        self._longest_s = longest_s
        self._open = threading.Semaphore(at_once)

    def run(self, call: Callable[[], Result]) -> Result:
        """Run a call; returns its result, or raises its exception.

        Raises
        ------
        SchemaUnavailable
            The call takes too long, or too many earlier calls are still under way.
        """
        if not self._open.acquire(blocking=False):
            raise SchemaUnavailable("earlier questions are not answered yet")
        answers: list[Result] = []
        failures: list[Exception] = []

        def work() -> None:
            try:
                answers.append(call())
            except Exception as error:  # raised again in the calling thread
                failures.append(error)
            finally:
                self._open.release()

        thread = threading.Thread(target=work, name="registry", daemon=True)
        thread.start()
        thread.join(self._longest_s)
        if failures:
            raise failures[0]
        if not answers:
            raise SchemaUnavailable(f"no whole answer within {self._longest_s} s")
        return answers[0]
