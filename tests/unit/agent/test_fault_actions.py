# ruff: noqa: E501  what the kernel says stands here as it says it
"""The actions of faults that are more than commands: what they do, undo and count, without a kernel to do it to."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable
from typing import Any

import pytest
import restored

from labctl.agent import interface as interface_module
from labctl.agent.__main__ import ACTIONS
from labctl.agent.action import ActionFailed, Commands, Proof, failed
from labctl.agent.command import Ran
from labctl.agent.dns import NXDOMAIN, SERVFAIL, Question, Responder, parse_question, reply
from labctl.agent.expire import Expire
from labctl.agent.interface import NOTE, Changed, Interface, claim_of, kernel_counters
from labctl.agent.journal import Journal
from labctl.agent.reset import ACK, RST, SYN, Segment, make_segment, parse_segment

CHAIN = """\
Chain LABCTL-x (1 references)
    pkts      bytes target     prot opt in     out     source               destination
      40     2400 RETURN     all  --  *      *       0.0.0.0/0            0.0.0.0/0
       7      420 DROP       all  --  *      *       0.0.0.0/0            0.0.0.0/0
       2      120            all  --  *      *       0.0.0.0/0            0.0.0.0/0
"""
HOOK = ("iptables", "-w", "5", "-t", "nat", "-I", "OUTPUT", "-j", "LABCTL-x")
UNHOOK = tuple("-D" if word == "-I" else word for word in HOOK)


class Kernel:
    """Answers commands by their first words and notes them."""

    def __init__(self, answers: dict[tuple[str, ...], str | Callable[[], str]] | None = None, refuses: str = "none") -> None:
        self.answers, self.refuses = answers or {}, refuses
        self.log: list[tuple[str, ...]] = []

    def __call__(self, argv: tuple[str, ...], *, stdin: str = "") -> Ran:
        self.log += restored.commands(argv, stdin) or [argv]
        if self.refuses in argv:
            return Ran(argv, 1, "", "refused", 0.1)
        for words, answer in self.answers.items():
            if argv[: len(words)] == words:
                return Ran(argv, 0, answer if isinstance(answer, str) else answer(), "", 0.1)
        return Ran(argv, 0, "", "", 0.1)


def test_only_rules_that_do_something_are_counted() -> None:
    """What a RETURN let pass was not touched; a rule without a target counts, as it was put there to."""
    kernel = Kernel({("iptables",): CHAIN})
    action = Commands((), ({"tool": "iptables", "table": "filter", "chain": "LABCTL-x"},), runner=kernel)
    assert action.count() == 9


def test_a_quench_goes_after_all_hooks_into_its_chain() -> None:
    """A fault with two hooks is not in force again while the second is being taken away."""
    words = ("iptables", "-w", "5")
    changes = [{"do": [*words, op, "LABCTL-x"], "undo": [*words, "-X", "LABCTL-x"]} for op in ("-N",)]
    for hook in ("INPUT", "OUTPUT"):
        changes.append({"do": [*words, "-I", hook, "-j", "LABCTL-x"], "undo": [*words, "-D", hook, "-j", "LABCTL-x"]})
    quench = [{"do": [*words, "-I", "LABCTL-x", "1", "-j", "RETURN"], "undo": [*words, "-D", "LABCTL-x", "-j", "RETURN"]}]
    kernel = Kernel()
    action = Commands.parse({"changes": changes, "quench": quench, "ahead": 1})
    action.runner = kernel
    action.stage()
    assert len(kernel.log) == 1
    action.do()
    action.quench()
    kernel.log.clear()
    action.undo()
    assert [argv[4] for argv in kernel.log] == ["OUTPUT", "INPUT", "LABCTL-x", "LABCTL-x"]


def test_a_fault_that_is_healed_before_its_time_is_taken_back() -> None:
    """What was only made ready (a chain, filled and not hooked) needs no quenching, and goes."""
    words = ["iptables", "-w", "5"]
    changes = [
        {"do": [*words, "-N", "LABCTL-x"], "undo": [*words, "-X", "LABCTL-x"]},
        {"do": [*words, "-I", "INPUT", "-j", "LABCTL-x"], "undo": [*words, "-D", "INPUT", "-j", "LABCTL-x"]},
    ]
    quench = [{"do": [*words, "-I", "LABCTL-x", "1", "-j", "RETURN"], "undo": [*words, "-D", "LABCTL-x", "-j", "RETURN"]}]
    kernel = Kernel()
    action = Commands.parse({"changes": changes, "quench": quench})
    action.runner = kernel
    action.stage()
    assert action.quench() == []
    action.undo()
    assert [argv[3:] for argv in kernel.log] == [("-N", "LABCTL-x"), ("-X", "LABCTL-x")]


REQUESTS: dict[str, dict[str, Any]] = {
    "commands": {},
    "interface": {"device": "lo", "mtu": None, "kernel": ["Ip.OutNoRoutes", "rx_dropped"]},
    "dns": {"name": "a.lab", "answers": [["10.0.0.1"]], "late_s": 0.0, "taken": []},
    "reset": {"port": 80, "sources": [], "targets": []},
    "expire": {"deletes": []},
}


@pytest.mark.parametrize("kind", ACTIONS)
def test_every_action_may_wait_for_its_time(kind: str) -> None:
    """Made ready on a timeline, counted before a step, and healed before it began: it has touched nothing, and nothing stays."""
    words = ["iptables", "-w", "5"]
    changes = [{"do": [*words, op, "LABCTL-x"], "undo": [*words, "-X", "LABCTL-x"]} for op in ("-N",)]
    counters = [{"tool": "iptables", "table": "filter", "chain": "LABCTL-x"}]
    rules = {"changes": changes, "counters": counters, "quench": [], "ahead": 1}
    kernel = Kernel({("ip", "-json"): "[]"})
    action: Any = ACTIONS[kind]({"type": kind, **rules, **REQUESTS[kind]})
    for part in (action, getattr(action, "rules", None)):
        if hasattr(part, "runner"):
            part.runner = kernel
    journal = Journal()
    journal.stage("x", action)
    assert journal.count("x") is None
    assert action.count() == 0
    ran, proof = journal.undo("x")
    assert (proof, failed(ran)) == (Proof(), [])
    assert journal.names() == []
    made, gone = (tuple(changes[0][key]) in kernel.log for key in ("do", "undo"))
    assert made == gone == (kind != "reset")
    assert not any(word in argv for argv in kernel.log for word in ("down", "up"))


# -- an interface -----------------------------------------------------------------------------------------------------

CONNECTED = "10.0.2.0/24 dev lo proto kernel scope link src 10.0.2.3\n"
DEFAULT = "default via 10.0.2.2 dev lo \n"
FAR = "10.9.0.0/16 via 10.0.2.7 dev lo metric 7 linkdown\n"
OTHER = "10.8.0.0/16 via 10.0.3.2 dev eth1 \n"


def interface(kernel: Kernel, mtu: int | None, changed: dict[str, Changed] | None = None) -> Interface:
    request = {"device": "lo", "mtu": mtu, "kernel": ["Ip.OutNoRoutes"], "changes": [], "counters": []}
    action = Interface.parse(request, changed)
    action.runner = kernel
    return action


def test_an_interface_that_was_down_gets_back_the_routes_that_the_kernel_did_not() -> None:
    listings = iter([CONNECTED + DEFAULT + FAR + OTHER, CONNECTED + OTHER, CONNECTED + DEFAULT + FAR.replace(" linkdown", "")])
    kernel = Kernel({("ip", "-o", "-4", "route"): lambda: next(listings), ("ip", "-json"): "[]"})
    action = interface(kernel, None)
    assert [r.argv for r in action.do()] == [("ip", "link", "set", "dev", "lo", "down", "alias", f"{NOTE}65536")]
    assert action.claims() == [claim_of("lo")], "nobody else may change it meanwhile"
    assert [" ".join(r.argv) for r in action.undo()] == [
        "ip link set dev lo up alias ",
        "ip -4 route add default via 10.0.2.2 dev lo",
        "ip -4 route add 10.9.0.0/16 via 10.0.2.7 dev lo metric 7",
    ]
    assert action.undo() == []


def test_an_mtu_is_put_back_to_what_it_was() -> None:
    kernel = Kernel({("ip", "-o"): CONNECTED, ("ip", "-json"): "[]"})
    action = interface(kernel, 600)
    action.do()
    assert action.count() >= 0
    assert [" ".join(r.argv) for r in action.undo()] == ["ip link set dev lo mtu 65536 alias "]
    assert ("ip", "-o", "-4", "route", "show", "table", "all") not in kernel.log, "it takes no route of IPv4 away"


def link_set(kernel: Kernel) -> list[str]:
    """What was asked of the interface since this was last asked."""
    said = [" ".join(argv[5:]) for argv in kernel.log if argv[:3] == ("ip", "link", "set")]
    kernel.log.clear()
    return said


def test_of_several_mtus_the_smallest_holds_and_the_last_leaves_what_was() -> None:
    """In whichever order they go, what is still in place goes on, and the interface is in the end what it was."""
    kernel = Kernel({("ip", "-json"): "[]"})
    for first in (0, 1):
        changed: dict[str, Changed] = {}
        two = [interface(kernel, 1000, changed), interface(kernel, 800, changed)]
        for action in two:
            action.do()
        assert link_set(kernel) == [f"mtu 1000 alias {NOTE}65536", "mtu 800"]
        two.pop(first).undo()
        assert link_set(kernel) == [["mtu 800"], ["mtu 1000"]][first]
        two.pop().undo()
        assert link_set(kernel) == ["mtu 65536 alias "]
        assert changed == {}


def test_an_interface_is_down_as_long_as_one_wants_it_so() -> None:
    """Routes are added when it is up again, not before, also those that one of them never saw; an MTU neither sets it up nor down."""
    routes = {"-4": [CONNECTED + DEFAULT]}
    kernel = Kernel({("ip", "-o", "-4", "route"): lambda: routes["-4"][-1], ("ip", "-json"): "[]"})
    changed: dict[str, Changed] = {}
    first, second, small = (interface(kernel, mtu, changed) for mtu in (None, None, 1300))
    first.do()
    routes["-4"].append("")
    second.stage()
    second.do()
    small.do()
    assert link_set(kernel) == [f"down alias {NOTE}65536", "down", "mtu 1300"]
    first.undo()
    small.undo()
    assert kernel.log.count(("ip", "-4", "route", "add", *DEFAULT.split())) == 0
    assert link_set(kernel) == ["down", "mtu 65536"]
    second.undo()
    assert ("ip", "-4", "route", "add", *DEFAULT.split()) in kernel.log
    assert link_set(kernel) == ["up alias "]


def test_an_mtu_that_was_staged_while_another_was_in_place_leaves_what_was_before_both() -> None:
    """What an interface was is read when it is first changed, not when a fault was made ready for its time."""
    kernel = Kernel({("ip", "-json"): "[]"})
    changed: dict[str, Changed] = {}
    first, second = interface(kernel, 800, changed), interface(kernel, 1000, changed)
    first.do()
    second.stage()
    first.undo()
    second.do()
    link_set(kernel)
    second.undo()
    assert link_set(kernel) == ["mtu 65536 alias "]


@pytest.mark.parametrize("size", [65536, 70000])
def test_an_mtu_that_makes_nothing_smaller_is_refused(size: int) -> None:
    """An interface that carries less already would carry more: that is no failure, and proves nothing."""
    kernel = Kernel({("ip", "-json"): "[]"})
    with pytest.raises(ActionFailed, match="lo carries no more than 65536 bytes already; write a smaller size"):
        interface(kernel, size).do()
    assert link_set(kernel) == []


def test_an_interface_that_cannot_be_put_back_is_tried_again() -> None:
    """What failed is not forgotten: the next undo asks again, and with it goes what was noted of the interface."""
    kernel = Kernel({("ip", "-json"): "[]"})
    changed: dict[str, Changed] = {}
    action = interface(kernel, 600, changed)
    action.do()
    kernel.refuses = "65536"
    assert len(failed(action.undo())) == 1
    kernel.refuses = "none"
    link_set(kernel)
    assert failed(action.undo()) == []
    assert link_set(kernel) == ["mtu 65536 alias "]
    assert changed == {}


def test_an_alias_that_somebody_gave_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interface with an alias of somebody else's is changed without a note in its alias."""
    monkeypatch.setattr(interface_module, "alias_of", lambda _: "uplink to rack 7")
    kernel = Kernel({("ip", "-o"): CONNECTED, ("ip", "-json"): "[]"})
    action = interface(kernel, None)
    assert action.do()[-1].argv == ("ip", "link", "set", "dev", "lo", "down")
    assert action.undo()[0].argv == ("ip", "link", "set", "dev", "lo", "up")


