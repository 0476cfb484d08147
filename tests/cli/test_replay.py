"""``streamfilter replay`` sends packets as they are, in time, and accounts for each."""

import io
import time
from pathlib import Path
from typing import cast

import fastavro
import pytest
from click.testing import CliRunner, Result
from kafka_desk import Broker

from streamfilter.cli.replay import Pace, replay
from streamfilter.errors import TransportFailed

PACKETS = [b"\0\0\0\0\1" + bytes([number]) * 100 for number in range(5)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five packets and a table."""
    for number, value in enumerate(PACKETS):
        (tmp_path / f"{number}.bin").write_bytes(value)
    (tmp_path / "table.csv").write_text("a,b")
    return tmp_path


def run(broker: Broker, topic: str, *arguments: str | Path) -> Result:
    given = [*map(str, arguments), "--topic", topic, "--bootstrap", broker.bootstrap]
    return CliRunner().invoke(replay, given)


def test_packets_arrive_as_they_are_with_the_time_of_sending(broker: Broker, folder: Path) -> None:
    """The header is in Unix milliseconds as text; files that are not alerts are reported."""
    topic, before = broker.topic(), time.time_ns() // 1_000_000
    result = run(broker, topic, folder)
    found = broker.read(topic)
    assert (0, PACKETS) == (result.exit_code, [message.value for message in found])
    (name, stamp), *others = found[0].headers
    assert ("producer_timestamp", [("streamfilter-replayed", b"0")]) == (name, others)
    assert before <= int(stamp or b"") <= time.time_ns() // 1_000_000
    assert f"{topic}: 5 packets, 0.0 MB" in result.stdout
    assert "5 acknowledged, 0 refused, 1 file skipped" in result.stdout
    assert "table.csv: not an alert" in result.stderr


def test_a_rehearsal_of_the_pager_itself_is_not_marked(broker: Broker, folder: Path) -> None:
    """Then old packets count as late, as asked for."""
    topic = broker.topic()
    run(broker, topic, folder, "--as-live", "--max", "1")
    assert ["producer_timestamp"] == [name for name, _ in broker.read(topic)[0].headers]


def test_files_are_repeated_up_to_the_number_asked_for(broker: Broker, folder: Path) -> None:
    """Three passes of five packets, of which twelve are wanted."""
    topic = broker.topic()
    run(broker, topic, folder, "--repeat", "3", "--max", "12")
    values = [message.value for message in broker.read(topic)]
    assert PACKETS + PACKETS + PACKETS[:2] == values


@pytest.mark.parametrize("pace", [("--rate", "10"), ("--bursts", "2/0.2")])
def test_packets_are_sent_at_the_pace_asked_for(
    broker: Broker, folder: Path, pace: tuple[str, str]
) -> None:
    """Five packets take four tenths of a second, evenly or in bursts."""
    topic = broker.topic()
    run(broker, topic, folder, *pace)
    stamps = [message.timestamp_ms or 0 for message in broker.read(topic)]
    assert 350 <= stamps[-1] - stamps[0]


def test_a_burst_is_due_at_once() -> None:
    """The first of the next burst waits, the last of this one does not."""
    assert [0.0, 0.0, 0.0, 39.0] == [Pace(3, 39.0).due_s(index) for index in range(4)]


def test_the_key_is_the_alerts_id(broker: Broker, samples: Path, tmp_path: Path) -> None:
    """A packet that cannot be decoded is sent without a key; no stamp has to be read for one."""
    topic = broker.topic()
    path = next(iter(sorted((samples / "ztf").glob("*.avro"))))
    record = cast("dict[str, int]", next(fastavro.reader(io.BytesIO(path.read_bytes()))))
    broken = tmp_path / "broken.avro"
    broken.write_bytes(path.read_bytes()[:-1])
    dark = tmp_path / "dark.avro"
    dark.write_bytes(path.read_bytes().replace(b"\x1f\x8b\x08", b"XXX"))
    result = run(broker, topic, path, broken, dark, "--key", "alert-id")
    assert {str(record["candid"]).encode(): 2, None: 1} == broker.counts(topic)
    assert "1 without a key" in result.stdout


def test_a_packet_that_the_topic_does_not_take_is_told(broker: Broker, folder: Path) -> None:
    """The others arrive; the exit code says that one did not."""
    topic = broker.topic(max_message_bytes="1000")
    (folder / "5.bin").write_bytes(b"\0" * 20 + bytes(range(256)) * 20)
    result = run(broker, topic, folder, "--setting", "compression.type=none")
    assert (1, PACKETS) == (result.exit_code, [m.value for m in broker.read(topic)])
    assert "5 acknowledged, 1 refused" in result.stdout
    assert "5.bin: " in result.stderr


def test_a_topic_that_is_not_there_is_told_at_once(broker: Broker, folder: Path) -> None:
    """The error has the command that makes the topic."""
    result = run(broker, "nowhere-at-all", folder)
    assert isinstance(result.exception, TransportFailed)
    assert "streamfilter topics create nowhere-at-all" in str(result.exception)


def test_files_without_an_alert_are_a_failure(broker: Broker, folder: Path) -> None:
    """Sending no alert is not a success, also with many passes."""
    result = run(broker, broker.topic(), folder / "table.csv", "--repeat", "1000000")
    assert 1 == result.exit_code
    assert "no alert in these files" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--rate", "1", "--bursts", "1/1"], "exclude each other"),
        (["--bursts", "ten/39"], "'ten/39' is not N/S"),
        (["--bursts", "0/39"], "'0/39' is not N/S"),
    ],
)
def test_a_pace_that_cannot_be_is_a_wrong_argument(
    folder: Path, arguments: list[str], words: str
) -> None:
    """Exit code 2, before anything is sent."""
    result = CliRunner().invoke(replay, [str(folder), "--topic", "t", *arguments])
    assert 2 == result.exit_code
    assert words in result.stderr
