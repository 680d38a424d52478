"""The programs on a little-endian and on a big-endian machine: they end alike, and speak with who wrote the protocol anew.

Both machines are containers without a network but loopback, which they share, and without any capability.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UNIT = ROOT / "tests/unit/programs"
sys.path.insert(0, str(UNIT))

from launching import Program, Result, outcome_of  # noqa: E402
from situations import SITUATIONS, check, comparable  # noqa: E402

PROGRAMS = Path("/opt/labctl/programs")
HELPERS = Path("/tmp/a/b/c")  # deep enough for launching.py, which looks for the repository above itself
FILES = (
    *(UNIT / name for name in ("launching.py", "situations.py", "player.py")),
    *sorted((ROOT / "tests/integration/programs").glob("*.py")),
)
PLAYERS = 2
ORDERS = {"host": "little", "powerpc": "big"}
TEXT = ("search", "\U0001f436", "--encoding", "utf-8,utf-16,utf-16-le,utf-16-be,utf-32")
SIGNED = ("sum", "--format", "h,i,q,f,d", "--", "1,-2,300")
UNSIGNED = ("sum", "1,200,60000", "--format", "H,I,Q")


def docker(*arguments: str, data: bytes = b"") -> str:
    """What a docker command says; it must succeed."""
    done = subprocess.run(["docker", *arguments], input=data, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


class Machine:
    """A container to run programs on."""

    def __init__(self, image: str, network: str) -> None:
        options = ["--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--init", "--network", network]
        self.image = image
        self.id = docker("run", "--detach", "--rm", *options, f"labctl/{image}", "sleep", "600")
        self.python = ("docker", "exec", self.id, "python3")
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for file in FILES:
                tar.add(file, str(HELPERS.relative_to("/") / file.name))
        docker("cp", "-", f"{self.id}:/", data=archive.getvalue())

    def program(self, *argv: str) -> Program:
        """Start a bundled program."""
        return Program(argv, self.python, PROGRAMS)

    def peer(self, *argv: str) -> Program:
        """Start the other implementation."""
        return Program(("peer", *argv), self.python, HELPERS)

    def play(self, part: int) -> list[tuple[str, Result]]:
        """How the situations of one part end here."""
        command = [*self.python, str(HELPERS / "player.py"), str(PROGRAMS), str(part), str(PLAYERS)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return [(name, Result(*result)) for name, result in map(json.loads, done.stdout.splitlines())]


@pytest.fixture(scope="module")
def machines() -> Iterator[dict[str, Machine]]:
    """A native machine and a big-endian one, with one loopback."""
    started: dict[str, Machine] = {}
    try:
        started["host"] = Machine("host", "none")
        started["powerpc"] = Machine("powerpc", f"container:{started['host'].id}")
        yield started
    finally:
        for machine in reversed(started.values()):
            docker("rm", "--force", machine.id)


@pytest.fixture(scope="module")
def played(machines: dict[str, Machine]) -> dict[str, dict[str, Result]]:
    """The whole table, played on both."""
    jobs = [(machine, part) for machine in machines.values() for part in range(PLAYERS)]
    with ThreadPoolExecutor(PLAYERS) as pool:
        results = list(pool.map(lambda job: job[0].play(job[1]), jobs))
    ends: dict[str, dict[str, Result]] = {"host": {}, "powerpc": {}}
    for (machine, _), part in zip(jobs, results, strict=True):
        ends[machine.image] |= dict(part)
    return ends


def test_every_situation_ends_as_the_table_says_on_both_machines(
    played: dict[str, dict[str, Result]],
) -> None:
    wrong = []
    for image, order in ORDERS.items():
        assert sorted(played[image]) == sorted(situation.name for situation in SITUATIONS)
        for situation in SITUATIONS:
            result = played[image][situation.name]
            assert outcome_of(result)["byteorder"] == order
            try:
                check(situation, result)
            except AssertionError as error:
                wrong.append(f"{situation.name} on {image}: {error}\n{result}")
    assert wrong == []


def test_every_situation_ends_alike_on_both_machines(played: dict[str, dict[str, Result]]) -> None:
    assert {s.name: comparable(s, played["powerpc"][s.name]) for s in SITUATIONS} == {
        s.name: comparable(s, played["host"][s.name]) for s in SITUATIONS
    }


@pytest.mark.parametrize("image", ORDERS)
def test_the_server_answers_another_implementation_byte_for_byte(
    machines: dict[str, Machine], image: str
) -> None:
    with machines[image].program("app_server", "127.0.0.1", "0", "--quiet") as server:
        port = str(server.port())
        for order in ("little", "big"):
            with machines["host"].peer("ask", port, order, ORDERS[image]) as peer:
                assert peer.wait().lines == ["41 asked, 0 wrong"]


@pytest.mark.parametrize("image", ORDERS)
def test_another_implementation_on_the_big_endian_machine_is_understood(
    machines: dict[str, Machine], image: str
) -> None:
    """The peer packs what it is told to; here it runs where that is the machine's own order."""
    with machines["powerpc"].peer("serve", "big") as server:
        asks(machines[image], server.port(), "big")


@pytest.mark.parametrize("image", ORDERS)
def test_another_implementation_on_the_little_endian_machine_is_understood(
    machines: dict[str, Machine], image: str
) -> None:
    with machines["host"].peer("serve", "little") as server:
        asks(machines[image], server.port(), "little")


def asks(machine: Machine, port: int, order: str) -> None:
    """The app client asks a server of that byte order everything, and understands the answers."""

    def outcome(*words: str) -> dict[str, object]:
        with machine.program("app_client", "127.0.0.1", str(port), *words) as client:
            result = client.wait()
        assert result.exit == 0, result
        assert outcome_of(result)["peer_byteorder"] == order
        return outcome_of(result)

    def answers(words: Sequence[str], name: str, number: int, expected: object) -> None:
        given = outcome(*words)["answers"]
        assert isinstance(given, list)
        assert [answer[name] for answer in given] == [expected] * number

    answers(TEXT, "result", 5, "\U0001f43e Playing ball! \U0001f3d0")
    answers(SIGNED, "values", 5, [1, -2, 300])
    answers(UNSIGNED, "values", 3, [1, 200, 60000])
    assert outcome("binary", "abcdefgh")["result"] == repr(b"First 10 bytes of request: binaryabcd")
    assert outcome("find", "ring", "--type", "text")["result"] == "Error: invalid action 'find'."
