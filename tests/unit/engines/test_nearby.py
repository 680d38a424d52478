"""Signals without Docker: to the very process that is meant, and to no other."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from labctl.engines import nearby

MARK = "LABCTL_RUN=20261126T000000Z-x-0000"


@pytest.fixture
def program() -> Iterator[subprocess.Popen[bytes]]:
    """A program with the mark in its environment, which has answered: in the middle of execve(2) it would have none."""
    name, _, value = MARK.partition("=")
    environment = {**os.environ, name: value}
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, bufsize=0) as begun:
        assert begun.stdin is not None
        assert begun.stdout is not None
        begun.stdin.write(b"\n")
        assert begun.stdout.readline() == b"\n"
        yield begun
        begun.kill()


def test_the_one_that_is_meant_gets_it(program: subprocess.Popen[bytes]) -> None:
    assert nearby.send(program.pid, program.pid, MARK, "TERM")
    assert program.wait(10) == -signal.SIGTERM
    assert not nearby.send(program.pid, program.pid, MARK, "TERM"), "it is gone"


@pytest.mark.parametrize(("inside", "mark"), [(1, MARK), (0, f"{MARK}1"), (0, MARK[:-1])])
def test_another_of_that_number_does_not(program: subprocess.Popen[bytes], inside: int, mark: str) -> None:
    """It has another number in its own namespace, or is of another run: this number means one on another machine."""
    assert not nearby.send(program.pid, inside or program.pid, mark, "KILL")
    assert program.poll() is None


def test_where_the_system_says_no_nothing_is_sent(monkeypatch: pytest.MonkeyPatch, program: subprocess.Popen[bytes]) -> None:
    """Another user's process is for Docker to signal, as any is where there is no pidfd_open(2)."""

    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(signal, "pidfd_send_signal", refuse)
    assert not nearby.send(program.pid, program.pid, MARK, "KILL")
    monkeypatch.delattr(os, "pidfd_open")
    assert not nearby.send(program.pid, program.pid, MARK, "KILL")


def test_processes_of_a_container_are_seen_where_its_first_is() -> None:
    """By its cgroup, which bears the container's ID; a number that means another process here, or none, says nothing."""
    here = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()[-1].rpartition(":")[2]
    assert nearby.sees(os.getpid(), here)
    assert not nearby.sees(os.getpid(), "4f" * 32)
    assert not nearby.sees(2**22 + 1, here)  # beyond the largest number that there can be (proc_sys_kernel(5), pid_max)


def test_what_a_program_has_forked_is_seen_in_its_own_container(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its environment; where that may not be read nobody can tell."""
    here = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()[-1].rpartition(":")[2]
    me, mark = os.getpid(), f"LABCTL_PROGRAM={os.getpid()}"
    forks = ["sh", "-c", "sleep 60 & echo $!"]
    with subprocess.Popen(forks, env={**os.environ, "LABCTL_PROGRAM": str(me)}, stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        child = int(program.stdout.readline())
        program.wait()
        deadline = time.monotonic() + 30
        while not nearby.goes_on(me, here, mark):  # in the middle of execve(2) it has no environment
            assert time.monotonic() < deadline
        assert nearby.goes_on(me, here, mark[:-1]) is False
        assert nearby.goes_on(me, "4f" * 32, mark) is None
        os.kill(child, signal.SIGKILL)
        program.stdout.read()
    while nearby.goes_on(me, here, mark):  # its number is there until init has waited for it, its environment is not
        pass
    assert nearby.goes_on(me, here, mark) is False

    def refuse(_: Path) -> bytes:
        raise PermissionError

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert nearby.goes_on(me, here, mark) is None


def test_the_end_of_a_program_is_seen_in_its_own_container() -> None:
    """By what is there as /proc: one that lives, one that nobody has waited for, one that is no more. Else nobody can tell."""
    here = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()[-1].rpartition(":")[2]
    me = os.getpid()
    with subprocess.Popen(["sleep", "60"]) as program:
        assert not nearby.has_ended(me, here, program.pid)
        program.kill()
        os.waitid(os.P_PID, program.pid, os.WEXITED | os.WNOWAIT)
        assert nearby.has_ended(me, here, program.pid)
        assert not nearby.has_ended(me, "4f" * 32, program.pid)
    assert nearby.has_ended(me, here, program.pid)
    assert not nearby.has_ended(me, "4f" * 32, program.pid)
    assert not nearby.has_ended(2**22 + 1, here, program.pid)
