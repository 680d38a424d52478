"""A driver that is killed or interrupted at any moment leaves no fault; `labctl gc` then leaves nothing at all."""

from __future__ import annotations

import random
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from labs import SCENARIOS, Live, Start, containers, docker, labctl, left_of, rules_in

pytestmark = pytest.mark.usefixtures("collecting")

KILLS = 50
AT_ONCE = 4
SEED = 20261123
MOST_LATE, LATE_S = 2, 20.0
TRIES = 5  # for a moment that is soon over: a test that has to wait for its turn meanwhile comes too late for it
PAIR = SCENARIOS / "pair.yaml"
WAIT = SCENARIOS / "wait.yaml"
# Whatever of ours could stand in a namespace: our chains and tables, and every queueing discipline but the kernel's own.
OURS = re.compile(r"LABCTL|labctl|qdisc (?!noqueue|pfifo_fast|mq|fq_codel 0:|noop)")


def faults_in(run: str) -> list[str]:
    """Every trace of a fault in the network namespace of every host of a run that is up."""
    hosts = containers(f"labctl.run={run}", "labctl.host")
    with ThreadPoolExecutor(max_workers=4) as pool:
        said = "".join(pool.map(rules_in, hosts))
    return [line for line in said.splitlines() if OURS.search(line)]


def is_rid_of_faults_within_a_second(run: str, since: float) -> bool:
    """Look at once, and again a second after `since`. What is there then must at least be gone soon."""
    if not faults_in(run):
        return True
    time.sleep(max(0.0, since + 1.0 - time.monotonic()))
    is_late = False
    while left := faults_in(run):
        assert time.monotonic() < since + LATE_S, left
        is_late = True
    return not is_late


def test_the_search_for_faults_finds_one_that_is_there(start: Start) -> None:
    """The look into the namespaces that the tests below rely on does see a fault while it is in place."""
    live = start(WAIT)
    live.wait_for("fault-applied")
    assert any("LABCTL-wall" in line for line in faults_in(live.run))
    live.signal(signal.SIGINT)
    assert live.end().code == 130
    assert left_of(live.run) == []


def test_fifty_drivers_killed_at_random_moments_leave_no_fault_and_gc_leaves_nothing(start: Start) -> None:
    """Of 50 runs killed at random moments none leaves a rule or a qdisc for longer than a second; after gc nothing is left.

    On a machine that stands still for a second now and then two may take longer, and none for long.
    """
    began = time.monotonic()
    assert start(PAIR).end().code == 0
    lifetime_s = (time.monotonic() - began) * 1.5  # with others at work beside it a run takes longer
    chance = random.Random(SEED)
    moments = [chance.uniform(0.2, lifetime_s) for _ in range(KILLS)]

    late: list[str] = []

    def kill_at(moment_s: float) -> str | None:
        live = start(PAIR)
        time.sleep(moment_s)
        live.process.kill()
        killed = time.monotonic()
        live.process.wait()
        if live.path is None:
            return None
        if not is_rid_of_faults_within_a_second(live.run, killed):
            late.append(live.run)
        return live.run

    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        runs = [run for run in pool.map(kill_at, moments) if run]
    assert len(runs) > KILLS / 2, "most kills came before there was a run: these moments prove nothing"
    assert len(late) <= MOST_LATE, late
    collected = labctl("gc")
    assert collected.code == 0, collected.err
    assert {run: left for run in runs if (left := left_of(run))} == {}


def test_gc_touches_no_run_that_lives(start: Start) -> None:
    """A run that goes on while gc removes a dead one beside it passes as if nothing had happened."""
    dead, live = start(WAIT), start(PAIR)
    dead.wait_for("lab-up")
    dead.process.kill()
    dead.process.wait()
    live.wait_for("step-start")
    assert labctl("gc").code == 0
    assert left_of(dead.run) == []
    done = live.end()
    assert done.code == 0, done.out


