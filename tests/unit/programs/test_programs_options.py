"""The shared options: units, what they set on a real socket, and how errors are named."""

from __future__ import annotations

import argparse
import errno
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import probe
import pytest
from launching import NATIVE, PROGRAMS, Program, outcome_of, run
from options import (
    Parser,
    apply_options,
    count,
    duration,
    keepalive,
    port_number,
    size,
    socket_options,
    source,
    whole_seconds,
)
from outcome import Outcome, errno_name


@pytest.mark.parametrize(
    ("read", "text", "expected"),
    [
        (duration, "100ms", 0.1),
        (duration, "5s", 5.0),
        (duration, "2m", 120.0),
        (duration, "1.5", 1.5),
        (duration, "250us", 0.00025),
        (size, "4096", 4096),
        (size, "64KiB", 65536),
        (size, "1.5MiB", 1572864),
        (size, "10kB", 10000),
        (whole_seconds, "3s", 3),
        (count, "7", 7),
        (port_number, "0", 0),
        (keepalive, "5s,1s,3", (5, 1, 3)),
        (source, "192.0.2.1", ("192.0.2.1", 0)),
        (source, "192.0.2.1:99", ("192.0.2.1", 99)),
        (source, "[::1]:99", ("::1", 99)),
        (source, "::1", ("::1", 0)),
        (source, ":99", ("", 99)),
    ],
)
def test_values_are_read_with_their_units(read: Callable[[str], object], text: str, expected: object) -> None:
    assert read(text) == (pytest.approx(expected) if isinstance(expected, float) else expected)


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (duration, "5 parsecs"),
        (duration, "-1s"),
        (duration, ""),
        (size, "64Ki"),
        (size, "-1"),
        (count, "0"),
        (whole_seconds, "100ms"),
        (port_number, "65536"),
        (port_number, "-1"),
        (port_number, "http"),
        (keepalive, "5s,1s"),
        (source, "1.2.3.4:99999"),
    ],
)
def test_values_that_make_no_sense_are_refused(read: Callable[[str], object], text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        read(text)


def test_options_reach_the_socket() -> None:
    args = socket_options().parse_args(
        [
            "--linger",
            "0",
            "--sndbuf",
            "16KiB",
            "--rcvbuf",
            "8KiB",
            "--nodelay",
            "--keepalive",
            "5s,2s,4",
            "--user-timeout",
            "1500ms",
            "--syn-retries",
            "2",
            "--ttl",
            "9",
            "--dont-fragment",
            "--recverr",
        ]
    )
    with socket.socket() as sock:
        apply_options(sock, args)
        tcp, ip = socket.IPPROTO_TCP, socket.IPPROTO_IP
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8) == (1).to_bytes(
            4, sys.byteorder
        ) + bytes(4)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 32768
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 16384
        assert sock.getsockopt(tcp, socket.TCP_NODELAY) == 1
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert sock.getsockopt(tcp, socket.TCP_KEEPIDLE) == 5
        assert sock.getsockopt(tcp, socket.TCP_KEEPINTVL) == 2
        assert sock.getsockopt(tcp, socket.TCP_KEEPCNT) == 4
        assert sock.getsockopt(tcp, socket.TCP_USER_TIMEOUT) == 1500
        assert sock.getsockopt(tcp, socket.TCP_SYNCNT) == 2
        assert sock.getsockopt(ip, socket.IP_TTL) == 9
        assert sock.getsockopt(ip, 10) == 2
        assert sock.getsockopt(ip, 11) == 1


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (OSError(errno.EWOULDBLOCK, ""), "EAGAIN"),
        (OSError(errno.ENOTSUP, ""), "EOPNOTSUPP"),
        (OSError(errno.ECONNREFUSED, ""), "ECONNREFUSED"),
        (TimeoutError(errno.ETIMEDOUT, ""), "ETIMEDOUT"),
        (TimeoutError("timed out"), None),
        (socket.gaierror(socket.EAI_NONAME, ""), "EAI_NONAME"),
        (socket.gaierror(socket.EAI_AGAIN, ""), "EAI_AGAIN"),
    ],
)
def test_errors_are_named_by_their_canonical_symbol(error: OSError, name: str | None) -> None:
    assert errno_name(error) == name


def test_a_time_out_of_ours_is_not_the_kernels() -> None:
    outcome = Outcome("x", quiet=True)
    with pytest.raises(TimeoutError), outcome.call("recv"):
        raise TimeoutError("timed out")
    assert (outcome.op, outcome.errno, outcome.timed_out, outcome.exit_code) == ("recv", None, True, 1)
    with outcome.call("recv"):
        pass
    assert (outcome.errno, outcome.timed_out, outcome.exit_code) == (None, False, 0)


def test_an_errno_that_was_wanted_is_success() -> None:
    outcome = Outcome("x", quiet=True)
    outcome.wanted.add("EAGAIN")
    with pytest.raises(BlockingIOError), outcome.call("send"):
        raise BlockingIOError(errno.EAGAIN, "")
    assert outcome.exit_code == 0