@pytest.mark.parametrize(
    ("alias", "held", "mended"),
    [(f"{NOTE}1500", False, True), (f"{NOTE}1500", True, False), ("uplink to rack 7", False, False), (NOTE, False, False), ("", False, False)],
)
def test_an_interface_that_a_killed_agent_changed_is_mended(
    monkeypatch: pytest.MonkeyPatch, alias: str, held: bool, mended: bool
) -> None:
    """By the note in its alias, and only when nobody holds it any more."""
    log: list[tuple[str, ...]] = []
    monkeypatch.setattr(interface_module, "alias_of", lambda device: alias if device == "lo" else "")
    monkeypatch.setattr(interface_module, "is_held", lambda _: held)
    monkeypatch.setattr(interface_module, "run", lambda argv: log.append(argv) or Ran(argv, 0, "", "", 0.0))
    interface_module.mend()
    assert log == ([("ip", "link", "set", "dev", "lo", "mtu", "1500", "up", "alias", "")] if mended else [])


def test_an_interface_that_cannot_be_taken_down_is_left_alone() -> None:
    kernel = Kernel({("ip", "-json"): "[]"}, refuses="down")
    action = interface(kernel, None)
    with pytest.raises(ActionFailed, match="refused"):
        action.do()
    assert ("ip", "link", "set", "dev", "lo", "up") not in kernel.log


