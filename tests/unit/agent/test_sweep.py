"""What is nobody's is swept, by exactly the commands that take it away; what somebody holds is not touched."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from labctl.agent import batch, nftables, sweep
from labctl.agent.claims import Claims, is_held
from labctl.agent.command import Argv, Ran

ROOT = Path(__file__).resolve().parents[3]
HOLD = """
import sys, time
from labctl.agent.claims import Claims
claims = Claims()
claims.hold(sys.argv[1])
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def name() -> str:
    """A name that no other test on this machine has."""
    return f"LABCTL-{secrets.token_hex(6)}"


def test_a_name_is_held_until_it_is_let_go(name: str) -> None:
    claims, other = Claims(), Claims()
    assert not is_held(name)
    assert claims.hold(name)
    assert claims.hold(name), "held by this process already"
    assert is_held(name)
    assert not other.hold(name), "it is another's"
    other.release(name)
    assert is_held(name), "only who holds it can let it go"
    claims.release(name)
    assert not is_held(name)
    with claims.held(name):
        assert is_held(name)
    assert not is_held(name)
    claims.hold(name)
    claims.close()
    assert not is_held(name)


def test_a_name_is_nobodys_once_its_holder_was_killed(name: str) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, name], stdout=subprocess.PIPE, cwd=ROOT)
    assert holder.stdout is not None
    holder.stdout.readline()
    assert is_held(name)
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    holder.stdout.close()
    assert not is_held(name)


FILTER = """\
*filter
:INPUT DROP [0:0]
:LABCTL-dead - [0:0]
:LABCTL-mine - [0:0]
-A INPUT -p tcp -m comment --comment "a LABCTL-dead thing" -j ACCEPT
-A INPUT -s 10.0.0.1/32 -p tcp -m comment --comment "two  spaces" -j LABCTL-dead
-A FORWARD -j LABCTL-dead
-A INPUT -j LABCTL-mine
-A LABCTL-dead -j DROP
-A LABCTL-mine -j DROP
COMMIT
"""
FOUR, SIX = socket.AF_INET, socket.AF_INET6


