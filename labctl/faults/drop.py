"""drop: the packet vanishes and nobody is told (iptables-extensions(8), target DROP).

A connect() through it hears nothing, so the kernel repeats the SYN until tcp_syn_retries is used up: ETIMEDOUT.
"""

from __future__ import annotations

from typing import ClassVar

from labctl.faults.base import Family
from labctl.faults.firewall import Firewall


class Drop(Firewall):
    kind: ClassVar[str] = "drop"
    summary: ClassVar[str] = "Packets vanish silently."

    def target(self, family: Family) -> tuple[str, ...]:  # noqa: ARG002
        return ("-j", "DROP")
