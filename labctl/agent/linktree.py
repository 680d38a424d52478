"""The qdisc tree of one interface, as a value, and the tc(8) commands that make it, change it and take it away. Pure.

    htb 1ab:                        ours: the handle is reserved, no other root qdisc is ever touched
      class 1ab:1                   the wire: a rate with a burst, or one that several classes share (tc-htb(8))
        class 1ab:10  ─ netem 1b0:  everything that no filter took
        class 1ab:11  ─ netem 1b1:  one target; u32 filters lead to it (tc-u32(8))

The tree is htb even for a single netem, so that a target can be added later without replacing the root: replacing it drops
what is queued there. A class with nothing asked of it has htb's own fifo and no netem.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from .chance import generator
from .linkclass import ALL, LinkClass, Match
from .linkspec import Contradiction, Spec, bits, netem_args

Argv = tuple[str, ...]

ROOT = "1ab"
WIRE = f"{ROOT}:1"
FIRST = 0x10
NETEM = 0x1B0
FREE: Argv = ("rate", "100gbit", "ceil", "100gbit", "burst", "10mb", "cburst", "10mb", "quantum", "60000")
LEAST_DELAY_S = 1e-6
UNIFORM = "/tmp/labctl-uniform.dist"
UNIFORM_TABLE = "../../../../../.." + UNIFORM.removesuffix(".dist")
"""What tc calls a table that is uniform: it looks for NAME.dist in a folder of its own (tc/tc_util.c, get_tc_lib)."""
FAMILY_WORD = {4: "ip", 6: "ipv6"}


@dataclass(frozen=True)
class Leaf:
    """One class: its number below the root, its htb arguments, what is asked of its netem (None: nothing), what leads to it.

    `told` is what the netem is told for that (None: there is no netem), `changes` how often it was told another thing, and
    `tables` which of its times (delay, slot) have a distribution in the kernel.
    """

    number: int
    htb: Argv
    spec: Spec | None
    rate_in_netem: bool
    target: tuple[Match, ...]
    depth: int
    told: Spec | None
    changes: int = 0
    tables: frozenset[str] = frozenset()

    @property
    def classid(self) -> str:
        return f"{ROOT}:{FIRST + self.number:x}"

    @property
    def handle(self) -> str:
        return f"{NETEM + self.number:x}:"


@dataclass(frozen=True)
class Tree:
    """All of one interface's egress."""

    device: str
    wire: Argv
    leaves: tuple[Leaf, ...]


def tree(device: str, classes: tuple[LinkClass, ...], numbers: Mapping[str, int]) -> Tree:
    """The tree that holds these classes; `numbers` gives each class's number by its key, 0 for the last.

    Raises Contradiction for what htb cannot do (a cell size with a burst).
    """
    rest = classes[-1]
    assert rest.key == ALL
    on_wire = rest.spec.rate_bps and (rest.shares_rate or rest.spec.burst_bytes)
    leaves = []
    for one in classes:
        spec = one.spec
        own_burst = bool(spec.burst_bytes) and not on_wire
        htb = _shaped(spec) if own_burst else _sharing(rest.spec) if on_wire else FREE
        in_netem = bool(spec.rate_bps) and not own_burst and not on_wire
        asked = None if spec.is_neutral else spec
        leaves.append(Leaf(numbers[one.key], htb, asked, in_netem, one.target, one.depth, asked))
    return Tree(device, _shaped(rest.spec) if on_wire else FREE, tuple(leaves))


def after(old: Tree | None, new: Tree, seed: int | None = None) -> Tree:
    """`new` with what its netems are to be told, given those of `old`. `seed` is for what has none of its own."""
    before = {leaf.number: leaf for leaf in old.leaves} if old else {}
    return replace(new, leaves=tuple(_told(before.get(leaf.number), leaf, seed) for leaf in new.leaves))


