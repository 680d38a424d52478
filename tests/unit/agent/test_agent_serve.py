"""The agent's conversation: every request is answered, and what is wrong with one is said, never silence."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import restored

import labctl.agent
from labctl.agent import PROTOCOL
from labctl.agent import __main__ as main
from labctl.agent.capture import STATISTICS, Capture, CaptureFailed, cut_after, whole_blocks
from labctl.agent.command import Ran, in_place
from labctl.agent.journal import Journal
from labctl.agent.timeline import Schedule, Timeline
from labctl.evidence.pcapng import ENHANCED_PACKET, block


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., dict[str, Any]]]:
    """An agent whose commands answer what a test says (success when it says nothing); ask(op, …) is its answer."""
    said: list[dict[str, Any]] = []
    agent = main.Agent(said.append)
    log: list[tuple[str, ...]] = []

    def run(argv: tuple[str, ...], *, stdin: str = "", **_: object) -> Ran:
        for each in (together := restored.commands(argv, stdin)):
            if not (ran := run(each)).ok:
                return replace(ran, argv=argv)
        if together:
            return Ran(argv, 0, "", "", 0.1)
        log.append(argv)
        for words, (exit_, err) in ask_it.fails.items():  # type: ignore[attr-defined]
            if words in " ".join(argv):
                return Ran(argv, exit_, "", err, 0.1)
        return Ran(argv, 0, "[]", "", 0.1)

    def ask_it(op: str, **arguments: Any) -> dict[str, Any]:
        agent.serve(json.dumps({"id": 1, "op": op, **arguments}))
        return said.pop()

    monkeypatch.setattr(main, "run", run)
    monkeypatch.setattr(main, "settle", list)  # or a lab that comes up beside the tests has addresses that are being checked
    ask_it.fails = {}  # type: ignore[attr-defined]
    ask_it.log = log  # type: ignore[attr-defined]
    ask_it.serve = lambda line: (agent.serve(line), said.pop())[1]  # type: ignore[attr-defined]
    yield ask_it
    agent.claims.close()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("nonsense", "JSONDecodeError"), ("5", "AttributeError"), ("{}", "KeyError: 'id'"), ('{"id": 7}', "KeyError: 'op'"),
        ('{"id": 7, "op": "fly"}', "KeyError: 'fly'"), ('{"id": 7, "op": "hello", "x": 1}', "TypeError"),
        ('{"id": 7, "op": "apply", "name": "x", "action": {"type": "magic"}}', "KeyError: 'magic'"),
        ('{"id": 7, "op": "apply", "name": "x", "action": {}}', "KeyError: 'type'"),
        ('{"id": 7, "op": "capture_stop", "missing": []}', "nothing is captured here"),
        ('{"id": 7, "op": "dissect"}', "no tshark waits here"),
    ],
)  # fmt: skip
def test_a_request_that_cannot_be_is_answered_with_what_is_wrong(ask: Any, line: str, words: str) -> None:
    """Broken JSON, an unknown operation, arguments that are none: an answer that says so, and the agent lives on."""
    answer = ask.serve(line)
    assert answer["ok"] is False
    assert words in answer["error"]
    assert ask("rulesets")["ok"] is True


def test_who_waits_for_a_port_is_told_when_the_agent_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks for a listener for another minute when the agent is closed meanwhile."""
    said: queue.Queue[dict[str, Any]] = queue.Queue()
    agent = main.Agent(said.put)
    looked = threading.Event()
    monkeypatch.setattr(main, "is_bound", lambda *_: looked.set())
    line = json.dumps({"id": 1, "op": "wait_bound", "port": 80, "protocol": "tcp", "timeout_s": 60})
    waiting = threading.Thread(target=agent.serve, args=(line,), daemon=True)
    waiting.start()
    assert looked.wait(30)
    agent.close()
    assert said.get(timeout=30)["error"] == "the agent ends"


