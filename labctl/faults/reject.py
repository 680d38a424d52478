"""reject: the packet is refused and the sender is told, by a TCP reset or an ICMP error.

Targets from iptables-extensions(8), REJECT. What the sender's socket makes of each ICMP code is the kernel's table
icmp_err_convert in net/ipv4/icmp.c: port -> ECONNREFUSED, host -> EHOSTUNREACH, net -> ENETUNREACH, proto -> ENOPROTOOPT.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from labctl.faults.base import Family, Impossible
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
]

# ICMPv6 (RFC 4443, 3.1) has no code for "protocol" among the unreachables, nor one for a whole net or host prohibited.
ICMPV6: dict[str, str] = {
    "tcp-reset": "tcp-reset",
    "icmp-net-unreachable": "icmp6-no-route",
    "icmp-host-unreachable": "icmp6-addr-unreachable",
    "icmp-port-unreachable": "icmp6-port-unreachable",
    "icmp-admin-prohibited": "icmp6-adm-prohibited",
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

    def target(self, family: Family) -> tuple[str, ...]:
        if family == 6 and self.answer not in ICMPV6:
            raise Impossible(f"ICMPv6 has no {self.answer}; write with: icmp-admin-prohibited, or use an IPv4 lab")
        # The kernel takes tcp-reset only in a rule that says -p tcp itself (net/ipv4/netfilter/ipt_REJECT.c, reject_tg_check).
        protocol = ("-p", "tcp") if self.answer == "tcp-reset" else ()
        return (*protocol, "-j", "REJECT", "--reject-with", self.answer if family == 4 else ICMPV6[self.answer])
