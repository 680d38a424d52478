"""Two hosts and an agent in each, as small as it gets: the bed on which link faults are calibrated, benchmarked and tested.

The hosts are two containers of the agent's image on a bridge network of their own; no Compose, no router.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import queue
import secrets
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

from labctl.engines import agentimage
from labctl.engines.daemon import connect
from labctl.engines.labels import OWNER, RUN
from labctl.engines.owner import Owner
from labctl.errors import LabError

SUBNETS = tuple(f"198.19.{n}.0/24" for n in range(255, 239, -1))
DEVICE = "eth0"
_numbers = itertools.count(1)


class BedAgent:
    """One agent of the bed, and whatever else is run beside it."""

    def __init__(self, name: str, address: str) -> None:
        self.name, self.address = name, address
        self._process = subprocess.Popen(
            ["docker", "exec", "-i", "-w", "/opt/labctl", name, "python3", "-u", "-m", "agent"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        )  # fmt: skip
        self._answers: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            message = json.loads(line)
            if "id" in message:
                self._answers.put(message)
        self._answers.put(None)

    def ask(self, op: str, **arguments: Any) -> Any:
        """Ask and wait for the answer. Raises LabError with the agent's own words."""
        assert self._process.stdin is not None
        number = next(_numbers)
        self._process.stdin.write(json.dumps({"id": number, "op": op, **arguments}) + "\n")
        answer = self._answers.get(timeout=60)
        if answer is None:
            raise LabError(f"the agent of {self.name} ended")
        if not answer["ok"]:
            raise LabError(answer["error"])
        return answer["result"]

    def link(self, name: str, direction: str = "egress", backend: str = "auto", **more: Any) -> dict[str, Any]:
        """Put a link fault on the bed's one interface; `more` is its spec, `target`, `ramp`, `seed` and `timeline`."""
        target, ramp, seed = more.pop("target", []), more.pop("ramp", None), more.pop("run_seed", 1)
        timeline = more.pop("timeline", None)
        part = {"device": DEVICE, "direction": direction, "spec": more, "target": target}
        request = {"type": "link", "name": name, "backend": backend, "seed": seed, "families": [4], "parts": [part]}
        action = {**request, **({"ramp": ramp} if ramp else {})}
        op, when = ("schedule", {"timeline": timeline}) if timeline else ("apply", {})
        found: dict[str, Any] = self.ask(op, name=name, action=action, **when)
        return found

    def run(self, code: str, *arguments: str, timeout_s: float = 60.0) -> str:
        """Run a piece of Python in this host's namespace; its standard output. Raises LabError with what it said."""
        done = subprocess.run(
            ["docker", "exec", self.name, "python3", "-c", code, *arguments],
            capture_output=True, text=True, timeout=timeout_s, check=False,
        )  # fmt: skip
        if done.returncode:
            raise LabError(f"{self.name}: {done.stderr.strip()[-500:]}")
        return done.stdout

    def start(self, code: str, *arguments: str) -> subprocess.Popen[str]:
        """The same without waiting for it."""
        return subprocess.Popen(
            ["docker", "exec", "-i", self.name, "python3", "-u", "-c", code, *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def shell(self, *argv: str) -> str:
        """Run a command in this host's namespace; its standard output."""
        return _docker("exec", self.name, *argv)

    def close(self) -> None:
        """End its input: it undoes everything and exits."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._reader.join(timeout=10)
        assert self._process.stdout is not None
        self._process.stdout.close()


def _docker(*argv: str) -> str:
    done = subprocess.run(["docker", *argv], capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"docker {' '.join(argv)}: {done.stderr.strip()}")
    return done.stdout


@contextlib.contextmanager
def bed() -> Iterator[tuple[BedAgent, BedAgent]]:
    """Two hosts that reach each other, with an agent in each; all of it is gone afterwards. Raises LabError, MissingError."""
    with contextlib.closing(connect()) as api:
        image = agentimage.ensure(api, lambda _: None)
    tag = f"labctl-bed-{secrets.token_hex(3)}"
    labels = ("--label", f"{RUN}={tag}", "--label", f"{OWNER}={Owner.me()}")  # so that gc finds what a killed driver leaves
    with contextlib.ExitStack() as stack:
        base = _network(tag, labels)
        stack.callback(_docker, "network", "rm", tag)
        agents = []
        for number in (2, 3):
            name, address = f"{tag}-{number}", f"{base}.{number}"
            _docker(
                "run", "-d", "--name", name, "--network", tag, "--ip", address, "--cap-drop", "ALL", "--cap-add", "NET_ADMIN",
                "--cap-add", "NET_RAW", "--init", *labels, image, "sleep", "1800",
            )  # fmt: skip
            stack.callback(_docker, "rm", "-f", name)
            agents.append(BedAgent(name, address))
            stack.callback(agents[-1].close)
        for agent in agents:
            agent.ask("hello")
        yield agents[0], agents[1]


def _network(name: str, labels: tuple[str, ...]) -> str:
    """A network on a subnet that nobody has; the first three numbers of its addresses. Raises LabError when all are taken."""
    error: LabError | None = None
    for subnet in SUBNETS:
        try:
            _docker("network", "create", "--subnet", subnet, *labels, name)
            return subnet.rpartition(".")[0]
        except LabError as taken:
            error = taken
    raise error or LabError("no subnet is left for the bed")
