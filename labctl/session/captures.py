"""What is recorded of every host while a scenario runs: its packets and its sockets."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from labctl.engines.agents import AgentClient, AgentRefused
from labctl.errors import LabError
from labctl.evidence.packets import (
    capture_filter_problem,
    dissect_argv,
    join_tables,
    refusal,
    refusal_argv,
    refused_capture_filter,
    refused_filter,
)
from labctl.evidence.pcapng import join
from labctl.interrupts import uninterrupted
from labctl.session.hosts import Hosts
from labctl.session.together import everywhere, recorded

CAPTURE_TIMEOUT_S = 60.0


class CaptureFilterRefused(LabError):
    """What the scenario has as its capture filter is none; the message is for that place in its file."""


@dataclass
class Part:
    """The capture of one life of a host.

    `filters` are those that its tshark was started with, `missing` the sentinels that its file lacks, known when it has ended.
    """

    host: str
    agent: AgentClient
    number: int
    filters: tuple[str, ...]
    missing: list[str] | None = None

    @property
    def stem(self) -> str:
        """What its files are called: those of a first life are the host's own."""
        return self.host if self.number == 1 else f"{self.host}.life{self.number}"


@dataclass
class Captures:
    """A capture and a sampler of sockets on every host.

    `release` takes the hosts away once they are needed no more, or what programs have left on them. `is_refused` when the
    scenario's capture filter is none, so that nothing ran.
    """

    hosts: Hosts
    run: str
    release: Callable[[], None]
    parts: list[Part] = field(default_factory=list)
    is_refused: bool = False

    def __post_init__(self) -> None:
        self.plan, self.agents, self.record = self.hosts.plan, self.hosts.agents, self.hosts.record
        self.hosts.heard["sockets"] = self._sampled

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Capture and sample on every host while the block runs; fetch and dissect at its end, however it ends."""
        try:
            everywhere(self._start_capture, self.plan.hosts)
            everywhere(self._start_samples, self.plan.hosts)
            yield
        finally:
            with uninterrupted():
                self._end_captures()

    def resume(self, host: str) -> None:
        """Go on at a host that was started again, with another part of its capture."""
        self._start_capture(host)
        self._start_samples(host)

    def ended(self, host: str, t: float, missing: list[str] | None) -> None:
        """The host was killed at `t`; its agent has ended the part of this life, which lacks the sentinels in `missing`."""
        for part in self.parts:
            if part.host == host and part.missing is None:
                part.missing = missing
        self.record.sample(host, t, [])

    def _end_captures(self) -> None:
        """End, fetch and dissect them. What fails at one host is recorded and keeps no other from being saved."""
        everywhere(
            recorded(self.record, lambda host: self.agents[host].call("sample", interval_s=0)),
            self.plan.hosts,
        )
        everywhere(recorded(self.record, self._finish_capture), self.parts)
        recorded(self.record, lambda _: self.hosts.check(look=True))(None)
        # From here on nothing of the hosts is needed: they go while their captures are read.
        lives = [[p for p in self.parts if p.host == host] for host in dict.fromkeys(p.host for p in self.parts)]
        ending = [partial(self._end_capture, parts) for parts in lives if all(p.missing is not None for p in parts)]
        everywhere(recorded(self.record, lambda job: job()), [self.release, *ending])
        if fetched := [parts[0].host for parts in lives if self._file(parts[0].host).exists()]:
            recorded(self.record, self._merge_and_mark)(fetched)

    def _file(self, stem: str, suffix: str = "pcapng") -> Path:
        return self.record.path / f"pcap/{stem}.{suffix}"

    def _start_samples(self, host: str) -> None:
        self.agents[host].call("sample", interval_s=self.plan.scenario.sample)

    def _start_capture(self, host: str) -> None:
        capture = self.plan.scenario.capture
        if not capture.enabled:
            return
        comment = f"labctl run {self.run}, scenario {self.plan.scenario.scenario}, host {host}"
        agent, path, filters = self.agents[host], self._remote(host), self.plan.filters[host]
        try:
            # tshark first, as starting it takes longest of all; then it is there when the shortest scenario ends.
            dissecting = agent.ask("dissect_start", argv=dissect_argv(filters), capture=path)
            answer = agent.call(
                "capture_start", path=path, token=secrets.token_hex(4), comment=comment,
                snaplen=capture.snaplen, max_bytes=capture.max, only=capture.filter,
            )  # fmt: skip
            agent.result(dissecting, "dissect_start")
        except AgentRefused as error:
            if (why := refused_capture_filter(str(error))) is not None:
                self.is_refused = True
                raise CaptureFilterRefused(capture_filter_problem(why)) from None
            raise LabError(f"the capture of {host} did not start: {error}") from None
        self.parts.append(Part(host, agent, 1 + sum(p.host == host for p in self.parts), tuple(filters)))
        self.record.event("capture-start", host=host, **answer)

    def _remote(self, host: str) -> str:
        """Where the agent keeps it: apart from other runs', whose agents may live in the same container."""
        return f"/tmp/labctl/{self.run}/{host}.pcapng"

    def _finish_capture(self, part: Part) -> None:
        if part.missing is None:
            part.missing = part.agent.call("capture_finish")

    def _end_capture(self, parts: Sequence[Part]) -> None:
        """Fetch what was captured in all lives of one host, as one capture."""
        host = parts[0].host
        asked = list(self.plan.filters[host])
        refused: dict[str, str] = {}
        answers = [self._fetch(part, asked, refused) for part in parts]
        if len(parts) > 1:
            with self.record.writing(self._file(host)):
                before = join([self._file(p.stem) for p in parts], self._file(host))
                join_tables([self._file(p.stem, "tsv") for p in parts], before, self._file(host, "tsv"))
            for part in parts[1:]:
                self._file(part.stem).unlink()
                self._file(part.stem, "tsv").unlink()
        reasons = [a["reason"] for a in answers if a["reason"]]
        self.record.event(
            "capture-end", host=host, file=f"pcap/{host}.pcapng", packets=sum(a["packets"] for a in answers),
            dropped=sum(a["dropped"] for a in answers), complete=all(a["complete"] for a in answers),
            reason="; ".join(reasons) or None, parts=len(parts), filters=asked, refused=list(refused), why_refused=refused,
            argv=answers[-1]["argv"], said="\n".join(a["said"] for a in answers),
        )  # fmt: skip

    def _fetch(self, part: Part, asked: list[str], refused: dict[str, str]) -> dict[str, Any]:
        """One part and its dissection into files of their own. Filters that tshark refuses go from `asked` to `refused`,
        each with tshark's words.
        """
        agent = part.agent
        stopping = agent.ask("capture_stop", missing=part.missing)  # takes dumpcap a while, in which tshark reads
        # An earlier part's tshark refused some, or steps that were told one by one have brought more since.
        if tuple(asked) != part.filters:
            agent.call("dissect_start", argv=dissect_argv(asked), capture=self._remote(part.host))
        while True:
            done = agent.call("dissect", timeout_s=CAPTURE_TIMEOUT_S)
            bad = refused_filter(done["err"], asked) if done["exit"] else None
            if bad is None:
                break
            asked.remove(bad)
            agent.call("dissect_start", argv=refusal_argv(bad), capture=self._remote(part.host))
            refused[bad] = refusal(agent.call("dissect", timeout_s=CAPTURE_TIMEOUT_S)["err"])
            agent.call("dissect_start", argv=dissect_argv(asked), capture=self._remote(part.host))
        answer = agent.result(stopping, "capture_stop", CAPTURE_TIMEOUT_S)
        self._take(agent, answer["file"], self._file(part.stem))
        if done["exit"]:
            raise LabError(f"tshark could not read the capture of {part.host}: {done['err'].strip()[-300:]}")
        self._take(agent, done["file"], self._file(part.stem, "tsv"))
        return {**answer, "packets": done["packets"], "argv": done["argv"]}

    def _take(self, agent: AgentClient, remote: str, local: Path) -> None:
        with self.record.writing(local), local.open("wb") as target:
            agent.fetch(remote, target)

    def _merge_and_mark(self, hosts: Sequence[str]) -> None:
        """One file of all captures, and in each file what the run did and when, as comments that Wireshark shows."""
        from labctl.evidence import pcapng
        from labctl.evidence.marks import marks, placed
        from labctl.evidence.record import load

        epoch = self.record.epoch
        found = marks(load(self.record.path), {step.index: step.title for step in self.plan.steps})
        files = {host: self._file(host) for host in hosts}
        with self.record.writing(self._file("merged")):
            pcapng.merge(
                files,
                self._file("merged"),
                f"labctl run {self.run}, scenario {self.plan.scenario.scenario}, all hosts",
                lambda times: placed(found, epoch, times),
            )
        for host, path in files.items():
            times = [packet.ns for packet in pcapng.Capture.read(path).packets]
            with self.record.writing(path):
                pcapng.annotate(path, placed(found, epoch + self.agents[host].clock_offset_s, times))

    def _sampled(self, host: str, message: dict[str, Any]) -> None:
        looked = message.get("looked")  # an agent of an older labctl, on a lab that stands, does not say
        looked = None if looked is None else self.hosts.at(host, looked)
        self.record.sample(host, self.hosts.at(host, message["time"]), message["sockets"], looked)
