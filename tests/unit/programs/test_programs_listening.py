"""What a server of the probe meets: no descriptors, and connections that were reset while they waited for accept()."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
from collections.abc import Iterator

import pytest
from launching import Program, outcome_of, run
from options import reset_on_close


@contextlib.contextmanager
def connections(port: int, number: int) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(number)]


def test_a_server_that_has_no_descriptor_left_gets_emfile_from_accept() -> None:
    """accept() ends in EMFILE at the limit, and the client that waits in the queue was connected all the same."""
    with Program(["probe", "listen", "127.0.0.1", "0", "--nofile", "6"]) as server:
        port = server.port()
        os.kill(server.pid, signal.SIGSTOP)  # so that all are in the queue before the first is accepted
        with connections(port, 8):
            os.kill(server.pid, signal.SIGCONT)
            outcome = outcome_of(server.wait())
    assert (outcome["op"], outcome["errno"]) == ("accept", "EMFILE")
    assert 1 <= outcome["connections"] < 6


@pytest.mark.parametrize(
    ("then", "op", "errno"), [("read", "recv", "ECONNRESET"), ("peername", "getpeername", "ENOTCONN")]
)
def test_a_connection_reset_in_the_queue_is_accepted_and_ends_with_the_next_call(
    then: str, op: str, errno: str
) -> None:
    """Linux hands out a connection that was reset before accept(): no ECONNABORTED; the call after it gives the error."""
    with Program(["probe", "listen", "127.0.0.1", "0", "--count", "1", "--then", then]) as program:
        port = program.port()
        os.kill(program.pid, signal.SIGSTOP)
        with connections(port, 1) as (client,):
            reset_on_close(client)
        os.kill(program.pid, signal.SIGCONT)
        outcome = outcome_of(program.wait())
    assert (outcome["op"], outcome["errno"], outcome["connections"]) == (op, errno, 1)


def test_numbered_messages_end_in_their_number() -> None:
    """`send --numbered` writes 1, 2, 3 behind the text, so that a receiver sees which came twice, late or not at all."""
    with Program(["probe", "recv", "127.0.0.1", "0", "--udp", "--count", "3"]) as receiver:
        sent = run(
            "probe", "send", "127.0.0.1", str(receiver.port()), "tick", "--udp", "--numbered", "--count", "3"
        )
        heard = receiver.wait()
    assert outcome_of(sent)["sent"] == outcome_of(heard)["received"] == 21
    assert re.findall(r"b'(tick \d)\\n'", "\n".join(heard.lines)) == ["tick 1", "tick 2", "tick 3"]
