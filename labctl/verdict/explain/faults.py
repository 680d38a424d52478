"""Which fault did it: the one, if there is only one, that touched packets, was in the way, and is about this traffic."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

from labctl.evidence.packets import Packet
from labctl.evidence.record import FaultRecord
from labctl.faults.blackhole import Blackhole
from labctl.faults.expire import Expire
from labctl.faults.kill import Kill
from labctl.faults.link import Link
from labctl.faults.mtu import Mtu
from labctl.faults.ttl import Ttl
from labctl.units import format_duration
from labctl.verdict.explain.case import Case, Flow, count

# Faults whose packets are counted as they pass, so that each step's share is known.
COUNTED = frozenset({"drop", "reject", "partition", "ttl", "link", "mtu", "blackhole", "masquerade"})
# What can make packets vanish without a word.
SILENT = ("drop", "partition", "loss", "expire", "down", "kill")


def blame(case: Case, flow: Flow, kinds: tuple[str, ...], answer: str = "") -> str:
    """What the one fault of these kinds did to this traffic; nothing when there is none or more than one."""
    found = guilty(case, flow, kinds, answer)
    return clause(case, found[0]) if len(found) == 1 else ""


def blame_all(case: Case, flow: Flow, kinds: tuple[str, ...]) -> str:
    """What the faults of these kinds did that act together: delays add up, and so do losses."""
    return " and ".join(clause(case, f) for f in guilty(case, flow, kinds))


def guilty(case: Case, flow: Flow, kinds: tuple[str, ...], answer: str = "") -> list[FaultRecord]:
    """The faults of these kinds that touched packets while the program ran, on the way of this traffic and about it.

    `loss` stands for link faults that lose or damage packets, `delay` for those that hold them up, `duplicate` and `reorder`
    for those that do that. `answer` is what a reject
    must answer with (a part of its --reject-with).
    """
    found = [
        f
        for f in case.evidence.faults
        if _does(case, f, kinds)
        and f.in_place(case.start, case.end)
        and case.evidence.proof(f)
        and share(case, f) != 0
        and _in_the_way(case, f, flow)
    ]
    return [f for f in found if _ABOUT.get(f.kind, _any)(case, f, flow, answer)]


def why_absent(case: Case, flow: Flow) -> str:
    """Why nobody answers for the peer's address: the one fault that left its host dead or without its interface."""
    found = [f for f in guilty(case, flow, ("down", "kill")) if f.host == case.name(flow.remote)]
    return f", as {clause(case, found[0])}" if len(found) == 1 else ""


def share(case: Case, fault: FaultRecord) -> int | None:
    """How many packets a fault touched while the program ran, from its first step to its last; None when nobody knows."""
    if fault.kind not in COUNTED:
        return case.evidence.proof(fault)
    within = case.start <= fault.applied and fault.removed is not None and fault.removed <= case.end
    return fault.packets if within else case.evidence.touched(fault, case.first, case.step)


def _does(case: Case, fault: FaultRecord, kinds: tuple[str, ...]) -> bool:
    if fault.kind != "link":
        return fault.kind in kinds
    spec = case.settings(fault)
    if not isinstance(spec, Link):
        return False
    ramp = spec.ramp.goal() if spec.ramp else {}
    loses = bool(
        spec.loss or spec.loss_gemodel or spec.loss_state or spec.corrupt or spec.limit or ramp.get("loss")
    )
    delays = bool(spec.delay or spec.rate or spec.slot or ramp.get("delay_s") or ramp.get("rate_bps"))
    return (
        ("loss" in kinds and loses)
        or ("delay" in kinds and delays)
        or any(word in kinds and getattr(spec, word) for word in ("duplicate", "reorder", "corrupt"))
    )


def _in_the_way(case: Case, fault: FaultRecord, flow: Flow) -> bool:
    """Whether the traffic passes the fault's host: it is one of its ends, or it captured some of it."""
    if fault.host in (case.host, case.name(flow.remote)):
        return True
    return any(_passes(flow, p) for p in case.at(fault.host))


def _passes(flow: Flow, packet: Packet) -> bool:
    """Whether a packet at another host is of this traffic: its ports, as NAT leaves them, or the peer's address without any."""
    if packet.sport is None:
        return flow.remote in (packet.source, packet.destination)
    return {packet.sport, packet.dport} == {flow.port, flow.peer}


