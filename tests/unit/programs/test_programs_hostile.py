"""Slow and hostile peers: their connection ends with a printed reason, everybody else is served."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from app_content import text_request
from app_protocol import Decoder, Message, encode
from launching import NATIVE, PATIENCE_SECONDS, Program, outcome_of
from options import reset_on_close

REQUEST = encode(text_request("search", "ring"))
GOOD = {"byteorder": "big", "content-type": "text/json", "content-encoding": "utf-8"}


def framed(header: object) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack(">H", len(text)) + text


@contextlib.contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS) as sock:
        yield sock


def ask(port: int) -> Message:
    """One good request: whatever others do, it must be answered."""
    with connected(port) as sock:
        sock.sendall(REQUEST)
        decoder = Decoder()
        while True:
            message = decoder.feed(sock.recv(65536))
            if message:
                assert sock.recv(1) == b""
                return message


def closed_by_peer(sock: socket.socket) -> bool:
    """Whether the server ends the connection, by FIN or by RST, without an answer."""
    try:
        return sock.recv(65536) == b""
    except ConnectionResetError:
        return True


def cpu_seconds(pid: int) -> float:
    """User and system time of a process (proc(5), /proc/PID/stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[Program, int]]:
    with Program(
        ("app_server", "127.0.0.1", "0", "--max-header", "1KiB", "--idle-timeout", "20s")
    ) as program:
        yield program, program.port()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\xff\xff", "a header of 65535 bytes is over the limit"),
        (b"\x00\x00", "not JSON"),
        (framed(random.Random(3).randbytes(64)), "the header is not"),
        (framed(b"\xff" * 20), "the header is not UTF-8"),
        (framed(b"[]"), "not an object"),
        (framed(GOOD), "lacks content-length"),
        (framed(GOOD | {"content-length": -1}), "content-length is -1"),
        (framed(GOOD | {"content-length": 10**18}), "over the limit of 1048576"),
        (framed(GOOD | {"content-length": "12"}), "content-length is '12'"),
        (framed(GOOD | {"content-length": 2}) + b"\xff\xff", "the content is not utf-8"),
        (framed(GOOD | {"content-length": 1, "content-encoding": "zip"}) + b"x", "content-encoding is 'zip'"),
        (framed(GOOD | {"content-length": 2}) + b"[]", "the request is []"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_hostile_bytes_end_their_own_connection(
    server: tuple[Program, int], data: bytes, reason: str
) -> None:
    program, port = server
    with connected(port) as sock:
        sock.sendall(data)
        assert closed_by_peer(sock)
        assert reason in program.read_until(f"closed 127.0.0.1:{sock.getsockname()[1]}")
    assert ask(port).content_type == "text/json"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the stream ended before a message"),
        (b"\x03", "inside the header, after 1 bytes"),
        (b"\x03\x00{", "inside the header, after 3 bytes"),
        (framed(GOOD | {"content-length": 10}) + b"xx", "after 2 of 10 bytes of content"),
    ],
)
def test_a_stream_that_ends_too_early(server: tuple[Program, int], data: bytes, reason: str) -> None:
    program, port = server
    with connected(port) as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        assert closed_by_peer(sock)
        assert reason in program.read_until(f"closed 127.0.0.1:{sock.getsockname()[1]}")


def test_a_reset_in_the_middle(server: tuple[Program, int]) -> None:
    program, port = server
    with connected(port) as sock:
        sock.sendall(REQUEST[:20])
        reset_on_close(sock)
        name = f"127.0.0.1:{sock.getsockname()[1]}"
    assert "ECONNRESET" in program.read_until(f"closed {name}")
    ask(port)


def test_half_close_after_the_request_still_gets_the_answer(server: tuple[Program, int]) -> None:
    with connected(server[1]) as sock:
        sock.sendall(REQUEST)
        sock.shutdown(socket.SHUT_WR)
        received = b"".join(iter(lambda: sock.recv(100), b""))
    assert Decoder().feed(received) is not None


