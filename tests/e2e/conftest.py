"""What the browser tests share: one Chromium for all of them, and pages written where it can open them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS / "unit" / "report"))

from chromium import Browser, binary, browser  # noqa: E402
from reporting import plan_of  # noqa: E402

from labctl.report.html import render  # noqa: E402
from labctl.verdict.judge import RunVerdict  # noqa: E402


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    if binary() is None:
        pytest.fail("chromium is not installed: apt-get install chromium (script/bootstrap does it for the tests)")
    with browser() as found:
        yield found


@pytest.fixture
def page(tmp_path: Path) -> Callable[[RunVerdict], str]:
    """The address of a run's page."""

    def write(run: RunVerdict) -> str:
        has_plan = (run.evidence.path / "plan.json").is_file()
        source = run.evidence.path / "scenario.yaml"
        text = source.read_text(encoding="utf-8") if source.is_file() else ""
        target = tmp_path / "report.html"
        target.write_text(render(run, plan_of(run) if has_plan else {}, text), encoding="utf-8")
        return target.as_uri()

    return write