def _any(case: Case, fault: FaultRecord, flow: Flow, answer: str) -> bool:  # noqa: ARG001
    return True


def _by_rules(case: Case, fault: FaultRecord, flow: Flow, answer: str) -> bool:
    """Whether its iptables rules can have touched this traffic, one way or the other, and answered as asked."""
    protocol = protocol_of(case, flow)
    local = flow.local if flow.local not in (None, "0.0.0.0", "::") else None
    mine = (local,) if local else tuple(case.own)
    for target, hook in _chains(fault.commands):
        if fault.kind == "reject" and not any(answer in word for word in target):
            continue
        for source in mine:
            ends = (source, flow.port, flow.remote, flow.peer)
            for way in (ends, ends[2:] + ends[:2]):
                if all(_admits(rule, protocol, *way) for rule in (target, hook)):
                    return True
    return False


def protocol_of(case: Case, flow: Flow) -> str:
    """`icmp` or `icmpv6` without ports, `udp` where only datagrams were seen or asked for, else `tcp`."""
    if not flow.port and not flow.peer:
        return "icmpv6" if ":" in flow.remote else "icmp"
    seen = [p.is_tcp for p in case.packets if flow.has(p)]
    return "udp" if "--udp" in case.program.argv or (seen and not any(seen)) else "tcp"


def _chains(commands: list[list[str]]) -> Iterator[tuple[list[str], list[str]]]:
    """Each rule that does something, with each rule that leads to its chain."""
    rules = [argv for argv in commands if argv[:1] in (["iptables"], ["ip6tables"]) and "-j" in argv]
    hooks = [argv for argv in rules if _target(argv).startswith("LABCTL")]
    for target in rules:
        if target in hooks or _target(target) == "RETURN":
            continue
        for hook in hooks:
            if hook[0] == target[0] and _target(hook) in target:
                yield target, hook


def _target(argv: list[str]) -> str:
    return argv[argv.index("-j") + 1]


def _admits(
    argv: list[str], protocol: str, source: str, sport: int | None, destination: str, dport: int | None
) -> bool:
    """Whether a rule lets a packet through to its target; what cannot be told from addresses and ports counts as yes."""
    if "!" in argv:
        return True
    for option, value in itertools.pairwise(argv):
        if option in ("-s", "-d"):
            address = source if option == "-s" else destination
            if address not in [part.partition("/")[0] for part in value.split(",")]:
                return False
        elif option == "-p" and value not in (protocol, "all"):
            return False
        elif option in ("--sport", "--dport"):
            first, _, last = value.partition(":")
            port = sport if option == "--sport" else dport
            if port is None or not int(first) <= port <= int(last or first):
                return False
    return True


def _by_selection(case: Case, fault: FaultRecord, flow: Flow, answer: str) -> bool:  # noqa: ARG001
    """Whether a link fault is about this traffic, by the hosts and ports that the scenario names."""
    spec = case.settings(fault)
    if not isinstance(spec, Link):
        return False
    ends = {case.host, case.name(flow.remote)}
    named = (*spec.source, *spec.destination)
    ports = {str(flow.port), str(flow.peer)}
    wanted = {str(p) for p in (spec.sport, spec.dport) if p and ":" not in str(p)}
    if spec.protocol not in ("all", protocol_of(case, flow)):
        return False
    return set(named) <= ends and wanted <= ports and (not spec.toward or bool(set(spec.toward) & ends))


def _by_entry(case: Case, fault: FaultRecord, flow: Flow, answer: str) -> bool:
    """Whether a router was made to forget this connection, and then did what is asked for."""
    spec = case.settings(fault)
    if not isinstance(spec, Expire) or (answer and spec.then != answer):
        return False
    return not spec.dport or spec.dport in (str(flow.peer), str(flow.port))


def _by_injection(case: Case, fault: FaultRecord, flow: Flow, answer: str) -> bool:  # noqa: ARG001
    """Whether a reset was injected that seemed to come from this connection's peer, or may have been: at a router it waits."""
    for argv in fault.commands:
        if argv[:1] == ["inject-reset"] and argv[1:] in ([f"port={flow.port}"], [f"port={flow.peer}"]):
            return True
        if argv[:2] == ["inject-reset", "from"] and len(argv) == 7:
            source, sport, _, _, dport = argv[2:]
            if (source, sport, dport) == (flow.remote, str(flow.peer), str(flow.port)):
                return True
    return False


