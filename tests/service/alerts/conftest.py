"""What the tests of the worker for alerts share."""

from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def log() -> Iterator[list[structlog.typing.EventDict]]:
    """What the worker logs; a traceback drawn for a terminal takes seconds."""
    with structlog.testing.capture_logs() as events:
        yield events
