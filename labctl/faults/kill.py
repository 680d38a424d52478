"""kill: a host dies at once, as when its power is cut, and starts again when it is healed; or one program on it is killed.

A host that dies says nothing: no FIN, no reset. So its agent silences it first (`labctl.agent.death`), and then the engine
kills its processes and its network namespace goes. A peer learns of it when the host is up again and knows nothing of the
connection: the reset that answers its next segment is ECONNRESET (RFC 9293, 3.5.1, half-open connections). Until then nothing
answers. A host that is up again runs its container's own command and nothing else. A program that is killed is another
matter: the kernel lives on and closes its sockets, with a FIN, or a reset where data was not read (tcp_close).

Proof: of a host its open sockets, and packets that came or wanted to leave once it had fallen silent; of a program that it ran.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from labctl.faults.base import Change, Fault, FaultPlan, Site


class Kill(Fault):
    kind: ClassVar[str] = "kill"
    summary: ClassVar[str] = "A host dies and starts again when it is healed; or one program is killed."

    program: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,19}$")] | None = Field(
        default=None, description="Only this program, by the name that its start step gave it; for good."
    )

    def plan(self, site: Site, name: str) -> FaultPlan:
        if self.program is None:
            change = Change(("(engine)", "kill", site.host), ("(engine)", "start", site.host))
            return FaultPlan(name, self.kind, site.host, "engine", (change,), engine="kill")
        change = Change(("kill", "-s", "KILL", self.program), ())
        return FaultPlan(
            name, self.kind, site.host, "signal", (change,), engine="kill-program", action={"program": self.program}
        )
