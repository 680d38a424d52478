"""Sockets as the kernel tells them (sock_diag(7)): recorded bytes, and this machine's own sockets."""

from __future__ import annotations

import socket
import struct
import sys

import pytest

from labctl.agent.sockets import _attributes, _socket, is_bound, sockets


def message(
    state: int,
    timer: int = 0,
    recv_q: int = 5,
    send_q: int = 7,
    family: int = socket.AF_INET,
    info: bytes = b"",
) -> bytes:
    """An inet_diag_msg (linux/inet_diag.h): family, state, timer, retransmits, socket id, expires, queues, uid, inode."""
    ends = socket.inet_pton(family, "127.0.0.1" if family == socket.AF_INET else "::1").ljust(16, b"\0")
    sockid = struct.pack("!HH16s16s", 80, 40000, ends, ends) + struct.pack("=III", 0, 1, 2)
    fixed = (
        struct.pack("=4B", family, state, timer, 2) + sockid + struct.pack("=5I", 1500, recv_q, send_q, 0, 99)
    )
    return fixed + info


def test_a_connection_is_told_with_its_queues_and_timer() -> None:
    """State, both ends, queues and the running timer are read from their places."""
    found = _socket(message(1, timer=1))
    assert found == {
        "state": "ESTAB", "local": "127.0.0.1", "port": 80, "remote": "127.0.0.1", "peer": 40000, "recv_q": 5, "send_q": 7,
        "inode": 99, "timer": "on", "timer_ms": 1500, "timer_retries": 2,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("number", "name"),
    [(1, "ESTAB"), (2, "SYN-SENT"), (3, "SYN-RECV"), (4, "FIN-WAIT-1"), (5, "FIN-WAIT-2"), (6, "TIME-WAIT"), (7, "UNCONN"),
     (8, "CLOSE-WAIT"), (9, "LAST-ACK"), (10, "LISTEN"), (11, "CLOSING"), (12, "SYN-RECV"), (99, "99")],
)  # fmt: skip
def test_states_have_the_names_of_ss(number: int, name: str) -> None:
    """Every state of the kernel has its name in ss(8); one that nobody knows is told by its number."""
    assert _socket(message(number))["state"] == name


def test_ipv6_and_attributes_are_read() -> None:
    """Addresses of both families, tcp_info by field, and the socket's memory."""
    tcp_info = struct.pack("=8B24I", *range(8), *range(100, 124))
    meminfo = struct.pack("=9I", 1, 131072, 3, 16384, 5, 6, 7, 8, 9)
    info = b"".join(struct.pack("=HH", len(v) + 4, kind) + v for kind, v in ((2, tcp_info), (7, meminfo)))
    found = _socket(message(1, family=socket.AF_INET6, info=info))
    assert (found["local"], found["rcvbuf"], found["sndbuf"], found["drops"]) == ("::1", 131072, 16384, 9)
    assert (found["rto"], found["snd_mss"], found["unacked"], found["rtt"], found["cwnd"], found["total_retrans"]) == (
        100, 102, 104, 115, 118, 123,
    )  # fmt: skip


def test_damaged_attributes_end_the_list() -> None:
    """An attribute shorter than its own header ends the list instead of looping for ever."""
    assert list(_attributes(struct.pack("=HH", 0, 2) + b"x" * 20, 0)) == []


@pytest.mark.skipif(sys.platform != "linux", reason="sock_diag is Linux")
def test_this_machines_own_sockets() -> None:
    """A real listening socket and a real connection with bytes that nobody read are seen with their queues."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert is_bound(port)
        assert not is_bound(port, "udp")
        with socket.create_connection(("127.0.0.1", port)) as client:
            accepted, _ = server.accept()
            client.sendall(b"12345")
            found = [s for s in sockets() if s["port"] == port and s["state"] == "ESTAB"]
            accepted.close()
    assert [(s["peer"], s["recv_q"]) for s in found] == [(found[0]["peer"], 5)]
    assert found[0]["cwnd"] > 0


@pytest.mark.skipif(sys.platform != "linux", reason="sock_diag is Linux")
@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_port_is_bound_when_a_socket_listens_there_or_takes_datagrams(family: socket.AddressFamily, host: str) -> None:
    """One that is bound and does not listen, or that is connected, is not what a client waits for."""
    with socket.socket(family, socket.SOCK_DGRAM) as datagrams, socket.socket(family) as stream:
        for one in (datagrams, stream):
            one.bind((host, 0))
        ports = [one.getsockname()[1] for one in (datagrams, stream)]
        assert is_bound(ports[0], "udp")
        assert not is_bound(ports[1])
        stream.listen()
        assert is_bound(ports[1])
    assert not is_bound(ports[0], "udp")
    assert not is_bound(ports[1])
