"""Real packets as they are shown: stamps, outlines, and what the survey says itself."""

import io
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import matplotlib.image
import pytest
from card_factories import card

from streamfilter.alerts.surveys import Surveys
from streamfilter.config import Settings
from streamfilter.console.assembly import open_painter
from streamfilter.console.cards import Card, card_of
from streamfilter.console.pictures import Painter, Unreadable, scale_svg
from streamfilter.reading import read
from streamfilter.records import Message, Origin, Rejected
from streamfilter.service.assembly.alerts import Parts, open_parts

CR = "lsst/170587117053804617.bin"
ZTF = "ztf/2475433850115010012.avro"


@pytest.fixture(scope="module")
def settings(engine_home: Path) -> Settings:
    return Settings.model_validate({"engine": {"home": str(engine_home)}})


@pytest.fixture(scope="module")
def parts(settings: Settings) -> Parts:
    return open_parts(settings, threads=1, say=print)


@pytest.fixture(scope="module")
def painter(settings: Settings) -> Painter:
    return open_painter(settings, Surveys.load(), print)


def judged(parts: Parts, path: Path) -> tuple[Card, Message]:
    """The card of a packet, as a worker annotates it."""
    message = Message(Origin("alerts", 0, 1), path.read_bytes())
    (found,) = parts.pipeline.judge(parts.engine, [message])
    assert not isinstance(found, Rejected)
    made = card_of(Origin("annotations", 0, 1), read(parts.encoder.annotation(found[1], "")))
    return made, message


def packet(samples: Path, name: str) -> Path:
    path = samples / name
    return path if path.exists() else sorted(path.parent.glob("2475433850*"))[0]


@pytest.mark.parametrize(("name", "score"), [(CR, "reliability"), (ZTF, "drb")])
def test_a_packet_has_its_stamps_and_its_survey_s_own_numbers(
    parts: Parts, painter: Painter, samples: Path, name: str, score: str
) -> None:
    """Three pictures of the stamps' shape; score, detector and filter by the field map."""
    made, message = judged(parts, packet(samples, name))
    picture = painter.picture(made, message)
    assert {"science", "template", "difference"} == set(picture.planes)
    for plane, png in picture.planes.items():
        assert picture.shapes[plane] == matplotlib.image.imread(io.BytesIO(png)).shape[:2]
    facts = painter.facts(message)
    assert facts == picture.facts
    assert score == facts.score_name
    assert facts.score is not None
    assert 0 <= facts.score <= 1
    assert facts.detector.isdecimal()
    assert facts.filter in {"u", "g", "r", "i", "z", "y"}
    assert "" == picture.note


def test_a_cosmic_ray_is_outlined_as_its_annotation_counts_it(
    parts: Parts, painter: Painter, samples: Path
) -> None:
    """As many pixels as published, from the same network, priors and thresholds."""
    made, message = judged(parts, samples / CR)
    assert made.stamps["science"].classes["CR"].pixels > 0
    picture = painter.picture(made, message)
    counted = {c: e.pixels for c, e in made.stamps["science"].classes.items() if c in ("CR", "TRL")}
    assert {c: n for c, n in counted.items() if n} == {
        c: n for c, n in picture.pixels.items() if c in ("CR", "TRL")
    }
    root = ElementTree.fromstring(picture.outlines["CR"])
    height, width = picture.shapes["science"]
    assert f"0 0 {width} {height}" == root.get("viewBox")


def test_the_scale_bar_has_a_round_length(parts: Parts, painter: Painter, samples: Path) -> None:
    """In arcseconds where the field map has a scale, in pixels where not."""
    made, message = judged(parts, samples / CR)
    picture = painter.picture(made, message)
    width = picture.shapes["science"][1]
    texts = [scale_svg(picture, scale).decode() for scale in (0.2, None)]
    assert f"{2 if width * 0.2 / 3 >= 2 else 1}″" in texts[0]
    assert " px" in texts[1]


def test_another_network_s_masks_are_said_to_be_so(
    parts: Parts, painter: Painter, samples: Path
) -> None:
    """The annotation names what spoke."""
    made, message = judged(parts, samples / CR)
    other = replace(made, engine="older", sha256="00" * 32)
    found = painter.picture(other, message)
    assert "masks by maximask; the verdict is of older" == found.note


def test_what_cannot_be_shown_says_why(painter: Painter, samples: Path) -> None:
    """A damaged packet, and another alert at the place of this one."""
    whole = (samples / CR).read_bytes()
    with pytest.raises(Unreadable, match="cannot be read again"):
        painter.picture(card(), Message(Origin("a", 0, 1), whole[:500]))
    with pytest.raises(Unreadable, match="another alert stands at its place"):
        painter.picture(card(), Message(Origin("a", 0, 1), whole))
