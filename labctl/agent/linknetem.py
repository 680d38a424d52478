"""The netem backend: one htb tree with netem leaves at the interface or, for what arrives, at an ifb device it passes."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Mapping, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

from . import batch
from .chance import uniform_table
from .claims import Claims
from .command import Argv, Ran, run
from .linkclass import ALL, LinkClass
from .linkport import Effect, LinkRefused, Where
from .linkspec import Contradiction
from .linktree import (
    ROOT,
    UNIFORM,
    UNIFORM_TABLE,
    Leaf,
    Tree,
    after,
    commands,
    ingress,
    removals,
    teardown,
    tree,
)
from .offload import Offloads
from .readback import differences

DRAIN_POLL_S = 0.004
DRAIN_S = 1.0


class NetemPort:
    """One interface and direction by way of tc."""

    backend = "netem"

    def __init__(self, where: Where, index: int, seed: int | None, claims: Claims) -> None:
        self._where, self._seed = where, seed
        self._ifb = f"lci{index}"
        self._device = where.device if where.direction == "egress" else self._ifb
        self._tree: Tree | None = None
        self._is_open = False
        self._is_whole = True  # else tc stopped half way, and there is some of two trees
        self._keys: dict[str, int] = {}
        self._next = 1
        self._undo_ifb: list[Argv] = []
        self._undo_divert: list[Argv] = []
        self._queue_length: int | None = None
        self._offloads = Offloads(where.device, claims)
        self._past: dict[str, Effect] = {}

    def stage(self, classes: tuple[LinkClass, ...]) -> None:
        """Nothing: a qdisc that is there has packets go through it."""

    def set(self, classes: tuple[LinkClass, ...]) -> list[Ran]:
        """Bring the tree to these classes, read it back, and take away classes that went when they have drained."""
        ran: list[Ran] = []
        if not self._is_whole:
            self._tear_down(ran)
        numbers = {c.key: self._number(c.key) for c in classes}
        try:
            wanted = after(self._tree, tree(self._device, classes, numbers), self._seed)
            todo = commands(self._tree, wanted)
        except Contradiction as error:
            raise LinkRefused(str(error)) from None
        if not self._is_open:
            self._open(ran)
        gone = [leaf for leaf in self._tree.leaves if leaf.number not in numbers.values()] if self._tree else []
        self._remember(gone)
        _have_table(wanted)
        self._tree, self._is_whole = wanted, False  # the moment before: what is refused half way is there as far as it went
        self._tc(todo, ran)
        self._is_whole = True
        if self._where.direction == "ingress" and not self._undo_divert:
            _, divert, undo = ingress(self._where.device, self._ifb)
            self._undo_divert = undo
            self._tc(divert, ran)
        self._verify(wanted, ran)
        if gone:
            self._drain({leaf.handle for leaf in gone}, DRAIN_S)
            self._tc(removals(self._device, gone), ran)
            self._keys = {key: n for key, n in self._keys.items() if key in numbers}
        return ran

    def _number(self, key: str) -> int:
        if key == ALL:
            return 0
        if key not in self._keys:
            self._keys[key] = self._next
            self._next += 1
        return self._keys[key]

    def _open(self, ran: list[Ran]) -> None:
        """Look whether the place is free, and make the ifb that arriving packets go through. Raises LinkRefused."""
        for qdisc in self._qdiscs(self._where.device):
            is_root = bool(qdisc.get("root")) and self._where.direction == "egress"
            is_ingress = qdisc["kind"] in ("ingress", "clsact") and self._where.direction == "ingress"
            if is_ingress or (is_root and qdisc["handle"] != "0:"):
                raise LinkRefused(
                    f"the {self._where} has a {qdisc['kind']} qdisc {qdisc['handle']} that is not labctl's; it stays as it is. "
                    "Remove it, or use the backend nfqueue, which needs no qdisc"
                )
        if self._where.direction == "ingress":
            make, _, _ = ingress(self._where.device, self._ifb)
            self._undo_ifb = [("ip", "link", "del", self._ifb)]
            ran += batch.ip(make)
            if not ran[-1].ok:
                raise LinkRefused(f"what arrives can only be impaired through an ifb device: {ran[-1].err.strip()}", ran)
        else:
            # sch_api.c gives a device without a queue length one when a qdisc comes, and leaves it when the qdisc goes.
            length = int(Path(f"/sys/class/net/{self._device}/tx_queue_len").read_text())
            self._queue_length = length if length == 0 else None

        ran += self._offloads.off()
        self._is_open = True

    def _tear_down(self, ran: list[Ran]) -> None:
        """Take away what there is of a tree, however little, so that one can be built anew. Raises LinkRefused."""
        self._past |= self.effects()
        if any(qdisc["handle"] == f"{ROOT}:" for qdisc in self._qdiscs(self._device, ran)):
            ran += batch.tc(teardown(self._device))
        self._tree, self._is_whole = None, True

    def _tc(self, todo: list[Argv], ran: list[Ran]) -> None:
        done = batch.tc(todo)
        ran += done
        if done and not done[0].ok:
            raise LinkRefused(str(done[0]), ran)

    def _verify(self, wanted: Tree, ran: list[Ran]) -> None:
        """Hold what the kernel has against what was asked. Raises LinkRefused."""
        held = {q["handle"]: q for q in self._qdiscs(self._device, ran)}
        for leaf in wanted.leaves:
            if leaf.spec is None or leaf.told is None:
                continue
            found = held.get(leaf.handle)
            wrong = (
                differences(leaf.told, found.get("options", {}), leaf.rate_in_netem)
                if found and found["kind"] == "netem" else [f"there is no netem {leaf.handle}"]
            )  # fmt: skip
            if wrong:
                raise LinkRefused(f"tc did as asked, but on the {self._where} {'; '.join(wrong)}", ran)

    def _qdiscs(self, device: str, ran: list[Ran] | None = None) -> list[dict[str, Any]]:
        listing = run(("tc", "-s", "-j", "qdisc", "show", "dev", device))
        if ran is not None:
            ran.append(listing)
        if not listing.ok:
            raise LinkRefused(str(listing), ran)
        found: list[dict[str, Any]] = json.loads(listing.out or "[]")
        return found

    def _drain(self, handles: Set[str], most_s: float) -> None:
        """Wait until these netems hold nothing, at most so long."""
        deadline = time.monotonic() + most_s
        while time.monotonic() < deadline:
            if not any(q["handle"] in handles and q.get("qlen") for q in self._qdiscs(self._device)):
                return
            time.sleep(DRAIN_POLL_S)

    def effects(self) -> dict[str, Effect]:
        found = dict(self._past)
        if self._tree is None:
            return found
        held = {q["handle"]: q for q in self._qdiscs(self._device)}
        names = {number: key for key, number in {**self._keys, ALL: 0}.items()}
        for leaf in self._tree.leaves:
            if leaf.handle in held and leaf.number in names:
                total = found[names[leaf.number]] = replace(self._past.get(names[leaf.number], Effect()))
                total.add(_effect(leaf, held[leaf.handle]), Effect())
        return found

    def _remember(self, gone: list[Leaf]) -> None:
        if gone:
            now = self.effects()
            numbers = {leaf.number for leaf in gone}
            self._past |= {key: now[key] for key, n in self._keys.items() if n in numbers and key in now}

    def close(self, drain_s: float) -> list[Ran]:
        """First nothing more is done to packets, then the tree goes when it holds none, then the ifb."""
        ran: list[Ran] = []
        leaves = self._tree.leaves if self._tree is not None and self._is_whole else ()
        with contextlib.suppress(LinkRefused):  # it is in `ran`; what is there must go all the same
            if self._tree is not None and leaves:
                neutral = after(self._tree, replace(self._tree, leaves=tuple(replace(leaf, spec=None) for leaf in leaves)))
                self._tc(commands(self._tree, neutral), ran)
        ran += batch.tc(self._undo_divert)
        with contextlib.suppress(LinkRefused):
            if leaves and drain_s > 0:
                self._drain({leaf.handle for leaf in leaves}, drain_s)
            if not self._is_whole:
                self._tear_down(ran)
        if self._tree is not None:
            ran += batch.tc(teardown(self._device))
            self._tree = None
        ran += batch.ip(self._undo_ifb)
        self._undo_ifb, self._undo_divert = [], []
        ran += self._offloads.restore()
        if self._queue_length is not None:
            ran += batch.ip([("ip", "link", "set", self._device, "txqueuelen", str(self._queue_length))])
            self._queue_length = None
        return ran


def _have_table(wanted: Tree) -> None:
    """See that tc finds the uniform table, if it is told to read it. Raises LinkRefused."""
    used = [t for s in wanted.leaves if s.told for t in (s.told.distribution, s.told.slot.distribution if s.told.slot else "")]
    path = Path(UNIFORM)
    if UNIFORM_TABLE not in used or path.exists():
        return
    mine = path.with_suffix(f".{os.getpid()}")  # other agents of this container may be reading it
    try:
        mine.write_text("".join(f"{number}\n" for number in uniform_table()), encoding="ascii")
        mine.replace(path)
    except OSError as error:
        raise LinkRefused(f"the table of a uniform jitter cannot be written: {error}") from None


def _effect(leaf: Leaf, qdisc: Mapping[str, Any]) -> Effect:
    """netem counts what passed, what it dropped (lost and over the limit are one number) and what it put in front."""
    passed, dropped = int(qdisc["packets"]) + int(qdisc.get("qlen", 0)), int(qdisc["drops"])
    spec = leaf.spec
    only_limit = spec is not None and not (spec.loss or spec.loss_gemodel or spec.loss_state)
    lost, over = (0, dropped) if only_limit else (dropped, 0)
    return Effect(passed + dropped, passed, lost, over, None, None, int(qdisc.get("requeues", 0)))
