"""The Kafka headers of all outputs, and the output for a rejected message."""

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
"""Our headers, all UTF-8 text; in an output they follow the original's own headers."""

# Brokers limit headers and value together, and a longer detail helps nobody.
DETAIL_CHARACTERS = 1000


def rejected_message(rejected: Rejected) -> tuple[bytes | None, Headers]:
    """Returns the original value, unchanged, and the headers with the reason."""
    message = rejected.message
    texts = {
        "streamfilter-reason": rejected.reason,
        "streamfilter-detail": rejected.detail[:DETAIL_CHARACTERS],
        "streamfilter-schema-id": _text(rejected.schema_id),
        "streamfilter-timestamp": _text(message.timestamp_ms),
        **origin_headers(message.origin),
    }
    return message.value, with_our_headers(message.headers, texts)


def smaller(output: Output) -> Output | None:
    """Returns a refused output without its largest part; None where nothing is left to remove.

    First the value goes, then the key and the original's headers. Our headers stay: they say why
    the message was rejected and where the original is.
    """
    if output.value is not None:
        return replace(output, value=None)
    ours = tuple(each for each in output.headers if each[0] in HEADERS)
    bare = replace(output, key=None, headers=ours)
    return bare if bare != output else None


def origin_headers(origin: Origin) -> dict[str, str | None]:
    """Returns the headers with the original's place in Kafka and the version of streamfilter."""
    return {
        "streamfilter-version": __version__,
        "streamfilter-topic": origin.topic,
        "streamfilter-partition": str(origin.partition),
        "streamfilter-offset": str(origin.offset),
    }


def with_our_headers(original: Headers, texts: dict[str, str | None]) -> Headers:
    """Returns the original's headers, then ours; originals with one of our names are dropped."""
    kept = tuple(each for each in original if each[0] not in HEADERS)
    return kept + tuple(
        (name, text.encode(errors="replace")) for name, text in texts.items() if text is not None
    )


def _text(number: int | None) -> str | None:
    return None if number is None else str(number)
