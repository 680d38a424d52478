"""The hosts of a run, spoken to through the agent on each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from labctl.engines.agents import AgentClient
from labctl.engines.base import Engine
from labctl.errors import LabError, MissingError
from labctl.evidence.record import Before
from labctl.evidence.rundir import RunDirectory
from labctl.plan import Plan
from labctl.session.together import everywhere

Heard = Callable[[str, dict[str, Any]], None]


@dataclass
class Hosts:
    """The hosts that a plan needs, up, with an agent on each.

    `heard` says who is told of what an agent reports by itself, by the word for it; what nobody asked for goes into the record.
    `killed` are the hosts that are not up now, each with the fault that did it; `former` the agents of lives that are over.
    `linked` is what each host that has link faults can do for them. `before` are the faults that others had put at these hosts
    when the run began.
    """

    plan: Plan
    engine: Engine
    record: RunDirectory
    link_backend: str = "auto"
    agents: dict[str, AgentClient] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    heard: dict[str, Heard] = field(default_factory=dict)
    killed: dict[str, str] = field(default_factory=dict)
    former: list[AgentClient] = field(default_factory=list)
    linked: dict[str, dict[str, Any]] = field(default_factory=dict)
    before: list[Before] = field(default_factory=list)
    _hellos: dict[str, dict[str, Any]] = field(default_factory=dict)

    def open(self, host: str) -> None:
        """An agent and routes on a host that runs; several may be opened at once. Raises LabError.

        The agent of a former life of it keeps what it recorded.
        """
        agent = AgentClient(host, self.engine.open_agent(host), self.hear)
        if host in self.agents:
            self.former.append(self.agents[host])
        self.agents[host] = agent
        self._hellos[host] = self._greet(host)
        agent.set_routes(self.plan.routes[host], self.plan.lab.gateways(host))

    def close(self) -> None:
        """Close all agents, and with them undo everything that they did."""
        everywhere(lambda agent: agent.close(), [*self.agents.values(), *self.former])

    def begin(self) -> None:
        """All hosts are open: what was found there is recorded, and they are made ready for the faults of the plan."""
        hellos = [(host, self._hellos[host]) for host in self.plan.hosts]
        self.before += _found(hellos)
        if self.before:
            self.record.event("faults-before", faults=[asdict(fault) for fault in self.before])
        self.prepare_links()
        self.environment["agent_rss_kib"] = max(hello["rss_kib"] for _, hello in hellos)
        self.record.event(
            "lab-up",
            hosts=[
                {
                    "name": host,
                    "addresses": list(self.plan.lab.hosts[host].all_addresses),
                    "devices": self.agents[host].devices,
                    "clock_offset_s": self.agents[host].clock_offset_s,
                }
                for host in self.plan.hosts
            ],
        )

    def reopen(self, host: str) -> None:
        """Open a host that was started again, make it ready for its faults, and wait until it is healthy. Raises LabError."""
        self.open(host)
        if host in self._link_sites():
            self.agents[host].call("capabilities")
        self._quiet([host])
        self.engine.wait_healthy([host])

    def _link_sites(self) -> list[str]:
        return list(self._link_requests())

    def _link_requests(self) -> dict[str, list[dict[str, Any]]]:
        """What the agent of each host that has link faults is asked for."""
        found: dict[str, list[dict[str, Any]]] = {}
        for fault in (fault for step in self.plan.steps for fault in step.faults):
            if (request := fault.request())["type"] == "link":
                found.setdefault(fault.host, []).append(request)
        return found

    def _quiet(self, hosts: Sequence[str]) -> None:
        """Switch offloads off at these hosts, where netem makes link faults."""
        if self._link_sites() and self.environment["netem"] and self.link_backend != "nfqueue":
            everywhere(lambda host: self.agents[host].call("offloads", devices=self._devices(host)), hosts)

    def prepare_links(self) -> None:
        """Find out which backend link faults will have, before there is any, and make the hosts ready for it.

        Asked again when the plan has grown, it looks at hosts that had none before. A seed that netem cannot take here makes
        `auto` nfqueue for all of them. Raises MissingError when the scenario has link faults and neither backend can make them.
        """
        sites = self._link_sites()
        if "netem" not in self.environment and not sites:
            self.environment["netem"] = self.agents[self.plan.hosts[0]].call("netem")
        fresh = [host for host in sites if host not in self.linked]
        self.linked |= dict(zip(fresh, everywhere(lambda host: self.agents[host].call("capabilities"), fresh), strict=True))
        for host, requests in self._link_requests().items():
            self._choose_backend(host, self.linked[host], any(map(_has_seed, requests)))
        if fresh:
            self.environment["netem"] = all(can["netem"] for can in self.linked.values())
            self._quiet(self.plan.hosts)

    def _choose_backend(self, host: str, can: dict[str, Any], seeded: bool) -> None:
        wanted = ("netem", "nfqueue") if self.link_backend == "auto" else (self.link_backend,)
        lacks = {backend: "seed" if backend == "netem" and can["netem"] and seeded else backend for backend in wanted}
        able = [backend for backend, needed in lacks.items() if can[needed]]
        if not able:
            why = "; ".join(can["reasons"].get(needed, f"no {needed}") for needed in lacks.values())
            raise MissingError(f"link faults at {host} need {' or '.join(wanted)}: {why}")
        if can["netem"] and "netem" not in able:
            self.link_backend = "nfqueue"

    def _devices(self, host: str) -> list[str]:
        return list(self.agents[host].devices.values())

    def _greet(self, host: str) -> dict[str, Any]:
        hello = self.agents[host].greet(dict(self.plan.lab.hosts[host].addresses or {}), self.record.path.name)
        if hello["swept"]:
            self.record.event("swept", host=host, ran=hello["swept"])
        return hello

    def check(self, look: bool = False) -> None:
        """Raises LabError naming a host or an agent that ended by itself, or what else became of it.

        `look`: hosts are looked at now, besides what was heard of them.
        """
        if (dead := self.engine.dead(self.plan.hosts, look)) is not None:
            raise LabError(dead)
        for agent in self.agents.values():
            agent.check()

    def at(self, host: str, agent_time: float) -> float:
        """What a host's agent calls `agent_time` as seconds of the run."""
        offset_s = self.agents[host].clock_offset_s if host in self.agents else 0.0
        return self.record.at(agent_time - offset_s)

    def hear(self, host: str, message: dict[str, Any]) -> None:
        """Take what an agent reports by itself."""
        word = message.pop("event")
        if word in self.heard:
            self.heard[word](host, message)
        else:
            self.record.event(word, host=host, **message)


def _has_seed(request: dict[str, Any]) -> bool:
    return any(part["spec"].get("seed") is not None for part in request["parts"])


def _found(hellos: Iterable[tuple[str, dict[str, Any]]]) -> list[Before]:
    """The faults of others that agents found at their hosts, each once."""
    held = [(host, other) for host, hello in hellos for other in hello["others"]]
    return list(dict.fromkeys(Before(other["fault"], other["kind"], host, other["by"]) for host, other in held))