def test_a_peer_cannot_write_into_our_transcript(server: tuple[Program, int]) -> None:
    program, port = server
    with connected(port) as sock:
        sock.sendall(encode(Message("x\nlistening on\x1b[2J", "binary", b"", "big")))
        assert sock.recv(1000)
        assert r"'x\nlistening on\x1b[2J'" in program.read_until("big-endian sender")


def test_many_half_finished_requests_do_not_disturb_a_good_one(server: tuple[Program, int]) -> None:
    with contextlib.ExitStack() as stack:
        for cut in range(1, 40):
            stack.enter_context(connected(server[1])).sendall(REQUEST[:cut])
        ask(server[1])


@pytest.mark.parametrize("name", ["app_server", "multiconn_server"])
def test_silent_peers_are_dropped(name: str) -> None:
    with Program((name, "127.0.0.1", "0", "--idle-timeout", "200ms")) as program:
        port, began = program.port(), time.monotonic()
        with connected(port) as sock:
            assert sock.recv(1) == b""
            assert time.monotonic() - began >= 0.19
        assert "idle for 0.2 s" in program.read_until("closed ")
        assert outcome_of(program.stop())["dropped"] == 1


def test_one_broken_connection_leaves_the_others_alone() -> None:
    with Program(("multiconn_server", "127.0.0.1", "0")) as program:
        port = program.port()
        with connected(port) as good, connected(port) as broken:
            for sock in (good, broken):
                sock.sendall(b"one")
                assert sock.recv(10) == b"one"
            reset_on_close(broken)
            broken.close()
            program.read_until("ECONNRESET")
            good.sendall(b"two")
            assert good.recv(10) == b"two"


def test_a_peer_that_never_reads_is_read_no_further() -> None:
    with Program(("multiconn_server", "127.0.0.1", "0")) as program:
        port = program.port()
        before = resident_bytes(program.pid)
        with connected(port) as sock:
            sock.setblocking(False)
            sent, quiet_since = 0, time.monotonic()
            while time.monotonic() - quiet_since < 0.3 and sent < 200 * 2**20:
                with contextlib.suppress(BlockingIOError):
                    sent += sock.send(bytes(65536))
                    quiet_since = time.monotonic()
            assert sent < 100 * 2**20
            assert resident_bytes(program.pid) - before < 8 * 2**20
            spent = cpu_seconds(program.pid)
            time.sleep(0.5)
            assert cpu_seconds(program.pid) - spent <= 0.1  # blocked, and not turning round and round
            with connected(port) as other:
                other.sendall(b"served")
                assert other.recv(10) == b"served"


def test_nothing_to_do_is_no_cpu_at_all() -> None:
    with Program(("app_server", "127.0.0.1", "0")) as program:
        port = program.port()
        with contextlib.ExitStack() as stack:
            for _ in range(20):
                stack.enter_context(connected(port)).sendall(REQUEST[:10])
            ask(port)
            spent = cpu_seconds(program.pid)
            time.sleep(0.5)
            assert cpu_seconds(program.pid) - spent <= 0.05


def test_more_connections_than_allowed_wait_their_turn() -> None:
    with Program(("multiconn_server", "127.0.0.1", "0", "--max-connections", "2")) as program:
        port = program.port()
        with connected(port) as first, connected(port), connected(port) as third:
            program.read_until("2 connections are the limit")
            third.sendall(b"waiting")
            first.close()
            assert third.recv(10) == b"waiting"


@pytest.mark.skipif(
    shutil.which("prlimit") is None, reason="no prlimit (util-linux) to take descriptors away with"
)
def test_without_descriptors_it_waits_and_does_not_spin() -> None:
    limited = ("prlimit", "--nofile=12:12", *NATIVE)
    with Program(("app_server", "127.0.0.1", "0"), limited) as program, contextlib.ExitStack() as stack:
        port = program.port()
        crowd = [stack.enter_context(connected(port)) for _ in range(20)]
        program.read_until("EMFILE")
        spent = cpu_seconds(program.pid)
        time.sleep(0.5)
        assert cpu_seconds(program.pid) - spent <= 0.1
        for sock in crowd:
            sock.close()
        ask(port)
