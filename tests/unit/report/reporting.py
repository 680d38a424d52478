"""Runs to report on: recorded ones, judged, and made-up ones of a few packets."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from labctl.evidence.packets import Packet
from labctl.evidence.record import CaptureRecord, Evidence, Sample, load
from labctl.plan import default_title
from labctl.scenario.loader import load as load_scenario
from labctl.verdict.judge import RunVerdict, judge

RUNS = Path(__file__).parents[2] / "data" / "runs"
CLIENT, ROUTER, ROUTER_SERVER, SERVER = "198.18.0.3", "198.18.0.2", "198.18.0.130", "198.18.0.131"
ADDRESSES = {"client": (CLIENT,), "router": (ROUTER, ROUTER_SERVER), "server": (SERVER,)}


def judged(path: Path) -> RunVerdict:
    """The verdict on a run directory, as `labctl judge` makes it."""
    scenario = load_scenario(path / "scenario.yaml").scenario
    titles = {i: step.name or default_title(step) for i, step in enumerate(scenario.steps, 1)}
    return judge(scenario, titles, load(path))


def recorded(name: str) -> RunVerdict:
    return judged(RUNS / f"report-{name}")


def plan_of(run: RunVerdict) -> dict[str, Any]:
    plan: dict[str, Any] = json.loads((run.evidence.path / "plan.json").read_text(encoding="utf-8"))
    return plan


def edited(name: str, folder: Path, edit: Callable[[dict[str, Any]], dict[str, Any] | None]) -> RunVerdict:
    """A recorded run with its events passed through `edit`, which answers with an event or None to leave it out."""
    copy = folder / name
    shutil.copytree(RUNS / f"report-{name}", copy)
    events = copy / "events.jsonl"
    kept = [edit(json.loads(line)) for line in events.read_text(encoding="utf-8").splitlines()]
    events.write_text("".join(json.dumps(e) + "\n" for e in kept if e is not None), encoding="utf-8")
    return judged(copy)


PACKET = Packet(
    number=1, t=0.0, interface="eth0", length=66, protocol="TCP", source=CLIENT, destination=SERVER, sport=40000, dport=65432,
    flags=16, seq=1, ack=1, payload=0, window=64512, stream=0, raw_seq=1000, retransmission=False, icmp=None, icmpv6=None,
    ttl=64, ip_id="0x0001", info="info", selected=frozenset(),
)  # fmt: skip


def packet(number: int, t: float, **given: Any) -> Packet:
    """A packet from client to server port 65432: a bare ACK, but for what is given."""
    if given.get("source") == SERVER and "destination" not in given:
        given |= {"destination": CLIENT, "sport": 65432, "dport": 40000}
    return PACKET._replace(number=number, t=t, **given)


def evidence_of(
    packets: Mapping[str, Sequence[Packet]],
    samples: Mapping[str, list[Sample]] | None = None,
    addresses: Mapping[str, tuple[str, ...]] | None = None,
    incomplete: Sequence[str] = (),
) -> Evidence:
    """Evidence of these packets by host, with no file behind it."""
    evidence = Evidence(Path("/nowhere"), "20270115T080000Z-made-up-0000", "made-up", "made up", "2027", 0.0, 1)
    evidence.addresses = ADDRESSES if addresses is None else addresses
    for host in packets:
        evidence.captures[host] = CaptureRecord(
            host, f"pcap/{host}.pcapng", len(packets[host]), 0, host not in incomplete, None, ()
        )
    evidence.__dict__["packets"] = {host: list(found) for host, found in packets.items()}
    evidence.__dict__["samples"] = dict(samples or {})
    evidence.seconds = 10.0
    return evidence


def verdict_of(evidence: Evidence) -> RunVerdict:
    return RunVerdict("pass", "made up", (), evidence)


def across(number: int, t: float, until: str = "server", **given: Any) -> dict[str, list[Packet]]:
    """One packet on its way from client to server, seen up to `until` (client, router in, router out, server)."""
    hops = [("client", "eth0"), ("router", "eth0"), ("router", "eth2"), ("server", "eth0")]
    if given.get("source") == SERVER:
        hops.reverse()
    last = {"client": 1, "router in": 2, "router out": 3, "server": 4}[until]
    seen: dict[str, list[Packet]] = {"client": [], "router": [], "server": []}
    for n, (host, interface) in enumerate(hops[:last]):
        seen[host].append(packet(number * 10 + n, t + n * 0.0001, interface=interface, **given))
    return seen


def together(*ways: Mapping[str, Sequence[Packet]]) -> dict[str, list[Packet]]:
    """Several packets' ways as one set of captures."""
    return {host: [p for way in ways for p in way[host]] for host in ("client", "router", "server")}
