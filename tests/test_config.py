"""Settings: their defaults and sources, and the messages for wrong ones."""

import re
import tomllib
import typing
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from foreign_words import foreign_words
from pydantic import BaseModel

from streamfilter import config
from streamfilter.config import Settings
from streamfilter.errors import ConfigurationInvalid
from streamfilter.records import Condition, Doubt

EXAMPLE = Path(__file__).parent.parent / "deploy" / "streamfilter.toml"


def loaded(tmp_path: Path, text: str, **environment: str) -> Settings:
    """Settings of a file with this text."""
    path = tmp_path / "site.toml"
    path.write_text(text)
    return config.load(path, environment=environment)


def test_the_example_configuration_equals_the_defaults() -> None:
    """A site engineer copies the example and changes nothing by that."""
    example = config.load(EXAMPLE, environment={})
    defaults, shown = (dict(flat(each.model_dump())) for each in (Settings(), example))
    wrong = [
        f"{k}: {shown.get(k)!r}, not {defaults.get(k)!r}"
        for k in {**defaults, **shown}
        if shown.get(k) != defaults.get(k)
    ]
    assert [] == wrong, f"{EXAMPLE.name} must have the defaults of streamfilter/config/sections.py"
    assert Settings() == example


def flat(tree: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Values by dotted keys."""
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def test_the_example_configuration_names_every_key() -> None:
    """Each in its own section, commented out where it has no default."""
    shown = set(keys_shown())
    lost = [
        f"{key} in [{section}]"
        for section, key in keys_of(Settings)
        if not any(key == k and re.fullmatch(section.replace("NAME", r"\w+"), s) for s, k in shown)
    ]
    assert [] == lost, f"add each to {EXAMPLE.name}, with its default and a word on what it does"


def keys_shown() -> Iterator[tuple[str, str]]:
    """Section and key of every line of the example, also of one that is commented out."""
    section = ""
    for line in EXAMPLE.read_text().splitlines():
        if head := re.match(r"(?:# )?\[+([\w.]+)\]", line):
            section = head[1]
            parent, _, key = section.rpartition(".")
            yield parent, key
        elif found := re.match(r"(?:# )?(\w+) = ", line):
            yield section, found[1]


def keys_of(model: Any, section: str = "") -> Iterator[tuple[str, str]]:
    """Section and key of every setting; NAME where a section's name is the operator's."""
    hints = typing.get_type_hints(model)
    names = getattr(model, "model_fields", None) or {field.name for field in fields(model)}
    for name in names:
        inner = [hints[name], *typing.get_args(hints[name])]
        inner += [each for kind in inner for each in typing.get_args(kind)]
        part = next((each for each in inner if has_keys(each)), None)
        place = f"{section}.{name}".lstrip(".")
        if part is None:
            yield section, name
        elif typing.get_origin(hints[name]) is dict:
            yield from keys_of(part, f"{place}.NAME")
        else:
            yield from keys_of(part, place)


def has_keys(kind: Any) -> bool:
    """Whether a type is a section, or a table within one."""
    if not isinstance(kind, type) or kind is Condition:  # named on the lines of the two with it
        return False
    return issubclass(kind, BaseModel) or is_dataclass(kind)


UNITS = ("_s", "_ms", "_px", "_bytes")


def test_the_example_configuration_explains_every_key() -> None:
    """A number has its unit in the name or beside it; any other key has a word beside it."""
    lines = EXAMPLE.read_text().splitlines()
    keys = [line for line in lines if re.match(r"\w+ = ", line)]
    assert len(keys) > 60
    bare = [each for each in keys if "#" not in each and not key_of(each).endswith(UNITS)]
    assert [] == bare, f"say in {EXAMPLE.name} behind each what it does"


def key_of(line: str) -> str:
    """The key of a line."""
    return line.partition(" = ")[0]


def test_the_example_configuration_says_what_sighup_puts_in_force() -> None:
    """All other keys need a restart."""
    text = EXAMPLE.read_text()
    keys = [key for key in config.RELOADABLE if not key.startswith("outputs.")]
    keys.insert(1, "outputs (but masks, labels)")
    assert f"what changed of {', '.join(keys)};" in text


def test_the_environment_overrides_the_file(tmp_path: Path) -> None:
    """A container changes one value without a file of its own."""
    settings = loaded(tmp_path, "[batch]\nsize = 4\n", STREAMFILTER_BATCH__SIZE="8")
    assert 8 == settings.batch.size


def test_an_override_of_the_command_line_wins() -> None:
    """The order is file, environment, --set."""
    settings = config.load(
        environment={"STREAMFILTER_BATCH__SIZE": "8"}, overrides=["batch.size=2"]
    )
    assert 2 == settings.batch.size


def test_an_override_may_be_a_plain_string() -> None:
    """Quotes are not needed on the command line."""
    settings = config.load(environment={}, overrides=["kafka.bootstrap=broker-1:9092"])
    assert "broker-1:9092" == settings.kafka.bootstrap


def test_a_property_of_librdkafka_is_quoted_like_a_toml_key() -> None:
    """Dots inside a property's name do not nest."""
    settings = config.load(environment={}, overrides=['kafka.settings."client.id"=a'])
    assert {"client.id": "a"} == settings.kafka.settings


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("[batch]\nsize = 0", "batch.size"),
        ("[batch]\nsizes = 1", "batch.sizes"),
        ("[limits]\nmax_message_bytes = -1", "max_message_bytes"),
        ("[surveys.ztf]\npriors = {XX = 0.1}", "surveys.ztf.priors"),
        ("[alerts]\ntopics = []", "alerts.topics"),
        ("[[surveys.a.rules]]\nname='n'\ncontaminant='BG'\nstatistic='core'\nabove=0.5", "'n'"),
        ("[nothing]", "nothing"),
        ("[exposures.instruments.a]\nsection = '1:2'", "exposures.instruments.a.section"),
        (
            "[exposures.instruments.a]\nnot_judged = {focus = ['FOCUS']}",
            "exposures.instruments.a.not_judged.focus.0: 'FOCUS': expected KEYWORD=value",
        ),
        ("[exposures.contaminants]\ntile_px = 500", "exposures.contaminants.tile_px"),
        (
            "[exposures.contaminants]\npriors = {XX = 0.1}",
            "exposures.contaminants.priors.XX: no class",
        ),
        ("[exposures.contaminants]\nclasses = ['XX']", "exposures.contaminants.classes"),
        # The engine is warmed up with a whole batch.
        ("[batch]\nsize = 1000000\n", "batch.size"),
    ],
)
def test_a_wrong_value_names_key_and_file(tmp_path: Path, text: str, key: str) -> None:
    """The operator need not search."""
    with pytest.raises(ConfigurationInvalid, match=r"site\.toml: ") as raised:
        loaded(tmp_path, text)
    assert key in str(raised.value)


