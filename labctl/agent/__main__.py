"""The agent's conversation with the driver: one JSON object a line, each way.

    → {"id": 7, "op": "apply", "name": "wall", "action": {"type": "commands", "changes": [...]}}
    ← {"id": 7, "ok": true, "result": {...}}       or  {"id": 7, "ok": false, "error": "what went wrong", "detail": {...}}
    ← {"event": "sockets", "time": 1795445515.96, "looked": 1795445515.86, "sockets": [...]}

Every request runs on a thread of its own, so that waiting for a port does not hold up a fault. When standard input ends the
driver is gone: everything is undone and the process exits.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from . import PROTOCOL, batch, death, nftables
from .action import Action, ActionFailed, Commands, failed
from .addresses import settle
from .capture import Capture, CaptureFailed
from .claims import Claims, Taken, needed
from .command import Ran, in_place, run
from .damage import damaged
from .dissect import Dissector
from .dns import Responder
from .expire import Expire
from .interface import Changed, Interface
from .journal import Journal
from .link import LOSE, LinkAction, Links
from .linkport import LinkRefused
from .offload import Offloads
from .probes import PROBE_CHAIN, capabilities, has_netem
from .reset import Reset
from .sockets import is_bound, sockets
from .sweep import sweep
from .timeline import Schedule, Timeline

POLL_S = 0.003
SHOWN_PORTS = 8
NO_SUCH_ROUTE = "No such process"

# What a fault's request may be, by its "type". A fault that is more than commands adds its action here.
ACTIONS: dict[str, Callable[[dict[str, Any]], Action]] = {
    "commands": Commands.parse,
    "interface": Interface.parse,
    "dns": Responder.parse,
    "reset": Reset.parse,
    "expire": Expire.parse,
}


def make_action(request: dict[str, Any]) -> Action:
    """The action that a request describes. Raises KeyError or ValueError when it describes none."""
    return ACTIONS[request["type"]](request)


class Refused(Exception):
    """A request that was understood and could not be done; `detail` goes to the driver as data."""

    def __init__(self, message: str, detail: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.detail = detail or {}


class Agent:
    """Everything one agent holds: its journal, its capture, its sampler."""

    def __init__(self, write: Callable[[dict[str, Any]], None]) -> None:
        self.write = write
        self.journal = Journal()
        self.capture: Capture | None = None
        self.dissector: Dissector | None = None
        self.sampling = threading.Event()
        self.ended = threading.Event()
        self.schedules: dict[str, Schedule] = {}
        self.notes: dict[str, object] = {}
        self.claims = Claims()
        self.links = Links(claims=self.claims)
        self.changed: dict[str, Changed] = {}
        self.swept: list[Ran] = []
        self.quiet: dict[str, Offloads] = {}
        self.tables = nftables.tables()
        self.ops: dict[str, Callable[..., Any]] = {
            "hello": self.hello, "arrived": self.arrived, "run": self.run, "apply": self.apply, "schedule": self.schedule,
            "clash": self.clash, "faults": self.faults, "undo": self.undo, "die": self.die,
            "wait_bound": self.wait_bound, "sockets": self.sockets,
            "sample": self.sample, "capture_start": self.capture_start,
            "capture_finish": self.capture_finish, "capture_stop": self.capture_stop,
            "dissect_start": self.dissect_start, "dissect": self.dissect, "read": self.read, "rulesets": self.rulesets,
            "capabilities": self.capabilities, "netem": self.netem, "offloads": self.offloads,
            "damaged": damaged, "sweep": self.sweep, "routes": self.routes,
        }  # fmt: skip

    def serve(self, line: str) -> None:
        """Answer one request line; an unknown or broken one is answered with an error, never with silence."""
        number = None
        try:
            request = json.loads(line)
            number, op = request.pop("id"), request.pop("op")
            answer = {"id": number, "ok": True, "result": self.ops[op](**request)}
        except (Refused, ActionFailed, CaptureFailed, Taken) as error:
            detail = getattr(error, "detail", None) or {
                "ran": [r.as_json() for r in getattr(error, "ran", [])]
            }
            # Who asked by hand is to ask for something else; in a run it is an error as any other.
            impossible = isinstance(error, ActionFailed) and not error.ran
            answer = {"id": number, "ok": False, "error": str(error), "detail": {**detail, "impossible": impossible}}
        except Exception as error:  # the driver must hear of a bug here, and the agent must live on to undo
            answer = {"id": number, "ok": False, "error": f"{type(error).__name__}: {error}", "detail": {}}
        self.write(answer)

    def hello(self, works_for: str = "") -> dict[str, Any]:
        """Who this is and where: protocol, clock, interfaces with their addresses, memory, what it swept when it began.

        And the faults that others have here. From now on this agent works for that run, or for somebody by hand.
        """
        self.claims.introduce(works_for)
        listing = run(("ip", "-json", "address", "show"))
        if not listing.ok:
            raise Refused(str(listing))
        interfaces = [
            {
                "name": link["ifname"],
                "mac": link.get("address"),
                "mtu": link.get("mtu"),
                "addresses": [a["local"] for a in link.get("addr_info", [])],
            }
            for link in json.loads(listing.out)
        ]
        return {
            "protocol": PROTOCOL,
            "time": time.time(),
            "pid": os.getpid(),
            "interfaces": interfaces,
            "rss_kib": _rss_kib(),
            "swept": [ran.as_json() for ran in self.swept],
            "others": [held.as_json() for held in self.claims.others()],
        }

    def run(self, commands: list[list[str]]) -> list[dict[str, Any]]:
        """Run commands that change nothing, for what they say; stops at the first that fails and says so."""
        done = []
        for argv in commands:
            ran = run(tuple(argv))
            done.append(ran.as_json())
            if not ran.ok:
                raise Refused(str(ran), {"ran": done})
        return done

    def routes(self, routes: list[list[str]], gateways: list[str]) -> list[dict[str, Any]]:
        """Make the routes [to, via] the only way out of the host's own networks.

        Docker's default route through the bridge goes, and the bridges themselves (`gateways`) cannot be spoken to:
        nothing leaves the lab. All of it may be there already, on a lab that stands.
        """
        done: list[Ran] = []

        def refuse(why: object) -> NoReturn:
            raise Refused(str(why), {"ran": [ran.as_json() for ran in done]})

        for six in (False, True):
            ways = [("replace", to, "via", via) for to, via in routes if (":" in via) == six]
            walls = [("replace", "unreachable", gateway) for gateway in gateways if (":" in gateway) == six]
            done += (ran := batch.ip([_ip(six, *words) for words in (*ways, *walls)], run))
            if not all(one.ok for one in ran):
                refuse(ran[0])
            if walls and not any(to == "default" for _, to, *_ in ways):
                done.append(gone := run(_ip(six, "delete", "default")))
                if not gone.ok and NO_SUCH_ROUTE not in gone.err:
                    refuse(gone)
        if any(":" in gateway for gateway in gateways) and (left := settle()):
            refuse(f"the IPv6 addresses of {', '.join(left)} are still being checked")
        return [ran.as_json() for ran in done]

    def clash(self, name: str, action: dict[str, Any]) -> str | None:
        """Why a fault could not be put here now, as another agent has what it needs; None when it could."""
        try:
            wanted = needed(name, self.make(action))
        except LinkRefused:  # what it is about is not there now; it will say so itself
            return None
        return next((why for claim in wanted if (why := self.claims.why_taken(claim)) is not None), None)

    def apply(self, name: str, action: dict[str, Any], kind: str = "", note: object = None) -> dict[str, Any]:
        """Apply a fault now, all of it or nothing; answers with the commands and when it was in place.

        `kind` is what others here are told of it, `note` is kept with it, for `faults` to tell.
        """
        if name in self.schedules or name in self.journal.names():
            raise Refused(f"{name} is applied already")
        made = self.make(action)
        self.claims.take(name, kind, needed(name, made))
        self.notes[name] = note
        try:
            ran = self.journal.apply(name, made)
        except (ActionFailed, ValueError):
            self.claims.drop(name)
            raise
        return {"ran": [r.as_json() for r in ran], "time": in_place(ran), **about(made)}

    def make(self, request: dict[str, Any]) -> Action:
        """The action that a request describes. Raises KeyError, TypeError or ValueError when it describes none."""
        if request["type"] == "link":
            return LinkAction(self.links, request)
        return Interface.parse(request, self.changed) if request["type"] == "interface" else make_action(request)

    def schedule(
        self, name: str, action: dict[str, Any], timeline: dict[str, Any], kind: str = "", note: object = None
    ) -> dict[str, Any]:
        """Apply and remove a fault on a timeline; `fault-applied` and `fault-removed` events say when it happened.

        `kind` and `note` are as `apply` has them.
        """
        if name in self.schedules or name in self.journal.names():
            raise Refused(f"{name} is applied already")
        made = self.make(action)  # what is wrong with it is said now, not when its time comes
        self.claims.take(name, kind, needed(name, made))
        schedule = Schedule(name, lambda: self.make(action), Timeline(**timeline), self.journal, self.write)
        self.schedules[name], self.notes[name] = schedule, note
        schedule.start()
        return {"time": time.time()}

    def faults(self) -> list[dict[str, Any]]:
        """What is in place or on a timeline here, oldest first: name, what was asked, packets touched so far."""
        return [
            {"name": name, "note": self.notes.get(name), "packets": self.journal.count(name)}
            for name in dict.fromkeys([*self.journal.names(), *self.schedules])
        ]

    def undo(self, name: str) -> dict[str, Any]:
        """End a fault's timeline and take it back, counting what it touched first (None when it was not in place).

        A command that fails, unless its work is gone already, is an error.
        """
        if name in self.schedules:
            self.schedules.pop(name).cancel()
        ran, proof = self.journal.undo(name)
        if failed(ran):
            raise Refused(f"could not undo: {failed(ran)[0]}", {"ran": [r.as_json() for r in ran]})
        self.claims.drop(name)
        self.journal.when_empty(lambda: nftables.remove_new(self.tables))
        return {
            "ran": [r.as_json() for r in ran],
            **proof.as_json(),
            "time": ran[0].ended if ran else time.time(),
        }

    def die(self) -> dict[str, Any]:
        """Make ready for the host's death: it falls silent now, its faults are counted and taken back, its capture ends.

        Answers when it fell silent (`time`), by which commands, which sockets were open then, what each fault had touched
        (as `undo` answers), how many packets came or wanted to leave since, and what capture_finish answers (null where
        nothing is captured). The silence is a fault like any other, LABCTL-DEAD, should the host live on after all.
        """
        silence = death.silence(run)
        self.claims.hold(death.CHAIN)
        self.journal.stage(death.CHAIN, silence)
        ran = self.journal.apply(death.CHAIN, silence)
        silent = time.time()
        open_ = death.alive(self.sockets()["sockets"])
        self.sampling.set()
        for schedule in self.schedules.values():
            schedule.cancel()
        self.schedules.clear()
        self.links.drain_s = LOSE
        faults = []
        for name in reversed(self.journal.names()):
            if name != death.CHAIN:
                undone, proof = self.journal.undo(name)  # what fails goes with the namespace
                self.claims.drop(name)
                taken = [r.as_json() for r in undone]
                faults.append({"name": name, "ran": taken, **proof.as_json(), "time": silent})
        missing = None
        if self.capture is not None:
            missing = self.capture.finish()
            self.capture.stop(missing)  # before the interfaces go away under it
        return {
            "time": silent, "ran": [r.as_json() for r in ran], "open": open_, "faults": faults, "packets": silence.count(),
            "missing": missing,
        }  # fmt: skip

    def capabilities(self) -> dict[str, Any]:
        """What this kernel can do for link faults, tried on devices made for that; see `labctl.agent.probes`."""
        with self.claims.held(PROBE_CHAIN):
            found = capabilities()
        self.links.learn(found)
        if not found["netem"] and found["nfqueue"]:
            self.links.spares.warm()
        return found

    def netem(self) -> bool:
        """Whether this kernel has netem."""
        return has_netem()

    def sweep(self) -> list[dict[str, Any]]:
        """Remove what agents that were killed left here, as this one did when it began; see `labctl.agent.sweep`."""
        return [ran.as_json() for ran in sweep()]

    def offloads(self, devices: list[str]) -> list[dict[str, Any]]:
        """Switch segmentation offloads off until this agent ends, as netem on any host of a lab needs of all of them."""
        done = []
        for device in devices:
            if device not in self.quiet:
                self.quiet[device] = Offloads(device, self.claims)
                done += [ran.as_json() for ran in self.quiet[device].off()]
        return done

    def rulesets(self) -> dict[str, str]:
        """What tc and iptables say of this namespace, counters aside: to compare before and after."""
        found = {}
        for argv in (("iptables-save",), ("ip6tables-save",), ("tc", "qdisc", "show")):
            listing = run(argv)
            lines = [line for line in listing.out.splitlines() if not line.startswith("#")]
            found[" ".join(argv)] = "\n".join(re.sub(r"\[\d+:\d+\]", "", line) for line in lines)
        return found

    def arrived(self) -> int:
        """Packets that have arrived at the namespace's interfaces, but for loopback, since they were made."""
        counters = Path("/sys/class/net").glob("*/statistics/rx_packets")
        return sum(int(path.read_text()) for path in counters if path.parts[-3] != "lo")

    def wait_bound(self, port: int, protocol: str, timeout_s: float) -> dict[str, Any]:
        """Return when a socket listens on (tcp) or is bound to (udp) the port. Refused when none does in time."""
        start = time.monotonic()
        what = "listens on" if protocol == "tcp" else "is bound to"
        while not is_bound(port, protocol):
            if time.monotonic() - start > timeout_s:
                raise Refused(f"nothing {what} {protocol} port {port} after {timeout_s:g}s{_instead(protocol)}")
            if self.ended.wait(POLL_S):
                raise Refused("the agent ends")
        return {"waited_ms": (time.monotonic() - start) * 1000}

    def sockets(self) -> dict[str, Any]:
        """One sample of all TCP and UDP sockets, now."""
        return {"time": time.time(), "sockets": [*sockets("tcp"), *sockets("udp")]}

    def sample(self, interval_s: float) -> dict[str, Any]:
        """Send a `sockets` event now and whenever the sockets change, looked at every interval_s seconds; 0 ends it.

        `looked` is when they were last seen as they had been; null in the first.
        """
        self.sampling.set()
        if interval_s:
            self.sampling = threading.Event()
            threading.Thread(target=self._sample, args=(interval_s, self.sampling), daemon=True).start()
        return {}

    def _sample(self, interval_s: float, ended: threading.Event) -> None:
        before, looked = None, None
        while True:
            now = self.sockets()
            # Idle connections change nothing but their timers; only what moved is worth a line.
            shape = [{k: v for k, v in s.items() if k != "timer_ms"} for s in now["sockets"]]
            if shape != before:
                before = shape
                self.write({"event": "sockets", "looked": looked, **now})
            looked = now["time"]
            if ended.wait(interval_s):
                return

    def capture_start(
        self, path: str, token: str, comment: str, snaplen: int, max_bytes: int, only: str | None = None
    ) -> dict[str, Any]:
        """Start capturing every interface of the namespace; returns when it is proven to record."""
        names = tuple(
            i["name"]
            for i in self.hello()["interfaces"]
            if not i["name"].startswith(("tunl", "sit", "ip6tnl", "lci", "lcd"))
        )
        self.capture = Capture(Path(path), names, token, comment, snaplen, max_bytes, only)
        return self.capture.start()

    def capture_finish(self) -> list[str]:
        """Bracket the capture's end; which sentinels are missing. After this the host's interfaces may go away."""
        return self._captured().finish()

    def capture_stop(self, missing: list[str]) -> dict[str, Any]:
        """End the capture and say whether it is complete; `missing` is what capture_finish answered."""
        return self._captured().stop(missing)

    def _captured(self) -> Capture:
        if self.capture is None:
            raise Refused("nothing is captured here")
        return self.capture

    def read(self, path: str, offset: int, size: int) -> dict[str, Any]:
        """At most `size` bytes of a file from `offset` on, as base64, and whether it ends there.

        By this way and not by `docker cp`: that mounts what the container shares with its host, which is being removed by then.
        """
        try:
            with Path(path).open("rb") as file:
                file.seek(offset)
                data = file.read(size)
                return {"data": base64.b64encode(data).decode(), "end": file.tell() >= os.fstat(file.fileno()).st_size}
        except OSError as error:
            raise Refused(f"{path} cannot be read: {error.strerror}") from None

    def dissect_start(self, argv: list[str], capture: str) -> dict[str, Any]:
        """Start tshark with these arguments; it waits for the capture to end, and writes beside it."""
        if self.dissector is not None:
            self.dissector.kill()
        self.dissector = Dissector(argv, Path(capture).with_suffix(".tsv"))
        return {"argv": self.dissector.argv}

    def dissect(self) -> dict[str, Any]:
        """Have tshark read the capture up to its end sentinels; its output is a file beside the capture (.tsv)."""
        if self.dissector is None:
            raise Refused("no tshark waits here")
        capture = self._captured()
        return self.dissector.read(capture.path, capture.bracketed_bytes)

    def close(self) -> None:
        """Undo everything and end everything: the driver is gone or asked for it."""
        self.ended.set()
        self.sampling.set()
        for schedule in list(self.schedules.values()):
            schedule.cancel()
        self.links.close()
        self.journal.close()
        for offloads in self.quiet.values():
            with contextlib.suppress(TimeoutError):
                offloads.restore()
        self.claims.close()
        with contextlib.suppress(OSError):
            nftables.remove_new(self.tables)
        if self.dissector is not None:
            self.dissector.kill()
        if self.capture is not None:
            self.capture.discard()


