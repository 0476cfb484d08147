"""``streamfilter topics create`` says what it did."""

import json
import time
import uuid
from pathlib import Path

import pytest
import structlog
from click.testing import CliRunner, Result
from kafka_desk import Broker

from streamfilter import config
from streamfilter.cli import root
from streamfilter.cli.topics import topics
from streamfilter.errors import ConfigurationInvalid, TopicMissing
from streamfilter.kafka.inspection import Inspector, TopicFacts
from streamfilter.service.assembly.topics import check_topics


def test_topics_are_created_and_a_second_call_says_that_they_are_there(broker: Broker) -> None:
    """The number of partitions that differs is pointed out."""
    name = f"made-{uuid.uuid4().hex[:12]}"
    arguments = ["create", name, "--bootstrap", broker.bootstrap, "--retention-hours", "0.5"]
    first = CliRunner().invoke(topics, [*arguments, "--partitions", "2"])
    second = CliRunner().invoke(topics, [*arguments, "--partitions", "4"])
    assert (f"{name}: created, 2 partitions\n", 0) == (first.output, first.exit_code)
    assert f"{name}: was there already, 2 partitions, not 4: it is left as it is\n" == second.output


def test_a_setting_without_a_value_is_a_wrong_argument() -> None:
    """The error repeats the text."""
    result = CliRunner().invoke(topics, ["create", "t", "--setting", "sasl.username"])
    assert 2 == result.exit_code
    assert "'sasl.username' is not KEY=VALUE" in result.output


def written(folder: Path, bootstrap: str, stem: str, **kafka: str) -> Path:
    """A configuration of both halves, with names of its own."""
    lines = [f"[kafka]\nbootstrap = {json.dumps(bootstrap)}"]
    lines += [f"{key} = {json.dumps(value)}" for key, value in kafka.items()]
    lines += [f'[alerts]\ntopics = ["{stem}-alerts", "^{stem}-nightly-.*"]']
    lines += [f'[exposures]\ntopics = ["{stem}-exposures"]']
    lines += ["[outputs]"]
    named = ("annotations", "enriched", "rejected", "tracking")
    lines += [f'{name} = "{stem}-{name}"' for name in named]
    file = folder / "site.toml"
    file.write_text("\n".join(lines))
    return file


def made(*arguments: str) -> Result:
    return CliRunner().invoke(root, ["topics", *arguments])


def facts(broker: Broker, *names: str) -> dict[str, TopicFacts]:
    """What the broker says; one that is busy knows of a new topic a moment later."""
    inspector = Inspector({"bootstrap.servers": broker.bootstrap}, timeout_s=30)
    end = time.monotonic() + 30
    while True:
        found = inspector.topics(names)
        known = {name: each for name, each in found.items() if isinstance(each, TopicFacts)}
        if len(known) == len(names) or time.monotonic() > end:
            return known
        time.sleep(0.1)


def test_every_topic_that_a_configuration_names_is_made_with_what_it_needs(
    broker: Broker, tmp_path: Path
) -> None:
    """Sizes for whole alerts and frames, deletion by time; a pattern is another's to make."""
    stem = f"made-{uuid.uuid4().hex[:12]}"
    file = written(tmp_path, broker.bootstrap, stem)
    broker.topic(3, name=f"{stem}-alerts", cleanup_policy="compact")
    done = made("create", "--config", str(file), "--replication", "1")
    names = [f"{stem}-{each}" for each in ("enriched", "rejected", "exposures", "tracking")]
    found = facts(broker, *names)
    assert 0 == done.exit_code, done.output
    assert f"{stem}-alerts: was there already, 3 partitions\n" in done.stdout
    assert f"^{stem}-nightly-.*: left, a pattern" in done.stdout
    assert dict.fromkeys(names, 3) == {name: each.partitions for name, each in found.items()}
    assert {"delete"} == {each.config["cleanup.policy"] for each in found.values()}
    sizes = {name.removeprefix(f"{stem}-"): each.max_message_bytes for name, each in found.items()}
    assert 9 * 2**20 == sizes["enriched"]
    assert {41 * 2**20} == {sizes["rejected"], sizes["exposures"]}
    again = made("create", "--config", str(file))
    assert 0 == again.stdout.count("created")


def test_what_the_command_line_says_goes_before_what_is_needed(
    broker: Broker, tmp_path: Path
) -> None:
    """One topic of the configuration, with the properties that were asked for."""
    stem = f"made-{uuid.uuid4().hex[:12]}"
    file = written(tmp_path, "127.0.0.1:9", stem)
    name = f"{stem}-rejected"
    done = made(
        "create", name, "--config", str(file), "--bootstrap", broker.bootstrap, "--partitions", "2",
        "--property", "max.message.bytes=1000",
    )  # fmt: skip
    assert f"{name}: created, 2 partitions\n" == done.stdout
    assert 1000 == facts(broker, name)[name].max_message_bytes


def test_topics_of_others_brokers_are_left(broker: Broker, tmp_path: Path) -> None:
    """A public stream is read-only; outputs are made where they go."""
    stem = f"made-{uuid.uuid4().hex[:12]}"
    file = written(tmp_path, broker.bootstrap, stem, output_bootstrap=broker.bootstrap)
    done = made("create", "--config", str(file))
    assert f"{stem}-alerts: left, it is read from others' brokers" in done.stdout
    assert f"{stem}-annotations: created" in done.stdout