def test_a_topic_s_name_may_have_the_survey_in_it() -> None:
    """Each survey has its own then; other names are what they are."""
    chosen = config.load(
        environment={}, overrides=["outputs.clean=a-{survey}-b", "outputs.masks=m"]
    )
    names = {key: config.of_survey(topic, "ztf") for key, topic in chosen.outputs if topic}
    assert ("a-ztf-b", "streamfilter.annotations", "m") == (
        names["clean"], names["annotations"], names["masks"],
    )  # fmt: skip
    assert ["clean"] == [key for key, topic in chosen.outputs if config.has_survey(topic)]
    assert 'clean = "a-{survey}-b"' in config.show(chosen)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("outputs.clean=a-{surveys}", "found '{surveys}'; {survey} alone may stand in braces"),
        ("outputs.annotations={survey}-{topic}", "found '{topic}'; {survey} alone"),
        ("outputs.enriched=a-{survey", "found '{'; {survey} alone"),
        ("outputs.rejected=a-{survey}", "'{survey}', but what comes here belongs to no survey"),
        ("outputs.tracking=a-{survey}", "is for annotations, enriched, clean, contaminated"),
        ("outputs.masks=a-{}", "found '{}', but what comes here belongs to no survey"),
    ],
)
def test_other_braces_in_a_topic_s_name_are_refused(override: str, said: str) -> None:
    """The message says what may stand there; no broker would take such a name."""
    with pytest.raises(ConfigurationInvalid, match=override.partition("=")[0]) as raised:
        config.load(environment={}, overrides=[override])
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("alerts.topics=ztf", 'alerts.topics: expected a list, such as ["a", "b"]; found \'ztf\''),
        (
            "surveys.ztf.priors=3",
            "surveys.ztf.priors: expected a table of keys and values; found 3",
        ),
        ("batch=3", "batch: expected a section of keys and values; found 3"),
    ],
)
def test_a_value_of_another_kind_is_told_in_the_words_of_toml(override: str, said: str) -> None:
    """Tuples, dictionaries and instances are Python's."""
    with pytest.raises(ConfigurationInvalid) as caught:
        config.load(environment={}, overrides=[override])
    assert f"--set: {said}" == str(caught.value)


