"""Hosts and programs that a scenario kills: what ends with them, what comes back, and what is left when that goes wrong."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from fake_engine import FakeEngine
from test_runner import Ran, Runner, run

from labctl.errors import LabError
from labctl.lab import addressed, read_lab

__all__ = ["run"]  # the fixture

SERVE = "  - {start: [serve], on: server, ready: {listen: 80}}\n"
HEAL = "  - {heal: cut}\n"
KILLED = """\
scenario: killed
lab: compose.yml
sample: 10ms
steps:
  - {start: [serve], on: server, ready: {listen: 80}}
  - {fault: wall, at: server, drop: {protocol: tcp, dport: 80}}
  - {fault: cut, at: server, kill: {}}
  - {heal: cut}
  - {start: [serve], on: server, ready: {listen: 80}}
  - {run: [probe, connect, server, 80], on: client, expect: {errno: null}}
"""


def at_server(ran: Ran) -> list[str]:
    """What was done at the server, in order: the wall and the silence hooked and unhooked, the host killed and started."""
    words = {"LABCTL-wall": "wall", "LABCTL-DEAD": "silence"}
    done = []
    for host, argv in ran.world.log:
        if host == "server" and argv[0] == "kill":
            done.append(" ".join(argv))
        elif host == "server" and argv[-1] in words and argv[-4] in ("-I", "-D") and argv[0] == "iptables":
            done.append(f"{words[argv[-1]]} {argv[-4]}")
        elif host == "server" and "-I" in argv and "INPUT" in argv and argv[0] == "iptables":
            done.append("wall on")
        elif host == "server" and "-D" in argv and "INPUT" in argv and argv[0] == "iptables":
            done.append("wall off")
    return done


def program(ran: Ran, step: int) -> dict[str, Any]:
    return next(e for e in ran.events if e["event"] == "program-end" and e["step"] == step)


def test_a_host_dies_silent_and_comes_back_with_its_faults(run: Runner) -> None:
    """It falls silent, its faults are counted and gone, it is killed; started again, they are there again until the end."""
    ran = run(text=KILLED)
    assert ran.value["verdict"] == "pass", ran.value["reason"]
    silence = ["silence -I", "silence -I"]
    order = ["wall on", *silence, "wall off", "kill on", "kill off", "wall on"]
    assert at_server(ran)[: len(order)] == order
    wall, cut = ran.value["faults"]
    assert [(s["packets"], s["removed"] is not None) for s in wall["spans"]] == [(3, True), (3, True)]
    assert (cut["kind"], cut["packets"], cut["fired"]) == ("kill", 6, True)
    assert wall["spans"][0]["removed"] <= cut["removed"]
    assert cut["applied"] <= wall["spans"][1]["applied"] <= cut["removed"]


def test_programs_of_a_host_that_is_killed_end_by_that(run: Runner) -> None:
    """They are recorded as killed, with the status of SIGKILL, and are no error; none is started again by itself."""
    ran = run(text=KILLED)
    assert (program(ran, 1)["exit"], program(ran, 1)["killed"]) == (137, "cut")
    assert program(ran, 5)["killed"] is None
    assert [p.argv for p in ran.engine.processes].count(("serve",)) == 2


def test_the_capture_goes_on_in_a_second_part(run: Runner) -> None:
    """Both lives of a host are one capture and one dissection, and no file of a part is left."""
    ran = run(text=KILLED)
    parts = {e["host"]: e["parts"] for e in ran.events if e["event"] == "capture-end"}
    assert parts == {"server": 2, "client": 1}
    assert sorted(p.name for p in (ran.path / "pcap").iterdir()) == [
        "client.pcapng", "client.tsv", "merged.pcapng", "server.pcapng", "server.tsv",
    ]  # fmt: skip
    server = next(c for c in ran.value["captures"] if c["host"] == "server")
    assert (server["complete"], server["packets"]) == (True, 2)


def test_a_host_that_nobody_heals_stays_dead(run: Runner) -> None:
    """At the end of the run it is not started again: the lab goes anyway. What it was is counted all the same."""
    ran = run(text=KILLED.replace(HEAL + SERVE, ""))
    assert ran.value["verdict"] == "pass", ran.value["reason"]
    assert "kill off" not in at_server(ran)
    assert ran.value["faults"][1]["packets"] == 6
    assert not any(channel.is_open for channel in ran.engine.opened)


def test_on_a_lab_that_stays_a_dead_host_is_started_again(run: Runner, tmp_path: Path) -> None:
    """A standing lab is at the end what it was, though no step healed the fault."""

    def stand(engine: FakeEngine) -> None:
        engine.standing = addressed(read_lab(tmp_path / "compose.yml"), 9)

    ran = run(text=KILLED.replace(HEAL + SERVE, ""), prepare=stand, standing=True)
    assert ran.value["verdict"] == "pass", ran.value["reason"]
    assert at_server(ran).count("kill off") == 1


def test_a_host_can_be_away_for_a_while(run: Runner) -> None:
    """With for: it is dead so long and comes back by itself, while the scenario goes on."""
    text = KILLED.replace("kill: {}}", "kill: {}, for: 20ms}").replace(HEAL, "  - {wait: 2s}\n")
    ran = run(text=text)
    assert ran.value["verdict"] == "pass", ran.value["reason"]
    (span,) = ran.value["faults"][1]["spans"]
    assert span["removed"] - span["applied"] >= 0.015
    assert len(ran.value["faults"][0]["spans"]) == 2


def test_a_host_that_is_healed_while_it_comes_back_by_itself_is_counted(run: Runner) -> None:
    """A heal step in the middle of that waits for it, and what the fault touched is known."""

    def slow(engine: FakeEngine) -> None:
        disturb = engine.disturb

        def late(host: str, what: str, on: bool) -> None:
            time.sleep(0 if on else 0.2)
            disturb(host, what, on)

        engine.disturb = late  # type: ignore[method-assign]

    ran = run(text=KILLED.replace("kill: {}}", "kill: {}, for: 20ms}").replace(HEAL, "  - {wait: 60ms}\n" + HEAL), prepare=slow)
    assert ran.value["verdict"] == "pass", ran.value["reason"]
    cut = ran.value["faults"][1]
    assert (cut["packets"], cut["fired"], len(cut["spans"])) == (6, True, 1)


def test_a_fault_on_a_timeline_goes_on_where_it_was(run: Runner) -> None:
    """A fault that was to begin later begins at its time on the host that was started again, and only there."""
    text = KILLED.replace("fault: wall, at: server,", "fault: wall, at: server, after: 2s,")
    ran = run(text=text.replace("  - {heal: cut}", "  - {heal: cut}\n  - {wait: 3s}"))
    assert ran.value["verdict"] == "pass", ran.value["reason"]
    wall = next(f for f in ran.value["faults"] if f["name"] == "wall")
    assert len(wall["spans"]) == 1
    assert wall["spans"][0]["applied"] - wall["spans"][0]["asked"] < 5


def test_a_step_on_a_dead_host_is_an_error_that_names_the_fault(run: Runner) -> None:
    """Neither a program nor a fault can be put on a host that is dead."""
    dead = KILLED.replace("kill: {}}", "kill: {}, for: 10s}").replace("heal: cut", "wait: 150ms")
    reason = run(text=dead).value["reason"]
    assert "server was killed by the fault cut and is not up again" in reason


def left(ran: Ran) -> None:
    """Assert that the lab went, every agent was closed, and every rule that was made was taken back."""
    assert ran.engine.downs == 1
    assert not any(channel.is_open for channel in ran.engine.opened)
    rules = [argv[3:] for _, argv in ran.world.log if argv[0] in ("iptables", "ip6tables")]
    assert sum("-N" in argv for argv in rules) == sum("-X" in argv for argv in rules)


AGAIN = ("hello", "routes", "capture_start", "sample", "apply")
POINTS = ["agent.server.die", "engine.kill.server", "engine.unkill.server", "engine.open_agent.server#2",
          *(f"agent.server.{op}#2" for op in AGAIN), "agent.server.read#3", "agent.server.read#4"]  # fmt: skip


@pytest.mark.parametrize("point", POINTS)
def test_whatever_fails_while_a_host_dies_or_comes_back_nothing_is_left(run: Runner, point: str) -> None:
    """The run is an error with the reason of what failed, and everything that was done is undone."""

    def fail(_: FakeEngine) -> None:
        raise LabError("out of luck")

    ran = run(point, fail, text=KILLED)
    assert point in ran.world.fuse.passed
    assert ran.value["verdict"] == "error"
    assert "out of luck" in ran.value["reason"]
    left(ran)


def test_a_host_that_could_not_be_killed_hears_again(run: Runner) -> None:
    """When the engine cannot kill it the silence is taken back, and the reason is the engine's."""

    def fail(_: FakeEngine) -> None:
        raise LabError("the daemon says no")

    ran = run("engine.kill.server", fail, text=KILLED)
    assert "the daemon says no" in ran.value["reason"]
    assert at_server(ran).count("silence -D") == 2


