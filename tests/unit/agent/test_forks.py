"""Asking for a tshark that needs no start: its streams, its end, and what is done where nobody forks one."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from listening import wait_until_listening

from labctl.agent import dissect, forks
from labctl.agent.dissect import Dissector
from labctl.agent.forks import Forked

# As images/agent/tshark_forks.c does it, but for what is forked: that runs the words themselves.
SERVE = """
import array, os, select, signal, socket, struct, subprocess, sys
listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
listener.bind(sys.argv[1])
listener.listen()
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
while True:
    caller, _ = listener.accept()
    words, streams, _, _ = socket.recv_fds(caller, 131072, 3)
    if len(streams) == 3 and os.fork() == 0:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        given = dict(zip(("stdin", "stdout", "stderr"), streams))
        child = subprocess.Popen(words.decode().rstrip("\\0").split("\\0"), **given)
        for stream in streams:
            os.close(stream)
        ended = os.pidfd_open(child.pid)
        if ended not in select.select([caller, ended], [], [])[0]:
            child.kill()
        answer = struct.pack("=i", child.wait())
        try:
            caller.send(answer)
        except BrokenPipeError:
            pass
        os._exit(0)
    for stream in streams:
        os.close(stream)
    caller.close()
"""


@pytest.fixture
def path(tmp_path: Path) -> Iterator[str]:
    """Where somebody forks."""
    found = tmp_path / "forks"
    with subprocess.Popen([sys.executable, "-c", SERVE, str(found)]) as serving:
        wait_until_listening(found)
        yield str(found)
        serving.kill()


def test_it_has_our_streams_and_tells_its_status(path: str, tmp_path: Path) -> None:
    """What is written to its standard input comes back as it says it, and its exit status with it."""
    out, err = tmp_path / "out", tmp_path / "err"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        forked = Forked(["sh", "-c", "cat; echo no >&2; exit 3"], stdout, stderr, path)
    assert forked.poll() is None
    forked.stdin.write(b"packets")
    forked.stdin.close()
    assert forked.wait(10) == 3
    assert forked.poll() == 3
    assert (out.read_bytes(), err.read_bytes()) == (b"packets", b"no\n")


def test_it_is_ended_by_who_asked_and_by_his_end(path: str, tmp_path: Path) -> None:
    """`kill` ends it; one that is not waited for in time goes on; and who asked and is gone is outlived by none."""
    with (tmp_path / "out").open("wb") as out:
        forked = Forked(["sleep", "60"], out, out, path)
        with pytest.raises(subprocess.TimeoutExpired):
            forked.wait(0.05)
        forked.kill()
        assert forked.wait(10) == -9
        ask = (
            "import sys; from labctl.agent.forks import Forked; "
            "kept = Forked(['sh', '-c', 'echo $$; exec sleep 60'], sys.stdout, sys.stderr, sys.argv[1]); sys.stdin.read(1)"
        )
        with subprocess.Popen(
            [sys.executable, "-c", ask, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as asking:
            assert asking.stdout is not None
            ended = os.pidfd_open(int(asking.stdout.readline()))
            assert select.select([ended], [], [], 0)[0] == []
            asking.kill()
    assert select.select([ended], [], [], 10)[0] == [ended], "it lives on"
    os.close(ended)


def test_where_nobody_forks_tshark_is_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, path: str) -> None:
    """A dissection is the same by both ways; which of them it came by is decided by the socket alone."""
    monkeypatch.setattr(dissect, "NICE", "1")
    capture = tmp_path / "x.pcapng"
    capture.write_bytes(b"head\nfirst\nsecond\nlater\n")
    said = []
    for where in (path, str(tmp_path / "nowhere")):
        monkeypatch.setattr(dissect, "Forked", lambda *rest, at=where: Forked(*rest, at))
        dissector = Dissector(["sh", "-c", "cat"], tmp_path / "x.tsv")
        done = dissector.read(capture, 18)
        said.append({key: done[key] for key in ("packets", "exit", "err")} | {"text": (tmp_path / "x.tsv").read_text()})
        dissector.kill()
    assert said[0] == said[1] == {"packets": 2, "exit": 0, "err": "", "text": "head\nfirst\nsecond\n"}


@pytest.mark.parametrize("size", [131_073, 10_000_000])
def test_a_command_line_that_is_too_long_is_none(path: str, tmp_path: Path, size: int) -> None:
    """More words than a message holds: an OSError, and whoever asked starts a tshark of its own."""
    with (tmp_path / "out").open("wb") as out, pytest.raises(OSError, match="too long"):
        Forked(["echo", "x" * size], out, out, path)
    assert forks.SOCKET.startswith("/run/")
