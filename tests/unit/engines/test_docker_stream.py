"""What Docker says over a connection that it upgraded, from its first byte on, by a daemon of ours on a real Unix socket."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from labctl.engines.daemon import Daemon
from labctl.engines.docker_stream import AttachedChannel, DockerProcess

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
    place: Path, pieces: list[bytes], asked: list[bytes], ends: bool = True, status: int = 0
) -> Iterator[Daemon]:
    """A daemon that answers every upgrade with these pieces, and all else as one asked about an exec that ended with `status`.

    `asked` is filled with what was asked; unless it `ends`, a program goes on until one was told TERM.
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
                    connection.sendall(answer({"Id": "one", "ExitCode": status, "Pid": 0}))
                    continue
                for piece in pieces:
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


def test_a_program_that_ends_without_a_number_needs_no_signal(tmp_path: Path) -> None:
    """A shell that was not there to say it."""
    with daemon(tmp_path / "docker.sock", [UPGRADED, b"", HELLO], asked := []) as api:
        process = DockerProcess(api, "client", "0123", ("sleep", "60"), {}, "run")
        process.signal("TERM")
        assert b"TERM" not in b"".join(asked)
        assert process.wait(10)


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
