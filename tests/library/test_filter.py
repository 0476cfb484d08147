"""The filter without a broker, on real packets."""

import io
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import streamfilter
from streamfilter.errors import ConfigurationInvalid, EngineUnavailable, MessageRejected
from streamfilter.library.filter import Filter
from streamfilter.library.judged import Judged
from streamfilter.records import NotEvaluated

HIT = "170587117053804617"
SURVEYS = ("ztf", "lsst", "winter", "decam", "pgir")


@pytest.fixture(scope="module")
def one(engine_home: Path) -> Iterator[Filter]:
    """A filter that the tests share."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STREAMFILTER_HOME", str(engine_home))
        with Filter() as made:
            yield made


def values(samples: Path) -> dict[str, bytes]:
    """Packets of every survey, damaged ones too, by file."""
    files = [file for each in (*SURVEYS, "broken") for file in (samples / each).glob("*[nro]")]
    found = {str(f): f.read_bytes() for f in files if f.suffix in (".avro", ".bin")}
    assert len(found) > 60
    return found


def plain(judged: Judged) -> dict[str, Any]:
    """What a consumer would read, without times and place."""
    return {k: v for k, v in judged.record().items() if k not in ("times", "origin")}


def test_a_folder_is_judged_packet_by_packet(one: Filter, samples: Path) -> None:
    """The cosmic-ray track of Rubin's packets is the one that is dropped."""
    with pytest.warns(UserWarning, match="manifest.json: skipped"):
        found = list(one.judge(samples / "lsst"))
    assert 25 == len(found)
    (hit,) = (each for each in found if each.verdict.action == "drop")
    assert (HIT, "lsst", "contaminated", "CR") == (
        hit.alert_id, hit.survey, hit.label, hit.verdict.contaminant,
    )  # fmt: skip
    assert hit.science["CR"].core > 0.98
    assert 69 >= hit.masks("science")["CR"].sum() == hit.science["CR"].pixels > 60


@pytest.mark.parametrize("survey", SURVEYS)
def test_a_mask_has_the_pixels_that_the_annotation_counts(
    one: Filter, samples: Path, survey: str
) -> None:
    """Of every class of every packet, with the stamp's shape."""
    files = sorted(each for each in (samples / survey).iterdir() if each.suffix != ".json")
    found = list(one.judge(files))
    assert len(files) == len(found)
    for judged in found:
        masks, stamp = judged.masks(), judged.stamp()
        assert stamp is not None
        counted = {code: each.pixels for code, each in judged.science.classes.items()}
        assert counted == {code: int(mask.sum()) for code, mask in masks.items()}
        assert {stamp.shape} == {mask.shape for mask in masks.values()}
        highest = {code: float(each.max()) for code, each in judged.posteriors().items()}
        if not judged.science.filled_px:
            peaks = {code: each.peak for code, each in judged.science.classes.items()}
            assert peaks == pytest.approx(highest, rel=1e-4, abs=1e-6)


def test_packets_come_in_many_forms(one: Filter, samples: Path) -> None:
    """A path, a pattern, bytes, a file object and columns are judged alike."""
    path = samples / "ztf" / "2695378462115010012.avro"
    (expected,) = one.judge(path)
    content = path.read_bytes()
    column = np.array([content], dtype=object)
    with path.open("rb") as file:
        forms = [
            str(path), str(path.parent / "2695378462*.avro"), content, memoryview(content), file,
            io.BytesIO(content), [path], [content], iter([content]), column,
        ]  # fmt: skip
        for form in forms:
            (judged,) = one.judge(form)
            assert plain(expected) == plain(judged), form


def test_bytes_are_one_message_as_a_stream_brings_it(one: Filter) -> None:
    """What is no packet is rejected with its reason, and none is lost."""
    found = list(one.judge([b"no packet", None, b""]))
    assert ["wire_form_unknown", "empty", "empty"] == [
        each.rejected and each.rejected.reason for each in found
    ]
    assert [0, 1, 2] == [each.index for each in found]


def test_what_is_no_packet_at_all_is_refused(one: Filter) -> None:
    """Before anything is judged, in words that say what is expected."""
    with pytest.raises(TypeError, match="int: expected a path"):
        list(one.judge(3))
    with pytest.raises(TypeError, match="dict"):
        list(one.judge([{}]))
    with pytest.raises(FileNotFoundError, match=r"nowhere/\*\.avro"):
        list(one.judge("nowhere/*.avro"))


def test_a_damaged_packet_is_a_value(one: Filter, samples: Path) -> None:
    """It says why, and who asks for its verdict is told."""
    found = list(one.judge(samples / "broken"))
    assert Counter({"rejected": 5}) == Counter(each.label for each in found)
    with pytest.raises(MessageRejected, match=r"avro_malformed: .*broken"):
        _ = found[0].verdict
    assert "rejected, avro_malformed" in repr(found[0])


