"""Rules of iptables through one process: done whole or not at all, told one by one, and taken back though a part is gone."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import restored

from labctl.agent.action import ActionFailed, Commands
from labctl.agent.command import Argv, Ran

FOUR = ("iptables", "-w", "5")
RETURN = ("-j", "RETURN")
IN_FOUR = ["iptables -w 5 -N LABCTL-x", "iptables -w 5 -A LABCTL-x -j DROP", "iptables -w 5 -I INPUT -j LABCTL-x"]
IN_SIX = [rule.replace("iptables -w 5", "ip6tables -w 5 -t mangle") for rule in IN_FOUR]
OUT_OF_FOUR = ["iptables -w 5 -D INPUT -j LABCTL-x", "iptables -w 5 -D LABCTL-x -j DROP", "iptables -w 5 -X LABCTL-x"]
OUT_OF_SIX = [rule.replace("iptables -w 5", "ip6tables -w 5 -t mangle") for rule in OUT_OF_FOUR]
REQUEST = {
    "changes": [
        {"do": [tool, "-w", "5", *table, verb, *rule], "undo": [tool, "-w", "5", *table, back, *rule]}
        for tool, table in (("iptables", []), ("ip6tables", ["-t", "mangle"]))
        for verb, back, rule in (
            ("-N", "-X", ["LABCTL-x"]), ("-A", "-D", ["LABCTL-x", "-j", "DROP"]), ("-I", "-D", ["INPUT", "-j", "LABCTL-x"]),
        )
    ],
    "quench": [{"do": [*FOUR, "-I", "LABCTL-x", "1", *RETURN], "undo": [*FOUR, "-D", "LABCTL-x", *RETURN]}],
}


@dataclass
class Kernel:
    """What it was given, by process; `refused` are the commands that fail, and any process that has one among its own."""

    processes: list[list[str]] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    hangs: bool = False

    def __call__(self, argv: Argv, *, stdin: str = "") -> Ran:
        given = [" ".join(each) for each in restored.commands(argv, stdin) or [argv]]
        self.processes.append(given)
        if self.hangs:
            return Ran(argv, None, "", "not ended", 1.0)
        words = next((self.refused[each] for each in given if each in self.refused), None)
        return Ran(argv, 0 if words is None else 1, "", words or "", 1.0)


@pytest.fixture
def kernel() -> Kernel:
    return Kernel()


@pytest.fixture
def action(kernel: Kernel) -> Commands:
    made = Commands.parse(REQUEST)
    made.runner = kernel
    return made


def test_one_process_for_each_table(action: Commands, kernel: Kernel) -> None:
    """All that belongs to one tool and table goes together, in order; what is answered has each command."""
    done = action.do()
    assert kernel.processes == [IN_FOUR, IN_SIX]
    assert [" ".join(ran.argv) for ran in done] == [
        "iptables-restore --noflush -w 5", *IN_FOUR, "ip6tables-restore --noflush -w 5", *IN_SIX,
    ]  # fmt: skip
    kernel.processes.clear()
    assert all(ran.ok for ran in action.undo())
    assert kernel.processes == [OUT_OF_SIX, OUT_OF_FOUR]
    assert action.undo() == []


def test_other_commands_run_by_themselves(kernel: Kernel) -> None:
    """What is no rule of iptables has a process of its own, in its place in the order; so has a rule that is alone."""
    rules = [[*FOUR, "-N", f"LABCTL-{name}"] for name in "xyz"]
    words = [rules[0], ["ip", "link", "set", "a", "down"], *rules[1:]]
    action = Commands.parse({"changes": [{"do": each, "undo": ["true"]} for each in words]})
    action.runner = kernel
    action.do()
    assert kernel.processes == [
        ["iptables -w 5 -N LABCTL-x"], ["ip link set a down"], ["iptables -w 5 -N LABCTL-y", "iptables -w 5 -N LABCTL-z"],
    ]  # fmt: skip


def test_what_is_staged_is_not_done_again(action: Commands, kernel: Kernel) -> None:
    """The chains are filled ahead; at its time the rest follows."""
    action.ahead = 2
    action.stage()
    assert kernel.processes == [IN_FOUR[:2]]
    action.do()
    assert kernel.processes[1:] == [IN_FOUR[2:], IN_SIX]


def test_what_is_refused_is_named_and_takes_back_what_came_before(action: Commands, kernel: Kernel) -> None:
    """Refused at once, the rules are tried in turn, as iptables-restore tells a line and not why; nothing of them stays."""
    kernel.refused = {IN_SIX[1]: "Couldn't load target"}
    with pytest.raises(ActionFailed, match=rf"`{IN_SIX[1]}` ended with 1 .*Couldn't load target"):
        action.do()
    assert kernel.processes == [IN_FOUR, IN_SIX, IN_SIX[:1], IN_SIX[1:2], OUT_OF_SIX[2:], OUT_OF_FOUR]
    assert action.undo() == []


def test_a_process_that_did_not_end_may_have_done_it_all(action: Commands, kernel: Kernel) -> None:
    """Nobody knows what it did, so all of it is taken back."""
    kernel.hangs = True
    with pytest.raises(ActionFailed, match="not ended"):
        action.do()
    kernel.hangs = False
    assert [each for process in kernel.processes[1:] for each in process][-3:] == OUT_OF_FOUR


def test_a_part_that_somebody_took_away_keeps_nothing_in_place(action: Commands, kernel: Kernel) -> None:
    """Undone at once it would be refused, so each is taken back by itself, and what is gone already is no failure."""
    action.do()
    kernel.processes.clear()
    assert [ran.argv[3:5] for ran in action.quench()] == [("-I", "LABCTL-x")]
    kernel.refused = {OUT_OF_FOUR[1]: "does a matching rule exist in that chain"}
    action.undo()
    together = [OUT_OF_FOUR[0], "iptables -w 5 -D LABCTL-x -j RETURN", *OUT_OF_FOUR[1:]]
    assert kernel.processes[1:] == [OUT_OF_SIX, together, *([each] for each in together)]
    assert action.undo() == []