def _instead(protocol: str) -> str:
    """Which ports something does listen on (tcp) or is bound to (udp), for whoever has named another; empty when there is none.

    Docker's own name server is everywhere, and nobody's service.
    """
    states = ("LISTEN",) if protocol == "tcp" else ("CLOSE", "ESTABLISHED")
    here = sorted({s["port"] for s in sockets(protocol) if s["state"] in states and s["local"] != "127.0.0.11"})
    return f"; there is port {', '.join(map(str, here[:SHOWN_PORTS]))}" if here else ""


def about(action: Action) -> dict[str, Any]:
    """What an action knows of itself only when it is there: its interface, and the backend of a link fault."""
    known: Callable[[], dict[str, Any]] = getattr(action, "about", dict)
    return known()


def _ip(six: bool, *words: str) -> tuple[str, ...]:
    return ("ip", *(("-6",) if six else ()), "route", *words)


def _rss_kib() -> int:
    with Path("/proc/self/status").open() as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))


def main() -> None:
    """Read requests until standard input ends; then undo everything."""
    lock = threading.Lock()

    def write(message: dict[str, Any]) -> None:
        # Nobody may be listening any more; the undoing that follows matters more than the answer.
        with lock, contextlib.suppress(BrokenPipeError, ValueError):
            sys.stdout.write(json.dumps(message) + "\n")
            sys.stdout.flush()

    try:
        swept = sweep()
    except OSError as error:  # whoever starts this agent needs it all the same, and is told
        swept = [Ran(("sweep",), None, "", str(error), 0.0, time.time())]
    agent = Agent(write)
    agent.swept = swept

    def end(*_: object) -> None:
        agent.close()
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    for line in sys.stdin:
        threading.Thread(target=agent.serve, args=(line,), daemon=True).start()
    end()


if __name__ == "__main__":
    main()
