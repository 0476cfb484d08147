"""``streamfilter config``."""

import json
import socket
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from streamfilter.cli import root
from streamfilter.errors import ConfigurationInvalid


def config(*arguments: str) -> Result:
    return CliRunner().invoke(root, ["config", *arguments])


def test_check_says_what_is_read_and_published(tmp_path: Path) -> None:
    """An operator sees at a glance where the stream goes."""
    site = tmp_path / "site.toml"
    site.write_text('[alerts]\ntopics = ["^ztf_.*"]\n[outputs]\nrejected = ""\n')
    found = config("check", "--config", str(site))
    expected = "well-formed: reads ^ztf_.*; publishes streamfilter.annotations\n"
    assert (0, expected) == (found.exit_code, found.output)


def test_rules_in_force_can_be_copied_into_a_file(tmp_path: Path) -> None:
    """What is printed is a configuration that judges as before."""
    printed = config("rules", "lsst")
    assert printed.exit_code == 0
    site = tmp_path / "site.toml"
    site.write_text(printed.output)
    again = config("rules", "lsst", "--config", str(site)).output
    assert tomllib.loads(printed.output) == tomllib.loads(again)
    assert "CR" in tomllib.loads(printed.output)["surveys"]["lsst"]["priors"]


RULE = """
[[surveys.ztf.rules]]
name = "seen-once"
contaminant = "CR"
statistic = "core"
above = 0.3
when = {drb = {below = 0.9, at_least = 0}}
unless = {ndethist = {at_least = 3}, isdiffpos = {equals = "f"}}
"""


def test_conditions_of_rules_can_be_copied_with_them(tmp_path: Path) -> None:
    """What is not given is left out; comments name the fields that there are."""
    site, copy = tmp_path / "site.toml", tmp_path / "copy.toml"
    site.write_text(RULE)
    printed = config("rules", "ztf", "--config", str(site)).output
    (rule,) = tomllib.loads(printed)["surveys"]["ztf"]["rules"]
    assert {"drb": {"below": 0.9, "at_least": 0.0}} == rule["when"]
    assert {"ndethist": {"at_least": 3.0}, "isdiffpos": {"equals": "f"}} == rule["unless"]
    copy.write_text(printed)
    assert printed == config("rules", "ztf", "--config", str(copy)).output
    (comment,) = (line for line in printed.splitlines() if line.startswith("#"))
    assert comment.startswith("# ztf: when and unless of rules may look at chinr, ")
    assert "# lsst: when and unless of rules may look at apFlux" in config("rules").output


TWO = """
[engine]
name = "stampmask"

[[engine.also]]
name = "maximask"
when = {classes = ["CR"], above = 0.02}
"""


def test_rules_of_two_engines_name_theirs(tmp_path: Path) -> None:
    """Those of the second stand behind, under names of their own; copied, they judge as before."""
    site, copy = tmp_path / "site.toml", tmp_path / "copy.toml"
    site.write_text(TWO)
    printed = config("rules", "ztf", "--config", str(site)).output
    ztf = tomllib.loads(printed)["surveys"]["ztf"]
    rules = {rule["name"]: rule for rule in ztf["rules"]}
    assert len(ztf["rules"]) == len(rules)
    assert {"stampmask", "maximask"} == {rule["engine"] for rule in ztf["rules"]}
    assert ("cosmic-ray", "stampmask") == (ztf["rules"][0]["name"], ztf["rules"][0]["engine"])
    hit = rules["maximask-cosmic-ray"]
    assert ("drop", "maximask", 0.3) == (hit["action"], hit["engine"], hit["above"])
    assert {"RES", "FR"} <= set(ztf["priors"])
    copy.write_text(TWO + printed)
    again = config("rules", "ztf", "--config", str(copy)).output
    assert {"ztf": ztf} == tomllib.loads(again)["surveys"]


def test_rules_are_printed_without_keys_that_say_nothing() -> None:
    """The default rules have no conditions, and the only engine needs no name."""
    rules = tomllib.loads(config("rules", "ztf").output)["surveys"]["ztf"]["rules"]
    keys = {key for rule in rules for key in rule}
    assert {"name", "contaminant", "above"} <= keys
    assert keys.isdisjoint({"engine", "when", "unless"})


def test_a_condition_on_no_field_of_the_survey_is_refused(tmp_path: Path) -> None:
    """Before anything starts, with the names that there are."""
    site = tmp_path / "site.toml"
    site.write_text(RULE.replace("drb", "reliability"))
    found = config("check", "--config", str(site))
    assert isinstance(found.exception, ConfigurationInvalid)
    assert "names no field 'reliability'; there are chinr, " in str(found.exception)


def test_a_prior_of_the_file_is_in_force(tmp_path: Path) -> None:
    """One value is changed, the others keep their defaults."""
    site = tmp_path / "site.toml"
    site.write_text("[surveys.lsst]\npriors = {CR = 0.002}\n")
    before, after = (
        tomllib.loads(config("rules", "lsst", *extra).output)["surveys"]["lsst"]["priors"]
        for extra in ((), ("--config", str(site)))
    )
    assert before | {"CR": 0.002} == after


