"""What Docker says over a connection that it upgraded, from its first byte on, by a daemon of ours on a real Unix socket."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from docker.errors import APIError
from requests import Response

from labctl.engines import docker_stream, nearby
from labctl.engines.daemon import Daemon
from labctl.engines.docker_stream import AttachedChannel, DockerProcess
from labctl.errors import LabError

About = Callable[[], dict[str, object]]
UPGRADED = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"


def frame(kind: int, data: bytes) -> bytes:
    """One frame of Docker's multiplexed stream (Docker Engine API, ContainerAttach)."""
    return struct.pack(">BxxxL", kind, len(data)) + data


def answer(value: object) -> bytes:
    body = json.dumps(value).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def received(connection: socket.socket) -> bytes:
    """One whole request; nothing when the other end is gone."""
    request = b""
    with contextlib.suppress(ConnectionResetError):
        while more := connection.recv(65536):
            request += more
            head, _, body = request.partition(b"\r\n\r\n")
            length = re.search(rb"(?i)^content-length: (\d+)", head, re.MULTILINE)
            if head != request and len(body) >= (int(length[1]) if length else 0):
                return request
    return b""


@contextmanager
def daemon(
    place: Path, pieces: Sequence[bytes | threading.Event], asked: list[bytes], ends: bool = True, status: int = 0,
    about: About = dict,
) -> Iterator[Daemon]:
    """A daemon that answers every upgrade with these pieces, and all else as one asked about an exec that ended with `status`.

    An event among the pieces is waited for. `asked` is filled with what was asked; unless it `ends`, a program goes on until
    one was told TERM. `about` tells otherwise.
    """
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(str(place))
    listening.listen()
    over = threading.Event()

    def serve(connection: socket.socket) -> None:
        with connection:
            while request := received(connection):
                asked.append(request)
                if b"upgrade: tcp" not in request.lower():
                    runs = not ends and b'"TERM"' not in b"".join(asked)
                    said = {"Id": "one", "Running": runs, "ExitCode": None if runs else status, "Pid": 0, "State": {"Pid": 0}}
                    connection.sendall(answer(said | about()))
                    continue
                for piece in pieces:
                    if isinstance(piece, threading.Event):
                        piece.wait(30)
                    else:
                        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it has heard enough
                            connection.sendall(piece)
                        over.wait(0.002)
                while not ends and b'"TERM"' not in b"".join(asked) and not over.wait(0.005):
                    pass
                return

    def listen() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=[connection], daemon=True).start()

    thread = threading.Thread(target=listen)
    thread.start()
    try:
        with Daemon(base_url=f"unix://{place}", version="1.41", timeout=5) as api:
            yield api
    finally:
        over.set()
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()


PID, HELLO, BYE = frame(2, b"labctl-pid 7\n"), frame(1, b"hello\n"), frame(1, b"bye\n")
TOGETHER = {
    "the head by itself": [UPGRADED, PID + HELLO, BYE],
    "the first frame with the head": [UPGRADED + PID, HELLO, BYE],
    "everything at once": [UPGRADED + PID + HELLO + BYE],
    "half a header with the head": [UPGRADED + PID[:3], PID[3:] + HELLO, BYE],
    "half a frame with the head": [UPGRADED + PID[:12], PID[12:] + HELLO + BYE[:9], BYE[9:]],
    "byte by byte": [UPGRADED, *(bytes([each]) for each in PID), HELLO + BYE],
}


@pytest.mark.parametrize("pieces", TOGETHER.values(), ids=TOGETHER)
def test_a_program_is_heard_from_its_first_byte(tmp_path: Path, pieces: list[bytes]) -> None:
    """Also by a driver so late that the program's first words came with the head of the answer."""
    with daemon(tmp_path / "docker.sock", pieces, []) as api:
        process = DockerProcess(api, "client", "0123", ("true",), {}, "run")
        assert process.wait(10)
        assert process.output() == (b"hello\nbye\n", b"")
        assert process.exit_status() == 0


TOO_LONG, NOT_FOUND = "exec /usr/bin/sh: argument list too long", "sh: 1: exec: nosuch: not found"


@pytest.mark.parametrize(
    ("said", "status", "refusal"),
    [
        (frame(1, TOO_LONG.encode() + b"\r\n"), 1, TOO_LONG),
        (frame(1, TOO_LONG.encode() + b"\r\n"), 255, TOO_LONG),
        (b"", 126, "status 126, and nothing was said"),
        (PID + frame(2, NOT_FOUND.encode() + b"\nlabctl-not-run\n"), 127, NOT_FOUND),
        (PID + frame(2, b"mine\n"), 127, None),
        (PID + HELLO, 1, None),
        (PID, 0, None),
    ],
)
def test_what_was_not_run_is_told_from_what_ended_so(tmp_path: Path, said: bytes, status: int, refusal: str | None) -> None:
    """Where the launcher has not said its number nothing was run, whatever the status; else a shell has to say so."""
    with daemon(tmp_path / "docker.sock", [UPGRADED, said], [], status=status) as api:
        process = DockerProcess(api, "client", "0123", ("nosuch",), {}, "run")
        assert process.wait(10)
        assert (process.exit_status(), process.refusal()) == (status, refusal)


