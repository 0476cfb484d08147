"""``streamfilter doctor``: what is wrong here, and how to mend it."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from streamfilter import __version__, logs
from streamfilter import config as settings_room
from streamfilter.cli import options
from streamfilter.doctor import Finding, State, examine

_COLOURS = {State.OK: "green", State.WARNING: "yellow", State.FAILED: "red"}


@click.command()
@options.settings
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def doctor(config: Path | None, overrides: tuple[str, ...], as_json: bool) -> None:
    """Check all that a worker with these settings needs; exit 1 if something fails.

    Brokers, topics and rights, registries, engines, clock, disk, memory, addresses. It can be run
    before anything else and beside a worker: it joins no group, publishes, fetches and builds
    nothing. It reads the last messages of the topics, to see that they can be used.
    """
    settings = settings_room.load(config, overrides=overrides)
    # Failures are in the findings; log lines of the Kafka clients would mix with them.
    logs.configure(form=settings.logs.form, level="error")
    found: list[Finding] = []
    for finding in examine(settings, options.given(config, overrides)):
        found.append(finding)
        if not as_json:
            _say(finding)
    worst = _worst(found)
    if as_json:
        report = {"version": __version__, "state": worst, "checks": [asdict(f) for f in found]}
        click.echo(json.dumps(report, indent=2))
    else:
        counts = {state: sum(f.state is state for f in found) for state in State}
        click.echo(", ".join(f"{n} {state}" for state, n in counts.items() if n))
    if worst is State.FAILED:
        sys.exit(1)


def _worst(found: Sequence[Finding]) -> State:
    states = {finding.state for finding in found}
    return next((s for s in (State.FAILED, State.WARNING) if s in states), State.OK)


def _say(finding: Finding) -> None:
    state = click.style(f"{finding.state:14}", fg=_COLOURS.get(finding.state))
    click.echo(f"{state} {finding.check:13} {finding.subject}: {finding.found}")
    for name, text in (("expected", finding.expected), ("mend", finding.mend)):
        if text:
            click.echo(f"{'':29}{name}: {text}")