def test_hello_tells_protocol_clock_and_interfaces(ask: Any) -> None:
    """A greeting has what the driver needs to find its way: protocol, time, interfaces, memory."""
    result = ask("hello")["result"]
    assert result["protocol"] == PROTOCOL
    assert abs(result["time"] - time.time()) < 5
    assert result["interfaces"] == []
    assert result["rss_kib"] > 1000


def test_routes_make_the_router_the_only_way_out(ask: Any) -> None:
    """Routes are set, the bridges cannot be spoken to, and Docker's own default goes where no route replaced it."""
    assert ask("routes", routes=[["default", "10.0.0.2"]], gateways=["10.0.0.1", "fd00::1"])["ok"]
    assert ask.log == [
        ("ip", "route", "replace", "default", "via", "10.0.0.2"),
        ("ip", "route", "replace", "unreachable", "10.0.0.1"),
        ("ip", "-6", "route", "replace", "unreachable", "fd00::1"),
        ("ip", "-6", "route", "delete", "default"),
    ]


def test_a_default_route_that_is_gone_already_is_fine_and_any_other_refusal_is_not(ask: Any) -> None:
    """`No such process` is how ip(8) says that there is no such route; everything else is told to the driver."""
    ask.fails["delete default"] = (2, "RTNETLINK answers: No such process")
    assert ask("routes", routes=[], gateways=["10.0.0.1"])["ok"]
    ask.fails["delete default"] = (2, "RTNETLINK answers: Operation not permitted")
    answer = ask("routes", routes=[], gateways=["10.0.0.1"])
    assert "Operation not permitted" in answer["error"]
    ask.fails["replace"] = (2, "Nexthop has invalid gateway")
    answer = ask("routes", routes=[["default", "10.9.9.9"]], gateways=[])
    assert "Nexthop has invalid gateway" in answer["error"]
    assert answer["detail"]["ran"][0]["exit"] == 2