def test_threads_share_a_filter(one: Filter, samples: Path) -> None:
    """Each gets what it would get alone."""
    packets = values(samples)
    expected = [each.label for each in one.judge(packets.values())]
    found: dict[int, list[str]] = {}

    def work(number: int) -> None:
        found[number] = [each.label for each in one.judge(packets.values())]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert {0: expected, 1: expected, 2: expected} == found


def test_a_closed_filter_says_so(engine_home: Path, samples: Path) -> None:
    """What was judged stays; a mask needs the network."""
    with Filter(overrides=[f"engine.home={engine_home}"]) as made:
        (judged,) = made.judge(samples / "lsst" / f"{HIT}.bin")
    assert "contaminated" == judged.label
    with pytest.raises(EngineUnavailable, match="this filter is closed"):
        judged.masks()
    with pytest.raises(EngineUnavailable, match="this filter is closed"):
        list(made.judge(b""))
    made.close()


def test_a_plane_that_is_not_judged_says_how(one: Filter, samples: Path) -> None:
    """And a class that there is not, and a stamp that was not evaluated."""
    (judged,) = one.judge(samples / "lsst" / f"{HIT}.bin")
    with pytest.raises(LookupError, match=r"planes=\["):
        _ = judged.template
    with pytest.raises(KeyError, match="no class 'XX'; there are CR"):
        _ = judged.science["XX"]
    (empty,) = one.judge_stamps(np.full((63, 63), np.nan))
    assert NotEvaluated.NO_DATA == empty.science.not_evaluated
    assert {} == dict(empty.masks())
    with pytest.raises(KeyError, match="the science was not evaluated: no_data"):
        _ = empty.science["CR"]


def test_planes_and_rules_can_be_given(engine_home: Path, samples: Path) -> None:
    """Rules are those of the settings, as mappings."""
    rule = {"name": "mine", "contaminant": "CR", "statistic": "core", "above": 0.9}
    path = samples / "lsst" / f"{HIT}.bin"
    home = [f"engine.home={engine_home}"]
    with Filter(rules={"lsst": [rule]}, planes=["science", "difference"], overrides=home) as made:
        (judged,) = made.judge(path)
        assert "mine" == judged.verdict.rule
        assert judged.difference["CR"].core > 0.5
    with pytest.raises(ConfigurationInvalid, match=r"rules\['lsst'\]\.0\.above"):
        Filter(rules={"lsst": [rule | {"above": "high"}]}, overrides=home)
    with pytest.raises(ConfigurationInvalid, match=r"engine\.name: no engine 'nothing'"):
        Filter(engine="nothing", overrides=home)
    with pytest.raises(ConfigurationInvalid, match="no field map names a field 'drbb'"):
        Filter(columns=["drbb"], overrides=home)


def test_arrays_are_judged_as_their_packets(one: Filter, samples: Path) -> None:
    """By the rules of the survey that is named; variance and NaN as they stand in the packets."""
    files = sorted((samples / "lsst").glob("*.bin"))
    expected = list(one.judge(files))
    stamps = [each.alert.stamps["science"] for each in expected]  # type: ignore[index]
    found = list(
        one.judge_stamps(
            [each.image for each in stamps],
            variance=[each.variance for each in stamps if each.variance is not None],
            survey="lsst",
            ids=[each.alert_id for each in expected],
        )
    )
    assert [each.verdict for each in expected] == [each.verdict for each in found]
    assert [each.alert_id for each in expected] == [each.alert_id for each in found]
    for packet, array in zip(expected, found, strict=True):
        assert packet.science["CR"].core == pytest.approx(array.science["CR"].core, abs=1e-6)


def test_stamps_without_a_survey_have_the_general_rules(one: Filter) -> None:
    """A cosmic ray painted on noise is dropped; shapes are those of numpy."""
    noise = np.random.default_rng(3).normal(100, 5, (4, 63, 63))
    noise[2, 31, 28:35] += 2000
    found = list(one.judge_stamps(noise))
    assert ["clean", "clean", "contaminated", "clean"] == [each.label for each in found]
    assert (63, 63) == found[2].masks()["CR"].shape
    (alone,) = one.judge_stamps(noise[2])
    assert found[2].verdict == alone.verdict
    with pytest.raises(ValueError, match="template: 2; expected 4"):
        list(one.judge_stamps(noise, template=noise[:2]))
    with pytest.raises(ValueError, match="a stamp of shape"):
        list(one.judge_stamps(noise[None]))
    with pytest.raises(ConfigurationInvalid, match="no survey 'none'"):
        list(one.judge_stamps(noise, survey="none"))


def test_a_network_of_several_planes_sees_the_arrays(engine_home: Path) -> None:
    """stampmask judges the science stamp by all that it is given."""
    noise = np.random.default_rng(3).normal(100, 5, (3, 2, 63, 63)).astype(np.float32)
    with Filter(engine="stampmask", overrides=[f"engine.home={engine_home}"]) as made:
        science, template, difference = noise
        (judged, _) = made.judge_stamps(science, template, difference, np.full_like(science, 25))
        assert ("science", "template", "difference", "variance", "valid") == (
            judged.annotation.planes
        )
        (fewer, _) = made.judge_stamps(science)
        assert ("science", "valid") == fewer.annotation.planes


