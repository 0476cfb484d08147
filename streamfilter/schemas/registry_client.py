"""The client of a schema registry, bounded: a registry may hang, drip, or send without end."""

import importlib
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from streamfilter.errors import ConfigurationInvalid, SchemaUnavailable
from streamfilter.limits import Limits

Result = TypeVar("Result")

_CREDENTIALS = re.compile(r"//[^/@\s]*@")

# A registry that does not answer in this time is in trouble; the caller tries again later.
CLIENT_DEFAULTS: Mapping[str, Any] = {"timeout": 10, "max.retries": 2, "retries.wait.ms": 200}
# An answer is JSON with the schema as a string in it: quotes are escaped, references are named.
_ANSWER_PER_SCHEMA, _ANSWER_BYTES = 4, 2**14
# The client's time-out is one of each read; bytes that drip would keep it for hours.
_LONGEST_S = 40.0
# Each open question is two threads, and connections to the registry.
_AT_ONCE = 8


def open_client(settings: Mapping[str, Any], limits: Limits) -> Any:
    """A ``SchemaRegistryClient`` whose answers are bounded in size.

    Raises
    ------
    ValueError, TypeError, OSError
        The client refuses the settings.
    ConfigurationInvalid
        This version of the client cannot be bounded.
    """
    # It brings an HTTP stack along, which only those with a registry should wait for.
    from confluent_kafka.schema_registry import SchemaRegistryClient

    client = SchemaRegistryClient({**CLIENT_DEFAULTS, **settings})
    session: Any = getattr(getattr(client, "_rest_client", None), "session", None)
    if not hasattr(session, "event_hooks"):
        raise ConfigurationInvalid(
            "this confluent-kafka has no HTTP session that can be bounded: install the newest 2.x"
        )
    # What is compressed could unpack to anything.
    session.headers["Accept-Encoding"] = "identity"
    # A schema is asked for once: an open connection would only wait for the process to end.
    session.headers["Connection"] = "close"
    most = _ANSWER_PER_SCHEMA * limits.max_schema_bytes + _ANSWER_BYTES
    session.event_hooks = {"request": [], "response": [_bound(session, most)]}
    return client


def date_of(settings: Mapping[str, Any], limits: Limits) -> str | None:
    """How a registry dates an answer (HTTP's ``Date``); None where it gives none, or no date."""
    dates: list[str] = []
    try:
        client = open_client(settings, limits)
        hooks = client._rest_client.session.event_hooks["response"]
        hooks.append(lambda response: dates.append(response.headers.get("Date", "")))
        Patience().ask(lambda: client.get_schema(1))
    except Exception:  # no such schema: the answer is dated; no answer: whoever asks for one tells
        pass
    return dates[-1] if dates else None


def _bound(session: Any, most: int) -> Callable[[Any], None]:
    """A hook that lets a response have so many bytes."""
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


def without_credentials(text: str) -> str:
    """A URL, or a text that may name some, without user and password."""
    return _CREDENTIALS.sub("//", text)


class Patience:
    """Asks in a thread of its own and waits for so long; one that hangs hinders no other.

    Parameters
    ----------
    longest_s
        Seconds for one question with all that follows from it.
    at_once
        Questions that may be open; beyond them nothing is asked.
    """

    def __init__(self, longest_s: float = _LONGEST_S, at_once: int = _AT_ONCE) -> None:
        self._longest_s = longest_s
        self._open = threading.Semaphore(at_once)

    def ask(self, question: Callable[[], Result]) -> Result:
        """The answer.

        Raises
        ------
        SchemaUnavailable
            It takes too long, or too many earlier questions still do.
        """
        if not self._open.acquire(blocking=False):
            raise SchemaUnavailable("earlier questions are not answered yet")
        answers: list[Result] = []
        failures: list[Exception] = []

        def work() -> None:
            try:
                answers.append(question())
            except Exception as error:  # raised again by the one who asks
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
