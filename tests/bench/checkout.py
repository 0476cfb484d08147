"""Puts the folders that benches import from on Python's path, for benches run without pytest.

A program imports this before what it takes from ``engines/`` or ``tests/``.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path += [
    str(ROOT / each) for each in ("engines", "tests", "tests/kafka_server", "tests/integration")
]
