"""What is recorded of every host while a scenario runs: its packets and its sockets."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from labctl.engines.agents import AgentRefused
from labctl.errors import LabError
from labctl.evidence.packets import dissect_argv, refused_filter
from labctl.interrupts import uninterrupted
from labctl.session.hosts import Hosts
from labctl.session.together import everywhere, recorded

CAPTURE_TIMEOUT_S = 60.0


@dataclass
class Captures:
    """A capture and a sampler of sockets on every host. `release` takes the hosts away once they are needed no more."""

    hosts: Hosts
    run: str
    release: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        self.plan, self.agents, self.record = self.hosts.plan, self.hosts.agents, self.hosts.record
        self.hosts.heard["sockets"] = self._sampled

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Capture and sample on every host while the block runs; fetch and dissect at its end, however it ends."""
        started: list[str] = []
        try:
            if self.plan.scenario.capture.enabled:
                everywhere(lambda host: self._start_capture(host, started), self.plan.hosts)
            everywhere(
                lambda host: self.agents[host].call("sample", interval_s=self.plan.scenario.sample),
                self.plan.hosts,
            )
            yield
        finally:
            with uninterrupted():
                self._end_captures(started)

    def _end_captures(self, started: Sequence[str]) -> None:
        """End, fetch and dissect them. What fails at one host is recorded and keeps no other from being saved."""
        everywhere(
            recorded(self.record, lambda host: self.agents[host].call("sample", interval_s=0)),
            self.plan.hosts,
        )
        missing = dict(
            zip(started, everywhere(recorded(self.record, self._finish_capture), started), strict=True)
        )
        recorded(self.record, lambda _: self.hosts.check())(None)
        # From here on nothing of the hosts is needed: they go while their captures are read.
        ending = [
            partial(self._end_capture, host, lacks) for host, lacks in missing.items() if lacks is not None
        ]
        everywhere(recorded(self.record, lambda job: job()), [self.release, *ending])
        if fetched := [host for host in started if (self.record.path / f"pcap/{host}.pcapng").exists()]:
            recorded(self.record, self._merge)(fetched)

    def _start_capture(self, host: str, started: list[str]) -> None:
        capture = self.plan.scenario.capture
        comment = f"labctl run {self.run}, scenario {self.plan.scenario.scenario}, host {host}"
        path = self._remote(host)
        try:
            # First, as starting tshark takes longest of all; then it is there when the shortest scenario ends.
            self.agents[host].call("dissect_start", argv=dissect_argv(self.plan.filters[host]), capture=path)
            answer = self.agents[host].call(
                "capture_start", path=path, token=secrets.token_hex(4), comment=comment,
                snaplen=capture.snaplen, max_bytes=capture.max,
            )  # fmt: skip
        except AgentRefused as error:
            raise LabError(f"the capture of {host} did not start: {error}") from None
        started.append(host)
        self.record.event("capture-start", host=host, **answer)

    def _remote(self, host: str) -> str:
        """Where the agent keeps it: apart from other runs', whose agents may live in the same container."""
        return f"/tmp/labctl/{self.run}/{host}.pcapng"

    def _finish_capture(self, host: str) -> Any:
        return self.agents[host].call("capture_finish")

    def _end_capture(self, host: str, missing: list[str]) -> None:
        agent = self.agents[host]
        asked = list(self.plan.filters[host])
        refused: list[str] = []
        stopping = agent.ask("capture_stop", missing=missing)  # takes dumpcap a while, in which tshark reads
        while True:
            done = agent.call("dissect", timeout_s=CAPTURE_TIMEOUT_S)
            bad = refused_filter(done["err"], asked) if done["exit"] else None
            if bad is None:
                break
            refused.append(bad)
            asked.remove(bad)
            agent.call("dissect_start", argv=dissect_argv(asked), capture=self._remote(host))
        answer = agent.result(stopping, "capture_stop", CAPTURE_TIMEOUT_S)
        file = f"pcap/{host}.pcapng"
        agent.channel.fetch(answer["file"], self.record.path / file)
        if done["exit"]:
            raise LabError(f"tshark could not read the capture of {host}: {done['err'].strip()[-300:]}")
        agent.channel.fetch(done["file"], self.record.path / f"pcap/{host}.tsv")
        self.record.event(
            "capture-end", host=host, file=file, packets=done["packets"], dropped=answer["dropped"],
            complete=answer["complete"], reason=answer["reason"], filters=asked, refused=refused, argv=done["argv"],
            said=answer["said"],
        )  # fmt: skip

    def _merge(self, hosts: Sequence[str]) -> None:
        from labctl.evidence.pcapng import merge

        merge(
            {host: self.record.path / f"pcap/{host}.pcapng" for host in hosts},
            self.record.path / "pcap/merged.pcapng",
            f"labctl run {self.run}, scenario {self.plan.scenario.scenario}, all hosts",
        )

    def _sampled(self, host: str, message: dict[str, Any]) -> None:
        self.record.sample(host, self.hosts.at(host, message["time"]), message["sockets"])
