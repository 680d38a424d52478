"""The programs, natively, for longer than a unit test may: 100,000 fuzzed inputs, 1,000 connections."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
for folder in (ROOT / "tests" / "unit" / "programs", ROOT / "images" / "programs"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

from app_content import ARRAY_FORMATS, Array, array_request, binary_request, text_request  # noqa: E402
from app_protocol import Decoder, Limits, encode  # noqa: E402
from app_server import AppSession  # noqa: E402
from launching import Program, outcome_of, run  # noqa: E402
from selector_server import PeerError  # noqa: E402

MEGABYTE = 2**20
GOOD = encode(text_request("search", "morpheus"))
SEEDS = (
    GOOD,
    encode(text_request("search", "\U0001f436", "utf-16", "big")),
    encode(text_request("find", "ring", "utf-32")),
    encode(binary_request("binary", "0123456789")),
    *(encode(array_request(Array(form, (1, 2, 3)), "big")) for form in ARRAY_FORMATS),
)
NAMES = ("byteorder", "content-type", "content-encoding", "content-length", "format")
HEADERS = (
    b"{}",
    b"[]",
    b"null",
    b'"text"',
    b"{" * 500,
    b"[" * 3000,
    b'{"content-length": 1e999}',
    b"\xff" * 9,
    json.dumps(dict(zip(NAMES, ("big", "text/json", "utf-8", -1), strict=False))).encode(),
    json.dumps(dict(zip(NAMES, ("big", "text/json", "idna", 1), strict=False))).encode(),
    json.dumps(dict(zip(NAMES, ("big", "text/json", "utf-8", 10**18), strict=False))).encode(),
    json.dumps(dict(zip(NAMES, ("big", "binary/array", "binary", 3, "d"), strict=True))).encode(),
)


def resident_bytes(pid: int | str) -> int:
    """Memory a process has in RAM (proc(5), /proc/PID/statm)."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def fuzzed(chance: random.Random) -> bytes:
    """Something a peer might send: nonsense, or a message with something wrong in it."""
    kind = chance.randrange(6)
    if kind == 0:
        return chance.randbytes(chance.randrange(400))
    if kind == 1:
        header = chance.choice(HEADERS)
        return struct.pack(">H", len(header)) + header + chance.randbytes(chance.randrange(20))
    data = bytearray(chance.choice(SEEDS))
    if kind == 2:
        return bytes(data[: chance.randrange(len(data))])
    first = {3: 0, 4: 2}.get(kind, len(data) - 12)  # anywhere, in the header, or in the content alone
    for _ in range(chance.randrange(1, 4)):
        place = chance.randrange(first, len(data))
        data[place] = chance.randrange(256)
    return bytes(data)


def pieces(data: bytes, chance: random.Random) -> Iterator[bytes]:
    """The same bytes, in pieces."""
    start = 0
    while start < len(data):
        end = start + chance.randrange(1, 200)
        yield data[start:end]
        start = end


def test_100_000_fuzzed_inputs_end_in_an_answer_or_a_reason_and_take_no_memory() -> None:
    chance = random.Random(3)
    limits = Limits(4096, 65536)
    refused = answered = 0
    before = 0
    for number in range(100_000):
        session = AppSession(limits)
        try:
            for piece in pieces(fuzzed(chance), chance):
                if session.receive(piece):
                    answered += 1
            session.end()
        except PeerError as error:
            refused += str(error).isprintable()
        if number == 10_000:
            before = resident_bytes("self")
    assert refused > 10_000
    assert answered > 10_000
    assert resident_bytes("self") - before < 4 * MEGABYTE


def test_a_server_under_10_000_hostile_connections_goes_on_serving_the_others() -> None:
    chance = random.Random(4)
    with Program(("app_server", "127.0.0.1", "0", "--quiet", "--idle-timeout", "5s")) as server:
        port = server.port()
        before = resident_bytes(server.pid)
        for number in range(10_000):
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", port), timeout=30) as sock,
            ):
                sock.sendall(fuzzed(chance))
                if number % 2:
                    sock.shutdown(socket.SHUT_WR)
                    sock.recv(1000)
            if number % 500 == 0:
                assert run("app_client", "127.0.0.1", str(port), "search", "ring").exit == 0
        assert resident_bytes(server.pid) - before < 8 * MEGABYTE
        result = server.stop()
    assert result.exit == 0
    assert result.stderr == ""
    outcome = outcome_of(result)
    assert outcome["connections"] == 10_020
    assert outcome["dropped"] > 1000


def test_1_000_connections_at_once() -> None:
    with Program(("multiconn_server", "127.0.0.1", "0", "--quiet")) as server:
        port = str(server.port())
        for number in ("1", "1000"):
            result = run("multiconn_client", "127.0.0.1", port, number, "--quiet", "--timeout", "30s")
            assert result.exit == 0, result
            outcome = outcome_of(result)
            assert (outcome["completed"], outcome["failed"]) == (int(number), 0)
            assert outcome["received"] == 44 * int(number)


def test_1_000_idle_connections_take_less_than_60_megabytes_and_others_are_served() -> None:
    with Program(("app_server", "127.0.0.1", "0", "--quiet")) as server, contextlib.ExitStack() as stack:
        port = server.port()
        for _ in range(1000):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            sock.sendall(GOOD[:50])
        assert run("app_client", "127.0.0.1", str(port), "search", "ring").exit == 0
        assert resident_bytes(server.pid) < 60 * MEGABYTE


def test_memory_stays_flat_under_load() -> None:
    with Program(("app_server", "127.0.0.1", "0", "--quiet")) as server:
        port = str(server.port())
        figures = []
        for _ in range(2):
            result = run("app_client", "127.0.0.1", port, "search", "morpheus", "--load", "10000")
            assert result.exit == 0, result
            figures.append(resident_bytes(server.pid))
        assert figures[1] - figures[0] < 2 * MEGABYTE


def test_a_megabyte_in_small_pieces_arrives() -> None:
    message = encode(binary_request("x", "y" * 1_000_000))
    decoder = Decoder()
    results = [decoder.feed(message[start : start + 100]) for start in range(0, len(message), 100)]
    assert results[-1] is not None
    assert not any(results[:-1])
