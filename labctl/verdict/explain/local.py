"""Errors that the kernel gives without asking the network: the call itself was wrong, or something of the process's ran out."""

from __future__ import annotations

from labctl.verdict.explain.case import Case

# errno(3), socket(2), connect(2), send(2), socket(7), ip(7), getrlimit(2); only where no packet can be the cause.
WHY = {
    "EALREADY": "an earlier non-blocking connect() on this socket is still waiting for its answer",
    "EBADF": "the socket was closed already",
    "EDESTADDRREQ": "the socket has no peer, and the call named none",
    "EINVAL": "the socket is bound already",
    "EISCONN": "the socket is connected already",
    "EMFILE": "the process has no file descriptor left (RLIMIT_NOFILE)",
    "ENOPROTOOPT": "this protocol has no such option",
    "ENOTCONN": "the socket was never connected",
    "EOPNOTSUPP": "this kind of socket has no such call",
    "EPROTONOSUPPORT": "this kind of socket does not speak that protocol",
}

# These say nothing of a connection, even where there is one.
ALWAYS = frozenset({"EMFILE"})


def explain(case: Case) -> str | None:
    """Why a call failed of which the network knows nothing."""
    if case.outcome.get("verb") == "misuse":
        return _on_purpose(case)
    if case.errno not in WHY or (case.flow is not None and case.errno not in ALWAYS):
        return None
    if case.errno == "EINVAL" and case.op != "bind":
        return None
    return f"{WHY[case.errno]}; no packet has to do with it."


def _on_purpose(case: Case) -> str | None:
    """What the program says that it did wrong on purpose: the line of its transcript that begins with the errno."""
    begins = f"{case.errno}: "
    line = next((line for line in case.program.stdout.splitlines() if line.startswith(begins)), None)
    if line is None:
        return None
    return f"{line.removeprefix(begins)}: the call itself was wrong, and nothing of it left {case.host}."