@pytest.mark.parametrize(
    "argv",
    [
        ("echo_client", "127.0.0.1", "99999"),
        ("probe",),
        ("probe", "fly", "to", "1"),
        ("probe", "misuse", "EWHAT"),
        ("app_client", "127.0.0.1", "1", "sum", "1,x", "--format", "h"),
        ("app_client", "127.0.0.1", "1", "sum", "70000", "--format", "h"),
        ("noread_client", "a", "1", "--sndbuf", "x"),
        ("probe", "connect", "127.0.0.1", "1", "--time", "1s"),
    ],
)
def test_bad_arguments_end_with_usage_and_2_and_no_outcome(argv: tuple[str, ...]) -> None:
    result = run(*argv)
    assert (result.exit, result.outcome, result.lines) == (2, None, [])
    assert result.stderr.startswith("usage:")


def test_the_outcome_goes_to_the_named_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "outcome.json"
    monkeypatch.setattr("os.environ", {"LABCTL_OUTCOME": str(path), "PATH": "/bin"})
    outcome = Outcome("x", quiet=True)
    outcome.note(more=1)
    assert outcome.finish() == 0
    fields = json.loads(path.read_text())
    assert {"op", "errno", "timed_out", "ms", "total_ms", "sent", "received", "byteorder", "machine"} < set(
        fields
    )
    assert fields["byteorder"] == sys.byteorder
    assert [entry.name for entry in tmp_path.iterdir()] == ["outcome.json"]


@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("program", ["echo_server", "multiconn_server", "app_server", "noread_server"])
def test_a_signal_ends_a_server_cleanly(program: str, number: str) -> None:
    import signal

    with Program((program, "127.0.0.1", "0")) as server:
        server.port()
        server.wait_until_it_waits()
        result = server.stop(signal.Signals[number])
    assert result.exit == 0
    outcome = outcome_of(result)
    assert (outcome["stopped"], outcome["returned"], outcome["errno"]) == (number, False, None)
    assert outcome["op"] == ("select" if program in ("multiconn_server", "app_server") else "accept")


def test_a_signal_between_two_calls_leaves_the_result_of_the_first() -> None:
    """Who only holds its connection open had connected, and that call has a result; who waits in recv() has none."""
    with Program(("echo_server", "127.0.0.1", "0", "--connections=0")) as server:
        port = str(server.port())
        with Program(("probe", "hold", "127.0.0.1", port)) as holder:
            holder.read_until("holding")
            holder.wait_until_it_waits()
            held = outcome_of(holder.stop())
        with Program(("probe", "recv", "127.0.0.1", port)) as reader:
            reader.read_until("connected")
            reader.wait_until_it_waits()
            read = outcome_of(reader.stop())
    assert (held["op"], held["errno"], held["returned"]) == ("connect", None, True)
    assert (read["op"], read["errno"], read["returned"]) == ("recv", None, False)


@pytest.mark.parametrize(
    ("host", "family", "announced"),
    [
        ("", "4", "0.0.0.0"),
        ("", "6", "[::]"),
        ("", "any", "[::]"),
        ("::1", "6", "[::1]"),
        ("localhost", "4", "127.0.0.1"),
    ],
)
def test_where_a_server_listens(host: str, family: str, announced: str) -> None:
    with Program(("echo_server", host, "0", "--family", family)) as server:
        port = server.port()
        assert server.lines == [f"listening on {announced}:{port}"]
        targets = {"4": ["127.0.0.1"], "6": ["::1"], "any": ["127.0.0.1"]}[family]
        for target in targets:
            assert run("echo_client", target, str(port)).exit == 0


def test_help_lists_every_verb_and_each_has_its_own() -> None:
    """`probe --help` knows all verbs; `probe VERB --help` that verb's options, whose parser is the only one that is made."""
    whole = run("probe", "--help")
    assert whole.exit == 0
    assert {verb.name for verb in probe.VERBS} <= set(" ".join(whole.lines).split())
    one = run("probe", "trickle", "--help")
    assert one.exit == 0
    assert one.lines[0].startswith("usage: probe trickle")
    assert "--interval" in " ".join(one.lines)


@pytest.mark.parametrize(("columns", "widest"), [("50", 50), ("200", 200), ("", 80), ("wide", 80)])
def test_help_is_as_wide_as_asked(columns: str, widest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_terminal(_: int) -> os.terminal_size:
        raise OSError(errno.ENOTTY, "no terminal")

    monkeypatch.setattr(os, "get_terminal_size", no_terminal)
    monkeypatch.setenv("COLUMNS", columns)
    lines = Parser(prog="x", description="one\n  two", parents=[socket_options()]).format_help().splitlines()
    assert widest - 25 < max(map(len, lines)) <= widest
    assert "  two" in lines


def test_a_program_starts_without_what_only_help_needs() -> None:
    """To import shutil, and what it imports, takes a good part of a program's start, under QEMU above all."""
    script = "import sys, probe; probe.arguments('connect').parse_args(['connect', 'a', '1']); print('shutil' in sys.modules)"
    done = subprocess.run([*NATIVE, "-c", script], cwd=PROGRAMS, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_programs_need_nothing_but_the_standard_library() -> None:
    assert "-S" in NATIVE
