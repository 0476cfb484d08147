"""Encodes the verdicts on detectors and exposures as output messages."""

import io
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import fastavro

from streamfilter import __version__
from streamfilter.exposures.records import (
    Announced,
    ContaminantAreas,
    DetectorEvidence,
    ExposureVerdict,
)
from streamfilter.records import EngineIdentity, Headers, Message
from streamfilter.schemas.published import (
    Registrar,
    confluent_header,
    single_object_header,
    subject,
    tracking_schema,
)

HEADERS: dict[str, str] = {
    "streamfilter-kind": "detector or exposure",
    "streamfilter-decision": "tracking_error, ok or cannot_tell",
    "streamfilter-exposure-id": "the instrument's identifier of the exposure",
    "streamfilter-instrument": "name of the instrument",
    "streamfilter-version": "of the streamfilter that wrote this",
}
"""Headers beside a tracking record, all UTF-8 text: a consumer can route without decoding."""


@dataclass(frozen=True, slots=True)
class ReceivedExposure:
    """A message of an exposure without its frame, with the time at which it came."""

    message: Message
    """Its ``value`` is None, because frames are large."""
    announced: Announced
    received_unix_s: float


class TrackingEncoder:
    """Turns detectors and exposures into values and headers of output messages.

    Parameters
    ----------
    engine
        The network that judges tracking.
    masking
        The network that finds contaminants; None where frames are not searched for them.
    cosmic_rays
        The network that was chosen for cosmic rays alone; None: the same as for all others.
    registrar
        Registers the schema; without one, messages are single-object encoded.
    clock
        Returns Unix seconds.
    """

    def __init__(
        self,
        engine: EngineIdentity,
        *,
        masking: EngineIdentity | None = None,
        cosmic_rays: EngineIdentity | None = None,
        registrar: Registrar | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._engine = _identity(engine)
        self._masking = None if masking is None else _identity(masking)
        self._cosmic_rays = None if cosmic_rays is None else _identity(cosmic_rays)
        self._registrar = registrar
        self._clock = clock
        self._header = lru_cache(None)(self._make_header)

    def register(self, topic: str) -> None:
        """Register the schema now rather than with the first record.

        Raises
        ------
        SchemaUnavailable
            The registry does not answer, or refuses it.
        """
        self._header(topic)

    def detector(
        self, received: ReceivedExposure, evidence: DetectorEvidence, look_s: float, topic: str
    ) -> tuple[bytes, Headers]:
        """Returns value and headers of the message about one detector.

        Raises
        ------
        SchemaUnavailable
            The schema could not be registered. Only the first message of a topic raises this.
        """
        record = {
            "kind": "detector",
            "detector": evidence.detector,
            "revision": 1,
            "judgement": asdict(evidence.judgement),
            "not_evaluated": evidence.not_evaluated,
            "detail": evidence.detail,
            "tiles": [asdict(tile) for tile in evidence.tiles],
            "closing": None,
            "detectors_expected": received.announced.detectors_expected,
            "detectors": [],
            "irregularities": [],
            "origin": asdict(received.message.origin),
            "contaminants": self._areas(evidence.contaminants),
            "not_judged": evidence.not_judged,
        }
        return self._message(record, [received], look_s, topic)

    def exposure(
        self, received: Sequence[ReceivedExposure], verdict: ExposureVerdict, topic: str
    ) -> tuple[bytes, Headers]:
        """Returns value and headers of the message about an exposure.

        Parameters
        ----------
        received
            At least one message of the exposure.

        Raises
        ------
        SchemaUnavailable
            The schema could not be registered. Only the first message of a topic raises this.
        """
        record = {
            "kind": "exposure",
            "detector": None,
            "revision": verdict.revision,
            "judgement": asdict(verdict.judgement),
            "not_evaluated": None,
            "detail": "",
            "tiles": [],
            "closing": verdict.closing,
            "detectors_expected": verdict.detectors_expected,
            "detectors": [_summary(each) for each in verdict.detectors],
            "irregularities": list(verdict.irregularities),
            "origin": None,
            "contaminants": self._areas(verdict.contaminants),
            "not_judged": verdict.not_judged,
        }
        return self._message(record, received, None, topic)

    def read(self, value: bytes, topic: str) -> dict[str, Any] | None:
        """Returns a record that a worker of this version published; None for any other value.

        Raises
        ------
        SchemaUnavailable
            The schema could not be registered.
        """
        header = self._header(topic)
        if not value.startswith(header):
            return None
        body = io.BytesIO(value[len(header) :])
        record = fastavro.schemaless_reader(body, tracking_schema().schema.parsed, None)
        return record if isinstance(record, dict) else None

    def _areas(self, areas: ContaminantAreas | None) -> dict[str, object] | None:
        if areas is None:
            return None
        shares = {code.lower(): share for code, share in areas.shares.items()}
        return {
            "pixels": areas.pixels,
            **shares,
            "mask": areas.mask,
            "engine": self._masking,
            "cosmic_rays": self._cosmic_rays,
        }

    def _message(
        self,
        record: dict[str, Any],
        received: Sequence[ReceivedExposure],
        look_s: float | None,
        topic: str,
    ) -> tuple[bytes, Headers]:
        first = received[0].announced
        record |= {
            "exposure_id": first.exposure_id,
            "instrument": first.instrument,
            "filter": _first([each.announced.filter for each in received]),
            "exposure_time_s": _first([each.announced.exposure_time_s for each in received]),
            "engine": self._engine,
            "times": _times(received, look_s, self._clock()),
            "version": __version__,
        }
        out = io.BytesIO()
        out.write(self._header(topic))
        fastavro.schemaless_writer(out, tracking_schema().schema.parsed, record)
        texts = {
            "streamfilter-kind": record["kind"],
            "streamfilter-decision": record["judgement"]["decision"],
            "streamfilter-exposure-id": first.exposure_id,
            "streamfilter-instrument": first.instrument,
            "streamfilter-version": __version__,
        }
        return out.getvalue(), tuple((name, text.encode()) for name, text in texts.items())

    def _make_header(self, topic: str) -> bytes:
        schema = tracking_schema()
        if self._registrar is not None:
            return confluent_header(self._registrar.register(subject(topic), schema))
        return single_object_header(schema)


def key_of(announced: Announced) -> bytes:
    """Returns one key for all messages about an exposure: one partition keeps their order."""
    return f"{announced.instrument}/{announced.exposure_id}".encode()


def mask_headers(announced: Announced, detector: str) -> Headers:
    """Returns the headers of a mask's message: the exposure and the detector that it belongs to."""
    texts = {
        "streamfilter-kind": "mask",
        "streamfilter-exposure-id": announced.exposure_id,
        "streamfilter-instrument": announced.instrument,
        "streamfilter-detector": detector,
        "streamfilter-version": __version__,
    }
    return tuple((name, text.encode()) for name, text in texts.items())


def _identity(engine: EngineIdentity) -> dict[str, object]:
    return {**asdict(engine), "sha256": bytes.fromhex(engine.sha256)}


def _summary(evidence: DetectorEvidence) -> dict[str, object]:
    return {
        "detector": evidence.detector,
        "decision": evidence.judgement.decision,
        "probability": evidence.judgement.probability,
        "not_evaluated": evidence.not_evaluated,
        "not_judged": evidence.not_judged,
    }


def _times(
    received: Sequence[ReceivedExposure], look_s: float | None, now_unix_s: float
) -> dict[str, object]:
    """Returns times in microseconds since 1970, but ``message`` in milliseconds.

    Of several messages, the last one counts.
    """
    mid_unix_s = _first([each.announced.mid_exposure_unix_s for each in received])
    stamps = [each.message.timestamp_ms for each in received]
    return {
        "mid_exposure": None if mid_unix_s is None else round(mid_unix_s * 1e6),
        "message": max((stamp for stamp in stamps if stamp is not None), default=None),
        "received": round(max(each.received_unix_s for each in received) * 1e6),
        "judged": round(now_unix_s * 1e6),
        "look_s": look_s,
    }


def _first(values: Sequence[Any]) -> Any:
    """Returns the first value that is not None."""
    return next((value for value in values if value is not None), None)
