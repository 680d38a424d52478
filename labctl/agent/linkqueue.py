"""The nfqueue backend: iptables rules that lead packets to an emulator of ours, one process for each interface and direction.

What leaves goes through mangle POSTROUTING, after all of the host's own filters, as through a qdisc. What arrives goes through
raw PREROUTING, before connection tracking and routing, as through an ingress qdisc. Our jump stands last in the table's
chain, as a verdict from a queue ends the chain (net/netfilter/nf_queue.c, nf_reinject goes on with the next hook).
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from . import batch
from .command import Argv, Ran, said_so_far
from .inject import MARK
from .linkclass import ALL, LinkClass
from .linkport import Effect, LinkRefused, Where
from .linkspec import netem_args

ANSWER_TIMEOUT_S = 20.0
FIRST_QUEUE = 17000
MOST_TAKEN = 64
WARM_AFTER_S = 0.1
TOOLS = {4: "iptables", 6: "ip6tables"}
HOOKS = {"egress": ("mangle", "POSTROUTING", "-o", "E"), "ingress": ("raw", "PREROUTING", "-i", "I")}

# What REJECT answers to the first packet of a connection shares that packet's unconfirmed conntrack entry, and a queue drops
# such packets (net/netfilter/nfnetlink_queue.c, nf_ct_drop_unconfirmed, Linux 6.11): they pass beside it.
REJECTIONS = ("-m", "conntrack", "--ctstate", "RELATED", "!", "--ctstatus", "CONFIRMED")

Rules = tuple[tuple[str, ...], ...]


def chain(where: Where) -> str:
    """The chain of ours that sorts this interface's packets to their queues."""
    return f"LABCTL-{HOOKS[where.direction][3]}-{where.device}"


def rules(where: Where, family: int, classes: tuple[LinkClass, ...], queues: dict[str, int], marked: bool) -> Rules:
    """What stands in the chain: the most specific class first. `marked`: packets put in again carry a mark and pass. Pure."""
    name = chain(where)
    found: list[tuple[str, ...]] = [("-A", name, *REJECTIONS, "-j", "RETURN")] if where.direction == "egress" else []
    if marked:
        found.append(("-A", name, "-m", "mark", "--mark", hex(MARK), "-j", "RETURN"))
    for one in classes:
        if one.key in queues:
            jump = ("-j", "NFQUEUE", "--queue-num", str(queues[one.key]), "--queue-bypass")
            matches = [m.iptables() for m in one.target if m.family == family] if one.target else [()]
            found += [("-A", name, *match, *jump) for match in matches]
    return tuple(found)


def hook(where: Where, verb: str) -> tuple[str, ...]:
    """The jump into the chain: -A to add it, -D to delete it."""
    _, parent, flag, _ = HOOKS[where.direction]
    return (verb, parent, flag, where.device, "-j", chain(where))


def explain(where: Where, families: tuple[int, ...], classes: tuple[LinkClass, ...]) -> list[tuple[str, ...]]:
    """The iptables commands of a first fault, for people. Pure."""
    queues = {c.key: FIRST_QUEUE + i for i, c in enumerate(c for c in classes if not c.spec.is_neutral)}
    return _led(where, families, (), classes, queues)


def changed(
    where: Where, families: tuple[int, ...], before: tuple[LinkClass, ...], now: tuple[LinkClass, ...], queues: dict[str, int]
) -> list[tuple[str, ...]]:
    """What turns the classes of an interface into others, for people: the rules, where they differ, and the orders. Pure."""
    return [*_led(where, families, before, now, queues), *told(now, queues)]


