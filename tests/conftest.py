"""What the tests of all rooms share: the folders their helpers live in, what garbage collection looks at, and --types."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/unit"))
gc.disable()


def pytest_collection_finish() -> None:
    """What importing and collecting made stays until the end: the collector need not look through it, nor often."""
    gc.freeze()
    gc.set_threshold(5000, 20, 10)
    gc.enable()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--types", action="store_true", help="let mypy check the types of the tree beside the tests")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--types") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Types([sys.executable, "-m", "mypy", "--no-error-summary"]))


class Types:
    """mypy beside the tests: it begins with them, and what it finds is told in their summary and makes them fail."""

    def __init__(self, argv: Sequence[str]) -> None:
        self._checking = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self._said = ""

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if session.exitstatus not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            return  # interrupted, or never begun
        self._said, _ = self._checking.communicate()
        if self._checking.returncode:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._checking.returncode:
            terminalreporter.section("types")
            terminalreporter.write_line(self._said.strip())

    def pytest_unconfigure(self) -> None:
        with self._checking:
            self._checking.kill()
