"""The short way to a nursery: the driver hands its streams over itself, where nobody else can reach the socket."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from listening import wait_until_listening

from labctl.engines import door
from labctl.engines.agents import AgentClient, AgentGone
from labctl.engines.door import DoorChannel
from labctl.engines.owner import Owner

SERVE = "import sys; from labctl.agent import nursery; nursery.serve(sys.argv[1], sys.argv[2])"
OPEN_AND_HANG = (
    "import sys, time; from pathlib import Path; from labctl.engines.door import DoorChannel\n"
    "channel = DoorChannel(Path(sys.argv[1])); channel.send(b'{\"id\": 1, \"op\": \"faults\"}\\n')\n"
    "print(channel.receive(), flush=True)\n"
    "time.sleep(60)"
)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder with a nursery's door."""
    serving = subprocess.Popen([sys.executable, "-c", SERVE, str(tmp_path / "own"), str(tmp_path / "door")])
    wait_until_listening(tmp_path / "door")
    yield tmp_path
    serving.kill()
    serving.wait()


def agents() -> set[str]:
    """The processes of this user that serve as nurseries or their agents."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if "nursery.serve" in (entry / "cmdline").read_text():
                    found.add(entry.name)
            except OSError:
                continue
    return found


def test_an_agent_that_came_through_a_door_serves_and_ends(place: Path) -> None:
    """Its answers come back, it ends when it is closed, and the next one is another."""
    for _ in range(2):
        client = AgentClient("server", DoorChannel(place / "door"), lambda *_: None)
        assert client.call("faults") == []
        client.close()
        with pytest.raises(AgentGone):
            client.call("faults")


def test_an_agent_that_came_through_a_door_ends_with_its_driver(place: Path) -> None:
    """SIGKILL of the driver is the end of the agent's standard input."""
    before = agents()
    driver = subprocess.Popen([sys.executable, "-c", OPEN_AND_HANG, str(place / "door")], stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    assert '"ok": true' in driver.stdout.readline()
    born = agents() - before
    assert born
    driver.kill()
    driver.communicate()
    deadline = time.monotonic() + 10
    while agents() & born:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_where_nobody_listens_is_an_os_error(place: Path) -> None:
    """So the engine can go the long way."""
    (place / "file").write_text("")
    for where in ("nowhere", "file"):
        with pytest.raises(OSError, match=r"."):
            DoorChannel(place / where)


def test_a_folder_for_doors_is_for_nobody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Doors are made in a folder that only this user can enter, or not at all."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    above = tmp_path / f"labctl-{os.getuid()}"
    made = door.folder("labctl-lab-x")
    assert made == above / "labctl-lab-x"
    assert (made.is_dir(), above.stat().st_mode & 0o777) == (True, 0o700)
    (made / door.name("server")).write_text("")
    door.remove("labctl-lab-x")
    assert not made.exists()
    above.chmod(0o770)
    assert door.folder("labctl-lab-x") is None
    above.rmdir()
    above.symlink_to(tmp_path)
    assert door.folder("labctl-lab-x") is None
    above.unlink()
    monkeypatch.setenv("DOCKER_HOST", "tcp://elsewhere:2375")
    assert door.folder("labctl-lab-x") is None
    assert not above.exists()


def test_folders_of_processes_that_are_gone_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the owner in their name; those of a living process and of labs that stand stay, and one that names nobody."""
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    me = Owner.me()
    before_me = replace(me, started=me.started - 1)  # it had this process's number
    names = [f"tshark-{before_me}-ab", f"tshark-{me}-cd", "labctl-lab-tshark", "tshark-1-x"]
    for name in names:
        assert door.folder(name) is not None
    door.remove_dead("tshark")
    assert sorted(path.name for path in (tmp_path / f"labctl-{os.getuid()}").iterdir()) == sorted(names[1:])
