"""``streamfilter simulate`` feeds a broker at the pace asked for until it is told to stop."""

import csv
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from kafka_desk import Broker

from streamfilter.cli.simulate import simulate
from streamfilter.errors import TransportFailed
from streamfilter.reading import read
from streamfilter.simulate.visits import CADENCE_S


def run(broker: Broker, *arguments: str) -> Result:
    return CliRunner().invoke(simulate, [*arguments, "--bootstrap", broker.bootstrap])


def test_alerts_come_at_their_rate_and_end_with_their_light(broker: Broker) -> None:
    """Twenty a second; the light of each ended no longer ago than a visit lasts."""
    topic, before = broker.topic(partitions=2), time.time()
    result = run(broker, "--topic", topic, "--rate", "20", "--seconds", "1", "--survey", "ztf")
    found = broker.read(topic)
    assert (0, 20) == (result.exit_code, len(found))
    assert "20 messages acknowledged, 0 refused" in result.stdout
    for message in found:
        record = read(message.value or b"")
        light_end = (record["candidate"]["jd"] - 2_440_587.5) * 86_400
        assert -CADENCE_S < light_end - before < time.time() - before
    assert 850 <= max(m.timestamp_ms or 0 for m in found) - min(m.timestamp_ms or 0 for m in found)


def test_an_exposure_is_announced_with_all_its_detectors(broker: Broker) -> None:
    """Four messages of one key, and none of alerts."""
    topic = broker.topic()
    result = run(broker, "--exposures", topic, "--every", "5", "--seconds", "1")
    found = [read(message.value or b"") for message in broker.read(topic)]
    assert (0, 4) == (result.exit_code, len(found))
    assert {4} == {record["detectors_expected"] for record in found}
    assert 1 == len({record["exposure_id"] for record in found})
    assert 1 == len(broker.counts(topic))


def test_it_stops_in_order_at_sigterm(broker: Broker) -> None:
    """It handles the signal also as process 1 of a container, and waits for acknowledgements."""
    topic = broker.topic()
    command = [sys.executable, "-m", "streamfilter", "simulate", "--topic", topic]
    command += ["--bootstrap", broker.bootstrap]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while not broker.size(topic):
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=30)
    assert (0, f"{broker.size(topic)} messages acknowledged, 0 refused\n") == (
        process.returncode,
        said,
    )


def test_it_sends_nothing_to_a_topic_that_is_not_there(broker: Broker) -> None:
    """The error says how to mend it."""
    with pytest.raises(TransportFailed, match="streamfilter topics create absent"):
        CliRunner().invoke(
            simulate, ["--topic", "absent", "--bootstrap", broker.bootstrap],
            catch_exceptions=False,
        )  # fmt: skip


def test_it_must_be_told_what_to_send() -> None:
    """Without alerts and exposures, the arguments are wrong."""
    assert 2 == CliRunner().invoke(simulate, []).exit_code


def test_alerts_and_frames_are_written_to_files(tmp_path: Path) -> None:
    """Without a broker; a table says what was put into each alert, a name which exposure drifts."""
    arguments = ["--out", tmp_path, "--alerts", 12, "--frames", 1, "--drift-every", 1]
    result = CliRunner().invoke(simulate, list(map(str, arguments)))
    assert 0 == result.exit_code, result.output
    assert "12 alerts in" in result.output
    assert "4 frames in" in result.output
    with (tmp_path / "truth.csv").open(newline="") as file:
        truth = {row["alert_id"]: row for row in csv.DictReader(file)}
    ids = {path.stem: path.suffix for path in (tmp_path / "alerts").iterdir()}
    assert (12, set(truth)) == (len(truth), set(ids))
    assert {("ztf", ".avro"), ("lsst", ".bin")} == {
        (truth[each]["survey"], ending) for each, ending in ids.items()
    }
    first = next(each for each, ending in sorted(ids.items()) if ending == ".avro")
    assert int(first) == read((tmp_path / "alerts" / f"{first}.avro").read_bytes())["candid"]
    names = sorted(path.name for path in (tmp_path / "frames").iterdir())
    assert ["exposure-1-drifts-1.fits", "exposure-1-drifts-4.fits"] == [names[0], names[-1]]


def test_files_and_topics_exclude_each_other() -> None:
    """What is written is not sent."""
    for arguments in (["--out", "x"], ["--out", "x", "--topic", "t", "--alerts", "1"]):
        assert 2 == CliRunner().invoke(simulate, arguments).exit_code
    assert 2 == CliRunner().invoke(simulate, ["--alerts", "1"]).exit_code
