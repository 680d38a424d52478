"""reject: the packet is refused and the sender is told, by a TCP reset or an ICMP error.

Targets from iptables-extensions(8), REJECT. What the sender's socket makes of each ICMP code is the kernel's table
icmp_err_convert in net/ipv4/icmp.c: port -> ECONNREFUSED, host -> EHOSTUNREACH, net -> ENETUNREACH, proto -> ENOPROTOOPT; of
each ICMPv6 code tab_unreach in net/ipv6/icmp.c, where every prohibition, policy and route that rejects is EACCES.
"""

from __future__ import annotations

from typing import ClassVar, Literal, get_args

from pydantic import Field, model_validator

from labctl.faults.base import Family, Impossible, Site
from labctl.faults.firewall import Firewall

Answer = Literal[
    "tcp-reset",
    "icmp-net-unreachable",
    "icmp-host-unreachable",
    "icmp-port-unreachable",
    "icmp-proto-unreachable",
    "icmp-net-prohibited",
    "icmp-host-prohibited",
    "icmp-admin-prohibited",
    "icmp6-policy-fail",
    "icmp6-reject-route",
]

# ICMPv6 (RFC 4443, 3.1) has no code for "protocol" among the unreachables, nor one for a whole net or host prohibited; two of
# its codes say what none of ICMP does.
ICMPV6: dict[str, str] = {
    "tcp-reset": "tcp-reset",
    "icmp-net-unreachable": "icmp6-no-route",
    "icmp-host-unreachable": "icmp6-addr-unreachable",
    "icmp-port-unreachable": "icmp6-port-unreachable",
    "icmp-admin-prohibited": "icmp6-adm-prohibited",
    "icmp6-policy-fail": "icmp6-policy-fail",
    "icmp6-reject-route": "icmp6-reject-route",
}
WORDS: dict[Family, dict[str, str]] = {
    4: {answer: answer for answer in get_args(Answer) if not answer.startswith("icmp6-")},
    6: ICMPV6,
}


class Reject(Firewall):
    kind: ClassVar[str] = "reject"
    summary: ClassVar[str] = "Packets are refused with a TCP reset or an ICMP unreachable."

    answer: Answer = Field(default="icmp-port-unreachable", alias="with", description="What the sender is told.")

    @model_validator(mode="after")
    def _a_reset_is_a_tcp_answer(self) -> Reject:
        if self.answer == "tcp-reset" and self.protocol != "tcp":
            raise ValueError("with: tcp-reset answers TCP only; write protocol: tcp")
        if self.answer == "tcp-reset" and "rst" in self.flags:
            raise ValueError("no reset is answered with a reset (RFC 9293, 3.5.2); use drop for flags: rst")
        return self

    def families(self, site: Site) -> tuple[Family, ...]:
        """As for all packets; each must have the answer. Raises Impossible."""
        usable = super().families(site)
        for family in usable:
            if self.answer not in WORDS[family]:
                protocol, other = ("ICMPv6", "ipv4") if family == 6 else ("ICMP", "ipv6")
                only = f", or family: {other}" if len(usable) > 1 else ""
                raise Impossible(f"{protocol} has no {self.answer}; write with: icmp-admin-prohibited{only}")
        return usable

    def target(self, family: Family) -> tuple[str, ...]:
        # The kernel takes tcp-reset only in a rule that says -p tcp itself (net/ipv4/netfilter/ipt_REJECT.c, reject_tg_check).
        protocol = ("-p", "tcp") if self.answer == "tcp-reset" else ()
        return (*protocol, "-j", "REJECT", "--reject-with", WORDS[family][self.answer])