@pytest.mark.parametrize("pieces", TOGETHER.values(), ids=TOGETHER)
def test_an_agent_is_heard_from_its_first_byte(tmp_path: Path, pieces: list[bytes]) -> None:
    """Its standard output is what is received, and its standard error is kept."""
    with daemon(tmp_path / "docker.sock", pieces, []) as api:
        channel = AttachedChannel(api, "0123")
        assert b"".join(iter(channel.receive, b"")) == b"hello\nbye\n"
        assert channel.errors() == "labctl-pid 7\n"
        channel.close()


def test_a_long_frame_is_whole(tmp_path: Path) -> None:
    """More than any buffer on the way holds."""
    said = bytes(range(256)) * 4096
    with daemon(tmp_path / "docker.sock", [UPGRADED + PID + frame(1, said)], []) as api:
        process = DockerProcess(api, "client", "0123", ("true",), {}, "run")
        assert process.wait(10)
        assert process.output()[0] == said


@pytest.mark.parametrize("pieces", [[UPGRADED + PID, HELLO], [UPGRADED, *[b""] * 20, PID + HELLO]], ids=["at once", "late"])
def test_a_program_can_be_signalled_whenever_its_number_comes(tmp_path: Path, pieces: list[bytes]) -> None:
    """Docker answers before it has started the program, so whoever signals it at once waits for what kill(1) is given."""
    asked: list[bytes] = []
    with daemon(tmp_path / "docker.sock", pieces, asked, ends=False) as api:
        process = DockerProcess(api, "client", "0123", ("sleep", "60"), {}, "run")
        process.signal("TERM")
        assert b'"sh", "TERM", "7"]' in b"".join(asked)
        assert process.wait(10)
        assert process.output()[0] == b"hello\n"


@pytest.mark.parametrize("ends", [True, False], ids=["with its host", "frozen"])
def test_a_program_whose_host_takes_no_signal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: bool) -> None:
    """It ends with a host that has just ended, whose end may be seen later; another that cannot be signalled is an error."""
    host_ends, refusal = threading.Event(), Response()
    refusal.status_code = 409

    def refuse(*_: object) -> None:
        if ends:
            host_ends.set()
        raise APIError("409 Client Error", refusal, "Container 0123 is not running")

    def about() -> dict[str, object]:
        return {"Running": not host_ends.is_set()}

    with daemon(tmp_path / "docker.sock", [UPGRADED + PID + HELLO, host_ends], [], about=about) as api:
        process = DockerProcess(api, "client", "0123", ("sleep", "60"), {}, "run")
        monkeypatch.setattr(api, "exec_create", refuse)
        monkeypatch.setattr(process, "wait", lambda _: process._ended.wait(10 if ends else 0))
        with (
            contextlib.nullcontext()
            if ends
            else pytest.raises(LabError, match="sleep on client could not be sent SIGTERM: Container 0123 is not running")
        ):
            process.signal("TERM")
        host_ends.set()
        assert process._ended.wait(10)


def test_a_program_that_ends_without_a_number_needs_no_signal(tmp_path: Path) -> None:
    """A shell that was not there to say it."""
    with daemon(tmp_path / "docker.sock", [UPGRADED, b"", HELLO], asked := []) as api:
        process = DockerProcess(api, "client", "0123", ("sleep", "60"), {}, "run")
        process.signal("TERM")
        assert b"TERM" not in b"".join(asked)
        assert process.wait(10)


HELD = [UPGRADED + PID + HELLO]


def inspections(asked: list[bytes]) -> int:
    return sum(request.startswith(b"GET ") and b"/exec/one/json" in request for request in asked)