def _told(was: Leaf | None, leaf: Leaf, seed: int | None) -> Leaf:
    if was is None or was.told is None:
        if leaf.spec is None:
            return leaf
        told = _late(_seeded(leaf.spec, seed, 0))
        return replace(leaf, told=told, tables=_tables(told))
    if (leaf.spec, leaf.rate_in_netem) == (was.spec, was.rate_in_netem):
        return replace(leaf, told=was.told, changes=was.changes, tables=was.tables)
    changes = was.changes + 1
    spec = leaf.spec or Spec(limit=was.told.limit)
    is_new = was.spec is None or spec.seed != was.spec.seed
    told = _late(_spread(_seeded(spec, seed, 0 if is_new and spec.seed is not None else changes), was.tables))
    return replace(leaf, told=told, changes=changes, tables=was.tables | _tables(told))


def _spread(spec: Spec, tables: frozenset[str]) -> Spec:
    """The kernel forgets no table (sch_netem.c, netem_change), so what had one and is to be uniform gets one that is."""
    if "delay" in tables and spec.jitter_s and not spec.distribution:
        spec = replace(spec, distribution=UNIFORM_TABLE)
    slot = spec.slot
    if "slot" in tables and slot is not None and not slot.distribution:
        middle, half = (slot.min_s + slot.max_s) / 2, max(LEAST_DELAY_S, (slot.max_s - slot.min_s) / 2)
        slot = replace(slot, min_s=0.0, max_s=0.0, distribution=UNIFORM_TABLE, delay_s=middle, jitter_s=half)
    return replace(spec, slot=slot)


def _tables(told: Spec) -> frozenset[str]:
    times = {"delay": told.jitter_s and told.distribution, "slot": told.slot is not None and told.slot.distribution}
    return frozenset(word for word, table in times.items() if table)


def _late(spec: Spec) -> Spec:
    """With a delay, however short, where tc refuses to do without (tc/q_netem.c): as a ramp begins, or ends."""
    needs_delay = spec.reorder or (spec.jitter_s and spec.distribution)
    return replace(spec, delay_s=max(spec.delay_s, LEAST_DELAY_S)) if needs_delay else spec


def _seeded(spec: Spec, seed: int | None, change: int) -> Spec:
    """With the seed for this change of a netem, where chance is asked for that a seed covers: loss and corruption."""
    chance = spec.loss or spec.loss_gemodel or spec.loss_state or spec.corrupt
    own = spec.seed if spec.seed is not None else seed if chance else None
    return replace(spec, seed=own if own is None else later_seed(own, change))


def later_seed(seed: int, change: int) -> int:
    """What a netem is told at its change of this number, 0 being the first time, for a seed that was asked for.

    A change with a seed begins the kernel's generator anew (sch_netem.c, netem_change), so the same one again would give all
    packets of a ramp the fate of the first. Without a seed kernels before 2026 begin anew as well, with one that nobody knows.
    """
    return generator(seed, f"change {change}")() if change else seed


def _shaped(spec: Spec) -> Argv:
    if spec.cell_bytes or spec.cell_overhead_bytes:
        raise Contradiction("a rate with cells cannot have a burst or be shared between targets; leave out cell or burst")
    burst = f"{max(spec.burst_bytes, 2000)}b"
    overhead = ("overhead", str(spec.overhead_bytes)) if spec.overhead_bytes else ()
    rate = bits(spec.rate_bps)
    return ("rate", rate, "ceil", rate, "burst", burst, "cburst", burst, "quantum", "2000", *overhead)


