"""Several runs at once: whenever the one who asked for them is interrupted, each is, and says so in a sentence."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from labctl import interrupts
from labctl.engines.base import AddressesTaken
from labctl.errors import Problem, ScenarioError
from labctl.jobs import _portable

SCENARIO = """\
scenario: s
lab: compose.yml
steps:
  - {run: [probe, connect, server, 80], on: client, expect: {errno: null}}
"""
COMPOSE = "services: {server: {image: some/image}, client: {image: some/image}}\n"


@pytest.fixture
def silent(tmp_path: Path) -> Iterator[tuple[Path, threading.Event]]:
    """A Docker daemon that takes connections and never answers, and an event for when somebody has asked it."""
    asked = threading.Event()
    path = tmp_path / "docker.sock"
    taken = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(16)

        def take() -> None:
            with suppress(OSError):
                while True:
                    taken.append(listener.accept()[0])
                    asked.set()

        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        yield path, asked
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)
    for one in taken:
        one.close()


def descendants(number: int) -> int:
    """How many generations of processes there are under this one."""
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parents[int(path.parts[2])] = int(path.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1])
    children = [child for child, parent in parents.items() if parent == number]
    return 1 + max(map(descendants, children)) if children else 0


@pytest.mark.parametrize(("number", "generations"), [(signal.SIGINT, 1), (signal.SIGTERM, 2), (signal.SIGINT, None)])
def test_whoever_interrupts_the_leader_interrupts_all_runs(
    tmp_path: Path, silent: tuple[Path, threading.Event], number: signal.Signals, generations: int | None
) -> None:
    """A CI runner signals the first process alone: exit 130, every run is interrupted, and no traceback.

    It may do so when there is but the process that will start the runs' (one generation), when the first of these is there
    (two), and when a run speaks to Docker (None).
    """
    path, asked = silent
    (tmp_path / "compose.yml").write_text(COMPOSE, encoding="utf-8")
    for name in "abc":
        (tmp_path / f"{name}.yaml").write_text(SCENARIO, encoding="utf-8")
    command = [sys.executable, "-m", "labctl", "run", *(f"{name}.yaml" for name in "abc"), "--jobs", "3"]
    root = str(Path(__file__).resolve().parents[2])
    leader = subprocess.Popen(
        command, cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "DOCKER_HOST": f"unix://{path}", "PYTHONPATH": root},
    )  # fmt: skip
    if generations is None:
        assert asked.wait(60)
    while generations is not None and descendants(leader.pid) < generations:
        assert leader.poll() is None, leader.communicate()[0]
        time.sleep(0.03)
    leader.send_signal(number)
    said, _ = leader.communicate(timeout=60)
    assert leader.returncode == 130, said

    assert "Traceback" not in said
    told = [line for line in said.splitlines() if line.startswith("labctl: ")]
    assert told == [f"labctl: {name}.yaml: interrupted before it began" for name in "abc"]


def test_a_run_that_is_interrupted_before_it_began_ends_at_once(tmp_path: Path) -> None:
    """While scenarios are read there is nothing to undo, and an exception could be lost in what pydantic calls back."""
    (tmp_path / "compose.yml").write_text(COMPOSE, encoding="utf-8")
    (tmp_path / "a.yaml").write_text(SCENARIO, encoding="utf-8")
    code = """
import os, signal
import labctl.scenario.loader as loader
def load(*_, **__):
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    except BaseException:
        print("lost")
loader.load = load
from labctl.cli import main
main(["run", "a.yaml"])
"""
    root = str(Path(__file__).resolve().parents[2])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": root},
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


def test_a_run_among_several_hears_of_an_interrupt_once_its_scenario_is_read(tmp_path: Path) -> None:
    """An exception that pydantic loses is told to nobody, so none is raised while it works; the run does not begin."""
    (tmp_path / "compose.yml").write_text(COMPOSE, encoding="utf-8")
    (tmp_path / "a.yaml").write_text(SCENARIO, encoding="utf-8")
    code = """
import os, queue, signal
from multiprocessing import Pipe
from pathlib import Path
from labctl import jobs
from labctl.interrupts import withheld
from labctl.runs import Options
prepare = jobs.prepare
def losing(*arguments, **named):
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:
        print("lost")
    return prepare(*arguments, **named)
jobs.prepare = losing
events, (heard, stop) = queue.Queue(), Pipe(duplex=False)
with withheld():
    jobs._run(0, Path("a.yaml"), None, Options(Path("runs")), events, heard)
print(*map(str, events.get_nowait()))
"""
    root = str(Path(__file__).resolve().parents[2])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": root, "DOCKER_HOST": f"unix://{tmp_path}/none.sock"},
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("0 done a.yaml: interrupted before it began\n", "")


def test_a_signal_that_is_only_noticed_interrupts_nothing() -> None:
    """The block goes on and can ask whether one has come; after that one the rest are ignored."""
    before = {each: signal.getsignal(each) for each in interrupts.SIGNALS}
    try:
        interrupts.interruptible()
        with interrupts.noticed() as came:
            assert not came()
        handler = signal.getsignal(signal.SIGINT)
        with interrupts.noticed() as came:
            signal.raise_signal(signal.SIGTERM)
            assert came()
            assert signal.getsignal(signal.SIGINT) != handler
        assert {signal.getsignal(each) for each in interrupts.SIGNALS} == {signal.SIG_IGN}
    finally:
        for each, was in before.items():
            signal.signal(each, was)


def test_an_interrupt_that_was_lost_comes_again() -> None:
    """An exception in what C calls back goes to nobody: it is raised anew where it counts, and nothing is printed."""
    code = """
import signal, time
from labctl import interrupts
class Lost:
    def __del__(self):
        signal.raise_signal(signal.SIGTERM)
is_interrupted = interrupts.interruptible()
try:
    Lost()
    time.sleep(60)
except KeyboardInterrupt:
    print("heard", is_interrupted())
"""
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert (done.stdout, done.stderr) == ("heard True\n", "")


def test_a_signal_that_was_withheld_is_heard_when_a_process_listens() -> None:
    """It is not lost, and comes no sooner."""
    code = """
import os, signal
from labctl import interrupts
with interrupts.withheld():
    if (child := os.fork()) == 0:
        os.kill(os.getpid(), signal.SIGTERM)
        interrupts.interruptible()
        try:
            interrupts.listen()
            os._exit(1)
        except KeyboardInterrupt:
            os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout == "7\n"


def test_what_is_to_be_mended_travels_between_processes_with_its_places() -> None:
    """A run in a process of its own may find out what is wrong with a file; other errors go with their words and code."""
    problems = [Problem("compose.yml", 3, 7, "no such thing"), Problem("s.yaml", 1, 1, "nor this")]
    for error in (ScenarioError(problems), AddressesTaken("all in use")):
        sent = pickle.loads(pickle.dumps(_portable(error)))
        assert (str(sent), sent.exit_code) == (str(error), error.exit_code)
    assert pickle.loads(pickle.dumps(_portable(ScenarioError(problems)))).problems == problems
