"""Evidence made by hand, for judging: one step from 1.0 to 9.0 on two hosts, and what a test puts into it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from labctl.evidence.packets import Packet
from labctl.evidence.record import (
    CaptureRecord,
    Evidence,
    FaultRecord,
    ProgramRecord,
    Sample,
    Span,
    StepRecord,
)

CLIENT, SERVER = "198.18.0.2", "198.18.0.66"
OUTCOME = {"op": "connect", "errno": None, "ms": 1500.0, "sent": 12, "received": 34, "machine": "ppc"}
PROGRAM = ProgramRecord("probe", "client", ("probe",), 1, 1.0, 4.0, 0, OUTCOME, "out\n", "err\n")
PACKET = Packet(
    number=1, t=2.0, interface="eth0", length=60, protocol="TCP", source=CLIENT, destination=SERVER, sport=40000, dport=80,
    flags=2, seq=0, ack=None, payload=0, window=64240, stream=0, raw_seq=7, retransmission=False, icmp=None, icmpv6=None,
    ttl=64, ip_id="0", info="", selected=frozenset(),
)  # fmt: skip


def packet(number: int, t: float, back: bool = False, **changed: Any) -> Packet:
    """A SYN from the client to the server's port 80, or with `back` one the other way; with what is changed of it."""
    turned = {"source": SERVER, "destination": CLIENT, "sport": 80, "dport": 40000} if back else {}
    return PACKET._replace(**{"number": number, "t": t, **turned, **changed})


def socket(
    state: str = "ESTAB", port: int = 80, peer: int = 40000, recv_q: int = 0, send_q: int = 0
) -> dict[str, Any]:
    return {"state": state, "port": port, "peer": peer, "recv_q": recv_q, "send_q": send_q}


def fault(
    name: str, kind: str, rule: Sequence[str], packets: int | None = 1, at: tuple[float, float] = (1.1, 8.0)
) -> FaultRecord:
    """A firewall fault on the server whose hook matches `rule`."""
    target = {"drop": ["-j", "DROP"], "reject": ["-j", "REJECT", "--reject-with", "tcp-reset"]}[kind]
    commands = [
        ["iptables", "-A", f"LABCTL-{name}", *target],
        ["iptables", "-I", "INPUT", *rule, "-j", f"LABCTL-{name}"],
    ]
    return FaultRecord(
        name, kind, "server", None, "iptables", commands, 1, [Span(at[0], at[0], at[1], packets)]
    )


def evidence(
    packets: Mapping[str, Sequence[Packet]] | None = None,
    samples: Mapping[str, Sequence[Sample]] | None = None,
    filters: Sequence[str] = ("tcp",),
    outcome: Mapping[str, Any] | None = None,
    faults: Sequence[FaultRecord] = (),
    **changed: Any,
) -> Evidence:
    """A run of one step that ran PROGRAM."""
    found = Evidence(Path("run"), "r", "s", "fake", "now", 0.0, 1)
    found.addresses = {"client": (CLIENT,), "server": (SERVER,)}
    found.steps = {1: StepRecord(1, 1.0, 9.0, None, "1")}
    found.programs = {"1": replace(PROGRAM, outcome={**OUTCOME, **(outcome or {})})}
    found.captures = {
        host: CaptureRecord(host, f"pcap/{host}.pcapng", 3, 0, True, None, tuple(filters))
        for host in ("client", "server")
    }
    found.faults = list(faults)
    found.seconds = 10.0
    for host in ("client", "server"):
        found.packets[host] = list((packets or {}).get(host, ()))  # type: ignore[index]
    found.__dict__["samples"] = {host: list(some) for host, some in (samples or {}).items()}
    for name, value in changed.items():
        setattr(found, name, value)
    return found
