"""Log lines: one JSON object per event, or a readable form on a terminal."""

import logging
import sys
from typing import Literal

import structlog

from streamfilter.redaction import clean_values

Format = Literal["auto", "json", "human"]
Level = Literal["debug", "info", "warning", "error"]


def configure(*, form: Format = "auto", level: Level = "info") -> None:
    """Send all log events to standard error, without secrets.

    ``auto`` is readable on a terminal, else JSON.
    """
    human = form == "human" or (form == "auto" and sys.stderr.isatty())
    renderer: structlog.typing.Processor = (
        # The drawn traceback would show every local, passwords too, and would take seconds.
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if human
        else structlog.processors.JSONRenderer()
    )
    processors: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        # Text before it is cleaned: it holds what exceptions say.
        structlog.processors.format_exc_info,
        _cleaned,
    ]
    structlog.configure(
        processors=[*processors, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


def _cleaned(
    _logger: structlog.typing.WrappedLogger, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Returns an event with its values cleaned of secrets; its keys are ours."""
    return {name: clean_values(value) for name, value in event.items()}
