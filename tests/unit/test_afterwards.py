"""What is done when a process is gone is done however it goes, once, and holds nobody up."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Whoever started the tests in the background may have had SIGINT ignored in all that they start (sh, 2.11).
CODE = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
from pathlib import Path
from labctl.cli.afterwards import when_gone
when_gone(lambda: Path(sys.argv[1]).write_text("done"))
os.execvp(sys.argv[2], sys.argv[2:])
"""


def begin(tmp_path: Path, *argv: str) -> subprocess.Popen[str]:
    """A process that has become this command, and for which something is to be done afterwards."""
    return subprocess.Popen(
        [sys.executable, "-c", CODE, str(tmp_path / "afterwards"), *argv], stdout=subprocess.PIPE, text=True, cwd=ROOT,
        start_new_session=True,
    )  # fmt: skip


def done(tmp_path: Path) -> str:
    """What was done afterwards, waited for."""
    deadline = time.monotonic() + 30
    path = tmp_path / "afterwards"
    while not (path.exists() and path.read_text(encoding="utf-8")) and time.monotonic() < deadline:
        time.sleep(0.005)
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_what_is_to_be_done_afterwards_is_done_however_a_process_ends(tmp_path: Path, number: signal.Signals) -> None:
    """Also when it has become another program meanwhile, which knows nothing of it."""
    process = begin(tmp_path, "sh", "-c", "echo ready; exec sleep 60")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    assert not (tmp_path / "afterwards").exists()
    process.send_signal(number)
    assert process.wait(30) == -number
    process.stdout.close()
    assert done(tmp_path) == "done"


def test_who_reads_what_a_process_says_does_not_wait_for_what_is_done_afterwards(tmp_path: Path) -> None:
    """Its output ends with it, and its exit status is its own."""
    process = begin(tmp_path, "sh", "-c", "echo said; exit 7")
    assert process.communicate(timeout=30)[0] == "said\n"
    assert process.returncode == 7
    assert done(tmp_path) == "done"
