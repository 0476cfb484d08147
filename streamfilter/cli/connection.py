"""Options of the commands that connect to Kafka without a worker."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from streamfilter import config
from streamfilter.errors import TopicMissing
from streamfilter.kafka.topics import missing

Command = TypeVar("Command", bound=Callable[..., Any])

BOOTSTRAP = "127.0.0.1:9092"
# A person waits: a broker that is away is told sooner than a service would give up.
ANSWER_S = 10.0


def pairs(_context: click.Context, option: click.Parameter, given: Sequence[str]) -> dict[str, str]:
    """Returns ``KEY=VALUE`` texts as a mapping; a value may name a secret, as in the settings."""
    values: dict[str, str] = {}
    for text in given:
        key, sign, value = text.partition("=")
        if not (sign and key.strip()):
            raise click.BadParameter(f"{key!r} is not KEY=VALUE", param=option)
        values[key.strip()] = config.expanded(value.strip())
    return values


def given(context: click.Context, bootstrap: str, settings: Mapping[str, str]) -> dict[str, str]:
    """Returns the brokers of the command line as settings, which go over a configuration's."""
    named = context.get_parameter_source("bootstrap") is not ParameterSource.DEFAULT
    return {**({"bootstrap.servers": bootstrap} if named else {}), **settings}


def reached(topics: Sequence[str], bootstrap: str, settings: Mapping[str, str]) -> dict[str, str]:
    """Returns a client's settings, after the brokers answered that these topics exist.

    Raises
    ------
    TopicMissing
        One is not; with the command that makes it.
    TransportFailed
        The brokers do not answer.
    """
    client = {"bootstrap.servers": bootstrap, **settings}
    for topic in missing(client, topics, timeout_s=ANSWER_S):
        make = _create_command(topic, bootstrap, settings)
        raise TopicMissing(f"no topic {topic}: {make}")
    return client


def _create_command(topic: str, bootstrap: str, settings: Mapping[str, str]) -> str:
    """Returns the command that makes a topic at these brokers, to be pasted; without secrets."""
    words = ["streamfilter", "topics", "create", topic]
    if bootstrap != BOOTSTRAP:
        words += ["--bootstrap", bootstrap]
    for key, value in settings.items():
        words += ["--setting", f"{key}={'...' if config.hides(key) else value}"]
    return shlex.join(words)


def broker(command: Command) -> Command:
    """Adds ``--bootstrap HOST:PORT`` and ``--setting KEY=VALUE``, passed under these names."""
    for option in (
        click.option(
            "--setting",
            "settings",
            multiple=True,
            metavar="KEY=VALUE",
            callback=pairs,
            help="A librdkafka setting, such as security.protocol=SASL_SSL or "
            "'sasl.password=${PASSWORD}' (from the environment; ${file:PATH} from a file); "
            "may be given several times.",
        ),
        click.option(
            "--bootstrap",
            default=BOOTSTRAP,
            show_default=True,
            metavar="HOST:PORT",
            help="Address of a broker; several with commas between.",
        ),
    ):
        command = option(command)
    return command