def test_what_is_not_toml_names_the_line(tmp_path: Path) -> None:
    """A typing error is found at once."""
    with pytest.raises(ConfigurationInvalid, match="line 2"):
        loaded(tmp_path, "[batch]\nsize = \n")


def test_a_secret_comes_from_the_environment_and_is_not_shown(tmp_path: Path) -> None:
    """`config show` can be pasted into a ticket."""
    text = '[kafka.settings]\n"sasl.password" = "${PW}"\n'
    settings = loaded(tmp_path, text, PW="hunter2")
    assert "hunter2" == settings.kafka.settings["sasl.password"]
    assert "hunter2" not in config.show(settings)


def test_a_secret_comes_from_a_file(tmp_path: Path) -> None:
    """Container platforms mount secrets as files."""
    (tmp_path / "pw").write_text("hunter2\n")
    settings = loaded(tmp_path, f'[kafka.settings]\n"sasl.password" = "${{file:{tmp_path}/pw}}"\n')
    assert "hunter2" == settings.kafka.settings["sasl.password"]


def test_what_was_written_for_a_secret_is_shown(tmp_path: Path) -> None:
    """`config show > site.toml` keeps the reference, so the file works."""
    text = '[kafka.settings]\n"sasl.username" = "${WHO}"\n[alerts]\ntopics = ["${WHERE}"]\n'
    shown = config.show(loaded(tmp_path, text, WHO="hunter2", WHERE="hunter3"))
    assert "hunter" not in shown
    assert '"sasl.username" = "${WHO}"' in shown
    assert '"${WHERE}"' in shown


def test_where_a_key_lies_is_shown(tmp_path: Path) -> None:
    """A path is no secret, and needed when TLS does not work."""
    text = '[kafka.settings]\n"ssl.key.location" = "/etc/key.pem"\n"ssl.key.pem" = "hunter2"\n'
    shown = config.show(loaded(tmp_path, text))
    assert "/etc/key.pem" in shown
    assert "hunter2" not in shown


def test_a_secret_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    """The message does not show its bytes."""
    (tmp_path / "pw").write_bytes(b"\xffhunter2")
    with pytest.raises(ConfigurationInvalid, match="not UTF-8") as caught:
        loaded(tmp_path, f'[kafka.settings]\n"sasl.password" = "${{file:{tmp_path}/pw}}"\n')
    assert "hunter2" not in str(caught.value)


def test_a_missing_secret_is_named(tmp_path: Path) -> None:
    """The mend is in the message."""
    with pytest.raises(ConfigurationInvalid, match="set the environment variable PW"):
        loaded(tmp_path, '[kafka.settings]\n"sasl.password" = "${PW}"\n')


def test_what_is_shown_can_be_loaded_again(tmp_path: Path) -> None:
    """`config show > site.toml` is a start."""
    assert Settings() == loaded(tmp_path, config.show(Settings()))


OPEN = '[metrics]\nhost = "0.0.0.0"\n'
FILES = 'certificate_file = "a.crt"\nkey_file = "a.key"\n'
LOGIN = 'user = "ops"\npassword = "right"\n'


@pytest.mark.parametrize("more", ["", FILES, LOGIN])
def test_metrics_are_not_open_to_the_network_by_accident(tmp_path: Path, more: str) -> None:
    """The message says what to give."""
    with pytest.raises(ConfigurationInvalid, match="open to the network: give certificate_file"):
        loaded(tmp_path, OPEN + more)


@pytest.mark.parametrize("more", [FILES + LOGIN, "allow_open = true\n", 'host = "::1"\n'])
def test_metrics_may_be_opened(tmp_path: Path, more: str) -> None:
    """This needs a certificate and a password, or an explicit setting."""
    text = OPEN.partition("host")[0] + more if "host" in more else OPEN + more
    assert loaded(tmp_path, text).metrics.enabled


