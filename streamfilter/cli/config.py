"""``streamfilter config``: shows the settings, and checks whether they can work."""

import json
from dataclasses import replace
from pathlib import Path

import click
import tomli_w

from streamfilter import config as settings_room
from streamfilter.alerts.surveys import Surveys
from streamfilter.alerts.verdict import Policy
from streamfilter.cli import options
from streamfilter.cli.command_group import CommandGroup
from streamfilter.cli.rule_tables import rule_table
from streamfilter.config import Settings
from streamfilter.errors import ConfigurationInvalid
from streamfilter.records import Rule, Statistic
from streamfilter.service.assembly.alerts import networks_of, policy_of
from streamfilter.service.assembly.checking import checked_all
from streamfilter.service.assembly.clients import outputs, readers


@click.group(cls=CommandGroup)
def config() -> None:
    """Show and check the settings."""


@config.command()
@options.settings
def show(config: Path | None, overrides: tuple[str, ...]) -> None:
    """Print the settings in effect as TOML, secrets hidden.

    Later wins: defaults, the file, STREAMFILTER_<SECTION>__<KEY> in the environment, --set.
    """
    click.echo(settings_room.show(settings_room.load(config, overrides=overrides)), nl=False)


@config.command()
@options.settings
def check(config: Path | None, overrides: tuple[str, ...]) -> None:
    """Check the settings without connecting to anything; exit 2 names key, file and mend."""
    settings = settings_room.load(config, overrides=overrides)
    checked_all(settings)
    topics = (topic for reader in readers(settings) for topic in reader.topics)
    read = ", ".join(dict.fromkeys(topics))
    written = ", ".join(outputs(settings).values())
    click.echo(f"well-formed: reads {read}; publishes {written or 'nothing'}")


@config.command()
def schema() -> None:
    """Print the JSON schema of the configuration, for editors and checks of TOML files."""
    click.echo(json.dumps(settings_room.schema(), indent=2))


@config.command()
@click.argument("surveys", nargs=-1)
@options.settings
def rules(surveys: tuple[str, ...], config: Path | None, overrides: tuple[str, ...]) -> None:
    """Print how SURVEYS (default: all) are judged, as TOML to copy and change.

    Priors are the shares of such pixels that are expected, thresholds those on the posterior
    above which a pixel counts; the first rule that speaks decides, drops before flags. Comments
    name the fields of the packets that conditions of rules may look at. Where there are further
    engines (engine.also), each rule names the one whose numbers it looks at.
    """
    settings = settings_room.load(config, overrides=overrides)
    known = Surveys.load(settings.alerts.survey_folders)
    if unknown := sorted(set(surveys) - set(known.names)):
        raise ConfigurationInvalid(
            f"no survey {unknown[0]!r}; there are {', '.join(known.names)}, and those of the "
            "folders in alerts.survey_folders"
        )
    chosen = surveys or known.names
    for survey in (each for each in known.maps[::-1] if each.survey in chosen and each.fields):
        names = ", ".join(sorted(survey.fields))
        click.echo(f"# {survey.survey}: when and unless of rules may look at {names}")
    table = {name: _policy(settings, name) for name in chosen}
    click.echo(tomli_w.dumps({"surveys": table}), nl=False)


def _policy(settings: Settings, survey: str) -> dict[str, object]:
    policy = policy_of(settings, survey, networks_of(settings))
    # One of each class, as the settings have them: the first engine's that has it.
    priors = {row.code: row for each in (*policy.also[::-1], policy) for row in each.priors}
    order = dict.fromkeys(code for each in (policy, *policy.also) for code in each.codes)
    return {
        "priors": {code: priors[code].prior for code in order},
        "thresholds": {code: priors[code].threshold for code in order},
        "rules": [rule_table(_with_engine(rule, policy)) for rule in policy.rules],
    }


def _with_engine(rule: Rule, policy: Policy) -> Rule:
    """Returns a rule that names its engine, where there are several."""
    named = rule.engine or not policy.also or rule.statistic is Statistic.TOGETHER
    return rule if named else replace(rule, engine=policy.engine)
