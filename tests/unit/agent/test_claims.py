"""Two agents in one network namespace: what one holds for a fault the other cannot have, and is told whose it is."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from labctl.agent import __main__ as main
from labctl.agent.claims import Claims, Holder, Taken, is_held
from labctl.agent.command import Ran
from labctl.agent.link import Links
from labctl.agent.linkclass import LinkClass
from labctl.agent.linkport import Effect

RUN = "20261125T232801Z-a-scenario-whose-name-is-long-c508"
LOSS = {"device": "lo", "direction": "egress", "spec": {"loss": 5.0}, "target": []}
LINK = {"type": "link", "backend": "nfqueue", "name": "slow", "parts": [LOSS]}
MTU = {"type": "interface", "device": "lo", "mtu": 1400, "kernel": [], "changes": [], "counters": []}
NOTHING: dict[str, Any] = {"type": "commands", "changes": []}


class QuietPort:
    """Takes every class and does nothing."""

    backend = "nfqueue"

    def set(self, classes: tuple[LinkClass, ...]) -> list[Ran]:
        return [Ran(("set", str(len(classes))), 0, "", "", 0.1)]

    def effects(self) -> dict[str, Effect]:
        return {}

    def close(self, drain_s: float) -> list[Ran]:
        return [Ran(("close", str(drain_s)), 0, "", "", 0.1)]


class Beside:
    """An agent that touches nothing, in a network namespace that it shares with others of the same `space`."""

    def __init__(self, space: str, works_for: str) -> None:
        self._said: list[dict[str, Any]] = []
        self.agent = main.Agent(self._said.append)
        self.agent.claims = Claims(space)
        self.agent.claims.introduce(works_for)

    def ask(self, op: str, **arguments: Any) -> dict[str, Any]:
        self.agent.serve(json.dumps({"id": 1, "op": op, **arguments}))
        return self._said.pop()


@pytest.fixture
def space() -> str:
    """A set of names that no other test on this machine has."""
    return f"test-{secrets.token_hex(6)}"


@pytest.fixture
def beside(space: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Beside]]:
    """Agents of one host, each for a run, or for nobody where it works by hand."""
    made: list[Beside] = []
    monkeypatch.setattr(Links, "_port", lambda self, where, *_: self._ports.setdefault(where, QuietPort()))

    def make(works_for: str) -> Beside:
        made.append(Beside(space, works_for))
        return made[-1]

    yield make
    for one in made:
        one.agent.claims.close()


def test_a_fault_that_another_agent_has_already_is_refused_and_whose_it_is_is_told(beside: Callable[[str], Beside]) -> None:
    """One name or one link cannot be two agents' at once: what is there is named, and what to do about it."""
    hand, run = beside(""), beside(RUN)
    assert hand.ask("apply", name="slow", kind="link", action=LINK)["ok"]
    assert run.ask("apply", name="wall", kind="drop", action=NOTHING)["ok"]
    for op, more in (("apply", {}), ("schedule", {"timeline": {"after_s": 60}})):
        answer = run.ask(op, name="slower", kind="link", action={**LINK, "name": "slower"}, **more)
        assert answer["error"] == (
            "what leaves lo has the link fault slow already, put by hand: `labctl fault remove slow` takes it away"
        )
    answer = hand.ask("apply", name="wall", kind="drop", action=NOTHING)
    assert answer["error"] == f"there is a fault wall already, of the run {RUN}: wait until that has ended"
    assert [fault["name"] for fault in run.ask("faults")["result"]] == ["wall"], "what was refused is not there"
    assert [fault["name"] for fault in hand.ask("faults")["result"]] == ["slow"]


def test_what_is_taken_away_leaves_room_for_others(beside: Callable[[str], Beside]) -> None:
    """A link that has two faults is let go with the second, and not before; a fault that failed holds nothing."""
    hand, run = beside(""), beside(RUN)
    for name in ("slow", "slower"):
        assert hand.ask("apply", name=name, kind="link", action={**LINK, "name": name})["ok"]
    for name in ("slow", "slower"):
        clash = run.ask("clash", name="third", action={**LINK, "name": "third"})["result"]
        assert clash.startswith("what leaves lo has the link fault slow")
        assert hand.ask("undo", name=name)["ok"]
    assert run.ask("clash", name="slow", action=LINK)["result"] is None
    refused = {"type": "commands", "changes": [{"do": ["false"], "undo": ["true"]}]}
    assert not hand.ask("apply", name="slow", kind="drop", action=refused)["ok"]
    assert run.ask("apply", name="slow", kind="link", action=LINK)["ok"]


def test_an_interface_that_another_agent_changed_is_not_changed_again(beside: Callable[[str], Beside]) -> None:
    """Each would set it back to what it had found, in whatever order they end."""
    hand, run = beside(""), beside(RUN)
    hand.agent.claims.take("small", "mtu", ["interface lo"])
    assert run.ask("clash", name="less", action=MTU)["result"] == (
        "the interface lo has the mtu fault small already, put by hand: `labctl fault remove small` takes it away"
    )
    assert "the mtu fault small" in run.ask("apply", name="less", kind="mtu", action=MTU)["error"]
    assert hand.ask("clash", name="less", action=MTU)["result"] is None, "its own faults it can put together"


def test_a_greeting_tells_what_others_have_here(beside: Callable[[str], Beside], monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that begins learns of every fault that stands at a host, but its own; of an agent that ended, of none."""
    monkeypatch.setattr(main, "run", lambda argv: Ran(argv, 0, "[]", "", 0.1))
    hand, other, run = beside(""), beside(RUN), beside("r2")
    hand.ask("apply", name="slow", kind="link", action=LINK)
    other.ask("apply", name="wall", kind="drop", action=NOTHING)
    run.ask("apply", name="mine", kind="drop", action=NOTHING)
    found = {(one["fault"], one["kind"], one["by"]) for one in run.ask("hello")["result"]["others"]}
    assert found == {("slow", "link", ""), ("wall", "drop", RUN)}
    hand.agent.claims.close()
    assert [one["fault"] for one in run.ask("hello")["result"]["others"]] == ["wall"]


def test_all_names_of_a_fault_are_held_or_none(space: str) -> None:
    one, other = Claims(space), Claims(space)
    one.take("a", "drop", ["x", "y"])
    with pytest.raises(Taken, match="there is a fault a already"):
        other.take("b", "drop", ["w", "y", "z"])
    assert [is_held(name, space) for name in "wxyz"] == [False, True, True, False]
    assert other.others() == [Holder("x", "a", "drop", ""), Holder("y", "a", "drop", "")]
    one.close()
    other.close()


def test_a_name_that_is_held_for_a_while_is_waited_for(space: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two agents that try at once what the kernel can do use one chain for it, so the second waits for the first."""
    one, other = Claims(space), Claims(space)
    monkeypatch.setattr("labctl.agent.claims.HELD_TIMEOUT_S", 0.02)
    with one.held("x"), pytest.raises(TimeoutError, match="another agent has held x"), other.held("x"):
        pass
    monkeypatch.setattr("time.sleep", lambda _: one.close())
    one.hold("x")
    with other.held("x"):
        assert is_held("x", space)
