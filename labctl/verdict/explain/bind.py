"""bind() that failed: who has the port, or whose the address is not."""

from __future__ import annotations

from labctl.verdict.explain.case import Case, count, endpoint

ANY_ADDRESS = ("0.0.0.0", "::")
PRIVILEGED = 1024  # ip(7): net.ipv4.ip_unprivileged_port_start


def explain(case: Case) -> str | None:
    """Why bind() or listen() ended in this errno."""
    local = endpoint(case.outcome.get("local")) or _source(case)
    if case.op not in ("bind", "listen") or case.errno is None or local is None:
        return None
    address, port = local
    if case.errno == "EADDRINUSE":
        return _taken(case, port)
    known = case.evidence.addresses.get(case.host, ())
    if case.errno == "EADDRNOTAVAIL" and address not in (*known, *ANY_ADDRESS, "127.0.0.1", "::1"):
        whose = case.name(address)
        other = f", it is {whose}'s" if whose != address else ""
        return f"{address} is no address of {case.host}{other} ({case.host} has {', '.join(known)})."
    if case.errno == "EACCES" and 0 < port < PRIVILEGED:
        return f"port {port} is below {PRIVILEGED}, and {case.host} has no capability to bind it (ip(7))."
    return None


def _source(case: Case) -> tuple[str, int] | None:
    """The address that a client was told to come from: `ADDRESS[:PORT]`, or a host's name for it."""
    word = case.argument("--source")
    if word is None:
        return None
    if (found := endpoint(word)) is not None:
        return found
    return next(iter(case.evidence.addresses.get(word, ())), word), 0


def _taken(case: Case, port: int) -> str | None:
    """Who has the port, by the last sample of the host's sockets: who listened before may be gone since."""
    protocol = "udp" if "--udp" in case.program.argv else "tcp"
    held = {"tcp": "LISTEN", "udp": "UNCONN"}[protocol]
    sockets = [s for sample in case.samples(case.host)[-1:] for s in sample.sockets if s["port"] == port]
    if any(s["state"] == held for s in sockets):
        holder = _holder(case, port)
        who = f"{holder} has it" if holder else "another socket has it"
        return f"port {port} of {case.host} is taken: {who} ({'it listens there' if held == 'LISTEN' else 'bound for UDP'})."
    waiting = {(str(s.get("remote")), s["peer"]) for s in sockets if s["state"] == "TIME-WAIT"}
    if waiting:
        return (
            f"nobody listens on port {port} of {case.host}, but {count(len(waiting), 'connection')} of it "
            f"{'is' if len(waiting) == 1 else 'are'} in TIME-WAIT: without SO_REUSEADDR the port is taken for 60 s."
        )
    return None


def _holder(case: Case, port: int) -> str:
    """The program, if one alone, that was started on this host with this port and had not ended."""
    found = [
        p
        for p in case.evidence.programs.values()
        if p is not case.program and p.host == case.host and str(port) in p.argv and p.started < case.program.started
        and (p.ended is None or p.ended > case.program.started)
    ]  # fmt: skip
    return f"{found[0].handle} (step {found[0].step})" if len(found) == 1 else ""
