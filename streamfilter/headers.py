"""The Kafka headers of everything that is published, and a rejected message as it came."""

from dataclasses import replace

from streamfilter import __version__
from streamfilter.records import Headers, Origin, Output, Rejected

HEADERS: dict[str, str] = {
    "streamfilter-verdict": "clean, contaminated, suspect or not_evaluated",
    "streamfilter-action": "keep, flag or drop",
    "streamfilter-contaminant": "code of the class that decided; absent when no rule spoke",
    "streamfilter-rule": "name of the rule that decided; absent when no rule spoke",
    "streamfilter-survey": "name of the field map that read the alert",
    "streamfilter-alert-id": "the survey's identifier of the alert",
    "streamfilter-version": "of the streamfilter that wrote this",
    "streamfilter-topic": "topic in which the original stands",
    "streamfilter-partition": "partition in which the original stands",
    "streamfilter-offset": "offset of the original",
    "streamfilter-reason": "rejected only: why, from a closed set",
    "streamfilter-detail": "rejected only: what was found and expected, 1,000 characters at most",
    "streamfilter-schema-id": "rejected only: schema id that the original names, if it does",
    "streamfilter-timestamp": "rejected only: Kafka timestamp of the original, Unix milliseconds",
}
"""Every header that is written, all UTF-8 text; the original's others stand before them."""

# Brokers bound headers and value together; a detail beyond this says nothing more.
DETAIL_CHARACTERS = 1000


def rejected_message(rejected: Rejected) -> tuple[bytes | None, Headers]:
    """The original value untouched, and headers that say why it was rejected."""
    message = rejected.message
    texts = {
        "streamfilter-reason": rejected.reason,
        "streamfilter-detail": rejected.detail[:DETAIL_CHARACTERS],
        "streamfilter-schema-id": _text(rejected.schema_id),
        "streamfilter-timestamp": _text(message.timestamp_ms),
        **place(message.origin),
    }
    return message.value, with_ours(message.headers, texts)


def smaller(output: Output) -> Output | None:
    """A rejected message that the broker refused, without its largest parts; None: none is left.

    Our headers stay: they say why, and where the original stands.
    """
    if output.value is not None:
        return replace(output, value=None)
    ours = tuple(each for each in output.headers if each[0] in HEADERS)
    bare = replace(output, key=None, headers=ours)
    return bare if bare != output else None


def place(origin: Origin) -> dict[str, str | None]:
    """Where the original stands, and which version wrote this."""
    return {
        "streamfilter-version": __version__,
        "streamfilter-topic": origin.topic,
        "streamfilter-partition": str(origin.partition),
        "streamfilter-offset": str(origin.offset),
    }


def with_ours(original: Headers, texts: dict[str, str | None]) -> Headers:
    """The original's headers, then ours; a producer cannot pass its own off as ours."""
    kept = tuple(each for each in original if each[0] not in HEADERS)
    return kept + tuple(
        (name, text.encode(errors="replace")) for name, text in texts.items() if text is not None
    )


def _text(number: int | None) -> str | None:
    return None if number is None else str(number)
