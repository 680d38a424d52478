"""An engine whose hosts live in memory, and a fuse that makes any one call of a run go wrong.

The agents are real (`labctl.agent.__main__.Agent` with its journal); only the commands they run, the packets they
capture and the sockets they see are made up. So what a test reads from `World.log` is what iptables would have got.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import restored
import yaml

from labctl.agent import __main__ as agent_main
from labctl.agent.action import Commands
from labctl.agent.claims import Claims
from labctl.agent.command import Ran
from labctl.engines.base import AddressesTaken, Disturbed, NoSuchLab
from labctl.evidence.packets import FIELDS
from labctl.evidence.pcapng import ENHANCED_PACKET, IF_NAME, INTERFACE, MAGIC, SECTION, block, option
from labctl.faults.base import FaultPlan
from labctl.lab import Lab, addressed
from labctl.scenario.yamltext import CoreLoader
from labctl.session.together import everywhere

COMPOSE = """\
services:
  server: {image: some/image, labels: {labctl.programs: /programs}}
  client: {image: some/image, labels: {labctl.programs: /programs}}
"""
SCENARIO = """\
scenario: fake
lab: compose.yml
sample: 10ms
steps:
  - {start: [serve], on: server, ready: {listen: 80}}
  - {fault: wall, at: server, drop: {protocol: tcp, dport: 80}}
  - {fault: no, at: client, reject: {protocol: tcp, dport: 53, with: tcp-reset}}
  - name: the client asks
    run: [probe, connect, server, 80]
    on: client
    expect: {errno: null}
  - {heal: wall}
  - {wait: 10ms}
  - {stop: serve}