def test_rules_of_an_unknown_survey_name_the_known() -> None:
    """The error helps to find a typing error."""
    found = config("rules", "ltsst")
    assert isinstance(found.exception, ConfigurationInvalid)
    assert "lsst" in str(found.exception)


LATEST = 'kafka.consumer."auto.offset.reset"=latest'
LATE = 'kafka.producer."delivery.timeout.ms"=40000'


@pytest.mark.parametrize("command", [["config", "check"], ["run"]])
@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["outputs.clean=alerts"], "outputs.clean: "),
        (["engine.name=foo"], "engine.name: no engine 'foo'; there are deepcr, maximask"),
        (["engine.name=maxitrack"], "'maxitrack' gives nothing per pixel; there are deepcr"),
        (['kafka.consumer."enable.auto.commit"=true'], "'enable.auto.commit' is 'true'"),
        (['kafka.producer.acks="1"'], "'acks' is '1'"),
        (['kafka.settings."fetch.bytes"=1'], 'No such configuration property: "fetch.bytes"'),
        (["delivery.guarantee=exactly-once", LATE], "Kafka producer settings: "),
        (['alerts.topics=["^["]'], "alerts: topics ^[: "),
        (['exposures.topics=["a", "^["]'], "exposures: topics a, ^[: "),
        ([LATEST, 'alerts.topics=["^ztf_"]'], "alerts: Kafka setting 'auto.offset.reset' is"),
        ([LATEST, 'exposures.topics=["^e"]'], "exposures: Kafka setting 'auto.offset.reset' is"),
        (['kafka.settings."sasl.mechanism"=OAUTHBEARER'], "nothing gives it tokens: set"),
        (['schemas.folders=["/nope"]'], "schemas.folders: /nope: no such folder"),
    ],
)
def test_what_would_stop_a_worker_is_found_before_its_engine_is_opened(
    command: list[str], overrides: list[str], said: str, tmp_path: Path
) -> None:
    """The content is checked, not only the form; `run` gives the same error as `config check`."""
    given = [f"--set={each}" for each in [f"engine.home={tmp_path}", *overrides]]
    found = CliRunner().invoke(root, [*command, *given])
    assert isinstance(found.exception, ConfigurationInvalid)
    assert said in str(found.exception)
    assert [] == list(tmp_path.iterdir())


EXPOSURES = "exposures.topics=['e']"


@pytest.mark.parametrize(
    "given",
    [
        ['kafka.settings."message.max.bytes"=41943040'],
        ['kafka.settings."message.max.bytes"=16777217', EXPOSURES],
        ['kafka.settings."message.max.bytes"=400000000', EXPOSURES],
        ['kafka.settings."receive.message.max.bytes"=10000000', EXPOSURES],
        ['kafka.consumer."fetch.max.bytes"=1000000000', EXPOSURES],
        ['kafka.producer."queue.buffering.max.kbytes"=2000', EXPOSURES],
        ['kafka.settings."session.timeout.ms"=600000', EXPOSURES],
        ['kafka.settings."max.poll.interval.ms"=10000'],
        ['kafka.settings."group.protocol"=consumer', EXPOSURES],
    ],
)
@pytest.mark.parametrize("guarantee", ["at-least-once", "exactly-once"])
def test_a_property_that_is_right_for_kafka_is_well_formed(
    given: list[str], guarantee: str
) -> None:
    """Also where it goes beyond a default that nobody set, of either half."""
    found = config(
        "check", *(f"--set={each}" for each in [*given, f"delivery.guarantee={guarantee}"])
    )
    assert (0, "") == (found.exit_code, found.stderr)


def test_properties_that_exclude_each_other_are_named_with_their_place() -> None:
    """What was set, where, and what to change."""
    given = [
        'kafka.settings."message.max.bytes"=41943040',
        'kafka.consumer."fetch.max.bytes"=1000000',
    ]
    found = config("check", *(f"--set={each}" for each in given))
    assert (
        "alerts: Kafka consumer settings: 'fetch.max.bytes' and 'message.max.bytes' exclude each "
        "other: fetch.max.bytes is 1000000, but must be at least 41943040 for message.max.bytes "
        "41943040; raise fetch.max.bytes, or lower or remove message.max.bytes "
        '("message.max.bytes" is set in kafka.settings, "fetch.max.bytes" is set in kafka.consumer)'
    ) == str(found.exception)


def test_check_connects_to_nobody() -> None:
    """Kafka clients are made to check their settings, without a broker's address and login."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.5)
        broker = f"127.0.0.1:{listening.getsockname()[1]}"
        login = ['"security.protocol"=SASL_PLAINTEXT', '"sasl.mechanism"=PLAIN']
        keys = [f'"metadata.broker.list"="{broker}"', *login]
        given = [f"kafka.bootstrap={broker}", *(f"kafka.settings.{key}" for key in keys)]
        found = config("check", *(f"--set={each}" for each in given))
        assert (0, "") == (found.exit_code, found.stderr)
        with pytest.raises(TimeoutError):
            listening.accept()


def test_the_schema_is_json() -> None:
    """For an editor that reads it."""
    found = config("schema")
    assert 0 == found.exit_code
    assert "kafka" in json.loads(found.output)["properties"]
