"""--types: mypy runs beside the tests, and what it finds makes them fail."""

from __future__ import annotations

import sys
from typing import Any

import pytest

pytest_plugins = ["pytester"]
ALONE = ("-p", "no:xdist", "-p", "no:hypothesispytest")


@pytest.fixture
def types(pytestconfig: pytest.Config) -> Any:
    """The class in tests/conftest.py."""
    conftest = pytestconfig.pluginmanager.get_plugin(str(pytestconfig.rootpath / "tests/conftest.py"))
    return conftest.Types


@pytest.mark.parametrize(
    ("says", "test", "ends"),
    [
        ("pass", "pass", pytest.ExitCode.OK),
        ("print('x.py:1: error: wrong'); raise SystemExit(1)", "pass", pytest.ExitCode.TESTS_FAILED),
        ("print('x.py:1: error: wrong'); raise SystemExit(1)", "assert 0", pytest.ExitCode.TESTS_FAILED),
    ],
)
def test_what_is_wrong_with_types_is_told_above_the_closing_line(
    types: Any, pytester: pytest.Pytester, says: str, test: str, ends: pytest.ExitCode
) -> None:
    """Tests that pass fail all the same where types are wrong; the errors are shown, and the last line is pytest's own."""
    pytester.makepyfile(f"def test_it():\n    {test}\n")
    checking = types([sys.executable, "-c", says])
    result = pytester.runpytest_inprocess(*ALONE, plugins=[checking])
    assert result.ret == ends
    assert ("x.py:1: error: wrong" in result.outlines) == ("error" in says)
    assert " in " in result.outlines[-1]


def test_a_session_that_never_begins_leaves_no_checker(types: Any, pytester: pytest.Pytester) -> None:
    checking = types([sys.executable, "-c", "import time; time.sleep(600)"])
    result = pytester.runpytest_inprocess(*ALONE, "nofile", plugins=[checking])
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert checking._checking.returncode is not None