@pytest.mark.parametrize("side", [30, 63])
def test_masks_are_as_large_as_the_annotation_says_at_every_side(
    engine_home: Path, side: int
) -> None:
    """Of a network whose training priors differ from side to side."""
    noise = np.random.default_rng(3).normal(100, 5, (side, side)).astype(np.float32)
    noise[side // 2, side // 2 - 4 : side // 2 + 5] += 60
    with Filter(engine="stampmask", overrides=[f"engine.home={engine_home}"]) as made:
        (judged,) = made.judge_stamps(noise)
        masks = judged.masks()
    counted = {code: each.pixels for code, each in judged.science.classes.items()}
    assert counted == {code: int(mask.sum()) for code, mask in masks.items()}
    assert sum(counted.values()) > 0


TWO = 'engine.also=[{name = "stampmask"}]'


@pytest.fixture
def two(engine_home: Path) -> Iterator[Filter]:
    """A filter of two networks, both of which are always asked."""
    with Filter(overrides=[f"engine.home={engine_home}", TWO]) as made:
        yield made


def test_two_networks_judge_packets_and_arrays(two: Filter, one: Filter, samples: Path) -> None:
    """Evidence and masks are the first one's; the other's numbers stand beside them."""
    (packet,) = two.judge(samples / "lsst" / f"{HIT}.bin")
    (alone,) = one.judge(samples / "lsst" / f"{HIT}.bin")
    noise = np.random.default_rng(3).normal(100, 5, (63, 63))
    noise[31, 28:35] += 2000
    (array,) = two.judge_stamps(noise)
    for judged in (packet, array):
        (opinion,) = judged.annotation.also
        assert "maximask" == judged.annotation.engine.name
        assert "stampmask" == opinion.engine.name
        assert opinion.stamps[0].classes["CR"].peak > 0.5
        counted = {code: each.pixels for code, each in judged.science.classes.items()}
        assert counted == {code: int(mask.sum()) for code, mask in judged.masks().items()}
        assert counted["CR"] > 0
        assert opinion.stamps == judged.evidence("science").also["stampmask"]
    assert alone.science.classes == packet.science.classes
    assert packet.png().startswith(b"\x89PNG")


def test_all_networks_are_released(two: Filter, monkeypatch: pytest.MonkeyPatch) -> None:
    """The further ones too, once each."""
    closed: list[str] = []
    for each in (engines := two._open.parts.engines):

        def close(name: str = each.manifest.name, whole: Callable[[], None] = each.close) -> None:
            closed.append(name)
            whole()

        monkeypatch.setattr(each, "close", close)
    assert 2 == len(engines)
    two.close()
    two.close()
    assert ["maximask", "stampmask"] == closed


def test_a_picture_is_shown(
    one: Filter, samples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a notebook, in a file, and in words elsewhere."""
    (judged,) = one.judge(samples / "lsst" / f"{HIT}.bin")
    judged.show(tmp_path / "hit.png")
    assert (tmp_path / "hit.png").read_bytes().startswith(b"\x89PNG")
    assert 'src="data:image/png;base64,iVBOR' in judged._repr_html_()
    judged.show()
    assert f"<lsst {HIT}: contaminated (CR, rule cosmic-ray)>\n" == capsys.readouterr().out
    (broken,) = one.judge(b"<b>")
    assert "<p>memory[0]: rejected, wire_form_unknown" in broken._repr_html_()


def test_a_notebook_says_why_there_is_no_picture(samples: Path, engine_home: Path) -> None:
    """The filter is closed: the words of the verdict stay, and no traceback stands below them."""
    with Filter(engine="stampmask", overrides=[f"engine.home={engine_home}"]) as made:
        (judged,) = made.judge(samples / "lsst" / f"{HIT}.bin")
    shown = judged._repr_html_()
    assert f"<p>lsst {HIT}: {judged.label}" in shown
    assert "<p>no picture: this filter is closed" in shown


LIGHT = """
import sys, streamfilter
print(sorted({"numpy", "astropy", "onnxruntime", "pyarrow", "pydantic"} & set(sys.modules)))
print(streamfilter.Filter.__name__, streamfilter.mask.__name__, "pyarrow" in sys.modules)
"""


@pytest.mark.process
def test_importing_the_package_loads_nothing() -> None:
    """A name is loaded at its first use; pyarrow with the first table."""
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, check=True)
    assert ["[]", "Filter mask False"] == done.stdout.splitlines()


def test_what_may_be_called_stands_in_one_list() -> None:
    """Each name is there, and has a docstring."""
    functions = {"annotate_batches", "mask", "read", "track"}
    names = {"Filter", "Judged", "Masked", "Tracked", "__version__", *functions}
    assert names == set(streamfilter.__all__) == set(dir(streamfilter))
    assert [] == [
        each for each in names - {"__version__"} if not getattr(streamfilter, each).__doc__
    ]