def test_a_topic_is_changed_and_what_cannot_be_is_said(broker: Broker) -> None:
    """What is not named stays."""
    name = broker.topic(stem="change", retention_ms="60000")
    there = ["--bootstrap", broker.bootstrap]
    done = made("alter", name, "--property", "max.message.bytes=2000000", *there)
    config = facts(broker, name)[name].config
    assert f"{name}: max.message.bytes is 2000000 now\n" == done.stdout
    assert ("2000000", "60000") == (config["max.message.bytes"], config["retention.ms"])
    wrong = made("alter", name, "--property", "retention.weeks=1", *there)
    assert isinstance(wrong.exception, ConfigurationInvalid)
    none = made("alter", "no-such", "--property", "retention.ms=1", *there)
    assert isinstance(none.exception, TopicMissing)
    assert 2 == made("alter", name, *there).exit_code


@pytest.mark.parametrize("only", ["alerts", "exposures"])
def test_a_worker_looks_for_its_topics_before_it_opens_an_engine(
    broker: Broker, tmp_path: Path, only: str
) -> None:
    """With the command that makes them; only those of the worker that runs are asked for."""
    stem = f"made-{uuid.uuid4().hex[:12]}"
    file = written(tmp_path, broker.bootstrap, stem)
    home = tmp_path / "home"
    given = ["--config", str(file), "--set", f"engine.home={home}", "--set", "metrics.port=0"]
    done = CliRunner().invoke(root, ["run", "--only", only, *given])
    assert isinstance(done.exception, TopicMissing)
    assert f"no topic {stem}-{only} ({only}.topics)" in str(done.exception)
    assert f"streamfilter topics create --config {file} --set engine.home=" in str(done.exception)
    assert not home.exists()
    broker.topic(name=f"{stem}-{only}")
    again = CliRunner().invoke(root, ["run", "--only", only, *given])
    assert f"{stem}-rejected (outputs.rejected)" in str(again.exception)
    assert ("tracking" in str(again.exception)) == (only == "exposures")


def by_survey(folder: Path, broker: Broker) -> tuple[Path, str]:
    """A configuration of topics by survey; the topics that are not are there."""
    stem = f"made-{uuid.uuid4().hex[:12]}"
    file = folder / "site.toml"
    file.write_text(
        f'[kafka]\nbootstrap = "{broker.bootstrap}"\n[alerts]\ntopics = ["{stem}-alerts"]\n'
        f'[outputs]\nannotations = "{stem}-{{survey}}-notes"\nclean = "{stem}-{{survey}}"\n'
        f'rejected = "{stem}-rejected"\n'
    )
    for name in ("alerts", "rejected"):
        broker.topic(name=f"{stem}-{name}")
    return file, stem


def test_topics_are_made_for_the_surveys_that_are_asked_for(broker: Broker, tmp_path: Path) -> None:
    """With what each needs; without ``--survey`` for every field map."""
    file, stem = by_survey(tmp_path, broker)
    done = made("create", "--config", str(file), "--survey", "ztf", "--survey", "lsst")
    of_two = [f"{stem}-{each}" for each in ("lsst-notes", "ztf-notes", "lsst", "ztf")]
    assert [f"{each}: created, 1 partitions" for each in of_two] == [
        line for line in done.stdout.splitlines() if "created" in line
    ]
    assert 9 * 2**20 == facts(broker, f"{stem}-ztf")[f"{stem}-ztf"].max_message_bytes
    again = made("create", "--config", str(file))
    assert f"{stem}-winter-notes: created" in again.stdout
    assert f"{stem}-ztf: was there already" in again.stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--survey", "ltsst", "--set", "outputs.clean=a-{survey}"], "--survey ltsst: no field"),
        (["--survey", "ztf"], "no name in [outputs] has {survey}"),
        (["alerts", "--survey", "ztf"], "leave NAMES out"),
    ],
)
def test_surveys_that_no_topic_is_for_are_a_wrong_argument(options: list[str], said: str) -> None:
    """Nothing is made."""
    done = made("create", *options)
    assert (2, True) == (done.exit_code, said in done.output)


def test_one_survey_s_topics_are_enough_to_start(broker: Broker, tmp_path: Path) -> None:
    """Where none has one, a worker could publish nothing; of those that lack some it tells."""
    file, stem = by_survey(tmp_path, broker)
    settings = config.load(file, environment={})
    with pytest.raises(TopicMissing) as none:
        check_topics(settings, ["alerts"], "make them")
    assert f"no survey has a topic {stem}-{{survey}}-notes (outputs.annotations)" in str(none.value)
    broker.topic(name=f"{stem}-ztf-notes")
    with pytest.raises(TopicMissing, match=r"outputs\.clean"):
        check_topics(settings, ["alerts"], "make them")
    broker.topic(name=f"{stem}-ztf")
    with structlog.testing.capture_logs() as events:
        check_topics(settings, ["alerts"], "make them")
    (event,) = events
    assert "surveys without topics" == event["event"]
    assert {"lsst"} == {"lsst", "ztf"} & set(event["surveys"])
    assert "make them --survey NAME" in event["detail"]