def _led(
    where: Where, families: tuple[int, ...], before: tuple[LinkClass, ...], now: tuple[LinkClass, ...], queues: dict[str, int]
) -> list[tuple[str, ...]]:
    if before and {c.key for c in before if not c.spec.is_neutral} == queues.keys():
        return []
    marked = where.direction == "ingress" and any(c.spec.duplicate for c in (*before, *now))
    begin, end = (("-F", chain(where)), ()) if before else (("-N", chain(where)), (hook(where, "-A"),))
    return [
        (TOOLS[family], "-w", "5", "-t", HOOKS[where.direction][0], *rule)
        for family in families
        for rule in (begin, *rules(where, family, now, queues, marked), *end)
    ]


def told(classes: tuple[LinkClass, ...], queues: dict[str, int]) -> list[tuple[str, ...]]:
    """What the emulator is told to do to the packets of each queue, for people, in the words of tc-netem(8). Pure."""
    asked = [one for one in classes if one.key in queues]
    return [(f"(the emulator of queue {queues[one.key]} does: {' '.join(netem_args(one.spec))})",) for one in asked]


class EmulatorProcess:
    """One emulator, spoken to in lines. It ends by itself when this process does."""

    def __init__(self) -> None:
        package = __package__ or "agent"
        root = Path(__file__).resolve().parents[len(package.split("."))]
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  closed by `stop`
        self._process = subprocess.Popen(
            [sys.executable, "-u", "-m", f"{package}.emulate"], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self._errors, env={**os.environ, "PYTHONPATH": str(root)}, close_fds=False,
        )  # fmt: skip
        self._buffer = b""

    @property
    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def order(self, order: dict[str, Any], timeout_s: float = ANSWER_TIMEOUT_S) -> tuple[dict[str, Any], Ran]:
        """Send an order and wait for its answer; for the record it is a command. Raises LinkRefused."""
        start = time.monotonic()
        argv = ("labctl-emulator", order["op"], json.dumps({k: v for k, v in order.items() if k != "op"}))
        try:
            answer = self._ask(order, timeout_s)
        except (OSError, ValueError) as error:
            raise LinkRefused(f"the emulator cannot be spoken to: {error}", [Ran(argv, None, "", str(error), 0.0)]) from None
        ms = round((time.monotonic() - start) * 1000, 3)
        ran = Ran(argv, 0 if answer["ok"] else 1, "", answer.get("error", ""), ms, time.time())
        if not answer["ok"]:
            raise LinkRefused(f"the emulator refused: {answer['error']}", [ran])
        return answer, ran

    def _ask(self, order: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        os.write(self._process.stdin.fileno(), json.dumps(order).encode() + b"\n")
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self._buffer:
            out = self._process.stdout.fileno()
            if not select.select([out], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise TimeoutError(f"no answer within {timeout_s:g}s")
            data = os.read(out, 1 << 16)
            if not data:
                raise ConnectionError(f"it has ended with status {self._process.wait()}{self._last_words()}")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _last_words(self) -> str:
        said = said_so_far(self._errors).splitlines()
        return f" ({said[-1]})" if said else ""

    def kill(self) -> None:
        """End it at once; the kernel drops what it holds (net/netfilter/nfnetlink_queue.c, instance_destroy_rcu)."""
        self._process.kill()
        self.stop()

    def stop(self) -> None:
        """Close its input; it lets everything pass and ends."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=ANSWER_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()


class Spares:
    """Emulator processes that are started before they are needed: a start takes 40 ms, a fault should take 10."""

    def __init__(self) -> None:
        self._ready: list[EmulatorProcess] = []
        self._lock = threading.Lock()
        self._next_queue = FIRST_QUEUE

    def warm(self) -> None:
        """Have one ready."""
        with self._lock:
            if not self._ready:
                self._ready.append(EmulatorProcess())

    def take(self) -> EmulatorProcess:
        """One that is ready, or a new one; another is made ready in the background."""
        with self._lock:
            process = self._ready.pop() if self._ready else EmulatorProcess()
            if not process.is_alive:  # killed while it waited
                process.stop()
                process = EmulatorProcess()
        later = threading.Timer(WARM_AFTER_S, self.warm)  # not now, when a fault is being put in place
        later.daemon = True
        later.start()
        return process

    def queue(self) -> int:
        """A queue number that none of our emulators has had."""
        with self._lock:
            self._next_queue += 1
            return self._next_queue - 1

    def close(self) -> None:
        with self._lock:
            for process in self._ready:
                process.stop()
            self._ready.clear()


class QueuePort:
    """One interface and direction by way of NFQUEUE."""

    backend = "nfqueue"

    def __init__(self, where: Where, families: tuple[int, ...], seed: int, index: int, spares: Spares) -> None:
        self._where, self._families, self._seed, self._spares = where, families, seed, spares
        self._through = f"lcd{index}"
        self._process: EmulatorProcess | None = None
        self._queues: dict[str, int] = {}
        self._classes: tuple[LinkClass, ...] = ()
        self._installed: dict[int, Rules] = {}
        self._hooked: set[int] = set()
        self._staged: list[Ran] = []
        self._undo_device: list[Argv] = []
        self._past: dict[str, Effect] = {}

    def stage(self, classes: tuple[LinkClass, ...]) -> None:
        """Serve the queues of a first fault, doing nothing yet, and fill the chains; no packet is led to them."""
        self._bring(classes, self._staged, is_due=False)

    def set(self, classes: tuple[LinkClass, ...]) -> list[Ran]:
        """Make the kernel do this from now on. Queues are served before rules lead to them, and let go of afterwards."""
        ran, self._staged = self._staged, []
        self._bring(classes, ran, is_due=True)
        self._classes = classes
        return ran

    def _bring(self, classes: tuple[LinkClass, ...], ran: list[Ran], is_due: bool) -> None:
        try:
            if self._process is not None and not self._process.is_alive:
                self._process.stop()
                self._process = None
            if self._process is None:
                self._process = self._spares.take()
            marked = self._divert(classes, ran)
            asked = {c.key: c for c in classes if not c.spec.is_neutral}
            gone = {key: number for key, number in self._queues.items() if key not in asked}
            self._remember(gone)
            self._serve(classes, asked, ran, is_due)
            for family in self._families:
                wanted = rules(self._where, family, classes, {k: self._queues[k] for k in asked}, marked)
                self._lead(family, wanted, ran, is_due)
            if gone:
                self._queues = {k: n for k, n in self._queues.items() if k in asked}
                self._order(classes, asked, ran)
        except LinkRefused as error:
            raise LinkRefused(str(error), [*ran, *(r for r in error.ran if r not in ran)]) from None

    def _serve(self, classes: tuple[LinkClass, ...], asked: dict[str, LinkClass], ran: list[Ran], is_due: bool) -> None:
        """Have a queue for each class; a number that somebody else's program has is passed over."""
        fresh = [key for key in asked if key not in self._queues]
        for attempt in range(MOST_TAKEN):
            self._queues |= {key: self._spares.queue() for key in fresh}
            try:
                return self._order(classes, asked if is_due else {}, ran)
            except LinkRefused as error:
                is_taken = "Operation not permitted" in str(error) or "busy" in str(error)
                if not is_taken or attempt == MOST_TAKEN - 1:
                    for key in fresh:
                        del self._queues[key]
                    raise
        return None

    def _order(self, classes: tuple[LinkClass, ...], asked: dict[str, LinkClass], ran: list[Ran]) -> None:
        assert self._process is not None
        order = [key for c in (*classes, *self._classes) if (key := c.key) in self._queues]
        specs = {c.key: c for c in (*self._classes, *classes)}
        _, done = self._process.order({
            "op": "set", "device": self._where.device, "direction": self._where.direction,
            "through": self._through if self._undo_device else None,
            "classes": [
                {
                    "queue": self._queues[key],
                    # A class that goes does nothing from now on, and what it holds keeps its time; one that is staged, not yet.
                    "spec": specs[key].spec.as_json() if key in asked else {},
                    "seed": f"{self._seed}/{self._where.direction}/{0 if key == ALL else index + 1}",
                    "shares_rate": specs[key].shares_rate,
                }
                for index, key in enumerate(dict.fromkeys(order))
            ],
        })  # fmt: skip
        ran.append(done)

    def _lead(self, family: int, wanted: Rules, ran: list[Ran], is_due: bool) -> None:
        is_filled, is_hooked = self._installed.get(family) == wanted, family in self._hooked
        fill = [] if is_filled else [("-N", chain(self._where)), *wanted]
        commands = [*fill, *([hook(self._where, "-A")] if is_due and not is_hooked else [])]
        if not commands:
            return
        ran += batch.iptables(TOOLS[family], HOOKS[self._where.direction][0], commands)
        if not ran[-1].ok:
            raise LinkRefused(str(ran[-1 - len(commands)]), ran)
        self._installed[family] = wanted
        if is_due:
            self._hooked.add(family)

    def _divert(self, classes: tuple[LinkClass, ...], ran: list[Ran]) -> bool:
        """A way back in for duplicates of what arrives: an ifb whose egress leads to the interface's ingress."""
        if self._where.direction == "egress" or not any(c.spec.duplicate for c in classes):
            return bool(self._undo_device)
        if self._undo_device:
            return True
        name, device = self._through, self._where.device
        ran += batch.ip([("ip", "link", "add", name, "type", "ifb"), ("ip", "link", "set", name, "up")])
        if not ran[-1].ok:
            raise LinkRefused(f"duplicating what arrives needs an ifb device: {ran[-1].err.strip()}", ran)
        self._undo_device = [("ip", "link", "del", name)]
        ran += batch.tc([
            ("tc", "qdisc", "add", "dev", name, "clsact"),
            ("tc", "filter", "add", "dev", name, "egress", "protocol", "all", "prio", "1", "u32", "match", "u32", "0", "0",
             "action", "mirred", "ingress", "redirect", "dev", device),
        ])  # fmt: skip
        if not ran[-1].ok:
            raise LinkRefused(str(ran[-1]), ran)
        return True

    def effects(self) -> dict[str, Effect]:
        if self._process is None:
            return dict(self._past)
        answer, _ = self._process.order({"op": "stats"})
        found = dict(self._past)
        for key, number in self._queues.items():
            counts = answer["classes"].get(str(number))
            if counts is not None:
                total = Effect()
                total.add(self._past.get(key, Effect()), Effect())
                total.add(Effect(**{name: counts[name] for name in Effect.__dataclass_fields__}), Effect())
                found[key] = total
        return found

    def _remember(self, gone: dict[str, int]) -> None:
        if gone:
            found = self.effects()
            self._past |= {key: found[key] for key in gone if key in found}

    def close(self, drain_s: float) -> list[Ran]:
        """First nothing more is done to packets; then the rules go; then, when what is held has gone on, the process.

        With a negative drain_s what is held is lost.
        """
        ran: list[Ran] = []
        process = self._process
        if process is not None and drain_s < 0:
            process.kill()
        # One that has died needs no order: packets pass without it, and the rules go all the same.
        is_alive = process is not None and process.is_alive
        try:
            if is_alive and self._queues:
                self._order(self._classes, {}, ran)
        except LinkRefused as error:
            ran += error.ran
        for family in list(self._installed):
            unhook = [hook(self._where, "-D")] if family in self._hooked else []
            commands = [*unhook, ("-F", chain(self._where)), ("-X", chain(self._where))]
            ran += batch.iptables(TOOLS[family], HOOKS[self._where.direction][0], commands)
        self._installed.clear()
        self._hooked.clear()
        if process is not None:
            try:
                if is_alive:
                    ran.append(process.order({"op": "end", "within_s": drain_s}, drain_s + ANSWER_TIMEOUT_S)[1])
            except LinkRefused as error:
                ran += error.ran
            process.stop()
            self._process = None
        ran += batch.ip(self._undo_device)
        self._undo_device = []
        return ran
