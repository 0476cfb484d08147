"""One message of the exposure stream to its detectors, without a broker."""

import io
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from bad_frames import write_bad_frames
from constant_engine import Constant
from exposure_factories import make_message
from fields import Field
from looker_factories import make_looker, sky

from streamfilter.contaminants import CODES
from streamfilter.errors import Reason, SchemaUnavailable
from streamfilter.exposures import purposes
from streamfilter.exposures.frames import FrameRules
from streamfilter.exposures.masking import Masker, MaskRules
from streamfilter.exposures.records import FrameReason, FrameReference, NotJudged, Purpose
from streamfilter.exposures.references import References
from streamfilter.exposures.references.files import Files
from streamfilter.inference.engine import Tensor
from streamfilter.schemas.finder import SchemaKey
from streamfilter.service.exposures.frame_masks import FrameMasks
from streamfilter.service.exposures.looker import MessageOutcome


def frame_of(pixels: Any) -> bytes:
    """A FITS file with one detector, SCI."""
    out = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(pixels, name="SCI")]).writeto(out)
    return out.getvalue()


class Echo(Constant):
    """An engine whose every class gives the pixel back."""

    def __init__(self) -> None:
        super().__init__(name="maximask")

    def infer(self, batch: Tensor) -> Tensor:
        return np.repeat(batch, len(CODES), axis=1)


def detectors(looked: MessageOutcome) -> list[str]:
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
    stars = frame_of(Field(height=420, width=420, stars=60).image())
    looked = make_looker(engine).look(make_message(stars))
    assert looked.rejected is not None
    assert Reason.INTERNAL == looked.rejected.reason
    assert "own code failed on it (ZeroDivisionError: our own mistake)" in looked.rejected.detail


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


def test_an_instrument_s_frames_are_read_by_its_own_rules() -> None:
    """A section that leaves less than a tile; another instrument's frame is whole."""
    looker = make_looker(instruments={"camera": FrameRules(section="[1:300,1:400]")})
    (trimmed,) = looker.look(make_message(sky("SCI"))).detectors
    (whole,) = looker.look(make_message(sky("SCI"), instrument="other")).detectors
    assert (FrameReason.TOO_SMALL, None) == (trimmed.not_evaluated, whole.not_evaluated)


def test_contaminants_are_searched_in_frames_smaller_than_a_tile_too(tmp_path: Path) -> None:
    """MaxiTrack needs 400 px, MaxiMask does not; of a frame without sky there is no mask."""
    rules = MaskRules(tile_px=352)
    masks = FrameMasks(Masker(Echo(), rules), rules, folder=tmp_path, sent=True)
    looker = make_looker(masks=masks)
    looked = looker.look(make_message(sky("SCI", side=200)))
    (evidence,) = looked.detectors
    assert (FrameReason.TOO_SMALL, 200 * 200) == (
        evidence.not_evaluated,
        evidence.contaminants.pixels if evidence.contaminants else 0,
    )
    (path,) = tmp_path.rglob("*.fz")
    assert (("CCD7", path.read_bytes()),) == looked.masks
    empty = looker.look(make_message(frame_of(np.zeros((200, 200), np.float32))))
    assert ((), None) == (empty.masks, empty.detectors[0].contaminants)


def test_a_strip_is_not_searched_for_contaminants(tmp_path: Path) -> None:
    """Of 1 x 1,000,000 px nearly all would be padding: it would keep the worker for minutes."""
    rules = MaskRules(tile_px=352)
    looker = make_looker(masks=FrameMasks(Masker(Echo(), rules), rules, folder=tmp_path))
    strip = np.random.default_rng(1).normal(100, 3, (1, 10**6)).astype(np.float32)
    (evidence,) = looker.look(make_message(frame_of(strip))).detectors
    assert (FrameReason.TOO_SMALL, None) == (evidence.not_evaluated, evidence.contaminants)


