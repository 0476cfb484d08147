"""``streamfilter inspect`` on real packets."""

import copy
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import fastavro
import pytest
from click.testing import CliRunner, Result
from kafka_desk import Broker

from streamfilter.cli import root
from streamfilter.cli.packet_sources import Files
from streamfilter.files import bundled_folder
from streamfilter.limits import Limits
from streamfilter.records import Origin
from streamfilter.schemas.finder import SchemaFinder
from streamfilter.simulate.visits import alerts

HIT = "170587117053804617"


def inspect(*arguments: str | Path) -> Result:
    return CliRunner().invoke(root, ["inspect", *map(str, arguments)])


@pytest.fixture(autouse=True)
def cached(engine_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMFILTER_HOME", str(engine_home))


def lines(found: Result) -> list[dict[str, object]]:
    assert found.exit_code == 0, found.output
    return [json.loads(line) for line in found.stdout.splitlines()]


def test_one_cosmic_ray_stands_in_the_lsst_packets(samples: Path) -> None:
    """Rubin's own reliability of it is 1.0; no other packet is dropped by CR."""
    found = lines(inspect(samples / "lsst", "--json"))
    assert len(found) == 25
    verdicts = {line["alert_id"]: line["verdict"] for line in found}
    hits = [i for i, v in verdicts.items() if v["contaminant"] == "CR"]  # type: ignore[index]
    assert [HIT] == hits
    assert verdicts[HIT]["label"] == "contaminated"  # type: ignore[index]


@pytest.mark.parametrize("folder", ["ztf", "winter", "decam", "pgir"])
def test_every_survey_is_judged(samples: Path, folder: str) -> None:
    """Each packet comes out with evidence of its science stamp."""
    found = lines(inspect(samples / folder, "--json"))
    assert len(list((samples / folder).iterdir())) == len(found)
    assert [] == [line["file"] for line in found if not line["science"]["bg"]]  # type: ignore[index]


def test_damaged_packets_are_rejected_with_a_reason(samples: Path) -> None:
    """A rejected packet is a finding, not a failure."""
    found = lines(inspect(samples / "broken", "--json"))
    assert [5, {"avro_malformed"}] == [len(found), {line["rejected"] for line in found}]


def test_where_every_packet_is_rejected_there_is_no_figure(samples: Path, tmp_path: Path) -> None:
    """It is still a finding, not a failure."""
    found = inspect(samples / "broken", "--figure", tmp_path / "none.png")
    assert (0, True, False) == (
        found.exit_code, "no figure" in found.stderr, (tmp_path / "none.png").exists(),
    )  # fmt: skip


def test_a_reason_is_shown_to_the_letter(tmp_path: Path) -> None:
    """Text in brackets is printed, and not taken for a style."""
    (tmp_path / "unknown.bin").write_bytes(b"\0\0\0\x12\x34 no schema has this id")
    found = inspect(tmp_path)
    assert "streamfilter[lsst]" in found.stdout.replace("\n", " ")


def test_a_name_is_shown_to_the_letter(samples: Path, tmp_path: Path) -> None:
    """An alert's name can neither set a style nor move the cursor."""
    packet = (samples / "ztf/2695378462115010012.avro").read_bytes()
    schema: Any = copy.deepcopy(SchemaFinder([], Limits()).open(packet).schema.definition)
    record: Any = next(iter(fastavro.reader(io.BytesIO(packet))))
    for field in schema["fields"]:
        if field["name"] == "candid":
            field["type"] = "string"
    record["candid"] = "[/]\x1b[2J[bold]$\\q$"
    out = io.BytesIO()
    fastavro.writer(out, fastavro.parse_schema(schema), [record])
    (tmp_path / "odd.avro").write_bytes(out.getvalue())
    found = inspect(tmp_path, "--figure", tmp_path / "odd.png")
    assert found.exit_code == 0, found.output
    assert r"[/]\x1b[2J[bold]$\q$" in found.stdout


def test_the_table_and_the_figure_show_the_verdict(samples: Path, tmp_path: Path) -> None:
    """They are a row and a picture, for a person."""
    figure = tmp_path / "hit.png"
    found = inspect(samples / "lsst" / f"{HIT}.bin", "--figure", figure)
    assert found.exit_code == 0
    assert "contaminated" in found.stdout
    assert figure.read_bytes().startswith(b"\x89PNG")


SPARE = """
[[surveys.lsst.rules]]
name = "hit"
contaminant = "CR"
statistic = "core"
above = 0.25
unless = {reliability = {above = 0.5}, reliabilityVersion = {equals = "x"}}
"""


def test_both_voices_are_shown(samples: Path, tmp_path: Path) -> None:
    """In the table, in the totals, on the page and in each line; numbers beside the engine."""
    two = (
        "--set", "engine.name=stampmask",
        "--set", 'engine.also=[{name="maximask", when={classes=["CR"], above=0.02}}]',
    )  # fmt: skip
    shown = inspect(samples / "lsst", *two, "--figure", tmp_path / "two.png")
    assert shown.exit_code == 0, shown.output
    (row,) = (line for line in shown.stdout.splitlines() if HIT in line)
    assert "maximask-cosmic-ray" in row
    assert re.search(r"0\.\d\d, maximask 0\.99", row)
    found = lines(inspect(samples / "lsst", *two, "--json"))
    asked = [line for line in found if line["also"]]
    assert 0 < len(asked) < len(found)
    assert f"also asked: maximask {len(asked)}" in shown.stdout
    assert (tmp_path / "two.png").stat().st_size > 100_000


def test_the_fields_that_rules_look_at_are_shown(samples: Path, tmp_path: Path) -> None:
    """Beside the verdict, in the table, the figure and the JSON; what is missing is told."""
    site, packet = tmp_path / "site.toml", samples / "lsst" / f"{HIT}.bin"
    site.write_text(SPARE)
    figure = tmp_path / "hit.png"
    found = inspect(packet, "--config", site, "--figure", figure)
    assert "reliability 1" in found.stdout
    assert "1 packet: 1 clean" in found.stdout
    assert "fields.reliabilityVersion: no diaSource.reliabilityVersion" in found.stderr
    (line,) = lines(inspect(packet, "--config", site, "--json"))
    assert {"reliability": 1.0} == line["fields"]
    assert "fields" not in lines(inspect(packet, "--json"))[0]
    assert "fields" not in inspect(packet).stdout


def test_template_and_difference_can_be_judged(samples: Path) -> None:
    """Switched on by configuration."""
    planes = 'alerts.planes=["science", "template", "difference"]'
    (line,) = lines(inspect(samples / "lsst" / f"{HIT}.bin", "--json", "--set", planes))
    assert line["template"]["cr"]["core"] < 0.5 < line["difference"]["cr"]["core"]  # type: ignore[index]


def test_an_unreadable_template_costs_its_own_evidence_alone(samples: Path, tmp_path: Path) -> None:
    """The verdict is that of the science stamp; the template says what was found."""
    packet = (samples / "winter/3608694.avro").read_bytes()
    schema: Any = copy.deepcopy(SchemaFinder([], Limits()).open(packet).schema.definition)
    record: Any = next(iter(fastavro.reader(io.BytesIO(packet))))
    out = io.BytesIO()
    fastavro.writer(out, fastavro.parse_schema(schema), [record | {"cutout_template": b"junk"}])
    (tmp_path / "broken.avro").write_bytes(out.getvalue())
    planes = 'alerts.planes=["science", "template"]'
    (line,) = lines(inspect(tmp_path, "--json", "--set", planes))
    (alone,) = lines(inspect(tmp_path, "--json", "--figure", tmp_path / "page.png"))
    (whole,) = lines(inspect(samples / "winter/3608694.avro", "--json"))
    assert (whole["verdict"], whole["science"]) == (line["verdict"], line["science"])
    assert (whole["verdict"], None) == (alone["verdict"], alone["template"])
    template: Any = line["template"]
    assert "no_data" == template["not_evaluated"]
    assert "FITS" in template["detail"]


def test_fields_that_a_map_names_in_vain_are_told(samples: Path, tmp_path: Path) -> None:
    """Users try their own field map with this command."""
    text = (bundled_folder("schemas") / "surveys/decam.toml").read_text()
    (tmp_path / "mine.toml").write_text(text.replace("candidate.mjd", "candidate.mjdd"))
    maps = f"alerts.survey_folders=['{tmp_path}']"
    found = inspect(samples / "decam/alert.avro", "--set", maps)
    assert (0, True) == (found.exit_code, "time: no candidate.mjdd" in found.stderr)


def test_no_packet_at_all_is_a_failure(tmp_path: Path) -> None:
    """A wrong folder does not look like a clean one."""
    assert f"Error: no file in {tmp_path}\n" == inspect(tmp_path).stderr
    (tmp_path / "notes.txt").write_text("nothing")
    found = inspect(tmp_path)
    assert 1 == found.exit_code
    assert f"no alert packet in {tmp_path}: the warnings name each file" in found.stderr
    assert "not an alert: first bytes" in found.stderr


def test_a_registry_to_publish_to_is_left_alone(samples: Path) -> None:
    """With the worker's own settings, the command registers nothing and needs no registry."""
    registry = 'schemas.publish.url="http://127.0.0.1:9"'
    (line,) = lines(inspect(samples / "lsst" / f"{HIT}.bin", "--json", "--set", registry))
    assert HIT == line["alert_id"]


def test_totals_are_of_all_and_only_some_are_shown(samples: Path) -> None:
    """By verdict, rule and reason; rejections with the same words are one row."""
    found = inspect(samples / "lsst", samples / "broken", "--only", "contaminated")
    assert "30 packets: 24 clean, 1 contaminated, 5 rejected" in found.stdout
    assert "by rule: cosmic-ray 1\nrejected: avro_malformed 5\n" in found.stdout
    assert (1, 0) == (found.stdout.count("cosmic-ray │"), found.stdout.count("sync marker"))
    folded = inspect(samples / "broken").stdout
    assert (1, 1) == (folded.count("sync marker"), folded.count("(5 times)"))
    (line,) = lines(inspect(samples / "lsst", "--json", "--only", "contaminated"))
    assert HIT == line["alert_id"]


def test_the_bar_knows_how_far_files_are(tmp_path: Path) -> None:
    """In bytes, file by file, whatever a file's packets add up to."""
    for name, size in (("a.bin", 100), ("b.tar", 50)):
        (tmp_path / name).write_bytes(b"x" * size)
    files = Files([tmp_path])
    first, second = str(tmp_path / "a.bin"), f"{tmp_path / 'b.tar'}:member"
    assert 150 == files.total()
    assert [60, 100, 130, 150] == [
        files.done(Origin(source, 0, 0), size)
        for source, size in ((first, 60), (first, 60), (second, 30), (second, 30))
    ]


@pytest.fixture
def stream(broker: Broker) -> str:
    """A topic of two partitions: a simulated alert in each, rubbish behind the first."""
    topic = broker.topic(2, stem="inspect")
    one, other = (alert.value for alert in alerts(1, 2, surveys=("ztf",)))
    broker.produce(topic, [one, b"rubbish", b"rubbish"], partition=0)
    broker.produce(topic, [other], partition=1)
    return topic


def places(found: Result) -> list[str]:
    """Where the packets of a JSON answer stood."""
    return [f"{line['partition']}:{line['offset']}" for line in lines(found)]


def test_packets_of_a_topic_are_judged_where_they_stand(broker: Broker, stream: str) -> None:
    """All, one, a stretch, or several; a stretch that is longer than the topic ends with it."""
    asked = ("--topic", stream, "--json", "--bootstrap", broker.bootstrap)
    assert ["0:0", "0:1", "0:2", "1:0"] == places(inspect(*asked))
    assert ["1:0"] == places(inspect(*asked, "--at", "1:0"))
    assert ["0:1", "0:2", "1:0"] == places(inspect(*asked, "--at", "0:1-9", "--at", "1:0"))
    one, wrong = lines(inspect(*asked, "--at", "0:0-1"))
    assert ("ztf", "wire_form_unknown") == (one["survey"], wrong["rejected"])
    assert {} == broker.committed("streamfilter-reader", stream)


def test_brokers_are_those_of_the_configuration(
    broker: Broker, stream: str, tmp_path: Path
) -> None:
    """A row is called as --at takes it; the same rejection is one row."""
    (tmp_path / "site.toml").write_text(f'[kafka]\nbootstrap = "{broker.bootstrap}"\n')
    found = inspect("--topic", stream, "--config", tmp_path / "site.toml")
    assert "0:1 (2 times)" in found.stdout
    assert "4 packets: " in found.stdout


def test_a_place_that_is_not_there_says_what_is(broker: Broker, stream: str) -> None:
    """Neither an offset nor a partition, nor a topic."""
    asked = ("--topic", stream, "--bootstrap", broker.bootstrap)
    for place in ("0:3", "7:0"):
        found = inspect(*asked, "--at", place)
        assert 1 == found.exit_code
        assert f"{stream} has nothing at {place}; it holds 0:0-2, 1:0-0" in found.output
    assert "no-such" in str(inspect("--topic", "no-such", *asked[2:]).exception)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "either FILES or --topic"),
        (("--at", "0:1"), "either FILES or --topic"),
        (("--topic", "t", "--at", "0"), "'0' is not PARTITION:OFFSET"),
        (("--topic", "t", "--at", "0:5-3"), "ends before it begins"),
        (("--topic", "t", "--at", "0:5", "--follow"), "exclude each other"),
    ],
)
def test_what_cannot_be_asked_is_a_wrong_argument(arguments: tuple[str, ...], said: str) -> None:
    """Before an engine is opened."""
    found = inspect(*arguments)
    assert (2, True) == (found.exit_code, said in found.output)


def test_what_comes_to_a_topic_is_followed(broker: Broker, stream: str, tmp_path: Path) -> None:
    """From the end on, row by row; Ctrl-C ends it with the totals."""
    command = [sys.executable, "-m", "streamfilter", "inspect", "--topic", stream, "--follow"]
    log = tmp_path / "rows"
    with log.open("wb") as rows:
        child = subprocess.Popen(
            [*command, "--bootstrap", broker.bootstrap], stdout=rows, env=dict(os.environ)
        )
    try:
        end = time.monotonic() + 60
        while "wire_form_unknown" not in log.read_text():  # it reads what comes after it began
            broker.produce(stream, [b"more rubbish"], partition=1)
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.5)
        child.send_signal(signal.SIGINT)
        assert 0 == child.wait(30)
    finally:
        child.kill()
        child.wait()
    first, *_ = log.read_text().splitlines()
    assert first.startswith("1:")
    assert "rejected: wire_form_unknown" in log.read_text()