"""
ANSWER = {
    "op": "connect",
    "errno": None,
    "ms": 1.5,
    "sent": 0,
    "received": 0,
    "byteorder": "little",
    "machine": "x86_64",
}


class Fuse:
    """Notes every point that a run passes; at the one called `at` it does what `bad` does.

    A point is called after its call; the second of the same name gets `#2` behind it, and so on.
    """

    def __init__(self, at: str | None = None, bad: Callable[[], None] = lambda: None) -> None:
        self.at, self.bad = at, bad
        self.passed: list[str] = []
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def point(self, label: str) -> None:
        with self._lock:
            self._counts[label] += 1
            name = label if self._counts[label] == 1 else f"{label}#{self._counts[label]}"
            self.passed.append(name)
        if name == self.at:
            self.bad()


@dataclass
class World:
    """What happened to the hosts: every command in order, as (host, argv). `root` is where agents keep their files."""

    fuse: Fuse
    root: Path
    log: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    refused: Callable[[str, tuple[str, ...]], str | None] = lambda _host, _argv: None
    packets: int = 3
    bound: set[int] = field(default_factory=lambda: {80})
    lab: Lab | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, host: str, argv: tuple[str, ...], *, stdin: str = "") -> Ran:
        """Do as the named command would; `refused` says which fail, and with which words."""
        if together := restored.commands(argv, stdin):
            words = next((said for each in together if (said := self.refused(host, each)) is not None), None)
            if words is not None:
                return Ran(argv, 1, "", words, 0.1, time.time())
            for each in together:
                self.run(host, each)
            return Ran(argv, 0, "", "", 0.1, time.time())
        with self._lock:
            self.log.append((host, argv))
        if (words := self.refused(host, argv)) is not None:
            return Ran(argv, 1, "", words, 0.1, time.time())
        if argv[:3] == ("ip", "-json", "address"):
            return Ran(argv, 0, self._addresses(host), "", 0.1, time.time())
        if "-nvxL" in argv:
            chain = f"Chain {argv[-1]} (1 references)\n pkts bytes target\n"
            return Ran(
                argv, 0, f"{chain} {self.packets:6d} 180 DROP tcp -- * * 0.0.0.0/0\n", "", 0.1, time.time()
            )
        return Ran(argv, 0, "", "", 0.1, time.time())

    def _addresses(self, host: str) -> str:
        assert self.lab is not None
        found = [
            {
                "ifname": "lo",
                "address": "00:00:00:00:00:00",
                "mtu": 65536,
                "addr_info": [{"local": "127.0.0.1"}],
            }
        ]
        for index, network in enumerate(self.lab.hosts[host].networks):
            addresses = (self.lab.hosts[host].addresses or {})[network]
            found.append({"ifname": f"eth{index}", "addr_info": [{"local": a} for a in addresses]})
        return json.dumps(found)

    def changes(self, plans: Sequence[FaultPlan]) -> dict[str, list[tuple[str, tuple[str, ...]]]]:
        """Of each host its `do` and `undo` commands in order, as ("do", argv) and ("undo", argv)."""
        found: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
        for plan in plans:
            changes = (*plan.changes, *plan.quench)
            dos, undos = {c.do for c in changes}, {c.undo for c in changes}
            for host, argv in self.log:
                if host == plan.host and argv in dos | undos:
                    found.setdefault(host, []).append(("do" if argv in dos else "undo", argv))
        return found


class FakeProcess:
    """A program: `serve` runs until a signal, `hang` until SIGKILL, all else ends at once and says ANSWER."""

    def __init__(self, argv: Sequence[str], point: Callable[[str], None], host: str = "") -> None:
        self.argv, self._point, self.host = tuple(argv), point, host
        self._exit: int | None = None
        self._ended_at: float | None = None
        self._ended = threading.Event()
        if argv[0] not in ("serve", "hang"):
            self._end(0)

    def _end(self, status: int) -> None:
        self._exit, self._ended_at = status, time.time()
        self._ended.set()

    def host_is_gone(self) -> None:
        """Its host was killed: the engine knows no exit status of what ran there."""
        self._ended_at = time.time()
        self._ended.set()

    def wait(self, timeout_s: float) -> bool:
        return self._ended.wait(timeout_s)

    def exit_status(self) -> int | None:
        return self._exit

    def ended_at(self) -> float | None:
        return self._ended_at

    def refusal(self) -> str | None:
        return None

    def left_out(self) -> Mapping[str, int]:
        return {}

    def output(self) -> tuple[bytes, bytes]:
        if self.argv[0] in ("serve", "hang"):
            return b"half a line", b"a warning\n"
        return b"asked\n" + json.dumps(ANSWER).encode() + b"\n", b""

    def signal(self, name: str) -> None:
        self._point(f"signal.{self.argv[0]}.{name}")
        if self.argv[0] != "hang" or name == "KILL":
            self._end({"TERM": 143, "KILL": 137}[name])


class FakeDissector:
    """Stands in for tshark: it reads no packet."""

    def __init__(self, argv: list[str], target: Path) -> None:
        self.argv, self._target = argv, _here.world.root / target.name

    def read(self, *_: object) -> dict[str, Any]:
        self._target.write_text("\t".join(FIELDS.values()) + "\n", encoding="utf-8")
        return {"file": str(self._target), "packets": 1, "argv": self.argv, "exit": 0, "err": ""}

    def kill(self) -> None:
        pass


class FakeCapture:
    """Stands in for dumpcap: what it writes is a capture with one interface and one packet."""

    bracketed_bytes = 0

    def __init__(self, path: Path, interfaces: tuple[str, ...], *_: object) -> None:
        self.path, self.interfaces = _here.world.root / path.name, interfaces

    def start(self) -> dict[str, Any]:
        return {"argv": ["dumpcap"], "interfaces": list(self.interfaces), "ms": 1.0}

    def finish(self) -> list[str]:
        return []

    def stop(self, missing: list[str]) -> dict[str, Any]:  # noqa: ARG002
        self.path.write_bytes(small_capture())
        return {
            "file": str(self.path),
            "bytes": 0,
            "dropped": 0,
            "complete": True,
            "reason": None,
            "said": "",
        }

    def discard(self) -> None:
        pass


def small_capture(
    interface: str = "eth0", times_us: Sequence[int] = (1_000_000,), mark: bytes = b"\x08\x00"
) -> bytes:
    """A pcapng file with one interface and one 20-byte frame at each time (microseconds since the epoch)."""
    import struct

    section = block(SECTION, struct.pack("=IHHq", MAGIC, 1, 0, -1))
    described = block(INTERFACE, struct.pack("=HHI", 1, 0, 65535) + option(IF_NAME, interface.encode()))
    frame = b"\xff" * 12 + mark + b"\0" * 6
    packets = [
        block(ENHANCED_PACKET, struct.pack("=5I", 0, t >> 32, t & 0xFFFFFFFF, len(frame), len(frame)) + frame)
        for t in times_us
    ]
    return section + described + b"".join(packets)


class _HostAgent(agent_main.Agent):
    """The real agent, each of whose operations passes the fuse first."""

    def __init__(self, host: str, world: World, write: Callable[[dict[str, Any]], None]) -> None:
        super().__init__(write)
        self._where = host, world
        self.claims = Claims(f"fake-{os.getpid()}-{id(world)}-{host}")  # as if each host had a network namespace
        self.ops["netem"] = lambda: False  # the real one asks the kernel of the machine that the tests run on
        self.ops = {name: self._fused(host, name, op, world) for name, op in self.ops.items()}

    def _fused(self, host: str, name: str, op: Callable[..., Any], world: World) -> Callable[..., Any]:
        def fused(**arguments: Any) -> Any:
            _here.host, _here.world = host, world
            # To stop sampling is another point than to start it.
            label = f"{name}-end" if arguments.get("interval_s") == 0 else name
            world.fuse.point(f"agent.{host}.{label}")
            if "action" in arguments:
                arguments["action"] |= {"runner": partial(world.run, host)}
            return op(**arguments)

        return fused

    def sockets(self) -> dict[str, Any]:
        return {"time": time.time(), "sockets": []}

    def close(self) -> None:
        _here.host, _here.world = self._where
        super().close()


_here = threading.local()


class FakeChannel:
    """Two queues in place of a container's standard streams."""

    def __init__(self, host: str, world: World) -> None:
        self._world, self._out = world, queue.Queue[bytes]()
        self.agent = _HostAgent(
            host, world, lambda message: self._out.put(json.dumps(message).encode() + b"\n")
        )
        self.is_open, self.is_dead = True, False
        self.said = ""

    def send(self, data: bytes) -> None:
        if self.is_dead:
            raise BrokenPipeError("nobody reads this any more")
        for line in data.decode().splitlines():
            threading.Thread(target=self._serve, args=(line,), daemon=True).start()

    def _serve(self, line: str) -> None:
        with contextlib.suppress(Died):
            self.agent.serve(line)

    def receive(self) -> bytes:
        return self._out.get()

    def errors(self) -> str:
        return self.said

    def close(self) -> None:
        if self.is_open and not self.is_dead:
            self.agent.close()
        self.is_open = False
        self._out.put(b"")

    def die(self, said: str) -> None:
        """What SIGKILL does: nothing is undone, the stream just ends."""
        self.is_dead, self.said = True, said
        self.agent.sampling.set()
        self.agent.ended.set()
        self.agent.claims.close()
        self._out.put(b"")