def test_a_mask_of_the_stream_says_where_it_lies(tmp_path: Path) -> None:
    """The frame's words on the sky, and the checksum of what came."""
    rules = MaskRules(tile_px=352, classes=("CR",))
    looker = make_looker(masks=FrameMasks(Masker(Echo(), rules), rules, folder=tmp_path))
    content = sky("SCI").replace(b"EXTNAME = 'SCI     '", b"CRVAL1  =     150.25", 1)
    looker.look(make_message(content, hdu="1"))
    (path,) = tmp_path.rglob("*.fz")
    header = fits.getheader(path, 1)
    assert (150.25, sha256(content).hexdigest()) == (header["CRVAL1"], header["SRCSHA"])
    assert ("e1", False) == (header["EXPID"], "HP" in header)


def test_a_full_disk_does_not_take_the_areas_with_it(tmp_path: Path) -> None:
    """A folder that cannot be made: the shares are published, without a mask's place."""
    (tmp_path / "file").write_text("")
    rules = MaskRules(tile_px=352)
    masks = FrameMasks(Masker(Echo(), rules), rules, folder=tmp_path / "file" / "masks")
    (evidence,) = make_looker(masks=masks).look(make_message(sky("SCI"))).detectors
    assert evidence.contaminants is not None
    assert (400 * 400, None) == (evidence.contaminants.pixels, evidence.contaminants.mask)


@pytest.mark.parametrize("name", ["..", "../../etc", "/etc/passwd", ".", "a" * 200, "e\0x"])
def test_no_name_leaves_the_folder_of_masks(tmp_path: Path, name: str) -> None:
    """Anyone may write exposures' names."""
    rules = MaskRules(tile_px=352)
    folder = tmp_path / "masks"
    masks = FrameMasks(Masker(Echo(), rules), rules, folder=folder)
    make_looker(masks=masks).look(
        make_message(sky("SCI"), exposure_id=name, instrument=name, detector=name)
    )
    assert {folder} == {path.parents[2] for path in tmp_path.rglob("*.fz")}


def test_a_message_whose_headers_cannot_be_read_is_rejected() -> None:
    """Its frame is not looked at: what the headers said of it is not known."""
    message = replace(make_message(sky("A"), hdu=None), unread="the name of a header is b'\\xff'")
    looked = make_looker().look(message)
    assert looked.rejected is not None
    assert Reason.HEADERS_MALFORMED == looked.rejected.reason
    assert message is looked.rejected.message


GENERIC = FrameRules(purposes=purposes.MAPS["generic"])


@pytest.mark.parametrize(
    ("cards", "purpose", "reason"),
    [
        ({}, None, None),
        ({"OBSTYPE": "SKYFLAT"}, None, NotJudged.CALIBRATION),
        ({}, Purpose.NON_SIDEREAL, NotJudged.NON_SIDEREAL),
        ({"OBSTYPE": "SKYFLAT"}, Purpose.SCIENCE, None),
        ({"BAYERPAT": "RGGB"}, Purpose.SCIENCE, NotJudged.COLOUR_MOSAIC),
    ],
)
def test_headers_or_the_message_say_what_is_not_judged(
    cards: dict[str, str], purpose: Purpose | None, reason: NotJudged | None
) -> None:
    """The message counts for more, but that a mosaic is none it cannot say."""
    out = io.BytesIO()
    image = fits.ImageHDU(np.random.default_rng(1).normal(100, 3, (400, 400)), name="SCI")
    fits.HDUList([fits.PrimaryHDU(header=fits.Header(cards)), image]).writeto(out)
    looker = make_looker(instruments={"camera": GENERIC})
    (found,) = looker.look(make_message(out.getvalue(), purpose=purpose)).detectors
    assert (reason, None) == (found.not_judged, found.not_evaluated)
    assert (reason is None) == bool(found.tiles), "what is not judged costs no network"
    assert (reason is None) == (found.detail == "")


READ = (FrameReason.NO_DATA, FrameReason.NO_VARIATION, FrameReason.TOO_SMALL)
"""Of frames that can be read, and say nothing."""


