"""Prepares for writer schemas: how messages are read, and what is published of them."""

from streamfilter.alerts.encode import Encoder
from streamfilter.schemas.finder import SchemaKey
from streamfilter.service.alerts.ticket import Reloadable


class AlertSchemas:
    """Prepares for a writer schema, so that none of its messages waits; any thread may call."""

    def __init__(self, in_force: Reloadable, encoder: Encoder) -> None:
        self._in_force = in_force
        self._encoder = encoder

    def fetch(self, key: SchemaKey) -> None:
        """Fetch a writer schema, and register the schemas that publishing its alerts needs.

        Raises
        ------
        MessageRejected
            No source knows it, or it is malformed.
        SchemaUnavailable
            It could not be had now, or a schema could be neither registered nor kept.
        """
        now = self._in_force.now
        survey = now.pipeline.fetch(key)
        if survey is None:  # its messages are rejected
            return
        topics = now.topics_of(survey)
        if topics.annotations:
            self._encoder.register(topics.annotations)
        if topics.enriched:
            self._encoder.prepare(key, topics.enriched)