@pytest.mark.parametrize("half", ['user = "ops"', 'password = "x"', 'key_file = "a.key"'])
def test_half_of_a_protection_is_refused(tmp_path: Path, half: str) -> None:
    """A user without a password would protect nothing."""
    with pytest.raises(ConfigurationInvalid, match="go together"):
        loaded(tmp_path, f"[metrics]\n{half}\n")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[webhook]\nurl = "https://h.org/x"', "secret has 0 characters; expected at least 16"),
        ('[exposures]\nreference_hosts = ["https://h.org"]', "a name without a scheme"),
        ('[exposures]\nreference_buckets = ["s3://b"]', "a name without a scheme"),
        ('[outgoing]\ninternal_networks = ["10.1.2.3/8"]', "internal_networks"),
    ],
)
def test_settings_that_would_silently_do_nothing_are_refused(
    tmp_path: Path, text: str, words: str
) -> None:
    """A webhook without a secret, a URL where a name is meant, an address for a network."""
    with pytest.raises(ConfigurationInvalid, match=words):
        loaded(tmp_path, text)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (
            "metrics.cert=1",
            "metrics.cert: no such key; there are host, port, certificate_file, ",
        ),
        ("metric.port=1", "metric: no such key; there are kafka, alerts, "),
        ("limits.max_bytes=1", "limits.max_bytes: no such key; there are max_message_bytes, "),
        ("surveys.ztf.prior=1", "surveys.ztf.prior: no such key; there are priors, thresholds, "),
        ("surveys.ztf.rules=[{whenn=1}]", "rules.0.whenn: no such key; there are name, "),
        (
            "surveys.ztf.rules=[{when={drb={abov=1}}}]",
            "rules.0.when.drb.abov: no such key; there are above, at_least, below, at_most, equals",
        ),
    ],
)
def test_a_wrong_key_is_answered_with_those_that_there_are(override: str, said: str) -> None:
    """The list has keys without a default too, which `config show` leaves out."""
    with pytest.raises(ConfigurationInvalid, match=re.escape(said)):
        config.load(environment={}, overrides=[override])


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_this_machine_may_be_named_by_ipv6(host: str) -> None:
    """It asks for no password, as 127.0.0.1 does not; the network does."""
    found = Settings.model_validate({"metrics": {"host": host}}).metrics
    assert ("::1", "[::1]:9464", True) == (found.host, found.address, found.loopback)
    with pytest.raises(ValueError, match="open to the network"):
        Settings.model_validate({"metrics": {"host": "::"}})


@pytest.mark.parametrize("key", ["bootstrap", "output_bootstrap"])
@pytest.mark.parametrize(
    ("value", "good"),
    [
        ("[::1]:9092", True),
        ("SASL_SSL://[2001:db8::1]:9093, b:9092,c", True),
        ("::1:9092", False),
        ("a:9092,2001:db8::1", False),
    ],
)
def test_brokers_by_ipv6_stand_in_brackets(key: str, value: str, good: bool) -> None:
    """Else all up to the last colon would be a name, which is looked for in vain."""
    if good:
        Settings.model_validate({"kafka": {key: value}})
        return
    with pytest.raises(ValueError, match=r"stands in brackets, \[::1\]:9092"):
        Settings.model_validate({"kafka": {key: value}})


def walked(part: dict[str, Any], made: dict[str, Any]) -> dict[str, Any]:
    """A part of a schema behind its reference."""
    reference = part.get("$ref")
    return made["$defs"][reference.rpartition("/")[2]] if reference else part


def test_the_schema_knows_every_key_of_the_example_and_its_default() -> None:
    """An editor completes and checks what is written; a wrong key is one there too."""
    made = config.schema()
    tree = tomllib.loads(EXAMPLE.read_text())

    def check(part: dict[str, Any], written: dict[str, Any], place: str) -> None:
        part = walked(part, made)
        for key, value in written.items():
            known = part.get("properties", {}).get(key, part.get("additionalProperties"))
            assert known, f"{place}{key}"
            if isinstance(value, dict):
                check(known, value, f"{place}{key}.")
            elif "default" in known:
                assert value == known["default"], f"{place}{key}"

    check(made, tree, "")
    assert "Names, or patterns" in made["$defs"]["Alerts"]["properties"]["topics"]["description"]
    closed = [each for each in made["$defs"].values() if "properties" in each]
    assert {False} == {each["additionalProperties"] for each in closed}


