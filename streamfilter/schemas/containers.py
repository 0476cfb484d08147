"""Writes Avro object container files of one record."""

import hashlib
import json

from streamfilter.schemas.binary import long, string
from streamfilter.schemas.wire import CONTAINER_MAGIC, Envelope


def container_of(envelope: Envelope) -> bytes:
    """Returns a container with the record and its writer's schema, so that it can be read alone.

    The record's own bytes do not change; nothing is compressed.
    """
    schema, body = json.dumps(envelope.schema.definition), envelope.body
    sync = hashlib.sha256(schema.encode()).digest()[:16]
    metadata = string("avro.schema") + string(schema) + string("avro.codec") + string("null")
    head = CONTAINER_MAGIC + long(2) + metadata + long(0) + sync
    return head + long(1) + long(len(body)) + body + sync
