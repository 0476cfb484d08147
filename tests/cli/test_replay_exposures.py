"""``streamfilter replay-exposures`` announces files as a readout would."""

import bz2
import io
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from click.testing import CliRunner, Result
from kafka_desk import Broker

from streamfilter.cli.replay_exposures import replay_exposures
from streamfilter.errors import TransportFailed
from streamfilter.exposures.decode import ExposureDecoder
from streamfilter.exposures.records import ExposureMessage, FrameReference
from streamfilter.limits import Limits
from streamfilter.schemas.finder import SchemaFinder
from streamfilter.schemas.published import PublishedSource


def run(broker: Broker, topic: str, *arguments: object) -> Result:
    given = [*map(str, arguments), "--topic", topic, "--bootstrap", broker.bootstrap]
    return CliRunner().invoke(replay_exposures, given)


def announced(broker: Broker, topic: str) -> list[ExposureMessage]:
    decoder = ExposureDecoder(SchemaFinder([PublishedSource()], Limits()))
    found = [decoder.decode(message) for message in broker.read(topic)]
    return [each for each in found if isinstance(each, ExposureMessage)]


def test_files_are_announced_with_their_frames(broker: Broker, samples: Path) -> None:
    """One message a file, keyed by its exposure, the file inside as it is."""
    topic, folder = broker.topic(), samples / "exposures" / "good"
    result = run(broker, topic, folder)
    assert 0 == result.exit_code
    assert f"{topic}: 5 files of 5 exposures acknowledged\n" in result.stdout
    files = sorted(folder.iterdir())
    found = announced(broker, topic)
    assert [path.read_bytes() for path in files] == [each.frame for each in found]
    assert b"MRO2K/mro2m4_didymos" in {each.message.key for each in found}
    assert {1} == {each.announced.detectors_expected for each in found}


def test_files_can_be_detectors_of_one_exposure(broker: Broker, samples: Path) -> None:
    """Messages have references instead of frames, and the counted number of detectors."""
    topic, folder = broker.topic(), samples / "exposures" / "good"
    options = ("--exposure", "e7", "--instrument", "cam", "--keyword", "detector=DATE-OBS")
    assert 0 == run(broker, topic, folder, *options, "--by-reference").exit_code
    found = announced(broker, topic)
    assert {("e7", "cam", 5)} == {
        (each.announced.exposure_id, each.announced.instrument, each.announced.detectors_expected)
        for each in found
    }
    assert {b"cam/e7"} == {each.message.key for each in found}
    assert 5 == len({each.announced.detector for each in found})
    assert all(isinstance(each.frame, FrameReference) for each in found)


def test_a_frame_that_the_topic_does_not_take_is_told(broker: Broker, samples: Path) -> None:
    """The error says how to mend it: topics take 1 MB by default."""
    topic = broker.topic(max_message_bytes="1000")
    result = run(broker, topic, samples / "exposures" / "trailed")
    assert 1 == result.exit_code
    assert "raise max.message.bytes of the topic" in result.stderr


def test_what_is_not_there_is_named(broker: Broker, tmp_path: Path) -> None:
    """A missing topic, a missing file, an unknown word."""
    (tmp_path / "a.fits").write_bytes(b"SIMPLE")
    with pytest.raises(TransportFailed, match="streamfilter topics create"):
        CliRunner().invoke(
            replay_exposures,
            [str(tmp_path), "--topic", "not-there", "--bootstrap", broker.bootstrap],
            catch_exceptions=False,
        )
    assert "no such file: nowhere.fits" in run(broker, "t", "nowhere.fits").stderr
    assert "no word 'name'" in run(broker, "t", tmp_path, "--keyword", "name=X").stderr


def test_a_night_of_compressed_frames_is_announced(broker: Broker, tmp_path: Path) -> None:
    """Frames in bzip2, as SDSS hands them out, as they are; what is left out is told."""
    hdu = fits.PrimaryHDU(np.ones((9, 8), np.int16))
    hdu.header["EXPTIME"] = 53.9
    out = io.BytesIO()
    hdu.writeto(out)
    content = bz2.compress(out.getvalue())
    (tmp_path / "frame-r-1.fits.bz2").write_bytes(content)
    (tmp_path / "frame-r-1.fits.zst").touch()
    topic = broker.topic()
    result = run(broker, topic, tmp_path)
    assert 0 == result.exit_code, result.output
    assert "left out of folders: 1 compressed in a way that is not read (frame-r-1.fits.zst)\n" in (
        result.stderr
    )
    (found,) = announced(broker, topic)
    assert ("frame-r-1", 53.9, content) == (
        found.announced.exposure_id, found.announced.exposure_time_s, found.frame,
    )  # fmt: skip