def test_the_agent_undoes_everything_when_its_input_ends(tmp_path: Path) -> None:
    """A real agent whose standard input ends takes its fault back and exits, whoever closed it and why."""
    mark = tmp_path / "mark"
    change = {"do": ["touch", str(mark)], "undo": ["rm", str(mark)]}
    request = {"id": 1, "op": "apply", "name": "x", "action": {"type": "commands", "changes": [change]}}
    agent = subprocess.Popen(
        [sys.executable, "-m", "agent"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        cwd=Path(labctl.agent.__file__).parents[1], env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert agent.stdin is not None
    assert agent.stdout is not None
    agent.stdin.write(json.dumps(request) + "\n")
    agent.stdin.flush()
    assert json.loads(agent.stdout.readline())["ok"] is True
    assert mark.exists()
    agent.stdin.close()
    assert agent.wait(10) == 0
    agent.stdout.close()
    assert not mark.exists()


def test_sockets_are_told_when_they_change_and_when_they_were_last_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """What changed did so after the last look that still saw it."""
    told: queue.Queue[dict[str, Any]] = queue.Queue()
    agent = main.Agent(told.put)
    one, other = [{"port": 1, "timer_ms": 5}], [{"port": 2, "timer_ms": 5}]
    seen = [(1.0, one), (2.0, [{"port": 1, "timer_ms": 4}]), (3.0, other), (4.0, one)]
    looks = iter([*seen, *[(5.0, one)] * 10_000])
    monkeypatch.setattr(agent, "sockets", lambda: dict(zip(("time", "sockets"), next(looks), strict=True)))
    agent.sample(0.001)
    events = [told.get(timeout=30) for _ in range(3)]
    agent.sample(0)
    assert [(e["time"], e["looked"], e["sockets"]) for e in events] == [(1.0, None, one), (3.0, 2.0, other), (4.0, 3.0, one)]
    agent.claims.close()


@pytest.fixture
def capturing(tmp_path: Path) -> Iterator[Callable[..., Capture]]:
    """Make a capture into a file of the test's folder; what it keeps open is closed at the end."""
    made: list[Capture] = []

    def make(*interfaces: str, name: str = "h.pcapng") -> Capture:
        made.append(Capture(tmp_path / name, interfaces, "t", "a comment", 96, 2_000_000))
        return made[-1]

    yield make
    for capture in made:
        capture._errors.close()


def test_the_capture_asks_dumpcap_for_every_interface(
    tmp_path: Path, capturing: Callable[..., Capture]
) -> None:
    """The command line has each interface with its limits, the file, its largest size in kB and the comment."""
    argv = capturing("lo", "eth0").argv()
    assert argv[:2] == ("dumpcap", "-q")
    assert [argv[i + 1] for i, word in enumerate(argv) if word == "-i"] == ["lo", "eth0"]
    assert [argv[i + 1] for i, word in enumerate(argv) if word == "-s"] == ["96", "96"]
    assert argv[argv.index("-w") + 1] == str(tmp_path / "h.pcapng")
    assert argv[argv.index("-a") + 1] == "filesize:2000"
    assert argv[argv.index("--capture-comment") + 1] == "a comment"


@pytest.mark.parametrize(
    ("script", "words"),
    [(None, "dumpcap: No such file"), ("echo no such device >&2; exit 1", "no such device")],
)
def test_a_capture_that_does_not_start_says_why(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capturing: Callable[..., Capture],
    script: str | None,
    words: str,
) -> None:
    """Without dumpcap, or when it ends at once, the capture fails with dumpcap's own words."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin" if script else str(tmp_path))
    if script:
        (tmp_path / "dumpcap").write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        (tmp_path / "dumpcap").chmod(0o755)
    with pytest.raises(CaptureFailed, match=words):
        capturing("lo", name="x/h.pcapng").start()


def test_a_capture_without_its_sentinels_is_not_complete(
    tmp_path: Path, capturing: Callable[..., Capture]
) -> None:
    """What `finish` missed is why a capture is incomplete, unless it reached its limit, lost packets, or nobody knows that."""
    capture = capturing("lo", name="h")
    assert capture.finish() == ["begin sentinel of lo", "end sentinel of lo"]
    stopped = capture.stop(["end sentinel of lo"])
    assert (stopped["complete"], stopped["reason"]) == (False, "there is no end sentinel of lo in the file")
    (tmp_path / "h").write_bytes(b"x" * 2_000_000)
    assert capture.stop(["end sentinel of lo"])["reason"] == "it reached its limit of 2000000 bytes"
    assert capture.stop([])["reason"] == "dumpcap has not said what was lost on 1 of 1 interfaces"
    os.write(capture._errors.fileno(), b"Packets received/dropped on interface 'lo': 9/4 (pcap:0/dumpcap:0/flushed:4)\n")
    assert capture.stop([])["complete"] is True, "what came after the end sentinel is no loss"
    os.write(capture._errors.fileno(), b"Packets received/dropped on interface 'lo': 5/3 (pcap:1/dumpcap:2/flushed:0)")
    lost = "3 packets were lost on the way into the file (by the kernel 1, by dumpcap 2)"
    assert capture.stop([])["reason"] == lost


def test_what_dumpcap_says_is_whole_however_often_it_is_looked_at(capturing: Callable[..., Capture]) -> None:
    """It writes at the offset of a file that it has in common with who reads it."""
    capture = capturing("lo")
    lines = [f"line {number}" for number in range(5000)]
    talking = subprocess.Popen(["sh", "-c", 'for each; do echo "$each" >&2; done', "sh", *lines], stderr=capture._errors)
    while talking.poll() is None:
        capture._said()
    assert capture._said().splitlines() == lines


def test_a_capture_filter_lets_the_sentinels_through(capturing: Callable[..., Capture]) -> None:
    """Each interface has the filter with the sentinels' ethertype beside it; without one there is no -f at all."""
    capture = capturing("lo", "eth0", name="h")
    assert "-f" not in capture.argv()
    capture.filter = "tcp port 80"
    argv = capture.argv()
    assert [argv[at + 1] for at, word in enumerate(argv) if word == "-f"] == ["(tcp port 80) or ether proto 0x88b5"] * 2


def test_dumpcap_is_given_room_for_a_burst(capturing: Callable[..., Capture]) -> None:
    """Its queue and its rings are larger than its defaults, which drop a burst of uncut segments."""
    argv = capturing("lo", "eth0", name="h").argv()
    assert argv[argv.index("-C") + 1] == str(64 * 2**20)
    assert argv[argv.index("-N") + 1] == "200000"
    assert [argv[at + 1] for at, word in enumerate(argv) if word == "-B"] == ["2", "16"]


def test_whole_blocks_end_before_the_one_that_is_being_written(tmp_path: Path) -> None:
    """Of a file that still grows only whole blocks count."""
    from fake_engine import small_capture

    whole = small_capture()
    (tmp_path / "x").write_bytes(whole + whole[:10])
    assert whole_blocks(tmp_path / "x") == len(whole)
    assert whole_blocks(tmp_path / "none") == 0


def test_packets_behind_the_end_of_a_capture_go_and_its_counters_stay(tmp_path: Path) -> None:
    """What came after the last sentinel is not in the file, as nobody dissects it; dumpcap's statistics are."""
    packet, statistics = block(ENHANCED_PACKET, bytes(24)), block(STATISTICS, bytes(12))
    path = tmp_path / "x"
    path.write_bytes(packet * 2 + packet + statistics + packet + statistics + packet[:10])
    cut_after(path, len(packet) * 2)
    assert path.read_bytes() == packet * 2 + statistics * 2
    for size in (0, len(path.read_bytes()), 10_000):  # nothing is behind it, or it never ended
        cut_after(path, size)
        assert path.read_bytes() == packet * 2 + statistics * 2
    cut_after(tmp_path / "none", 5)


@pytest.mark.parametrize(
    ("timeline", "moments"),
    [
        (Timeline(), [(0.0, True)]),
        (Timeline(after_s=2.0), [(2.0, True)]),
        (Timeline(for_s=1.0), [(0.0, True), (1.0, False)]),
        (Timeline(1.0, 0.5, 2.0, 2), [(1.0, True), (1.5, False), (3.0, True), (3.5, False)]),
    ],
)
def test_timelines(timeline: Timeline, moments: list[tuple[float, bool]]) -> None:
    """When a fault comes and goes, in seconds from when it was asked for."""
    assert list(timeline.moments()) == moments


def test_a_timeline_without_end_goes_on() -> None:
    """Every so often, until it is healed."""
    moments = Timeline(for_s=1.0, every_s=2.0).moments()
    assert [next(moments)[0] for _ in range(6)] == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]


def test_what_cannot_be_is_told_apart_from_what_failed(ask: Any) -> None:
    """Of a fault that is impossible where it is asked for nothing was tried, and the driver is told that it is so."""
    rules = {"changes": [], "counters": [], "kernel": []}
    refused = ask("apply", name="x", action={"type": "interface", "device": "lo", "mtu": 70000, **rules})
    assert (refused["error"], refused["detail"]) == (
        "lo carries no more than 65536 bytes already; write a smaller size", {"ran": [], "impossible": True},
    )  # fmt: skip
    no_such = {"type": "commands", "changes": [{"do": ["/no/such/command"], "undo": ["/no/such/command"]}]}
    failed = ask("apply", name="y", action=no_such)
    assert (failed["ok"], failed["detail"]["impossible"]) == (False, False)


class Growing:
    """An action that grows, for longer than a test lasts; `during` is told each time how far it is."""

    ramp_s = 3600.0

    def __init__(self, during: Callable[[float], None] = lambda _: None) -> None:
        self.progress = during

    def do(self) -> list[Ran]:
        return []

    def undo(self) -> list[Ran]:
        return []

    def count(self) -> int:
        return 7


def scheduled(timeline: Timeline, make: Callable[[], Any]) -> queue.Queue[dict[str, Any]]:
    """The events of a fault on this timeline."""
    told: queue.Queue[dict[str, Any]] = queue.Queue()
    Schedule("x", make, timeline, Journal(), told.put).start()
    return told


@pytest.mark.parametrize(("ahead_s", "staged"), [(3600.0, []), (-3600.0, ["staged"])])
def test_only_what_has_time_is_made_ready_first(ahead_s: float, staged: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """In two halves a fault that is due at once would be later than whole."""
    monkeypatch.setattr("labctl.agent.timeline.AHEAD_S", ahead_s)
    done: list[str] = []

    class Staged(Growing):
        ramp_s = 0.0

        def stage(self) -> None:
            done.append("staged")

        def do(self) -> list[Ran]:
            done.append("done")
            return []

    told = scheduled(Timeline(), Staged)
    assert told.get(timeout=30)["event"] == "fault-applied"
    assert done == [*staged, "done"]


def test_a_fault_is_in_place_when_it_is_made_not_when_that_was_looked_at() -> None:
    """A qdisc is read back after it was made; what the record stamps is the making."""
    made = Ran(("tc", "-batch", "-"), 0, "", "", 2.0, ended=100.0)
    looked = Ran(("tc", "-s", "-j", "qdisc", "show", "dev", "eth0"), 0, "[]", "", 2.0, ended=100.5)
    assert in_place([made, looked]) == 100.0
    assert in_place([looked]) > 100.5  # nothing was made: now


def test_a_fault_ends_at_its_time_though_its_ramp_goes_on() -> None:
    """What is still growing is over with its fault, and begins anew with it."""
    told = scheduled(Timeline(for_s=0.12, every_s=0.2, times=2), Growing)
    events = [told.get(timeout=30) for _ in range(4)]
    assert [e["event"] for e in events] == ["fault-applied", "fault-removed"] * 2
    assert [e["packets"] for e in events] == [None, 7] * 2


def test_a_ramp_goes_on_until_it_is_over_where_the_fault_has_no_end() -> None:
    """A fault that has none grows to the whole, and says that it did."""
    grown: list[float] = []

    def make() -> Growing:
        action = Growing(grown.append)
        action.ramp_s = 0.12
        return action

    told = scheduled(Timeline(), make)
    assert [told.get(timeout=30)["event"] for _ in range(2)] == ["fault-applied", "fault-ramped"]
    assert grown == sorted(grown)
    assert grown[-1] == 1.0


@pytest.mark.parametrize(
    ("protocol", "said"),
    [
        ("tcp", "nothing listens on tcp port 80 after 0s; there is port 22, 8080"),
        ("udp", "nothing is bound to udp port 80 after 0s"),
    ],
)
def test_who_waits_for_a_port_in_vain_is_told_which_there_are(
    ask: Any, monkeypatch: pytest.MonkeyPatch, protocol: str, said: str
) -> None:
    """It may be the wrong number; Docker's name server is not what was meant."""
    there = [("LISTEN", "::", 8080), ("LISTEN", "0.0.0.0", 22), ("ESTABLISHED", "::1", 5000), ("LISTEN", "127.0.0.11", 4000)]
    listening = [{"state": state, "local": local, "port": port} for state, local, port in there]
    bound = [{"state": "CLOSE", "local": "127.0.0.11", "port": 53}]
    monkeypatch.setattr(main, "sockets", lambda what: listening if what == "tcp" else bound)
    monkeypatch.setattr(main, "is_bound", lambda *_: False)
    assert ask("wait_bound", port=80, protocol=protocol, timeout_s=0)["error"] == said
