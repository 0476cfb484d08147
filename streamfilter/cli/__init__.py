"""The command line: arguments and exit codes.

Exit codes: 0 done, 1 failed while working, 2 wrong arguments or configuration.
"""

import importlib
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import click

from streamfilter import __version__, logs
from streamfilter.cli.command_group import CommandGroup
from streamfilter.errors import ConfigurationInvalid, StreamfilterError
from streamfilter.redaction import CleanStream

_COMMANDS = {
    "annotate": "streamfilter.cli.annotate:annotate",
    "config": "streamfilter.cli.config:config",
    "console": "streamfilter.cli.console:console",
    "demo": "streamfilter.cli.demo:demo",
    "doctor": "streamfilter.cli.doctor:doctor",
    "engines": "streamfilter.cli.engines:engines",
    "inspect": "streamfilter.cli.inspect:inspect",
    "labels": "streamfilter.cli.labels:labels",
    "mask": "streamfilter.cli.mask:mask",
    "plan": "streamfilter.cli.plan:plan",
    "rejected": "streamfilter.cli.rejected:rejected",
    "replay": "streamfilter.cli.replay:replay",
    "replay-exposures": "streamfilter.cli.replay_exposures:replay_exposures",
    "report": "streamfilter.cli.report:report",
    "run": "streamfilter.cli.run:run",
    "schemas": "streamfilter.cli.schemas:schemas",
    "simulate": "streamfilter.cli.simulate:simulate",
    "topics": "streamfilter.cli.topics:topics",
    "track": "streamfilter.cli.track:track",
    "tune": "streamfilter.cli.tune:tune",
}
"""A command's module is loaded when the command runs: ``--help`` imports no network's runtime."""


class _Commands(CommandGroup):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        module, _, attribute = _COMMANDS[name].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="streamfilter")
def root() -> None:
    """A real-time filter for astronomical alert streams.

    Start with `streamfilter demo`; look at your own packets with `streamfilter inspect FILES...`;
    then `streamfilter config show > site.toml`, edit, and `streamfilter run --config site.toml`.
    """
    # Standard output is for the command's result. Commands with settings set their own log level.
    logs.configure(level="warning")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; a failure is one line on standard error and an exit code."""
    with _clean_streams():
        try:
            root.main(args=arguments, prog_name="streamfilter")
        except StreamfilterError as error:
            click.echo(f"streamfilter: {error}", err=True)
            sys.exit(2 if isinstance(error, ConfigurationInvalid) else 1)
        except Exception:
            # Shown here, because the interpreter would show it after the streams were put back.
            click.echo(traceback.format_exc(), err=True, nl=False)
            sys.exit(1)


@contextmanager
def _clean_streams() -> Iterator[None]:
    """Let no secret out on standard output and error, whoever writes there."""
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = CleanStream(sys.stdout), CleanStream(sys.stderr)
    try:
        yield
    finally:
        with suppress(OSError, ValueError):  # nobody reads any more
            sys.stdout.flush()
            sys.stderr.flush()
        sys.stdout, sys.stderr = streams