def test_a_parent_of_several_runs_that_is_killed_leaves_no_fault(start: Start, tmp_path: Path) -> None:
    """When `labctl run --jobs` is killed, the runs in its child processes end as well and leave no fault."""
    copies = []
    for name in ("one", "two"):
        text = WAIT.read_text(encoding="utf-8").replace("lab: pair.yml", f"lab: {SCENARIOS / 'pair.yml'}")
        copies.append(tmp_path / f"{name}.yaml")
        copies[-1].write_text(text, encoding="utf-8")
    live = start(*copies, "--jobs", 2)
    deadline = time.monotonic() + 60
    while len(list(live.out.glob("*/events.jsonl"))) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    lives = [Live(live.process, _only(path, tmp_path / path.stem)) for path in live.out.iterdir()]
    for each in lives:
        each.wait_for("fault-applied")
    live.process.kill()
    live.process.wait()
    deadline = time.monotonic() + 30
    while left := [thing for each in lives for thing in left_of(each.run)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


def _only(path: Path, folder: Path) -> Path:
    """A folder that holds nothing but the one run."""
    folder.mkdir()
    (folder / path.name).symlink_to(path)
    return folder


# An event that a run records, and what its result then is: what it had been doing is undone either way.
MOMENTS = {
    "at the very start": ("run-start", {}),
    "lab is up": ("lab-up", {}),
    "captures begin": ("capture-start", {}),
    "a server starts": ("program-start", {"handle": "echo-server"}),
    "a fault is being applied": ("step-start", {"kind": "fault"}),
    "a client runs": ("step-start", {"kind": "run"}),
    "a fault is healed": ("step-start", {"kind": "heal"}),
    "captures end": ("capture-end", {}),
}


def test_an_interrupt_at_any_moment_undoes_everything_and_saves_the_result(start: Start) -> None:
    """Ctrl-C at any moment: exit 130, result.json says interrupted, no container, network or volume is left."""

    def interrupt(moment: str) -> tuple[str, int, bool, str, list[str]]:
        event, fields = MOMENTS[moment]
        for _ in range(TRIES):
            live = start(PAIR)
            live.wait_for(event, **fields)
            sent = time.time()
            live.signal(signal.SIGINT)
            done = live.end()
            if not live.was_past("run-end", sent):
                break
        value = live.result()
        assert "Traceback" not in done.err + done.out
        return moment, done.code, value["interrupted"], value["verdict"], left_of(live.run)

    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        found = list(pool.map(interrupt, MOMENTS))
    assert found == [(moment, 130, True, "error", []) for moment in MOMENTS]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_further_signals_while_it_is_being_undone_are_ignored(start: Start, number: int) -> None:
    """Ctrl-C again and again, a supervisor that repeats SIGTERM, a terminal that is closed: everything is undone and saved."""
    live = start(WAIT)
    live.wait_for("step-start", kind="wait")
    while live.process.poll() is None:
        live.signal(number)
        time.sleep(0.02)
    assert live.end().code == 130
    value = live.result()
    assert value["interrupted"]
    assert value["faults"][0]["removed"] is not None
    assert all(capture["complete"] for capture in value["captures"])
    assert left_of(live.run) == []


def test_an_interrupt_of_several_runs_undoes_all_of_them(start: Start, tmp_path: Path) -> None:
    """Ctrl-C with --jobs interrupts every run that goes on, begins no other, and exits with 130."""
    copies = []
    for name in ("one", "two", "three"):
        text = WAIT.read_text(encoding="utf-8").replace("lab: pair.yml", f"lab: {SCENARIOS / 'pair.yml'}")
        copies.append(tmp_path / f"{name}.yaml")
        copies[-1].write_text(text, encoding="utf-8")
    live = start(*copies, "--jobs", 2)
    deadline = time.monotonic() + 60
    while (
        sum('"kind": "wait"' in path.read_text(encoding="utf-8") for path in live.out.glob("*/events.jsonl"))
        < 2
    ):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    live.signal(signal.SIGINT)
    assert live.end().code == 130
    runs = [path.name for path in live.out.iterdir() if path.is_dir()]
    assert len(runs) == 2
    assert [left_of(run) for run in runs] == [[], []]


def test_no_container_of_a_killed_run_is_left_running_after_gc(start: Start) -> None:
    """gc also removes what Docker itself was still making for a driver that was killed while its lab came up."""
    live = start(PAIR)
    live.wait_for("run-start")
    deadline = time.monotonic() + 60
    while not docker("ps", "--all", "--quiet", "--filter", f"label=labctl.run={live.run}"):
        assert time.monotonic() < deadline
    live.process.kill()
    live.process.wait()
    assert labctl("gc").code == 0
    assert left_of(live.run) == []
