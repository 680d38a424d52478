"""What every integration test may ask for."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from labs import LABCTL, ROOT, Live, Start


@pytest.fixture(scope="session", autouse=True)
def hangups_are_heard() -> None:
    """As in a terminal: what nohup(1) or a supervisor has these tests ignore, labctl would ignore as well."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture
def collecting() -> Iterator[None]:
    """`labctl gc` is for the whole machine: tests that run it, or need what a dead run left, wait for each other.

    Those of another run of the tests on this machine as well.
    """
    with Path(tempfile.gettempdir(), f"labctl-tests-gc-{os.getuid()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start `labctl run` in the background; what still runs at the end of the test is interrupted and waited for."""
    lives: list[Live] = []

    def begin(*arguments: object) -> Live:
        out = Path(tempfile.mkdtemp(prefix="out", dir=tmp_path))
        process = subprocess.Popen(
            [*LABCTL, "run", *map(str, arguments), "--out", str(out)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        )  # fmt: skip
        lives.append(Live(process, out))
        return lives[-1]

    yield begin
    for live in lives:
        if live.process.poll() is None:
            live.signal(signal.SIGINT)
            live.end()
        for stream in (live.process.stdout, live.process.stderr):
            if stream is not None:
                stream.close()


@pytest.fixture(scope="session", autouse=True)
def docker_answers() -> None:
    """These tests need Docker; where there is none they fail and say so, instead of passing by skipping."""
    done = subprocess.run(
        ["docker", "version", "--format", "{{.Server.Version}}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (
        f"the integration tests need a Docker daemon (./script/bootstrap): {done.stderr}"
    )