CONDITIONAL = {
    "name": "n", "contaminant": "CR", "statistic": "core", "above": 0.3,
    "when": {"drb": {"below": 0.5, "at_least": 0}}, "unless": {"isdiffpos": {"equals": "f"}},
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"when": {"drb": {}}}, "surveys.ztf.rules.0.when.drb: nothing is compared; give above, "),
        ({"unless": {"drb": {"above": "x"}}}, "rules.0.unless.drb.above: .* number.*; found 'x'"),
        ({"when": {"drb": {"equals": "x", "above": 1}}}, "rules.0.when.drb: .* no order"),
        ({"unless": {"drb": {"equals": "x"}}}, "surveys.ztf: rule 'n': drb is compared with a te"),
    ],
)
def test_a_condition_that_cannot_be_names_its_rule(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    """By its place in the file, and what would be one."""
    rules = {"surveys": {"ztf": {"rules": [CONDITIONAL | change]}}}
    with pytest.raises(ConfigurationInvalid, match=words):
        loaded(tmp_path, tomli_w.dumps(rules))


def test_conditions_can_be_written_on_one_line_or_as_tables(tmp_path: Path) -> None:
    """What is shown is loaded again as it was."""
    tables = loaded(tmp_path, tomli_w.dumps({"surveys": {"ztf": {"rules": [CONDITIONAL]}}}))
    line = (
        'surveys.ztf.rules=[{name="n",contaminant="CR",statistic="core",above=0.3,'
        'when={drb={below=0.5,at_least=0}},unless={isdiffpos={equals="f"}}}]'
    )
    again = loaded(tmp_path, config.show(tables))
    assert tables == again == config.load(environment={}, overrides=[line])
    (rule,) = again.surveys["ztf"].rules or ()
    assert {"drb": Condition(below=0.5, at_least=0)} == rule.when


def test_the_rule_of_the_example_can_be() -> None:
    """It is commented out, to be copied; it names every comparison of a condition."""
    text = EXAMPLE.read_text().partition("# [surveys.ztf]\n")[2].partition("[surveys]")[0]
    lines = [line.removeprefix("# ") for line in ("# [surveys.ztf]\n" + text).splitlines()]
    (rule,) = Settings.model_validate(tomllib.loads("\n".join(lines))).surveys["ztf"].rules or ()
    assert (True, True) == (bool(rule.when), bool(rule.unless))
    assert [] == [each.name for each in fields(Condition) if each.name not in text]


SECTIONS = ("alerts", "exposures", "exposures.contaminants")


def digests(**sections: Any) -> list[str]:
    settings = Settings.model_validate(sections)
    return [config.digest(settings, each) for each in SECTIONS]


@pytest.mark.parametrize(
    ("changed", "concerned"),
    [
        ({"surveys": {"ztf": {"priors": {"CR": 1e-6}}}}, {"alerts"}),
        ({"surveys": {"ztf": {"rules": [CONDITIONAL]}}}, {"alerts"}),
        ({"outputs": {"annotations": "other"}}, {"alerts"}),
        ({"outputs": {"rejected": "other"}}, set(SECTIONS)),
        ({"engine": {"also": [{"name": "stampmask"}]}}, {"alerts"}),
        ({"exposures": {"prior": 0.5}}, {"exposures", "exposures.contaminants"}),
        ({"exposures": {"contaminants": {"tile_px": 512}}}, {"exposures.contaminants"}),
        ({"metrics": {"port": 1}, "engine": {"threads": 3, "home": "/x"}}, set()),
        ({"kafka": {"settings": {"sasl.password": "x"}}, "batch": {"size": 2}}, set()),
    ],
)  # fmt: skip
def test_a_digest_changes_with_what_decides_and_with_nothing_else(
    changed: dict[str, Any], concerned: set[str]
) -> None:
    """Each worker has its own, for its group."""
    pairs = zip(SECTIONS, digests(), digests(**changed), strict=True)
    assert concerned == {name for name, before, after in pairs if before != after}


@pytest.mark.parametrize(
    ("changed", "decides"),
    [
        ({"when": {"above": 0.5}}, True),
        ({"precision": "bf16"}, True),
        ({"runtime": "openvino", "plans": "refuse"}, False),
    ],
)
def test_of_a_further_engine_it_decides_when_it_is_asked(
    changed: dict[str, Any], decides: bool
) -> None:
    """Machines may run it differently, as the first one."""
    one, other = (
        digests(engine={"also": [{"name": "stampmask", **each}]})[0] for each in ({}, changed)
    )
    assert decides == (one != other)


def test_a_further_engine_is_read_and_shown(tmp_path: Path) -> None:
    """As a table of its own, from the command line too; unknown keys are refused."""
    tables = loaded(
        tmp_path,
        """
        [[engine.also]]
        name = "stampmask"
        [engine.also.when]
        classes = ["CR"]
        above = 0.02
        """,
    )
    line = 'engine.also=[{name="stampmask", when={classes=["CR"], above=0.02}}]'
    assert tables == config.load(environment={}, overrides=[line])
    assert tables == loaded(tmp_path, config.show(tables))
    (further,) = tables.engine.also
    assert Doubt(classes=("CR",), above=0.02) == further.when
    for wrong in ("{above=0.1, over=0.2}", "{}", '"always"', "{above=0.5, below=0.1}"):
        with pytest.raises(ConfigurationInvalid, match=r"engine\.also\.0\.when"):
            config.load(environment={}, overrides=[f'engine.also=[{{name="x", when={wrong}}}]'])


def test_a_field_map_counts_by_its_content(tmp_path: Path) -> None:
    """Not by where it lies."""
    for name, text in (("a", "x = 1"), ("b", "x = 1"), ("c", "x = 2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine.toml").write_text(text)
    one, same, other = (digests(alerts={"survey_folders": [tmp_path / n]})[0] for n in "abc")
    assert (True, False) == (one == same, one == other)


# Machines, connections, speed and what is watched: they change no verdict and no output.
MAY_DIFFER = (
    *("batch", "webhook", "outgoing", "metrics", "logs", "traces", "engine.home", "engine.plans"),
    *("console", "outputs.labels"),
    *("engine.runtime", "engine.threads", "engine.workers", "kafka.bootstrap", "kafka.group"),
    *("kafka.settings", "kafka.consumer", "kafka.producer", "kafka.stall_s"),
    *("schemas.folders", "schemas.packages", "schemas.registry", "schemas.publish.settings"),
    *("schemas.wait_s", "flow.max_in_flight", "flow.max_in_flight_bytes", "flow.drain_s"),
    *("flow.commit_interval_s", "delivery.transactional_id", "delivery.max_transaction_messages"),
    *("delivery.max_gather_s", "delivery.transaction_timeout_s", "alerts.survey_folders"),
    *("exposures.group", "exposures.threads", "exposures.s3", "exposures.reference_folders"),
    *("exposures.reference_hosts", "exposures.reference_buckets", "exposures.reference_attempts"),
    *("exposures.reference_timeout_s", "exposures.engine.runtime", "exposures.engine.plans"),
    *("exposures.contaminants.group", "exposures.contaminants.threads"),
    *("exposures.contaminants.folder", "exposures.contaminants.engine.runtime"),
    "exposures.contaminants.engine.plans",
)


def test_of_every_key_it_is_said_whether_it_decides() -> None:
    """One that was forgotten would let two configurations share a group unnoticed."""
    said = (*(key for keys in config.DECIDING.values() for key in keys), *MAY_DIFFER)
    found = [f"{section}.{key}" for section, key in keys_of(Settings)]
    forgotten = [key for key in found if not any(f"{key}.".startswith(f"{s}.") for s in said)]
    assert [] == forgotten, "add each to DECIDING of config/deciding.py, or to MAY_DIFFER here"
    lost = [each for each in MAY_DIFFER if not any(f"{k}.".startswith(f"{each}.") for k in found)]
    assert [] == lost


def test_every_deciding_key_exists() -> None:
    """A renamed key would decide nothing."""
    tree = config.shown(Settings())
    for key in {key for keys in config.DECIDING.values() for key in keys}:
        part: Any = tree
        for name in key.split("."):
            part = part[name]


@pytest.mark.parametrize(
    ("override", "found"),
    [
        ("batch.size=a dozen", "; found 'a dozen'"),
        ("batch.size=4096", "; found 4096"),
        ("metrics.port=${NUMBER}", ""),
        ("metrics.password=17", ""),
        ("schemas.registry={ url = 7 }", ""),
        ("webhook.secret=0.125", ""),
    ],
)
def test_what_stands_at_a_wrong_key_is_shown_where_it_is_no_secret(
    override: str, found: str
) -> None:
    """A value that came from elsewhere, or whose key may hold a secret, is not repeated."""
    with pytest.raises(ConfigurationInvalid) as caught:
        config.load(environment={"NUMBER": "forty"}, overrides=[override])
    said = str(caught.value)
    key = override.partition("=")[0]
    assert key in said
    assert found in said
    assert found or "found" not in said
    assert [] == foreign_words(said)