def test_kernel_counters_have_the_names_of_proc() -> None:
    assert {"Ip.OutNoRoutes", "Ip.FragFails", "IpExt.InNoRoutes"} <= kernel_counters().keys()


# -- names ------------------------------------------------------------------------------------------------------------


def query(name: str, kind: int = 1, number: int = 7, flags: int = 0x0100) -> bytes:
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    return struct.pack("!6H", number, flags, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", kind, 1)


def test_a_question_is_read_whatever_its_case() -> None:
    question = parse_question(query("SerVice.Lab", 28))
    assert (question.id, question.name, question.type) == (7, "service.lab", 28)


@pytest.mark.parametrize(
    "data",
    [b"", b"\0" * 11, query("a")[:-1], query("a")[:12] + b"\x40" + b"a" * 64, query("a")[:12] + b"\x09abc", query("a", flags=0x8000),
     struct.pack("!6H", 1, 0x0100, 2, 0, 0, 0) + b"\0" * 40],
)  # fmt: skip
def test_what_is_no_question_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_question(data)


def test_an_answer_has_the_addresses_of_the_family_that_was_asked_for() -> None:
    four = reply(Question(7, "a", 1, query("a")[12:]), ["10.0.0.1", "fd::1", "10.0.0.2"])
    assert struct.unpack_from("!6H", four) == (7, 0x8580, 1, 2, 0, 0)
    assert four.endswith(b"\0\4\x0a\0\0\2")
    six = reply(Question(7, "a", 28, query("a", 28)[12:]), ["10.0.0.1"])
    assert struct.unpack_from("!6H", six) == (7, 0x8580, 1, 0, 0, 0)


def test_each_look_up_gets_the_next_answer_and_the_last_stays() -> None:
    """A and AAAA of one look-up get the same; a query sent again gets what it got."""
    responder = Responder("a.lab", [["10.0.0.1"], "again", "unknown"], 0.0, [], {"changes": []}, runner=Kernel())
    responder.do()
    try:
        assert responder._socket is not None
        server = responder._socket.getsockname()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(2)

            def ask(kind: int, number: int, name: str = "a.lab") -> tuple[int, int]:
                client.sendto(query(name, kind, number), server)
                _, flags, _, answers, *_ = struct.unpack_from("!6H", client.recv(512))
                return flags & 15, answers

            assert [ask(1, 1), ask(28, 2), ask(1, 1)] == [(0, 1), (0, 0), (0, 1)]
            assert [ask(1, 3), ask(28, 4)] == [(SERVFAIL, 0), (SERVFAIL, 0)]
            assert [ask(1, 5), ask(1, 6)] == [(NXDOMAIN, 0), (NXDOMAIN, 0)]
            assert ask(1, 7, "other.a.lab") == (NXDOMAIN, 0)
            client.sendto(b"no DNS at all", server)
            assert ask(1, 8) == (NXDOMAIN, 0)
        assert responder.count() == 9
    finally:
        responder.undo()


def test_late_is_late_and_its_port_stands_in_the_rule() -> None:
    kernel = Kernel()
    words = ["iptables", "-w", "5"]
    change = {"do": [*words, "--to-ports", "{port}"], "undo": [*words, "-D", "{port}"]}
    responder = Responder("a", [["10.0.0.1"]], 0.2, [], {"changes": [change]}, runner=kernel)
    responder.do()
    assert responder._commands is not None
    assert responder._socket is not None
    port = str(responder._socket.getsockname()[1])
    assert responder._commands.changes[0].do == (*words, "--to-ports", port)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(2)
        start = time.monotonic()
        client.sendto(query("a"), ("127.0.0.1", int(port)))
        client.recv(512)
        assert time.monotonic() - start >= 0.2
    responder.undo()


def test_dead_is_a_free_address_of_the_own_network() -> None:
    listing = '[{"addr_info": [{"local": "10.0.2.3", "prefixlen": 29}]}]'
    kernel = Kernel({("ip", "-json"): listing})
    responder = Responder("a", [["dead", "10.0.1.3"]], 0.0, ["10.0.2.6", "10.0.2.5"], {"changes": []}, runner=kernel)
    responder.do()
    responder.undo()
    assert responder.answers == [["10.0.2.4", "10.0.1.3"]]


# -- connections ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ends", [(("10.0.0.1", 80), ("10.0.0.2", 4000)), (("fd::1", 80), ("fd::2", 4000))])
def test_a_segment_is_read_as_it_was_made(ends: tuple[tuple[str, int], tuple[str, int]]) -> None:
    assert parse_segment(make_segment(*ends, 5, RST)) == Segment(*ends, 5, 0, RST)
    assert parse_segment(make_segment(*ends, 0xFFFFFFFF, SYN)) == Segment(*ends, 0, 0, SYN)


def test_the_number_after_a_segment_counts_its_bytes() -> None:
    """`end_seq` is what the receiver of the segment expects next, by the length that the IP header says."""
    bare = bytearray(make_segment(("10.0.0.1", 80), ("10.0.0.2", 4000), 100, ACK))
    bare[2:4] = struct.pack("!H", 40 + 33)
    found = parse_segment(bytes(bare) + b"x" * 10)
    assert found is not None
    assert found.end_seq == 133


@pytest.mark.parametrize("data", [b"", b"\x45", b"\x45" + b"\0" * 30, b"\x60" + b"\0" * 60, bytes([0x45, *[0] * 8, 6, *[0] * 12])])
def test_what_is_no_segment_is_passed_over(data: bytes) -> None:
    assert parse_segment(data) is None


def test_the_checksum_is_right() -> None:
    packet = make_segment(("10.0.0.1", 80), ("10.0.0.2", 4000), 5, RST)
    pseudo = packet[12:20] + struct.pack("!BBH", 0, 6, 20)
    for data in (packet[:20], pseudo + packet[20:]):
        total = sum(struct.unpack(f"!{len(data) // 2}H", data))
        assert (total & 0xFFFF) + (total >> 16) == 0xFFFF


@pytest.mark.parametrize(("said", "status", "count"), [("2 flow entries have been deleted.", 0, 2), ("0 flow entries have been deleted.", 1, 0)])
def test_expire_counts_entries_and_finding_none_is_no_failure(said: str, status: int, count: int) -> None:
    delete = ("conntrack", "-D", "-p", "tcp")

    def runner(argv: tuple[str, ...], *, stdin: str = "") -> Ran:  # noqa: ARG001
        return Ran(argv, status, "", f"conntrack v1.4.8 (conntrack-tools): {said}\n", 1.0)

    action = Expire((delete,), Commands(()), runner)
    action.do()
    assert action.count() == count


def test_expire_that_is_refused_takes_its_rules_back() -> None:
    kernel = Kernel(refuses="conntrack")
    action = Expire.parse({"deletes": [["conntrack", "-D"]], "changes": [{"do": list(HOOK), "undo": list(UNHOOK)}]})
    action.runner = action.rules.runner = kernel
    with pytest.raises(ActionFailed, match="refused"):
        action.do()
    assert kernel.log[-1] == UNHOOK