def _by_killing(case: Case, fault: FaultRecord, flow: Flow, answer: str) -> bool:  # noqa: ARG001
    """Whether the other end's whole host was dead; where a program alone is killed, the kernel goes on and answers."""
    spec = case.settings(fault)
    whole = spec.program is None if isinstance(spec, Kill) else fault.backend == "engine"
    return whole and fault.host == case.name(flow.remote)


_ABOUT: dict[str, Callable[[Case, FaultRecord, Flow, str], bool]] = {
    "drop": _by_rules,
    "reject": _by_rules,
    "partition": _by_rules,
    "ttl": _by_rules,
    "link": _by_selection,
    "expire": _by_entry,
    "reset": _by_injection,
    "kill": _by_killing,
}


def is_outgoing(fault: FaultRecord) -> bool:
    """Whether a firewall fault is only about what its own host sends: all its chains hang in OUTPUT."""
    hooks = [hook for _, hook in _chains(fault.commands)]
    return bool(hooks) and all("OUTPUT" in hook for hook in hooks)


def damage(case: Case, flow: Flow, protocol: str) -> str:
    """What the kernels at both ends threw away for a wrong checksum meanwhile, where a link damages what is sent.

    `protocol` is tcp, udp or icmp.
    """
    if not guilty(case, flow, ("corrupt",)):
        return ""
    hosts = dict.fromkeys((case.name(flow.remote), case.host))
    counted = [(host, case.evidence.damaged(host, protocol, case.first, case.step)) for host in hosts]
    return " and ".join(
        f"{host}'s kernel threw {count(number, 'packet')} away for a wrong checksum" for host, number in counted if number
    )


def clause(case: Case, fault: FaultRecord) -> str:
    """What a fault did, with the number of packets that proves it."""
    known = share(case, fault)
    touched = count(fault.packets or 0, "packet") + " in the whole run" if known is None else count(known, "packet")
    spec = case.settings(fault)
    where = f"the fault {fault.name} on {fault.host}"
    if fault.kind in ("drop", "partition"):
        return f"{where} dropped {touched}"
    if fault.kind == "reject":
        return f"{where} rejected {touched}"
    if isinstance(spec, Link):
        return f"{where} ({', '.join(link_words(spec))}) touched {touched}"
    if isinstance(spec, Ttl):
        change = (
            f"set the time to live to {spec.set}"
            if spec.set
            else f"took {spec.decrement} from the time to live"
        )
        return f"{where} {change} in {touched}"
    if isinstance(spec, Blackhole):
        return f"{where} passes on nothing longer than {spec.size} bytes and drops the ICMP that would say so"
    if isinstance(spec, Mtu):
        return f"{where} lets through nothing longer than {spec.size} bytes"
    if isinstance(spec, Expire):
        then = {
            "drop": ", and what it does not know it drops",
            "reset": ", and what it does not know it resets",
        }
        return f"the fault {fault.name} made {fault.host} forget the connection{then.get(spec.then, '')}"
    if fault.kind == "reset":
        return f"{where} injected it"
    if fault.kind == "down":
        return f"{where} had taken its interface down"
    if fault.kind == "kill":
        program = spec.program if isinstance(spec, Kill) else None
        return f"the fault {fault.name} had killed {f'{program} on ' if program else ''}{fault.host}"
    if fault.kind == "pause":
        return f"the fault {fault.name} had frozen every process of {fault.host}"
    return f"{where} touched {touched}"


def link_words(spec: Link) -> list[str]:
    """What a link does, in tc's words."""
    said = [f"{n} {format_duration(v)}" for n in ("delay", "jitter") if (v := getattr(spec, n))]
    said += [f"{n} {v:g}%" for n in ("loss", "corrupt", "duplicate", "reorder") if (v := getattr(spec, n))]
    said += [n for n in ("loss_gemodel", "loss_state", "slot", "ramp") if getattr(spec, n)]
    said += [f"rate {spec.rate / 1000:g}kbit"] if spec.rate else []
    return said + ([f"limit {spec.limit}"] if spec.limit else [])