PROGRAM = """\
scenario: killed
lab: compose.yml
sample: 10ms
steps:
  - {start: [serve], on: server, ready: {listen: 80}}
  - {fault: oom, at: server, kill: {program: serve}, after: 30ms}
  - {run: [probe, connect, server, 80], on: client, expect: {errno: null}}
  - {wait: 150ms}
  - {finish: serve, expect: {exit: 137}}
"""


def test_a_program_is_killed_at_its_time_while_the_scenario_goes_on(run: Runner) -> None:
    """The program gets SIGKILL when the timeline says so, ends by that, and can be waited for."""
    ran = run(text=PROGRAM)
    assert ran.value["verdict"] == "pass", ran.value["reason"]
    (oom,) = ran.value["faults"]
    assert (oom["packets"], oom["fired"], oom["backend"]) == (1, True, "signal")
    assert oom["applied"] - oom["asked"] < 5
    assert program(ran, 1)["killed"] == "oom"


def test_a_program_that_has_ended_already_cannot_be_killed(run: Runner) -> None:
    """The fault could not do what the scenario says, so the run is an error."""
    ran = run(text=PROGRAM.replace("start: [serve]", "start: [flop], as: serve").replace(", ready: {listen: 80}", ""))
    assert ran.value["verdict"] == "error"
    assert "serve does not run on server any more, so there is nothing to kill" in ran.value["reason"]


def test_a_fault_whose_time_never_came_makes_the_run_an_error(run: Runner) -> None:
    """A fault that would have begun after the end of the run has shown nothing."""
    ran = run(text=KILLED.replace("kill: {}}", "kill: {}, after: 60s}").replace(HEAL + SERVE, ""))
    assert ran.value["verdict"] == "error"
    assert "the fault cut on server never began" in ran.value["reason"]


def test_the_record_says_what_was_alive(run: Runner) -> None:
    """The death of a host is an event with its fault, its programs and the sockets that were open."""
    event = next(e for e in run(text=KILLED).events if e["event"] == "host-killed")
    assert (event["host"], event["fault"], event["programs"]) == ("server", "cut", ["serve"])
    assert json.dumps(event["open"]) == "[]"
