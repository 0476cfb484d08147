"""Publishes what becomes of archived alerts, without a group, and waits for acknowledgements."""

import time
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Self

import structlog

from streamfilter.alerts.encode import Encoder, written_anew
from streamfilter.config import Outputs, of_survey
from streamfilter.errors import Reason
from streamfilter.headers import rejected_message
from streamfilter.kafka.sink import KafkaSink, Undeliverable
from streamfilter.records import Annotation, Message, Output, Rejected, Times
from streamfilter.service.rejecting import smaller_or_fail

log = structlog.get_logger(__name__)

_LOOK_S = 1.0


class ArchivePublisher:
    """Publishes annotations and rejected messages, in the stream's own form; one thread's.

    Parameters
    ----------
    outputs
        Of which ``annotations`` and ``rejected`` are written.
    """

    def __init__(self, sink: KafkaSink, encoder: Encoder, outputs: Outputs) -> None:
        self._sink, self._encoder, self._outputs = sink, encoder, outputs
        self._refused: list[tuple[Message, Output, Undeliverable]] = []
        self._too_large = 0

    def publish(self, judged: Iterable[Annotation | Rejected]) -> None:
        """Send what became of packets; waits for room.

        Raises
        ------
        SchemaUnavailable
            The registry does not take the schema of annotations.
        TransportFailed
            The broker cannot be used.
        """
        for each in judged:
            if isinstance(each, Rejected):
                self._send(each.message, self._rejection(each))
            else:
                self._send(each.alert.message, self._annotation(each))

    def finish(self) -> int:
        """Wait until all is acknowledged; returns how many annotations were too large.

        Those stand in the rejected topic, as a stream's do; what is too large for that stands there
        without its value. Raises as ``publish`` does.
        """
        while self._sink.flush(_LOOK_S) or self._refused:
            refused, self._refused = self._refused, []
            for each in refused:
                self._send(each[0], self._instead(*each))
        return self._too_large

    def __enter__(self) -> Self:
        """Returns the publisher."""
        return self

    def __exit__(self, *_: object) -> None:
        """Discard what is not acknowledged."""
        self._sink.close()

    def _annotation(self, annotation: Annotation) -> Output:
        topic = of_survey(self._outputs.annotations, annotation.alert.survey)
        timed = replace(annotation, times=Times(time.time(), 0.0, 0.0, 0.0))
        headers = written_anew(self._encoder.headers(timed))
        return self._encoder.output(timed, topic, headers)

    def _rejection(self, rejected: Rejected) -> Output:
        value, headers = rejected_message(rejected)
        message, topic = rejected.message, self._outputs.rejected
        return Output(message.origin, topic, value, message.key, headers, message.timestamp_ms)

    def _send(self, message: Message, output: Output) -> None:
        self._sink.send(output, partial(self._done, message))

    def _done(self, message: Message, output: Output, refusal: Undeliverable | None) -> None:
        if refusal is not None:
            self._refused.append((message, output, refusal))

    def _instead(self, message: Message, output: Output, refusal: Undeliverable) -> Output:
        """Returns what is published instead of a refused output.

        Raises
        ------
        TransportFailed
            Nothing is left to try.
        """
        log.error("output refused", topic=output.topic, detail=refusal.detail)
        if output.topic == self._outputs.rejected:
            return smaller_or_fail(output, refusal)
        self._too_large += 1
        detail = f"annotations: {refusal.detail}"
        return self._rejection(Rejected(message, Reason.OUTPUT_TOO_LARGE, detail))
