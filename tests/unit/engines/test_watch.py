"""What becomes of hosts is told in words, and what the run does to them itself is not."""

from __future__ import annotations

import contextlib
import queue
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker.errors
import pytest

from labctl.engines.docker import DockerEngine
from labctl.engines.watch import Watch
from labctl.lab import Lab

HOSTS = ("server", "client")
RUNNING = {"State": {"Running": True, "Paused": False, "ExitCode": 0}, "NetworkSettings": {"Networks": {"lab_net": {}}}}


class Api:
    """A daemon whose events a test tells."""

    def __init__(self) -> None:
        self.told: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.states: dict[str, Any] = {f"id-{host}": RUNNING for host in HOSTS}
        self.taken = 0
        self.asked: dict[str, object] = {}

    def events(self, **asked: object) -> Api:
        self.asked = asked
        return self

    def containers(self, **_: object) -> list[dict[str, Any]]:
        """Two hosts, made one after the other by the daemon's clock."""
        made = zip(HOSTS, (1764190001, 1764190000), strict=True)
        return [{"Id": f"id-{host}", "Labels": {"labctl.host": host}, "Created": at} for host, at in made]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        while (event := self.told.get()) is not None:
            yield event
            self.taken += 1

    def close(self) -> None:
        self.told.put(None)

    def inspect_container(self, container: str) -> Any:
        if container not in self.states:
            raise docker.errors.NotFound(container)
        return self.states[container]

    def tell(self, *happened: tuple[str, str, dict[str, str]]) -> None:
        """Events, each of a container or, for a disconnect, of a network; returns when they were taken."""
        before = self.taken
        for host, action, about in happened:
            kind, number = ("network", "net") if action == "disconnect" else ("container", f"id-{host}")
            attributes = {**about, "container": f"id-{host}"} if kind == "network" else about
            self.told.put({"Type": kind, "Action": action, "Actor": {"ID": number, "Attributes": attributes}})
        deadline = time.monotonic() + 10
        while self.taken < before + len(happened):
            assert time.monotonic() < deadline
            time.sleep(0.001)


@pytest.fixture
def api() -> Iterator[Api]:
    api = Api()
    yield api
    api.told.put(None)


def watch(api: Api) -> Watch:
    return Watch(api, {host: f"id-{host}" for host in HOSTS})  # type: ignore[arg-type]


DIES = ("server", "die", {"exitCode": "137"})
KILLED = ("server", "kill", {"signal": "9"})


@pytest.mark.parametrize(
    ("happened", "said"),
    [
        ([DIES], "the host server ended by itself with exit status 137"),
        ([KILLED, DIES], "the host server was ended by somebody else while the run went on, with exit status 137"),
        ([("server", "oom", {}), DIES], "the host server ran out of memory and ended with exit status 137"),
        ([KILLED, DIES, ("server", "destroy", {})], "the host server was removed by somebody else while the run went on"),
        ([("server", "pause", {})], "the host server was frozen by somebody else while the run went on"),
        (
            [("server", "disconnect", {"name": "lab_other"})],
            "the host server was taken off the network lab_other by somebody else while the run went on",
        ),
        ([KILLED], None),  # a signal that it lives on with
        ([("server", "oom", {})], None),  # of one of its programs
        ([("server", "disconnect", {"name": "lab_net"})], None),  # and it is on it again
        ([("stranger", "die", {"exitCode": "1"})], None),
    ],
)
def test_what_happens_to_a_host_is_told(api: Api, happened: list[tuple[str, str, dict[str, str]]], said: str | None) -> None:
    """By whom as well, as far as the daemon's events know; and of the hosts that are asked about only."""
    watched = watch(api)
    api.tell(*happened)
    assert watched.first(HOSTS) == said
    assert watched.first(["client"]) is None


def test_what_happened_while_the_lab_came_up_is_heard(
    api: Api, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A daemon keeps its events for a while: they are asked for since the first of the hosts was made, by its own clock."""
    for name in ("images.ensure", "agentimage.ensure", "render", "compose.up"):
        monkeypatch.setattr(f"labctl.engines.docker.{name}", lambda *_: {})
    engine = DockerEngine(api, "run")  # type: ignore[arg-type]
    monkeypatch.setattr(engine, "_telling", lambda *_: contextlib.nullcontext())
    engine.up({}, Lab(tmp_path / "lab.yml", {}, {}), (), tmp_path / "compose.yaml", print, print)
    api.tell(("server", "pause", {}))
    assert api.asked["since"] == 1764190000
    assert engine.dead(HOSTS) == "the host server was frozen by somebody else while the run went on"


def test_a_host_that_is_gone_when_it_is_looked_at_was_removed(api: Api) -> None:
    """A removal takes it off its networks first; a watch that hears of that late finds no container, and goes on listening."""
    watched = watch(api)
    del api.states["id-server"]
    api.tell(("server", "disconnect", {"name": "lab_net"}), KILLED, DIES, ("server", "destroy", {}))
    assert watched.first(HOSTS) == "the host server was removed by somebody else while the run went on"
    assert not watched.is_cut_off


def test_what_the_run_does_itself_is_not_told(api: Api) -> None:
    """A host that it kills, starts again and freezes; what somebody else does afterwards is told."""
    watched = watch(api)
    watched.expect("server", "kill")
    api.tell(KILLED, DIES)
    api.states["id-server"] = {"State": {"Running": False, "ExitCode": 137}}
    assert watched.first(HOSTS, look=True) is None
    watched.restored("server")
    watched.expect("server", "pause")
    api.tell(("server", "pause", {}))
    assert watched.first(HOSTS) is None
    api.tell(DIES)
    assert watched.first(HOSTS) == "the host server ended by itself with exit status 137"


def test_what_was_not_told_yet_is_seen(api: Api) -> None:
    """A host that ends of the last step, or is removed then: the events may come too late, so it is looked at."""
    watched = watch(api)
    assert watched.first(HOSTS, look=True) is None
    api.states["id-client"] = {"State": {"Running": False, "ExitCode": 3}}
    assert watched.first(HOSTS) is None
    assert watched.first(HOSTS, look=True) == "the host client ended by itself with exit status 3"
    del api.states["id-client"]
    assert watched.first(HOSTS, look=True) == "the host client was removed by somebody else while the run went on"
    assert watched.first(["server"], look=True) is None


def test_a_daemon_that_ends_is_told_from_a_watch_that_is_over(api: Api) -> None:
    """The end of the events is the end of the daemon, unless we hung up; what happens while hosts are taken away is nothing."""
    first = watch(api)
    first.over()
    api.tell(DIES)
    assert first.first(HOSTS) is None
    first.close()
    second = watch(api)
    api.told.put(None)
    deadline = time.monotonic() + 10
    while not second.is_cut_off:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    assert not first.is_cut_off
