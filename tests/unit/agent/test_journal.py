"""The journal and its command lists: what was done is undone, in reverse, exactly, and nothing else ever is."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import restored

from labctl.agent.action import ALREADY_GONE, ActionFailed, Change, Commands, Proof, failed
from labctl.agent.command import Ran, run
from labctl.agent.journal import Journal

Log = list[tuple[str, ...]]


def commands(
    log: Log, *names: str, refuse: Callable[[tuple[str, ...]], Ran | None] = lambda _: None
) -> Commands:
    """An action of named changes, whose commands are written to a log instead of being run."""

    def runner(argv: tuple[str, ...], *, stdin: str = "") -> Ran:
        assert not stdin
        log.append(argv)
        return refuse(argv) or Ran(argv, 0, "", "", 0.1)

    changes = tuple(Change(("do", name), ("undo", name)) for name in names)
    return Commands(changes, ahead=len(changes) - 1, runner=runner)


def test_faults_are_undone_in_reverse() -> None:
    """Closing takes the newest fault back first, and each fault's last change first."""
    log: Log = []
    journal = Journal()
    journal.apply("a", commands(log, "1", "2"))
    journal.apply("b", commands(log, "3"))
    journal.close()
    assert log == [("do", "1"), ("do", "2"), ("do", "3"), ("undo", "3"), ("undo", "2"), ("undo", "1")]
    assert journal.names() == []


def test_the_undo_is_registered_before_the_do() -> None:
    """While a command runs its undo is in the list already, so that a death in the middle leaves nothing unregistered."""
    seen: list[int] = []
    action = commands([], "1")
    def runner(argv: tuple[str, ...], *, stdin: str = "") -> Ran:  # noqa: ARG001
        seen.append(len(action._undos))
        return Ran(argv, 0, "", "", 0.1)

    action.runner = runner
    action.do()
    assert seen == [1]


@pytest.mark.parametrize("bad", ["1", "2", "3"])
def test_a_refused_command_leaves_nothing(bad: str) -> None:
    """When one command is refused those before it are undone, it itself is not, and the fault is not applied."""
    log: Log = []
    journal = Journal()
    action = commands(
        log, "1", "2", "3", refuse=lambda argv: Ran(argv, 2, "", "no", 0.1) if argv == ("do", bad) else None
    )
    with pytest.raises(ActionFailed, match=rf"`do {bad}` ended with 2 and said: no"):
        journal.apply("a", action)
    before = [str(n) for n in range(1, int(bad))]
    assert log[int(bad) :] == [("undo", name) for name in reversed(before)]
    assert journal.names() == []


def test_a_command_that_did_not_end_is_undone_too() -> None:
    """Nobody knows what a command that had to be given up has done, so its undo runs."""
    log: Log = []
    action = commands(
        log,
        "1",
        "2",
        refuse=lambda argv: Ran(argv, None, "", "not ended", 0.1) if argv == ("do", "2") else None,
    )
    with pytest.raises(ActionFailed):
        Journal().apply("a", action)
    assert log[2:] == [("undo", "2"), ("undo", "1")]


def test_a_name_is_applied_once() -> None:
    """A second fault of the same name is refused and changes nothing."""
    log: Log = []
    journal = Journal()
    journal.apply("a", commands(log, "1"))
    with pytest.raises(ValueError, match="a is applied already"):
        journal.apply("a", commands(log, "2"))
    assert log == [("do", "1")]
    assert journal.undo("a")[0][0].argv == ("undo", "1")
    journal.apply("a", commands(log, "2"))


def test_what_is_not_applied_needs_no_undo() -> None:
    """Undoing an unknown fault, or one that was undone, runs nothing and is no error."""
    assert Journal().undo("a") == ([], Proof())