def _sharing(spec: Spec) -> Argv:
    """A part of the wire: little of its own, all of the rest when it is free. The wire's own rate bounds the sum."""
    shaped = list(_shaped(spec))
    shaped[1] = bits(max(8, spec.rate_bps // 100))
    return tuple(shaped)


def commands(old: Tree | None, new: Tree) -> list[Argv]:
    """What turns one tree into the other without losing a packet; classes that go are left in place, unreachable and neutral.

    They may still hold packets: `removals` takes them away when they have drained. `new` is what `after` made of it.
    """
    device = new.device
    found: list[Argv] = []
    if old is None:
        found.append(("tc", "qdisc", "add", "dev", device, "root", "handle", f"{ROOT}:", "htb", "default", f"{FIRST:x}"))
        found.append(("tc", "class", "add", "dev", device, "parent", f"{ROOT}:", "classid", WIRE, "htb", *new.wire))
    elif old.wire != new.wire:
        found.append(("tc", "class", "change", "dev", device, "parent", f"{ROOT}:", "classid", WIRE, "htb", *new.wire))
    before = {leaf.number: leaf for leaf in old.leaves} if old else {}
    for leaf in new.leaves:
        found += _leaf(device, before.get(leaf.number), leaf)
    stay = {leaf.number for leaf in new.leaves}
    for leaf in before.values():
        if leaf.number not in stay:
            found += [("tc", "filter", "del", *_where(device, leaf, family)) for family in _families(leaf)]
    return found


def _leaf(device: str, was: Leaf | None, leaf: Leaf) -> list[Argv]:
    found: list[Argv] = []
    htb = ("dev", device, "parent", WIRE, "classid", leaf.classid, "htb", *leaf.htb)
    if was is None or was.htb != leaf.htb:
        found.append(("tc", "class", "add" if was is None else "change", *htb))
    where = ("dev", device, "parent", leaf.classid, "handle", leaf.handle, "netem")
    before, told = _in_netem(was), _in_netem(leaf)
    if told is not None and before is None:
        found.append(("tc", "qdisc", "add", *where, *netem_args(told)))
    elif told is not None and told != before:
        found.append(("tc", "qdisc", "change", *where, *netem_args(told, before)))
    if was is None:
        found += _filters(device, leaf)
    return found


def _in_netem(leaf: Leaf | None) -> Spec | None:
    told = leaf.told if leaf else None
    return told if told is None or (leaf and leaf.rate_in_netem) else replace(told, rate_bps=0)


def _filters(device: str, leaf: Leaf) -> list[Argv]:
    return [
        ("tc", "filter", "add", *_where(device, leaf, match.family), "u32", *clauses, "flowid", leaf.classid)
        for match in leaf.target
        for clauses in match.u32()
    ]


def _families(leaf: Leaf) -> list[int]:
    return list(dict.fromkeys(match.family for match in leaf.target))


def _where(device: str, leaf: Leaf, family: int) -> Argv:
    """A priority of its own for each leaf and family, deeper leaves first; deleting it deletes the leaf's filters."""
    priority = 100 * (9 - leaf.depth) + 2 * leaf.number + (family == 6)
    return ("dev", device, "parent", f"{ROOT}:", "protocol", FAMILY_WORD[family], "prio", str(priority))


def removals(device: str, leaves: list[Leaf]) -> list[Argv]:
    """Take drained classes away."""
    return [("tc", "class", "del", "dev", device, "classid", leaf.classid) for leaf in leaves]


def teardown(device: str) -> list[Argv]:
    """Take the whole tree away; the kernel puts its default back."""
    return [("tc", "qdisc", "del", "dev", device, "root", "handle", f"{ROOT}:")]


def ingress(device: str, ifb: str) -> tuple[list[Argv], list[Argv], list[Argv]]:
    """What arrives on `device` goes through `ifb` first: the ip commands, the tc commands that divert, those that undo that.

    The capture sees a packet before (net/core/dev.c: taps come before sch_handle_ingress), as it would on a bad wire.
    """
    make: list[Argv] = [("ip", "link", "add", ifb, "type", "ifb"), ("ip", "link", "set", ifb, "up")]
    divert: list[Argv] = [
        ("tc", "qdisc", "add", "dev", device, "handle", "ffff:", "ingress"),
        (
            "tc", "filter", "add", "dev", device, "parent", "ffff:", "protocol", "all", "prio", "1", "u32",
            "match", "u32", "0", "0", "action", "mirred", "egress", "redirect", "dev", ifb,
        ),
    ]  # fmt: skip
    return make, divert, [("tc", "qdisc", "del", "dev", device, "ingress")]
