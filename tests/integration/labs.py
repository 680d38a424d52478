"""Real labs: `labctl` as a user runs it, in a process of its own, and what Docker knows of what it made."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SCENARIOS = ROOT / "tests/data/scenarios"
LABCTL = [sys.executable, "-m", "labctl"]


@dataclass
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def labctl(*arguments: object, timeout_s: float = 120, **environment: str) -> Done:
    """Run labctl to its end."""
    done = subprocess.run(
        [*LABCTL, *map(str, arguments)], capture_output=True, text=True, timeout=timeout_s, check=False, cwd=ROOT,
        env=os.environ | environment, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return Done(done.returncode, done.stdout, done.stderr)


def docker(*arguments: str) -> str:
    """What a docker command says; it must succeed."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, f"docker {' '.join(arguments)}: {done.stderr.strip()}"
    return done.stdout.strip()


def containers(*labels: str) -> list[str]:
    """The ids of all containers, running or not, that have every one of the labels."""
    return docker("ps", "--all", "--no-trunc", "--quiet", *_filters(labels)).split()


@contextlib.contextmanager
def standing(compose: Path, name: str) -> Iterator[None]:
    """A lab of this compose file and name that stands while the block runs; nothing of it is left afterwards."""
    done = labctl("up", compose, "--name", name)
    assert done.code == 0, done.out + done.err
    yield
    assert labctl("down", name).code == 0
    assert containers(f"labctl.lab={name}") == []


def left_of(run: str) -> list[str]:
    """Everything in Docker that is labelled with a run: containers, networks and volumes."""
    label = _filters([f"labctl.run={run}"])
    return [
        *docker("ps", "--all", "--format", "container {{.Names}}", *label).splitlines(),
        *docker("network", "ls", "--format", "network {{.Name}}", *label).splitlines(),
        *docker("volume", "ls", "--format", "volume {{.Name}}", *label).splitlines(),
    ]


def _filters(labels: Sequence[str]) -> list[str]:
    return [word for label in labels for word in ("--filter", f"label={label}")]


def rules_in(container: str) -> str:
    """What iptables and tc say of a container's network namespace, asked from an agent's image beside it."""
    beside = ["--network", f"container:{container}", "--cap-add", "NET_ADMIN"]
    ask = "iptables-save; ip6tables-save; tc qdisc show"
    done = subprocess.run(
        ["docker", "run", "--rm", *beside, "labctl/agent", "sh", "-c", ask],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    if done.returncode:  # in whatever words: what is not there has no rules
        state = ["docker", "inspect", "--format", "{{.State.Running}}", container]
        asked = subprocess.run(state, capture_output=True, text=True, check=False, timeout=60)
        assert asked.stdout.strip() != "true", done.stderr
    return done.stdout


@dataclass
class Live:
    """`labctl run` in the background, observed through the record that it writes."""

    process: subprocess.Popen[str]
    out: Path
    _path: Path | None = None

    @property
    def path(self) -> Path | None:
        """Its run directory, once there is one; of several runs always the same, the first that was found."""
        if self._path is None and self.out.exists():
            self._path = next(iter(self.out.glob("*-*")), None)
        return self._path

    @property
    def run(self) -> str:
        assert self.path is not None
        return self.path.name

    def events(self) -> list[dict[str, Any]]:
        """What it has recorded so far, whole lines only."""
        file = self.path / "events.jsonl" if self.path else None
        if file is None or not file.exists():
            return []
        return [
            json.loads(line)
            for line in file.read_text(encoding="utf-8").splitlines(keepends=True)
            if line.endswith("\n")
        ]

    def wait_for(self, event: str, timeout_s: float = 60, **fields: object) -> dict[str, Any]:
        """The first event of a kind and with these fields; fails when the run ends or time is over without it."""
        deadline = time.monotonic() + timeout_s
        while True:
            ended = self.process.poll() is not None
            for line in self.events():
                if line["event"] == event and all(line.get(k) == v for k, v in fields.items()):
                    return line
            assert not ended, f"it ended before {event} {fields}: {self.process.communicate()}"
            assert time.monotonic() < deadline, f"no {event} {fields} within {timeout_s} s"
            time.sleep(0.005)

    def was_past(self, event: str, moment: float) -> bool:
        """Whether it had recorded an event by a moment of time.time(): what it ends with is asked once it has ended."""
        epoch = next(line["epoch"] for line in self.events() if line["event"] == "run-start")
        return any(line["event"] == event and epoch + line["t"] <= moment for line in self.events())

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)

    def end(self, timeout_s: float = 60) -> Done:
        """Wait until it has ended."""
        out, err = self.process.communicate(timeout=timeout_s)
        return Done(self.process.returncode, out, err)

    def result(self) -> dict[str, Any]:
        """Its result.json."""
        assert self.path is not None
        found: dict[str, Any] = json.loads((self.path / "result.json").read_text(encoding="utf-8"))
        return found


Start = Callable[..., Live]
