"""reset: a connection that goes on gets a TCP reset from the middle, as from a firewall or load balancer that has had enough.

The reset carries the exact sequence number that its receiver expects (RFC 5961, 3.2), so the kernel takes it: ECONNRESET at
each end that gets one. An end that gets none is told nothing; it finds out when it sends, and the other's kernel answers.
Every segment that is seen is answered with a reset to its sender and one to its receiver, until the connection is gone.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field, StrictInt

from labctl.faults.base import Change, Fault, FaultPlan, Impossible, Site
from labctl.faults.match import HostNames


class Reset(Fault):
    kind: ClassVar[str] = "reset"
    summary: ClassVar[str] = "Established connections on a port are reset, at both ends or at one."

    port: StrictInt = Field(ge=1, le=65535, description="The port of either end: every connection on it is reset.")
    source: HostNames = Field(default=(), alias="from", description="Only resets that seem to come from these hosts.")
    destination: HostNames = Field(
        default=(), alias="to", description="Only these hosts get one; both ends when neither from nor to is given."
    )

    def hosts(self) -> tuple[str, ...]:
        return self.source + self.destination

    def plan(self, site: Site, name: str) -> FaultPlan:
        """An action of the agent. At an end of a connection it acts at once, at a router when the next packet passes."""
        if len(self.source) == 1 and self.source == self.destination:
            raise Impossible(f"nothing goes from {self.source[0]} to itself; change from or to")
        ends = {*self.source, *self.destination}
        if not site.is_router and self.source and self.destination and site.host not in ends:
            raise Impossible(f"no connection of {' and '.join(sorted(ends))} passes {site.host}; put the fault at one of them "
                             "or at a router")  # fmt: skip
        site.check_seen(self.source, self.destination)
        action: dict[str, Any] = {
            "type": "reset",
            "port": self.port,
            "sources": [a for host in self.source for a in site.addresses[host]],
            "targets": [a for host in self.destination for a in site.addresses[host]],
        }
        words: tuple[str, ...] = ("inject-reset", "port", str(self.port))
        words += ("from", ",".join(self.source)) if self.source else ()
        words += ("to", ",".join(self.destination)) if self.destination else ()
        return FaultPlan(name, self.kind, site.host, "inject", (Change(words, ()),), action=action)
