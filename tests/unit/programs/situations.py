"""The table of situations: a server (or none), a client, and how the client must end, on any machine.

`play` runs one of them. The same table is played natively and under qemu-ppc: the outcomes must be equal in
everything but times, addresses and machine.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from launching import Program, Result, Running, outcome_of


class Situation(NamedTuple):
    """One row. HOST and PORT in the client's words are the server's; `expected`: fields of its outcome."""

    name: str
    server: tuple[str, ...] | None
    client: tuple[str, ...]
    expected: dict[str, Any]
    exit: int = 0
    varies: tuple[str, ...] = ()  # fields in which two runs may differ even on one machine


HELLO = "hello"
ARRAYS = {
    "h": "1,2,-3",
    "H": "1,2,3",
    "i": "1,2,-3",
    "I": "1,2,3",
    "q": "1,2,-3",
    "Q": "1,2,3",
    "f": "1,2,-3",
    "d": "1,2,-3",
}


def app(
    name: str, *client: str, server: tuple[str, ...] = (), exit_code: int = 0, **expected: Any
) -> Situation:
    """A row with the app server and client."""
    return Situation(
        f"app: {name}",
        ("app_server", "HOST", "0", *server),
        ("app_client", "HOST", "PORT", *client),
        expected,
        exit_code,
        varies=("sent", "received"),  # "little" is three bytes longer than "big"
    )


def probe(
    name: str,
    verb: str,
    *options: str,
    server: tuple[str, ...] | None = None,
    exit_code: int = 0,
    **expected: Any,
) -> Situation:
    """A row with a verb of the probe."""
    return Situation(name, server, ("probe", verb, "HOST", "PORT", *options), expected, exit_code)


def listener(*options: str) -> tuple[str, ...]:
    return ("probe", "listen", "HOST", "0", *options)


SILENT = listener()
RABBIT = "Follow the white rabbit. \U0001f430"

CONNECTIONS = (
    Situation(
        "echo",
        ("echo_server", "HOST", "0"),
        ("echo_client", "HOST", "PORT"),
        {"op": "recv", "errno": None, "sent": 12, "received": 12, "eof": False},
    ),
    Situation(
        "echo: the peer closes too early",
        listener("--then", "close", "--count", "1"),
        ("probe", "recv", "HOST", "PORT"),
        {"op": "recv", "errno": None, "eof": True, "received": 0},
    ),
    Situation(
        "echo: datagrams",
        ("echo_server", "HOST", "0", "--udp"),
        ("echo_client", "HOST", "PORT", "--udp"),
        {"op": "recv", "errno": None, "sent": 12, "received": 12},
    ),
    Situation(
        "multiconn: 20 connections",
        ("multiconn_server", "HOST", "0"),
        ("multiconn_client", "HOST", "PORT", "20"),
        {"errno": None, "sent": 880, "received": 880, "completed": 20, "failed": 0},
    ),
    Situation(
        "multiconn: nobody listens",
        None,
        ("multiconn_client", "HOST", "PORT", "3"),
        {"op": "connect", "errno": "ECONNREFUSED", "failed": 3},
        1,
    ),
    Situation(
        "noread",
        ("noread_server", "HOST", "0", "--rcvbuf", "8KiB"),
        ("noread_client", "HOST", "PORT", "--sndbuf", "16KiB", "--settle", "200ms"),
        {"op": "send", "errno": "EAGAIN", "timed_out": False},
        varies=("sent",),
    ),
)

PROBES = (
    probe("refused", "connect", exit_code=1, op="connect", errno="ECONNREFUSED"),
    probe("connected", "connect", server=SILENT, op="connect", errno=None),
    probe("in progress", "connect", "--nonblocking", server=SILENT, op="connect", errno="EINPROGRESS"),
    probe("in progress, then connected", "connect", "--nonblocking", "--finish", server=SILENT, errno=None),
    probe(
        "in progress, then refused",
        "connect",
        "--nonblocking",
        "--finish",
        exit_code=1,
        op="connect",
        errno="ECONNREFUSED",
    ),
    probe(
        "in progress, then refused, then asked again on the same socket",
        "connect",
        "--nonblocking",
        "--finish",
        "--again",
        exit_code=1,
        op="connect",
        errno="ECONNABORTED",
    ),
    probe("port taken", "bind", server=SILENT, exit_code=1, op="bind", errno="EADDRINUSE"),
    probe(
        "silence, then our own time-out",
        "recv",
        "--timeout",
        "100ms",
        server=SILENT,
        exit_code=1,
        op="recv",
        errno=None,
        timed_out=True,
    ),
    probe("nothing to receive yet", "recv", "--nonblocking", server=SILENT, op="recv", errno="EAGAIN"),
    probe(
        "aborted by the peer",
        "recv",
        server=listener("--then", "abort"),
        exit_code=1,
        op="recv",
        errno="ECONNRESET",
    ),
    probe(
        "closed with data unread",
        "send",
        HELLO,
        "--receive",
        "eof",
        server=listener("--then", "close-unread"),
        exit_code=1,
        op="recv",
        errno="ECONNRESET",
        sent=5,
    ),
    probe(
        "half close",
        "half-close",
        HELLO,
        server=("probe", "echo", "HOST", "0"),
        op="recv",
        errno=None,
        eof=True,
        sent=5,
        received=5,
    ),
    probe(
        "one byte at a time",
        "trickle",
        HELLO,
        "--receive",
        "5",
        "--interval",
        "1ms",
        server=("probe", "echo", "HOST", "0"),
        op="recv",
        errno=None,
        sent=5,
        received=5,
    ),
    probe("abort", "abort", "--size", "10", server=SILENT, op="close", errno=None, sent=10),
    probe(
        "backlog full",
        "backlog",
        "--connect-timeout",
        "300ms",
        server=listener("--no-accept", "--backlog", "2"),
        op="connect",
        errno=None,
        timed_out=True,
        connections=3,
    ),
    probe(
        "a server that resets, seen by who listens",
        "recv",
        server=("probe", "abort", "HOST", "0", "--listen"),
        exit_code=1,
        op="recv",
        errno="ECONNRESET",
    ),
    probe(
        "datagram to nobody",
        "send",
        HELLO,
        "--udp",
        "--receive",
        "10",
        exit_code=1,
        op="recv",
        errno="ECONNREFUSED",
        sent=5,
    ),
    probe(
        "datagram echoed",
        "send",
        HELLO,
        "--udp",
        "--receive",
        "10",
        server=("probe", "echo", "HOST", "0", "--udp"),
        op="recv",
        errno=None,
        sent=5,
        received=5,
    ),
    probe("datagram too big", "send", "--udp", "--size", "65508", exit_code=1, op="send", errno="EMSGSIZE"),
    Situation(
        "no such name",
        None,
        ("probe", "resolve", "no-such-name.invalid"),
        {"op": "getaddrinfo", "timed_out": False},
        1,
    ),
    Situation(
        "no name at all", None, ("probe", "resolve", "a..b"), {"op": "getaddrinfo", "errno": "EAI_NONAME"}, 1
    ),
    Situation("a name", None, ("probe", "resolve", "127.0.0.1"), {"errno": None, "addresses": ["127.0.0.1"]}),
    Situation(
        "out of descriptors", None, ("probe", "fds", "--limit", "32"), {"op": "socket", "errno": "EMFILE"}
    ),
)

MISUSES = tuple(
    Situation(f"misuse: {name}", None, ("probe", "misuse", name), {"op": op, "errno": name})
    for name, op in (
        ("EACCES", "sendto"),
        ("EADDRINUSE", "bind"),
        ("EADDRNOTAVAIL", "bind"),
        ("EAGAIN", "recv"),
        ("EALREADY", "connect"),
        ("EBADF", "send"),
        ("EDESTADDRREQ", "send"),
        ("EINPROGRESS", "connect"),
        ("EINVAL", "bind"),
        ("EISCONN", "connect"),
        ("EMSGSIZE", "sendto"),
        ("ENETUNREACH", "connect"),
        ("ENOPROTOOPT", "setsockopt"),
        ("ENOTCONN", "recv"),
        ("EOPNOTSUPP", "listen"),
        ("EPIPE", "send"),
        ("EPROTONOSUPPORT", "socket"),
    )
)

APP = (
    app("text", "search", "morpheus", errno=None, op="recv", result=RABBIT),
    app(
        "emoji", "search", "\U0001f436", "--encoding", "utf-16", result="\U0001f43e Playing ball! \U0001f3d0"
    ),
    app("no match", "search", "trinity", "--encoding", "utf-32", result="No match for 'trinity'."),
    app("invalid action", "find", "ring", "--type", "text", result="Error: invalid action 'find'."),
    app("binary", "binary", "abcdefgh", result=repr(b"First 10 bytes of request: binaryabcd")),
    app(
        "in several encodings",
        "search",
        "ring",
        "--encoding",
        "utf-8,utf-16,utf-32",
        errno=None,
        op="recv",
        result="In the caves beneath the Misty Mountains. \U0001f48d",
    ),
    app("in several formats", "sum", "1,2,300", "--format", "h,Q,d", errno=None, sum=303, values=[1, 2, 300]),
    app("in pieces", "search", "ring", "--chunk", "7", "--interval", "1ms", errno=None),
    app("too much for the server", "x", "y" * 200, server=("--max-content", "100"), exit_code=1),
    *(
        app(
            f"array of {form} from a {order}-endian sender",
            "sum",
            "--format",
            form,
            "--byteorder",
            order,
            "--",
            values,
            errno=None,
            format=form,
            sum=sum(int(v) for v in values.split(",")),
            values=[int(v) for v in values.split(",")],
        )
        for form, values in ARRAYS.items()
        for order in ("little", "big")
    ),
)

SITUATIONS = (*CONNECTIONS, *PROBES, *MISUSES, *APP)
SAME = (
    "program",
    "op",
    "errno",
    "timed_out",
    "sent",
    "received",
    "eof",
    "connections",
    "completed",
    "result",
    "sum",
    "values",
)


def play(
    situation: Situation,
    host: str = "127.0.0.1",
    *,
    server: Callable[[Sequence[str]], Running] = Program,
    client: Callable[[Sequence[str]], Running] = Program,
) -> Result:
    """Run a situation, its server launched in one way and its client in another. Gives how the client ended."""
    with contextlib.ExitStack() as stack:
        port = "1"  # nobody listens there
        if situation.server:
            argv = [host if word == "HOST" else word for word in situation.server]
            port = str(stack.enter_context(server(argv)).port())
        words = {"HOST": host, "PORT": port}
        argv = [words.get(word, word) for word in situation.client]
        return stack.enter_context(client(argv)).wait()


def check(situation: Situation, result: Result) -> None:
    """Hold the result against the row."""
    outcome = outcome_of(result)
    actual = {name: outcome.get(name) for name in situation.expected}
    assert actual == situation.expected, outcome
    assert result.exit == situation.exit, outcome


def comparable(situation: Situation, result: Result) -> dict[str, Any]:
    """What must be equal on every machine: everything but times, addresses and the machine itself."""
    outcome = outcome_of(result)
    return {"exit": result.exit, **{name: outcome.get(name) for name in SAME if name not in situation.varies}}
