"""What the tests of all rooms share: the folders their helpers live in, and what garbage collection looks at."""

import gc
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "unit"))
gc.disable()


def pytest_collection_finish() -> None:
    """What importing and collecting made stays until the end: the collector need not look through it with each test."""
    gc.freeze()
    gc.enable()
