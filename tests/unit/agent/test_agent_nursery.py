"""Agents forked from a process that has everything imported: they live and end as any other."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from listening import wait_until_listening

from labctl.agent import nursery

SERVE = "import sys; from labctl.agent import nursery; nursery.serve(sys.argv[1])"
ASK = "import sys; from labctl.agent import nursery; sys.exit(nursery.ask(sys.argv[1]))"


@pytest.fixture
def socket_path(tmp_path: Path) -> Iterator[Path]:
    """A nursery that listens."""
    path = tmp_path / "nursery"
    serving = subprocess.Popen([sys.executable, "-c", SERVE, str(path)])
    wait_until_listening(path)
    yield path
    serving.kill()
    serving.wait()


def ask(path: Path) -> subprocess.Popen[str]:
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", ASK, str(path)], text=True, **streams)  # type: ignore[call-overload,no-any-return]


def call(agent: subprocess.Popen[str], op: str) -> dict[str, object]:
    assert agent.stdin is not None
    assert agent.stdout is not None
    agent.stdin.write(json.dumps({"id": 1, "op": op}) + "\n")
    agent.stdin.flush()
    answer: dict[str, object] = json.loads(agent.stdout.readline())
    return answer


def test_each_who_asks_gets_an_agent_that_ends_with_its_standard_input(socket_path: Path) -> None:
    """Two agents from one nursery answer on the streams of those who asked, and one's end is not the other's."""
    first, second = ask(socket_path), ask(socket_path)
    assert call(first, "faults") == {"id": 1, "ok": True, "result": []}
    assert call(second, "faults")["ok"] is True
    assert first.communicate(timeout=10) == ("", "")  # closes its standard input
    assert first.returncode == 0
    assert call(second, "faults")["ok"] is True
    second.communicate(timeout=10)


def test_who_asks_and_is_killed_is_outlived_by_no_agent(socket_path: Path) -> None:
    """When the one who asked is killed and its streams are closed, the agent ends; the nursery serves on."""
    caller = ask(socket_path)
    assert call(caller, "faults")["ok"] is True
    caller.kill()
    assert caller.communicate(timeout=10) == ("", "")  # the agent held the other ends, and has exited
    after = ask(socket_path)
    assert call(after, "faults")["ok"] is True
    after.communicate(timeout=10)


def test_where_no_nursery_is_asking_fails_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody serves: exit status 1 and the path on standard error."""
    assert nursery.ask(str(tmp_path / "none"), wait_s=0.05) == 1
    assert str(tmp_path / "none") in capsys.readouterr().err