def test_an_undo_that_fails_stays_to_be_tried_again() -> None:
    """A change that could not be taken back is still there for the next undo; what was taken back is not undone twice."""
    log: Log = []
    busy = ["once"]
    journal = Journal()

    def refuse(argv: tuple[str, ...]) -> Ran | None:
        return Ran(argv, 4, "", "busy", 0.1) if argv == ("undo", "1") and busy and busy.pop() else None

    journal.apply("a", commands(log, "1", "2", refuse=refuse))
    assert [r.argv for r in failed(journal.undo("a")[0])] == [("undo", "1")]
    assert journal.names() == ["a"]
    journal.close()
    assert log[2:] == [("undo", "2"), ("undo", "1"), ("undo", "1")]


@pytest.mark.parametrize("words", ALREADY_GONE)
def test_only_known_words_mean_that_it_is_gone_already(words: str) -> None:
    """An undo counts as done when the tool says that its object is not there; any other failure counts as one."""
    gone, locked = Ran(("x",), 1, "", f"tool: {words}.", 0.1), Ran(("x",), 4, "", "xtables lock", 0.1)
    assert failed([gone, Ran(("x",), 0, "", "", 0.1)]) == []
    assert failed([gone, locked, Ran(("x",), None, "", "not ended", 0.1)])[0] is locked
    assert len(failed([gone, locked, Ran(("x",), None, "", "not ended", 0.1)])) == 2


def test_a_closed_journal_applies_nothing() -> None:
    """After the end of the driver nothing more is applied, whatever was still on its way."""
    log: Log = []
    journal = Journal()
    journal.close()
    with pytest.raises(ValueError, match="is ending"):
        journal.apply("a", commands(log, "1"))
    assert log == []


def test_closing_waits_for_the_fault_that_is_being_applied() -> None:
    """A close in the middle of an apply comes after it, so that all of it is undone."""
    log: Log = []
    begun, go = threading.Event(), threading.Event()

    def refuse(argv: tuple[str, ...]) -> None:
        if argv == ("do", "1"):
            begun.set()
            assert go.wait(5)

    journal = Journal()
    applying = threading.Thread(target=journal.apply, args=("a", commands(log, "1", "2", refuse=refuse)))
    applying.start()
    assert begun.wait(5)
    closing = threading.Thread(target=journal.close)
    closing.start()
    go.set()
    applying.join()
    closing.join()
    assert log == [("do", "1"), ("do", "2"), ("undo", "2"), ("undo", "1")]


def test_a_staged_fault_is_finished_by_apply_and_undone_whole() -> None:
    """What has no effect is done ahead, apply does the rest, and undo takes all of it back."""
    log: Log = []
    journal = Journal()
    action = commands(log, "1", "2", "3")
    journal.stage("a", action)
    assert log == [("do", "1"), ("do", "2")]
    assert [r.argv for r in journal.apply("a", action)] == [("do", "1"), ("do", "2"), ("do", "3")]
    journal.undo("a")
    assert log[3:] == [("undo", "3"), ("undo", "2"), ("undo", "1")]


def test_of_two_families_neither_fault_is_in_force_again_while_it_is_being_undone() -> None:
    """Each family's RETURN goes only after that family's hook is gone, or the chain would be in force again meanwhile."""
    log: Log = []
    changes = [
        Change((tool, "-w", "5", *do), (tool, "-w", "5", *undo))
        for tool in ("iptables", "ip6tables")
        for do, undo in (
            (("-N", "LABCTL-a"), ("-X", "LABCTL-a")),
            (("-A", "LABCTL-a", "-j", "DROP"), ("-D", "LABCTL-a", "-j", "DROP")),
            (("-I", "INPUT", "-j", "LABCTL-a"), ("-D", "INPUT", "-j", "LABCTL-a")),
        )
    ]
    quench = [
        Change(
            (t, "-w", "5", "-I", "LABCTL-a", "1", "-j", "RETURN"),
            (t, "-w", "5", "-D", "LABCTL-a", "-j", "RETURN"),
        )
        for t in ("iptables", "ip6tables")
    ]

    def runner(argv: tuple[str, ...], *, stdin: str = "") -> Ran:
        log.extend(restored.commands(argv, stdin) or [argv])
        return Ran(argv, 0, "", "", 0.1)

    action = Commands(tuple(changes), (), tuple(quench), ahead=5, runner=runner)
    journal = Journal()
    journal.apply("a", action)
    journal.undo("a")
    for tool in ("iptables", "ip6tables"):
        mine = [argv[3:] for argv in log if argv[0] == tool]
        assert mine.index(("-I", "LABCTL-a", "1", "-j", "RETURN")) < mine.index(
            ("-D", "INPUT", "-j", "LABCTL-a")
        )
        assert mine.index(("-D", "INPUT", "-j", "LABCTL-a")) < mine.index(("-D", "LABCTL-a", "-j", "RETURN"))
        assert mine.index(("-D", "LABCTL-a", "-j", "RETURN")) < mine.index(("-X", "LABCTL-a"))


