"""Fetch and build what tests of the tiers `stream` and `deploy` need and no package brings.

`make test` starts this first, beside all that needs none of it: Helm is built from source. It needs
nothing installed. What cannot be had is said here, and once more by the tests that are skipped.
"""

import signal
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "kafka_server"), str(HERE / "deploy")]

import debian_tools  # noqa: E402
import go_tools  # noqa: E402
import kafka_node  # noqa: E402

STRIMZI = HERE / "deploy" / "strimzi" / "pom.xml"
WANTED: tuple[Callable[[], object], ...] = (
    kafka_node.jars,
    partial(kafka_node.jars, STRIMZI, "strimzi"),
    debian_tools.tools,
    *(partial(go_tools.tool, name) for name in go_tools.TOOLS),
)


def have(get: Callable[[], object]) -> str:
    """The place of a tool, or why it cannot be had."""
    try:
        return str(get())
    except (kafka_node.KafkaUnavailable, debian_tools.ToolsUnavailable) as why:
        return str(why)
    except go_tools.ToolsUnavailable as why:
        return str(why)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # ends what it has started
    with ThreadPoolExecutor() as several:
        for line in several.map(have, WANTED):
            print(line, flush=True)
