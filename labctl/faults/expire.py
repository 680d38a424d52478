"""expire: a router forgets connections that go on, as a NAT gateway does with idle ones (conntrack(8), -D).

What comes next is the router's choice. Linux adopts a connection in the middle when a packet of it comes from within
(nf_conntrack-sysctl, nf_conntrack_tcp_loose); what comes from outside to an address that masqueraded belongs to nobody, and the
router answers with a reset. Other gateways drop, or reset, whatever they do not know: `then`.

Proof: entries deleted, and packets of forgotten connections that were dropped or reset.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from labctl.faults.base import Change, FaultPlan, Impossible, Site
from labctl.faults.chain import Chain, Chains, Match, chains
from labctl.faults.match import Ends

TARGETS: dict[str, Match] = {"drop": ("-j", "DROP"), "reset": ("-p", "tcp", "-j", "REJECT", "--reject-with", "tcp-reset")}
MIDSTREAM: Match = ("-p", "tcp", "!", "--syn", "-m", "conntrack", "--ctstate", "NEW,INVALID")


class Expire(Ends):
    kind: ClassVar[str] = "expire"
    summary: ClassVar[str] = "A router's connection tracking forgets connections that go on."

    protocol: Literal["tcp", "udp"] = Field(description="Only connections of this protocol.")
    then: Literal["adopt", "drop", "reset"] = Field(
        default="adopt", description="What the router does with packets of TCP connections that it does not know."
    )

    @model_validator(mode="before")
    @classmethod
    def _is_about_connections(cls, value: Any) -> Any:
        if isinstance(value, Mapping):
            if any(key in value for key in ("flags", "state", "icmp_type")):
                raise ValueError("expire is about whole connections; it takes protocol, family, from, to, sport and dport")
            if (protocol := value.get("protocol", "all")) in ("icmp", "icmpv6", "all"):
                raise ValueError(f"expire does not know connections of {protocol}; write protocol: tcp or protocol: udp")
        return value

    @model_validator(mode="after")
    def _has_a_syn_to_look_for(self) -> Expire:
        if self.then != "adopt" and self.protocol != "tcp":
            raise ValueError(f"then: {self.then} looks for connections begun without a SYN, so it is for protocol: tcp")
        return self

    def plan(self, site: Site, name: str) -> FaultPlan:
        """The entries of each pair of addresses are deleted by a command of its own; from and to are as the opener saw them."""
        if not site.is_router:
            raise Impossible(f"{site.host} keeps nobody's connections; put expire at a router")
        site.check_seen(self.source, self.destination)
        deletes: list[list[str]] = []
        for family in self.families(site):
            ends = [site.peers(names, family) if names else ("",) for names in (self.source, self.destination)]
            option = {4: "ipv4", 6: "ipv6"}[family]
            for source in ends[0]:
                for destination in ends[1]:
                    words = ["conntrack", "-D", "-f", option, "-p", self.protocol]
                    for key, value in (("-s", source), ("-d", destination), ("--sport", self.sport), ("--dport", self.dport)):
                        words += (key, value) if value else ()
                    deletes.append(words)
        if not deletes:
            raise self.nobody(site)
        made = self._midstream(site, name)
        action: dict[str, Any] = {
            "type": "expire",
            "deletes": deletes,
            "changes": [{"do": list(c.do), "undo": list(c.undo)} for c in made.changes],
            "counters": [asdict(counter) for counter in made.counters],
            "quench": [{"do": list(c.do), "undo": list(c.undo)} for c in made.quench],
            "ahead": made.ahead,
        }
        changes = (*made.changes, *(Change(tuple(argv), ()) for argv in deletes))
        return FaultPlan(
            name, self.kind, site.host, "conntrack", changes, made.counters, made.quench, made.ahead, action=action
        )

    def _midstream(self, site: Site, name: str) -> Chains:
        if self.then == "adopt":
            return Chains((), (), (), 0)
        hooks = (("FORWARD", MIDSTREAM), ("INPUT", MIDSTREAM))
        return chains(name, [Chain(family, (TARGETS[self.then],), hooks) for family in self.families(site)])