class Kernel:
    """A network namespace with some chains and qdiscs; `held` is what living agents have."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, chains: list[tuple[int, str, str]], held: set[str]) -> None:
        self.fed: list[tuple[str, list[str]]] = []
        self.chains, self.qdiscs = chains, list[tuple[str, str, int, int]]()
        self.interfaces = [(1, "lo"), (7, "eth0"), (8, "eth1")]
        self.emptied: set[tuple[int, str]] = set()
        self.tables = frozenset({(int(FOUR), "filter"), (int(FOUR), "nat"), (int(SIX), "filter")})
        monkeypatch.setattr(sweep, "is_held", lambda name: name in held)
        monkeypatch.setattr(sweep, "mend", list)
        monkeypatch.setattr(sweep, "run", self._run)
        monkeypatch.setattr(sweep, "_all_qdiscs", lambda: self.qdiscs)
        monkeypatch.setattr(socket, "if_nameindex", lambda: self.interfaces)
        monkeypatch.setattr(socket, "if_indextoname", lambda index: dict(self.interfaces)[index])
        monkeypatch.setattr(nftables, "chains", lambda: self.chains)
        monkeypatch.setattr(nftables, "tables", lambda: self.tables)
        monkeypatch.setattr(nftables, "remove_new", lambda before: self.emptied.update(self.tables - before))
        monkeypatch.setattr(batch, "batch", self._feed)

    def _run(self, argv: tuple[str, ...]) -> Ran:
        return Ran(argv, 0, FILTER if "-save" in argv[0] else "redirect dev lci7", "", 0.0)

    def _feed(self, tool: Argv, lines: list[str], commands: list[Argv], runner: object = None) -> list[Ran]:  # noqa: ARG002
        self.fed.append((tool[0], lines))
        return [Ran(argv, 0, "", "", 0.0) for argv in (tool, *commands)]


def test_chains_that_nobody_holds_go_with_the_rules_that_lead_there(monkeypatch: pytest.MonkeyPatch) -> None:
    chains = [(int(FOUR), "filter", "INPUT"), (int(FOUR), "filter", "LABCTL-dead"), (int(FOUR), "filter", "LABCTL-mine"),
              (int(FOUR), "nat", "LABORATORY")]  # fmt: skip
    kernel = Kernel(monkeypatch, chains, {"LABCTL-mine"})
    assert sweep.sweep()
    assert kernel.fed == [
        ("iptables-restore", [
            "*filter",
            '-D INPUT -s 10.0.0.1/32 -p tcp -m comment --comment "two  spaces" -j LABCTL-dead',
            "-D FORWARD -j LABCTL-dead",
            "-F LABCTL-dead",
            "-X LABCTL-dead",
            "COMMIT",
        ]),
    ]  # fmt: skip
    assert kernel.emptied == {(int(FOUR), "filter")}, "only where something was swept an empty table is taken away"


def test_nothing_is_run_where_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(monkeypatch, [(int(FOUR), "filter", "LABCTL-mine"), (int(FOUR), "nat", "DOCKER_OUTPUT")], {"LABCTL-mine"})
    kernel.qdiscs = [("eth0", "noqueue", 0, sweep.TC_H_ROOT), ("eth1", "htb", 0x1AC0000, sweep.TC_H_ROOT)]
    monkeypatch.setattr(sweep, "run", lambda argv: pytest.fail(f"no command is needed: {argv}"))
    assert sweep.sweep() == []
    assert kernel.emptied == set()


def test_trees_and_ifbs_go_by_the_interface_that_nobody_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(monkeypatch, [], {"LABCTL-E-eth1", "LABCTL-I-eth1"})
    kernel.interfaces += [(20, "lci7"), (21, "lci8"), (22, "lcd7"), (23, "lci99")]
    tree, ingress = (0x1AB0000, sweep.TC_H_ROOT), (0xFFFF0000, 0xFFFFFFF1)
    kernel.qdiscs = [
        ("eth0", "htb", *tree), ("eth0", "netem", 0x1B00000, 0x1AB0010), ("eth0", "ingress", *ingress),
        ("eth1", "htb", *tree), ("eth1", "ingress", *ingress), ("lci7", "htb", *tree),
    ]  # fmt: skip
    monkeypatch.setattr(socket, "if_indextoname", lambda index: {7: "eth0", 8: "eth1"}.get(index) or _gone())
    sweep.sweep()
    assert [line for _, lines in kernel.fed for line in lines] == [
        "qdisc del dev eth0 root handle 1ab:", "qdisc del dev eth0 ingress", "link del lci7", "link del lcd7", "link del lci99",
    ]  # fmt: skip


def _gone() -> str:
    raise OSError(6, "No such device or address")


def test_the_kernel_tells_its_qdiscs_and_chains() -> None:
    """Asked for real, read only: loopback has a qdisc, or the namespace shows none; nothing raises."""
    assert all(isinstance(device, str) and kind for device, kind, _, _ in sweep._all_qdiscs())
    assert all(table in nftables.XTABLES for _, table, _ in nftables.chains())


@pytest.mark.parametrize(
    ("queues", "hooked", "removed"),
    [("17000 4242 5 2 0 0 0 0 1\n", True, False), ("17000 4242 5 2 0 0 0 0 1\n", False, True), ("", True, True)],
)
def test_a_table_whose_going_would_drop_what_queues_hold_stays(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, queues: str, hooked: bool, removed: bool
) -> None:
    """With a base chain the kernel empties every queue of the namespace; a table that has none is not hooked anywhere."""
    chain = {nftables.CHAIN_TABLE: b"filter\0", nftables.CHAIN_NAME: b"INPUT\0", nftables.CHAIN_HOOK: b""}
    gone: list[tuple[int, str]] = []
    monkeypatch.setattr(nftables, "QUEUES", tmp_path / "queues")
    (tmp_path / "queues").write_text(queues, encoding="ascii")
    monkeypatch.setattr(nftables, "tables", lambda: frozenset({(int(FOUR), "filter")}))
    monkeypatch.setattr(nftables, "_chains", lambda _: [chain] if hooked else [])
    monkeypatch.setattr(nftables, "_dump", lambda *_: [])
    monkeypatch.setattr(nftables, "_delete", lambda *table: gone.append(table))
    nftables.remove_new(frozenset())
    assert gone == ([(int(FOUR), "filter")] if removed else [])
    monkeypatch.setattr(nftables, "QUEUES", tmp_path / "none")
    assert not nftables.has_queues(), "a kernel without NFQUEUE has no queues"
