"""A record whose headers are any bytes, as librdkafka's C interface sends it."""

import ctypes
from collections.abc import Sequence
from pathlib import Path

import confluent_kafka
import pytest

_PRODUCER, _ANSWER_MS, _WORDS = 0, 20_000, 512
# Tags of rd_kafka_producev's arguments (rdkafka.h).
_END, _TOPIC, _PARTITION, _VALUE, _KEY, _FLAGS, _HEADERS = 0, 1, 3, 4, 5, 7, 10
_COPY = 2


def _library() -> ctypes.CDLL:
    """The librdkafka that confluent-kafka's wheel carries."""
    beside = Path(confluent_kafka.__file__).parent.parent / "confluent_kafka.libs"
    found = sorted(beside.glob("librdkafka*"))
    if not found:
        pytest.skip(f"no librdkafka in {beside}: confluent-kafka did not come as a Linux wheel")
    library = ctypes.CDLL(str(found[0]))
    for name in ("rd_kafka_conf_new", "rd_kafka_new", "rd_kafka_headers_new"):
        getattr(library, name).restype = ctypes.c_void_p
    return library


def produce_raw(
    bootstrap: str,
    topic: str,
    headers: Sequence[tuple[bytes, bytes]],
    *,
    value: bytes,
    key: bytes,
    partition: int = 0,
) -> None:
    """Send one record; Python's bindings would encode the names of its headers."""
    library, words = _library(), ctypes.create_string_buffer(_WORDS)
    conf = ctypes.c_void_p(library.rd_kafka_conf_new())
    library.rd_kafka_conf_set(conf, b"bootstrap.servers", bootstrap.encode(), words, _WORDS)
    producer = ctypes.c_void_p(library.rd_kafka_new(_PRODUCER, conf, words, _WORDS))
    listed = ctypes.c_void_p(library.rd_kafka_headers_new(ctypes.c_size_t(len(headers))))
    for name, content in headers:
        library.rd_kafka_header_add(
            listed, name, ctypes.c_ssize_t(len(name)), content, ctypes.c_ssize_t(len(content))
        )
    tag, size = ctypes.c_int, ctypes.c_size_t
    failed = library.rd_kafka_producev(
        producer,
        tag(_TOPIC), ctypes.c_char_p(topic.encode()),
        tag(_PARTITION), ctypes.c_int32(partition),
        tag(_VALUE), ctypes.c_char_p(value), size(len(value)),
        tag(_KEY), ctypes.c_char_p(key), size(len(key)),
        tag(_FLAGS), tag(_COPY),
        tag(_HEADERS), listed,
        tag(_END),
    )  # fmt: skip
    left = library.rd_kafka_flush(producer, _ANSWER_MS)
    library.rd_kafka_destroy(producer)
    assert (0, 0) == (failed, left)
