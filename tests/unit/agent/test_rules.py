"""Many rules of iptables through one process: done whole or not at all, and taken back though a part is gone."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from labctl.agent.action import ActionFailed
from labctl.agent.batch import Argv
from labctl.agent.command import Ran
from labctl.agent.rules import Rules

FOUR = ("iptables", "-w", "5")
RETURN = ("-j", "RETURN")
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
    """What iptables-restore and iptables were given; `refused` are the rules that fail, for either."""

    fed: list[tuple[str, str, list[str]]] = field(default_factory=list)
    ran: list[str] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)

    def feed(self, tool: str, table: str, rules: list[Argv]) -> list[Ran]:
        said = [" ".join(rule) for rule in rules]
        self.fed.append((tool, table, said))
        status = 1 if self.refused & set(said) else 0
        return [Ran((tool, *words), status, "", "no" if status else "", 1.0) for words in ((f"{tool}-restore",), *rules)]

    def run(self, argv: Argv) -> Ran:
        self.ran.append(" ".join(argv))
        gone = any(rule in self.ran[-1] for rule in self.refused)
        return Ran(argv, 1 if gone else 0, "", "does a matching rule exist in that chain" if gone else "", 1.0)


@pytest.fixture
def kernel() -> Kernel:
    return Kernel()


@pytest.fixture
def rules(kernel: Kernel) -> Rules:
    made = Rules.parse(REQUEST)
    made.feed, made.runner = kernel.feed, kernel.run
    return made


def test_one_process_for_each_table(rules: Rules, kernel: Kernel) -> None:
    """All that belongs to one tool and table goes together, in order; what is answered has each command."""
    done = rules.do()
    assert kernel.fed == [
        ("iptables", "filter", ["-N LABCTL-x", "-A LABCTL-x -j DROP", "-I INPUT -j LABCTL-x"]),
        ("ip6tables", "mangle", ["-N LABCTL-x", "-A LABCTL-x -j DROP", "-I INPUT -j LABCTL-x"]),
    ]
    assert len(done) == 8
    kernel.fed.clear()
    assert all(ran.ok for ran in rules.undo())
    assert kernel.fed == [
        ("ip6tables", "mangle", ["-D INPUT -j LABCTL-x", "-D LABCTL-x -j DROP", "-X LABCTL-x"]),
        ("iptables", "filter", ["-D INPUT -j LABCTL-x", "-D LABCTL-x -j DROP", "-X LABCTL-x"]),
    ]
    assert (rules.undo(), kernel.ran) == ([], [])


def test_what_is_staged_is_not_done_again(rules: Rules, kernel: Kernel) -> None:
    """The chains are filled ahead; at its time the rest follows."""
    rules.ahead = 2
    rules.stage()
    assert kernel.fed == [("iptables", "filter", ["-N LABCTL-x", "-A LABCTL-x -j DROP"])]
    rules.do()
    assert kernel.fed[1] == ("iptables", "filter", ["-I INPUT -j LABCTL-x"])


def test_what_is_refused_takes_back_what_came_before(rules: Rules, kernel: Kernel) -> None:
    """A table whose rules are refused has none of them; those of the table before are taken back."""
    kernel.refused = {"-A LABCTL-x -j DROP"}
    with pytest.raises(ActionFailed):
        rules.do()
    assert len(kernel.fed) == 1
    kernel.fed.clear()
    kernel.refused = set()
    rules.changes = rules.changes[::-1]
    rules.do()
    assert rules.undo()


def test_a_part_that_somebody_took_away_keeps_nothing_in_place(rules: Rules, kernel: Kernel) -> None:
    """Undone at once it would be refused, so each is taken back by itself, and what is gone already is no failure."""
    rules.do()
    quenched = rules.quench()
    assert [ran.argv[3:5] for ran in quenched] == [("-I", "LABCTL-x")]
    kernel.refused = {"-D LABCTL-x -j DROP"}
    rules.undo()
    assert "iptables -w 5 -D INPUT -j LABCTL-x" in kernel.ran
    assert "iptables -w 5 -D LABCTL-x -j RETURN" in kernel.ran
    assert "ip6tables -w 5 -t mangle -X LABCTL-x" in kernel.ran
    assert rules.undo() == []