def test_what_is_only_staged_is_neither_counted_nor_quenched() -> None:
    """A fault that waits for its time has touched nothing; the chain that it made ahead goes all the same."""
    log: Log = []
    journal = Journal()
    action = commands(log, "1", "2")
    action.counters = ({"tool": "iptables", "table": "filter", "chain": "x"},)
    journal.stage("a", action)
    assert journal.count("a") is None
    ran, proof = journal.undo("a")
    assert (proof, [r.argv for r in ran]) == (Proof(), [("undo", "1")])
    assert log == [("do", "1"), ("undo", "1")]
    journal.stage("a", action)
    journal.apply("a", action)
    assert journal.count("a") == 0


LISTING = """\
Chain LABCTL-x (1 references)
    pkts      bytes target     prot opt in     out     source               destination
       7      420 RETURN     tcp  --  *      *       0.0.0.0/0            0.0.0.0/0
       5      300 DROP       tcp  --  *      *       0.0.0.0/0            0.0.0.0/0            tcp dpt:80
      11      660 REJECT     all  --  *      *       0.0.0.0/0            0.0.0.0/0            reject-with tcp-reset
"""


def test_the_packets_of_a_chain_are_those_its_rules_touched() -> None:
    """Counts of all rules are added up, but for those that only return."""
    counter = {"tool": "iptables", "table": "filter", "chain": "LABCTL-x"}
    asked: Log = []

    def runner(argv: tuple[str, ...], *, stdin: str = "") -> Ran:  # noqa: ARG001
        asked.append(argv)
        return Ran(argv, 0, LISTING, "", 0.1)

    assert Commands((), (counter,), runner=runner).count() == 16
    assert asked == [("iptables", "-w", "5", "-t", "filter", "-nvxL", "LABCTL-x")]


def test_a_count_that_cannot_be_read_does_not_keep_the_fault() -> None:
    """A fault whose counters are gone is undone all the same, and its count is unknown."""
    log: Log = []
    journal = Journal()
    action = commands(
        log, "1", refuse=lambda argv: Ran(argv, 1, "", "no chain", 0.1) if "-nvxL" in argv else None
    )
    action.counters = ({"tool": "iptables", "table": "filter", "chain": "x"},)
    journal.apply("a", action)
    assert journal.undo("a")[1] == Proof()
    assert log[-1] == ("undo", "1")


def test_a_command_that_runs_answers_with_all_it_did() -> None:
    """Exit status, both outputs and the time; one that is not there or does not end has no status and says why."""
    ran = run(("sh", "-c", "echo out; echo err >&2; exit 3"))
    assert (ran.exit, ran.out, ran.err, ran.ok) == (3, "out\n", "err\n", False)
    assert ran.ms > 0
    assert str(ran) == "`sh -c echo out; echo err >&2; exit 3` ended with 3 and said: err"
    assert (run(("no-such-command",)).exit, run(("no-such-command",)).err) == (
        None,
        "no-such-command: No such file or directory",
    )
    slow = run(("sleep", "10"), timeout_s=0.05)
    assert (slow.exit, slow.err) == (None, "sleep: not ended after 0.05s")
    assert run(("cat",), stdin="what it reads\n").out == "what it reads\n"
    assert run(("cat",)).out == ""
