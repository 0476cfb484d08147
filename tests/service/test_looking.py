"""One message of the exposure stream to its detectors, without a broker."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from exposure_factories import make_message

from streamfilter.decode_exposure import ExposureDecoder
from streamfilter.errors import Reason, SchemaUnavailable
from streamfilter.exposure_records import FrameReason, FrameReference
from streamfilter.exposures import Watcher
from streamfilter.frame_references import References
from streamfilter.frames import FrameRules
from streamfilter.inference.engine import Batch
from streamfilter.inference.manifest import Manifest, load
from streamfilter.limits import Limits
from streamfilter.schemas.finder import SchemaFinder, SchemaKey
from streamfilter.schemas.published import PublishedSource
from streamfilter.service.looking import Looked, Looker


class Constant:
    """An engine that is sure of nothing."""

    manifest: Manifest = load("maxitrack")
    runtime = "constant"
    broken = False

    def warm_up(self, shapes: tuple[tuple[int, int, int, int], ...]) -> None:
        return

    def infer(self, batch: Batch) -> Batch:
        if self.broken:
            raise ZeroDivisionError("our own mistake")
        return np.full((len(batch), 2), 0.5, np.float32)

    def close(self) -> None:
        return


def make_looker(
    engine: Any = None, ready: Callable[[SchemaKey | None], bool] = lambda key: True
) -> Looker:
    finder = SchemaFinder([PublishedSource()], Limits())
    rules = FrameRules(max_bytes=10**7)
    watcher = Watcher(engine or Constant())
    decoder = ExposureDecoder(finder)
    references = References({}, 10**7)
    return Looker(decoder=decoder, watcher=watcher, rules=rules, references=references, ready=ready)


def sky(*names: str, side: int = 400) -> bytes:
    """A FITS file with a detector of each name."""
    rng = np.random.default_rng(1)
    pixels = [rng.normal(100, 3, (side, side)).astype(np.float32) for _ in names]
    images = [fits.ImageHDU(p, name=name) for p, name in zip(pixels, names, strict=True)]
    out = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), *images]).writeto(out)
    return out.getvalue()


def detectors(looked: Looked) -> list[str]:
    return [each.detector for each in looked.detectors]


def test_a_detector_has_the_name_that_its_message_says() -> None:
    """The file's own names stand in where the message has none, and behind it where it is one."""
    looker = make_looker()
    free: dict[str, Any] = {"hdu": None}
    assert ["CCD7"] == detectors(looker.look(make_message(sky("A"), **free)))
    assert ["CCD7:A", "CCD7:B"] == detectors(looker.look(make_message(sky("A", "B"), **free)))
    unnamed = make_message(sky("A", "B"), detector=None, **free)
    assert ["A", "B"] == detectors(looker.look(unnamed))


def test_only_the_hdu_that_is_named_is_read() -> None:
    """A message may point at one image of a file."""
    looked = make_looker().look(make_message(sky("A", "SCI"), detector=None))
    assert (["SCI"], None) == (detectors(looked), looked.rejected)


@pytest.mark.parametrize(
    ("frame", "reason", "why"),
    [
        (b"no FITS", Reason.FRAME_UNREADABLE, FrameReason.NOT_FITS),
        (
            FrameReference("s3://bucket/x", 1, "0" * 64),
            Reason.REFERENCE_REFUSED,
            FrameReason.REFERENCE_UNREACHABLE,
        ),
    ],
)
def test_a_rejected_frame_is_known_to_its_exposure(
    frame: bytes | FrameReference, reason: Reason, why: FrameReason
) -> None:
    """Its detector came, with nothing to judge: the exposure need not wait for it."""
    looked = make_looker().look(make_message(frame, detector="7"))
    assert looked.rejected is not None
    assert reason == looked.rejected.reason
    assert [("7", why)] == [(each.detector, each.not_evaluated) for each in looked.detectors]
    nameless = make_looker().look(make_message(frame, detector=None))
    assert () == nameless.detectors


def test_a_frame_that_is_too_small_is_no_reason_to_reject() -> None:
    """It was read: the state says why it was not judged."""
    looked = make_looker().look(make_message(sky("SCI", side=256)))
    assert looked.rejected is None
    assert [FrameReason.TOO_SMALL] == [each.not_evaluated for each in looked.detectors]


def test_our_own_mistake_rejects_one_message() -> None:
    """The stream goes on."""
    engine = Constant()
    engine.broken = True
    looked = make_looker(engine).look(make_message(sky("SCI")))
    assert looked.rejected is not None
    assert (Reason.INTERNAL, "ZeroDivisionError: our own mistake") == (
        looked.rejected.reason,
        looked.rejected.detail,
    )


def test_a_message_whose_schema_is_not_here_is_looked_at_again() -> None:
    """The looker does not wait for it, and it is no attempt to reach the frame."""
    looker = make_looker(ready=lambda key: False)
    looked = looker.look(make_message(sky("SCI")))
    assert (None, True) == (looked.rejected, looked.schema_awaited)
    assert looked.again_s is not None


def test_a_registry_that_stays_away_rejects_the_message() -> None:
    """After the limit, with the reason."""

    def ready(key: SchemaKey | None) -> bool:
        assert key is not None
        raise SchemaUnavailable("away; waited 60 s")

    looked = make_looker(ready=ready).look(make_message(sky("SCI")))
    assert looked.rejected is not None
    assert (Reason.SCHEMA_UNAVAILABLE, "away; waited 60 s") == (
        looked.rejected.reason,
        looked.rejected.detail,
    )