def test_frames_of_every_bad_kind_have_a_reason_and_the_next_goes_on(tmp_path: Path) -> None:
    """Without data, of one value, a strip, cut in the header, cards twice, larger than memory."""
    night = tmp_path / "night"
    files = References({"file": Files((night,))}, 10**7)
    looker = make_looker(references=files, free_mib=lambda: 4096)
    for name, expected in write_bad_frames(night).items():
        path = night / name
        large = path.stat().st_size > 10**7
        place = FrameReference(path.as_uri(), path.stat().st_size, "0" * 64)
        looked = looker.look(make_message(place if large else path.read_bytes(), hdu=None))
        assert [expected] == [each.not_evaluated for each in looked.detectors], name
        assert (expected not in READ) == (looked.rejected is not None), name
        if looked.rejected is not None and not large:
            assert Reason.FRAME_UNREADABLE == looked.rejected.reason
            assert looked.rejected.detail.startswith(f"{expected}: "), name
        assert [None] == [
            each.not_evaluated for each in looker.look(make_message(sky("SCI"))).detectors
        ]


def test_a_frame_that_memory_does_not_hold_is_rejected_and_the_next_goes_on() -> None:
    """It would take 20 bytes a pixel; the detail says what there is."""
    free = iter((2, 2**20))
    looker = make_looker(free_mib=lambda: next(free))
    looked = looker.look(make_message(sky("SCI")))
    assert looked.rejected is not None
    assert "too_large: 160000 pixels take about 4 MiB of memory; 2 MiB are free" == (
        looked.rejected.detail
    )
    assert [FrameReason.TOO_LARGE] == [each.not_evaluated for each in looked.detectors]
    assert looker.look(make_message(sky("SCI"))).rejected is None


def test_a_mask_that_memory_does_not_hold_has_a_reason() -> None:
    """The frame counts as too large, and the next goes on."""

    class Full(Echo):
        """An engine for which no memory is left, once."""

        full = True

        def infer(self, batch: Tensor) -> Tensor:
            if self.full:
                self.full = False
                raise MemoryError
            return super().infer(batch)

    rules = MaskRules(tile_px=352)
    looker = make_looker(masks=FrameMasks(Masker(Full(), rules), rules))
    first, second = (looker.look(make_message(sky("SCI"))) for _ in range(2))
    assert (None, None) == (first.rejected, second.rejected)
    assert [FrameReason.TOO_LARGE, None] == [
        each.not_evaluated for each in (*first.detectors, *second.detectors)
    ]
    assert [None, 160_000] == [
        each.contaminants and each.contaminants.pixels
        for each in (*first.detectors, *second.detectors)
    ]


def test_a_cube_is_judged_plane_by_plane() -> None:
    """Each plane is a detector, as `track` has it; one without a sky does not take the others."""
    planes = np.random.default_rng(1).normal(100, 3, (3, 400, 400)).astype(np.float32)
    planes[1] = 7
    looker = make_looker(rules=FrameRules(most_planes=16))
    looked = looker.look(make_message(frame_of(planes)))
    assert looked.rejected is None
    assert [f"CCD7:SCI plane {number}" for number in (1, 2, 3)] == detectors(looked)
    assert [None, FrameReason.NO_VARIATION, None] == [
        each.not_evaluated for each in looked.detectors
    ]
    assert {3} == {each.planes for each in looked.detectors}


def test_a_cube_of_too_many_planes_is_rejected_by_the_setting_s_name() -> None:
    """A worker would judge thousands of planes for hours."""
    looker = make_looker(rules=FrameRules(most_planes=2))
    looked = looker.look(make_message(frame_of(np.zeros((3, 400, 400), np.float32))))
    assert looked.rejected is not None
    assert looked.rejected.detail.endswith("3 planes; exposures.max_frame_planes = 2")
    assert [("CCD7", FrameReason.TOO_LARGE)] == [
        (each.detector, each.not_evaluated) for each in looked.detectors
    ]