def test_an_ordinary_program_is_asked_about_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For its status, when its output has ended: one that is over soon costs the daemon no more than that."""
    monkeypatch.setattr(docker_stream, "LOOK_AFTER_S", 10.0)
    with daemon(tmp_path / "docker.sock", TOGETHER["everything at once"], asked := []) as api:
        process = DockerProcess(api, "client", "0123", ("true",), {}, "run")
        assert process.wait(10)
        assert inspections(asked) == 1


@pytest.mark.parametrize("looked_for", [True, False], ids=["a process that is seen here", "one that only the daemon sees"])
def test_the_end_of_its_process_is_the_end_of_a_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, looked_for: bool
) -> None:
    """What it has forked may hold its output for as long as it likes; what was written before the end is there."""
    monkeypatch.setattr(docker_stream.secrets, "token_hex", lambda _: "aa")
    monkeypatch.setattr(docker_stream, "OUTPUT_END_S", 0.1)
    with subprocess.Popen(["sleep", "60"], env={**os.environ, "LABCTL_PROGRAM": "aa"}) as real:

        def about() -> dict[str, object]:
            runs = real.poll() is None
            return {"Running": runs, "ExitCode": None if runs else 9, "Pid": real.pid if looked_for else 0}

        pid = frame(2, b"labctl-pid %d\n" % real.pid)
        with daemon(tmp_path / "docker.sock", [UPGRADED + pid + HELLO], asked := [], ends=False, about=about) as api:
            process = DockerProcess(api, "client", "0123", ("sh",), {}, "run")
            assert not process.wait(0.5)
            assert process.ended_at() is None
            before, known = time.time(), inspections(asked)
            real.kill()
            assert process.wait(10)
            ended_at = process.ended_at()
            assert ended_at is not None
            assert before <= ended_at <= time.time()
            assert (process.exit_status(), process.output()) == (9, (b"hello\n", b""))
            assert known <= 1 or not looked_for


def test_a_program_that_had_ended_before_anybody_looked_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon knows that it has ended, and goes on with its output."""
    monkeypatch.setattr(docker_stream, "OUTPUT_END_S", 0.1)
    with daemon(tmp_path / "docker.sock", HELD, [], ends=False, about=lambda: {"Running": False, "ExitCode": 0}) as api:
        process = DockerProcess(api, "client", "0123", ("sh",), {}, "run")
        assert process.wait(10)
        assert (process.exit_status(), process.output()[0]) == (0, b"hello\n")


@pytest.mark.parametrize(
    ("end_s", "forked", "is_heard"), [(10.0, None, True), (0.1, False, True), (0.1, None, False), (0.1, True, False)],
    ids=["soon", "late, and nobody holds it", "late, and nobody can tell", "late, and something it forked holds it"],
)  # fmt: skip
def test_output_that_is_still_on_its_way_when_a_program_has_ended_is_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end_s: float, forked: bool | None, is_heard: bool
) -> None:
    """For as long as Docker itself waits for it; and for much longer where nothing but a busy daemon can hold it up."""
    monkeypatch.setattr(docker_stream, "LOOK_AFTER_S", 0.0)
    monkeypatch.setattr(docker_stream, "OUTPUT_END_S", end_s)
    monkeypatch.setattr(docker_stream, "OUTPUT_LATE_S", 60.0)
    monkeypatch.setattr(docker_stream.secrets, "token_hex", lambda _: "aa")
    marks = []

    def goes_on(*asked: object) -> bool | None:
        marks.append(asked)
        return forked

    monkeypatch.setattr(nearby, "goes_on", goes_on)
    is_due = threading.Event()
    pieces = [UPGRADED + PID + HELLO, is_due, BYE]
    with daemon(tmp_path / "docker.sock", pieces, []) as api:
        process = DockerProcess(api, "client", "0123", ("sh",), {}, "run", 1)
        assert process.wait(0.5 if is_heard else 20) is not is_heard
        is_due.set()
        assert process.wait(20)
        assert process.output()[0] == (b"hello\nbye\n" if is_heard else b"hello\n")
    assert marks == ([] if end_s > 1 else [(1, "0123", "LABCTL_PROGRAM=aa")])


@pytest.mark.parametrize(
    ("is_held", "says"), [(False, "it runs"), (True, "it runs"), (True, None)],
    ids=["with its output", "while its output goes on", "and nobody is told meanwhile"],
)  # fmt: skip
def test_a_status_that_the_daemon_learns_late_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_held: bool, says: str | None
) -> None:
    """It takes the ends of programs on one host one after the other; when this one ended is known before how.

    Docker 28 answers nobody meanwhile who asks about the program, older ones that it runs.
    """
    monkeypatch.setattr(nearby, "has_ended", lambda *asked: asked == (1, "0123", 7))
    monkeypatch.setattr(docker_stream, "OUTPUT_END_S", 0.1)
    is_known = threading.Event()

    def about() -> dict[str, object]:
        if says is None and inspections(asked):
            is_known.wait(10)
        over = is_known.is_set()
        return {"Running": not over, "ExitCode": 3 if over else None, "Pid": 0}

    with daemon(tmp_path / "docker.sock", [UPGRADED + PID + BYE], asked := [], ends=not is_held, about=about) as api:
        process = DockerProcess(api, "client", "0123", ("sh",), {}, "run", 1)
        deadline = time.monotonic() + 10
        while process.ended_at() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert not process.wait(0)
        process.signal("TERM")  # needs no more
        is_known.set()
        assert process.wait(10)
        assert (process.exit_status(), process.output()[0]) == (3, b"bye\n")


def test_who_reads_a_stream_hears_that_it_was_closed(tmp_path: Path) -> None:
    """close(2) alone would leave a thread in recv(2) for ever."""
    with daemon(tmp_path / "docker.sock", [UPGRADED + HELLO], [], ends=False) as api:
        channel = AttachedChannel(api, "0123")
        assert channel.receive() == b"hello\n"
        reader = threading.Thread(target=channel.receive)
        reader.start()
        time.sleep(0.05)  # so that it waits
        channel.drop()
        reader.join(10)
        assert not reader.is_alive()