class Died(BaseException):
    """Unwinds a thread of an agent that was killed; nothing answers for it."""


class FakeEngine:
    """The engine. `world` is what its hosts have seen, `channels` their agents, `downs` how often it was taken down."""

    name = "fake"

    def __init__(self, world: World) -> None:
        self.world = world
        self.channels: dict[str, FakeChannel] = {}
        self.opened: list[FakeChannel] = []
        self.processes: list[FakeProcess] = []
        self.downs = 0
        self.taken = 0
        self.deaths: list[str] = []
        self.standing: Lab | None = None
        self.down_hosts: dict[str, str] = {}
        self.why_lost: str | None = None
        self.others: list[Disturbed] = []

    def _point(self, name: str) -> None:
        self.world.fuse.point(f"engine.{name}")

    def prepare(self, path: Path, say: Callable[[str], None]) -> Mapping[str, Any]:
        self._point("prepare")
        say("reading the compose file")
        config: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), CoreLoader)
        return config

    def reserve(self, lab: Lab) -> Lab:
        self._point("reserve")
        return addressed(lab, 1 + self.taken)

    def up(
        self, _config: object, lab: Lab, hosts: Sequence[str], rendered: Path, _say: object, running: Callable[[str], object]
    ) -> None:
        self._point("up")
        self.world.lab = lab
        if self.taken:
            self.taken -= 1
            raise AddressesTaken("Pool overlaps with other one on this address space")
        rendered.write_text("{}", encoding="utf-8")
        everywhere(running, hosts)

    def wait_healthy(self, hosts: Sequence[str]) -> None:
        self._point(f"wait_healthy.{','.join(hosts)}")

    def attach(self) -> Lab:
        self._point("attach")
        if self.standing is None:
            raise NoSuchLab("no lab named x stands here")
        self.world.lab = self.standing
        return self.standing

    def rendered(self) -> str | None:
        return "name: standing\n"

    def keep(self) -> str:
        self._point("keep")
        return "kept-1234"

    def why_down(self, host: str) -> str | None:
        return self.down_hosts.get(host)

    def disturbed(self) -> list[Disturbed]:
        return self.others

    def lost(self) -> str | None:
        return self.why_lost

    def open_agent(self, host: str) -> FakeChannel:
        self._point(f"open_agent.{host}")
        self.channels[host] = FakeChannel(host, self.world)
        self.opened.append(self.channels[host])
        return self.channels[host]

    def start(
        self, host: str, argv: Sequence[str], env: Mapping[str, str], beside: bool = False  # noqa: ARG002
    ) -> FakeProcess:
        self._point(f"start.{argv[0]}")
        self.processes.append(FakeProcess(argv, self._point, host))
        return self.processes[-1]

    def disturb(self, host: str, what: str, on: bool) -> None:
        self._point(f"{what if on else f'un{what}'}.{host}")
        if what == "kill":
            self.world.log.append((host, (what, "on" if on else "off")))
            for process in self.processes:
                if on and process.host == host and not process.wait(0):
                    process.host_is_gone()

    def dead(self, hosts: Sequence[str], look: bool = False) -> str | None:  # noqa: ARG002
        return self.deaths[0] if self.deaths else None

    def release(self) -> None:
        self._point("release")

    def tidy(self) -> None:
        self._point("tidy")

    def down(self) -> None:
        self._point("down")
        self.downs += 1

    def environment(self) -> dict[str, Any]:
        self._point("environment")
        return {"kernel": "6.1", "docker": None}


def interrupt_driver() -> None:
    """Send this process SIGINT, as Ctrl-C does, and let its main thread take notice."""
    ident = threading.main_thread().ident
    assert ident is not None
    signal.pthread_kill(ident, signal.SIGINT)
    if threading.current_thread() is not threading.main_thread():
        time.sleep(0.003)


@contextlib.contextmanager
def in_memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The agent package with made-up commands, captures and sockets."""

    def run(argv: tuple[str, ...], *, stdin: str = "") -> Ran:
        world: World = _here.world
        return world.run(_here.host, argv, stdin=stdin)

    def commands(request: dict[str, Any]) -> Commands:
        action = Commands.parse(request)
        action.runner = request["runner"]
        return action

    monkeypatch.setattr(agent_main, "run", run)
    monkeypatch.setitem(agent_main.ACTIONS, "commands", commands)
    monkeypatch.setattr(agent_main, "Capture", FakeCapture)
    monkeypatch.setattr(agent_main, "Dissector", FakeDissector)
    monkeypatch.setattr(agent_main, "is_bound", lambda port, _protocol: port in _here.world.bound)
    monkeypatch.setattr(agent_main, "_rss_kib", lambda: 1000)
    yield
