"""Options of the commands that connect to Kafka without a worker."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from streamfilter import config

Command = TypeVar("Command", bound=Callable[..., Any])


def pairs(_context: click.Context, option: click.Parameter, given: Sequence[str]) -> dict[str, str]:
    """Returns ``KEY=VALUE`` texts as a mapping; a value may name a secret, as in the settings."""
    values: dict[str, str] = {}
    for text in given:
        key, sign, value = text.partition("=")
        if not (sign and key.strip()):
            raise click.BadParameter(f"{key!r} is not KEY=VALUE", param=option)
        values[key.strip()] = config.expanded(value.strip())
    return values


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
            default="127.0.0.1:9092",
            show_default=True,
            metavar="HOST:PORT",
            help="Address of a broker; several with commas between.",
        ),
    ):
        command = option(command)
    return command
