"""The parts of the Docker engine that need no Docker: owners, fingerprints, addresses, and what is said of trouble."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import docker.errors
import pytest
import requests

from labctl.engines import compose, images
from labctl.engines.daemon import no_daemon
from labctl.engines.docker import DockerEngine, _Patience
from labctl.engines.endpoint import chosen
from labctl.engines.leftovers import dead_runs, remove
from labctl.engines.owner import Owner
from labctl.errors import LabError, MissingError, ScenarioError, UsageError
from labctl.lab import BLOCKS


def test_an_owner_is_one_process_of_one_boot() -> None:
    """This process is alive; one that has ended, another of the same number, and one of another boot are not."""
    me = Owner.me()
    assert me.is_alive()
    assert Owner.parse(str(me)) == me
    assert not Owner("another-boot", me.pid, me.started).is_alive()
    assert not Owner(me.boot, me.pid, me.started + 1).is_alive()
    child = subprocess.Popen(["true"])
    child.wait()
    assert not Owner(me.boot, child.pid, me.started).is_alive()


def test_a_zombie_is_dead() -> None:
    """A process that has ended and that nobody has waited for is no owner any more."""
    me = Owner.me()
    child = subprocess.Popen(["sleep", "30"])
    started = int(Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[19])
    owner = Owner(me.boot, child.pid, started)
    assert owner.is_alive()
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not owner.is_alive()
    child.wait()


def test_an_owner_in_a_container_is_told_from_one_here_of_the_same_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver in a PID namespace of its own is found by its number there, and is dead when it has ended.

    From a namespace that does not see it, nobody can tell: its lab is left alone.
    """
    ask = "import sys; from labctl.engines.owner import Owner; print(Owner.me(), flush=True); sys.stdin.read()"
    alone = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", *([] if os.getuid() == 0 else ["--map-root-user"])]
    command = [*alone, sys.executable, "-c", ask]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as inside:
        assert inside.stdout is not None
        owner = Owner.parse(inside.stdout.readline().strip())
        assert owner is not None
        here = Owner.me()
        assert owner.namespace != here.namespace
        monkeypatch.setattr("labctl.engines.owner.INITIAL_NAMESPACE", here.namespace)
        assert owner.is_alive()
        assert not replace(owner, pid=owner.pid + 1).is_alive()
        assert not replace(owner, started=owner.started + 1).is_alive()
        inside.communicate("")
    assert not owner.is_alive()
    monkeypatch.setattr("labctl.engines.owner.INITIAL_NAMESPACE", 1)
    assert owner.is_alive()


@pytest.mark.parametrize("text", ["", "x", "a:b:c", "a:1", "a:1:", "a:-1:2", "a:١:x"])
def test_a_label_that_is_no_owner(text: str) -> None:
    """What somebody else wrote into the label is nobody."""
    assert Owner.parse(text) is None


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """A build context whose Dockerfile copies the folder sub, and two files on a continued line."""
    (tmp_path / "Dockerfile").write_text(
        "FROM x\nCOPY sub /sub\nCOPY one \\\n  two /files/\n", encoding="utf-8"
    )
    (tmp_path / "sub").mkdir()
    for name in ("sub/program.py", "one", "two", "other"):
        (tmp_path / name).write_text("1", encoding="utf-8")
    return tmp_path


def test_a_fingerprint_changes_with_everything_that_a_build_reads(context: Path) -> None:
    """Content, name and mode of a copied file, the Dockerfile, and the build's own settings change it."""
    spec = {"context": str(context), "dockerfile": "Dockerfile"}
    seen = [images.fingerprint(spec)]

    def note(what: dict[str, Any] = spec) -> None:
        seen.append(images.fingerprint(what))

    (context / "sub/program.py").write_text("2", encoding="utf-8")
    note()
    (context / "sub/program.py").rename(context / "sub/renamed.py")
    note()
    (context / "sub/renamed.py").chmod(0o755)
    note()
    (context / "two").write_text("2", encoding="utf-8")
    note()
    note({**spec, "args": {"A": "1"}})
    with (context / "Dockerfile").open("a", encoding="utf-8") as file:
        file.write("RUN x\n")
    note()
    assert None not in seen
    assert len(set(seen)) == len(seen)


def test_a_fingerprint_does_not_change_with_what_no_build_reads(context: Path) -> None:
    """Caches, times and files that are not copied leave it as it is."""
    spec = {"context": str(context)}
    before = images.fingerprint(spec)
    (context / "sub/__pycache__").mkdir()
    (context / "sub/__pycache__/x.pyc").write_bytes(b"x")
    (context / "other").write_text("2", encoding="utf-8")
    os.utime(context / "one", (1, 1))
    assert images.fingerprint(spec) == before


@pytest.mark.parametrize("copy", ["COPY o* /x", 'COPY ["other", "/x"]', "COPY $WHAT /x", "ADD . /x"])
def test_a_copy_that_does_not_say_what_reads_everything(context: Path, copy: str) -> None:
    """With patterns, variables or the whole folder every file of the context counts."""
    (context / "Dockerfile").write_text(f"FROM x\n{copy}\n", encoding="utf-8")
    before = images.fingerprint({"context": str(context)})
    (context / "other").write_text("2", encoding="utf-8")
    assert images.fingerprint({"context": str(context)}) != before


def test_a_context_that_is_elsewhere_or_too_large_has_none(
    context: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A context by URL, or one beyond the limit, has no fingerprint, so that Compose's own cache decides."""
    assert images.fingerprint({"context": "https://example.org/x.git"}) is None
    monkeypatch.setattr(images, "CONTEXT_LIMIT_BYTES", 5)
    assert images.fingerprint({"context": str(context)}) is None


class Api:
    """A Docker client that knows some images and networks, and remembers what it was asked to pull."""

    def __init__(
        self, here: tuple[str, ...] = (), networks: tuple[str, ...] = (), pulled: tuple[str, ...] = ()
    ) -> None:
        self.here, self.pulls, self._pulled = list(here), [], pulled
        self._networks = networks

    def inspect_image(self, name: str) -> dict[str, Any]:
        if name not in self.here:
            raise docker.errors.ImageNotFound("none")
        return {"Config": {"Labels": None}}

    def pull(self, repository: str, tag: str) -> str:
        self.pulls.append((repository, tag))
        self.here += self._pulled
        return '{"error": "manifest unknown"}'

    def networks(self, **_: object) -> list[dict[str, Any]]:
        return [{"IPAM": {"Config": [{"Subnet": s}]}, "Labels": {}} for s in self._networks] + [
            {"IPAM": {"Config": None}, "Labels": {}}
        ]


@pytest.mark.parametrize(
    ("image", "repository", "tag"),
    [
        ("nginx", "nginx", "latest"), ("nginx:1.25", "nginx", "1.25"), ("host:5000/a/b", "host:5000/a/b", "latest"),
        ("host:5000/a:2", "host:5000/a", "2"),
    ],
)  # fmt: skip
def test_an_image_is_pulled_by_repository_and_tag(image: str, repository: str, tag: str) -> None:
    """A port in a registry's name is no tag."""
    api = Api(pulled=(image,))
    assert images.ensure(api, {"services": {"a": {"image": image}}}, ["a"], lambda _: None) == {"a": image}
    assert api.pulls == [(repository, tag)]


def test_an_image_that_is_here_is_not_pulled_and_one_that_does_not_come_is_missing() -> None:
    """Nothing is asked of a registry without need; a pull that brings no image is MissingError with the daemon's words."""
    api = Api(here=("nginx",))
    images.ensure(api, {"services": {"a": {"image": "nginx"}}}, ["a"], lambda _: None)
    assert api.pulls == []
    with pytest.raises(
        MissingError, match=r"image other is not on this machine and could not be pulled: .*manifest unknown"
    ):
        images.ensure(api, {"services": {"a": {"image": "other"}}}, ["a"], lambda _: None)


@pytest.mark.parametrize("more", [{}, {"build": {"context": "/nowhere"}}], ids=["pulled", "built"])
def test_an_image_that_can_be_none_is_the_compose_files_fault(more: dict[str, Any]) -> None:
    """Its service and its name are told, with the engine's words; an engine that broke is another matter."""

    class Refusing(Api):
        status = 400

        def inspect_image(self, name: str) -> dict[str, Any]:
            answer = requests.Response()
            answer.status_code = self.status
            raise docker.errors.APIError(f"{self.status}", answer, f"invalid reference format: {name}")

    config = {"services": {"web": {"image": "Bad Image!!", **more}}}
    said = r"^lab.yml:1:1: the service web has an image that can be none, 'Bad Image!!': invalid reference format: Bad Image!!$"
    with pytest.raises(ScenarioError, match=said):
        images.ensure(Refusing(), config, ["web"], lambda _: None, "lab.yml")  # type: ignore[arg-type]
    Refusing.status = 500
    with pytest.raises(docker.errors.APIError):
        images.ensure(Refusing(), config, ["web"], lambda _: None, "lab.yml")  # type: ignore[arg-type]


def test_a_service_without_an_image_name_gets_one() -> None:
    """An image that is only built is named after its project and service."""
    assert images.image_name({"name": "mine", "services": {"web": {"build": {}}}}, "web") == "labctl-mine-web"


@pytest.mark.parametrize(
    ("networks", "used"),
    [
        ((), set()), (("172.17.0.0/16", "10.0.0.0/8", "fd00::/64"), set()), (("198.18.3.64/26",), {3}),
        (("198.18.0.0/22",), {0, 1, 2, 3}), (("198.19.255.0/24",), {511}), (("198.18.0.0/16",), set(range(256))),
        (("198.16.0.0/14",), set(range(512))), (("198.20.0.0/24", "198.17.255.0/24"), set()),
    ],
)  # fmt: skip
def test_free_blocks_are_those_that_no_network_touches(networks: tuple[str, ...], used: set[int]) -> None:
    """A network of any size takes every block it overlaps; when none is left that is an error with what to do."""
    engine = DockerEngine(Api(networks=networks), "r")
    if len(used) == BLOCKS:
        with pytest.raises(
            LabError, match=r"all 512 address blocks of 198.18.0.0/15 are in use; `labctl gc`"
        ):
            engine.free_blocks()
    else:
        assert set(range(BLOCKS)) - set(engine.free_blocks()) == used


@pytest.mark.parametrize(
    ("said", "usual", "named"),
    [
        (
            "PermissionError(13, 'Permission denied')",
            "the Docker daemon at its usual socket refuses this user; join the group `docker` (or run as root)",
            "the Docker daemon at tcp://x:1 (DOCKER_HOST) refuses this user",
        ),
        (
            "FileNotFoundError(2, 'No such file or directory')",
            "no Docker daemon answers at its usual socket; start it (`systemctl start docker`), or let ",
            "no Docker daemon answers at tcp://x:1 (DOCKER_HOST); start that one, or unset DOCKER_HOST",
        ),
        ("ConnectionRefusedError(111, 'Connection refused')", "no Docker daemon answers", "no Docker daemon answers at tcp://x:1"),
        ("Read timed out. (read timeout=15)", "has not answered within 15 s", "at tcp://x:1 (DOCKER_HOST) has not answered"),
        ("something else", "cannot be used: something else", "at tcp://x:1 (DOCKER_HOST) cannot be used: something else"),
    ],
)  # fmt: skip
def test_why_there_is_no_daemon(monkeypatch: pytest.MonkeyPatch, said: str, usual: str, named: str) -> None:
    """Each way in which Docker is not there is told with where it was asked and what to do."""
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    assert usual in str(no_daemon(Exception(said), chosen()))
    monkeypatch.setenv("DOCKER_HOST", "tcp://x:1")
    assert named in str(no_daemon(Exception(said), chosen()))


def test_dead_runs_are_those_whose_owner_is_gone() -> None:
    """What has a live owner, or is a lab that stands, is nobody's leftover; without an owner, or never finished, it is one."""
    me = str(Owner.me())

    class Labels:
        def containers(self, **_: object) -> list[dict[str, Any]]:
            return [
                {"Labels": {"labctl.run": "live", "labctl.owner": me}},
                {"Labels": {"labctl.run": "dead", "labctl.owner": "boot:1:1"}},
                {"Labels": {"labctl.run": "standing", "labctl.owner": "boot:1:1", "labctl.lab": "x"}},
                {"Labels": {"labctl.run": "half", "labctl.owner": "boot:1:1", "labctl.lab": "y"}},
                {"Labels": {"labctl.run": "coming", "labctl.owner": me, "labctl.lab": "z"}},
            ]

        def networks(self, **_: object) -> list[dict[str, Any]]:
            return [{"Labels": {"labctl.run": "no-owner"}}]

        def volumes(self, filters: dict[str, str]) -> dict[str, Any]:
            begun = [
                {"Labels": {"labctl.run": "half", "labctl.owner": "boot:1:1", "labctl.lab": "y", "labctl.begun": "y"}},
                {"Labels": {"labctl.run": "coming", "labctl.owner": me, "labctl.lab": "z", "labctl.begun": "z"}},
            ]
            volume = {"Labels": {"labctl.run": "volume", "labctl.owner": ""}}
            return {"Volumes": begun if filters["label"] == "labctl.begun" else [*begun, volume]}

    assert set(dead_runs(Labels())) == {"dead", "no-owner", "volume", "half"}


def test_what_a_killed_daemon_had_half_removed_keeps_nothing_from_being_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is listed for ever and cannot be asked for by its name: it counts as gone, and not as removed."""
    monkeypatch.setattr("labctl.engines.leftovers.REMOVE_TIMEOUT_S", 5.0)

    class Ghostly:
        def __init__(self) -> None:
            self.listed = {"real": "exited", "ghost": "dead"}

        def containers(self, **_: object) -> list[dict[str, Any]]:
            return [{"Id": name, "State": state} for name, state in self.listed.items()]

        def remove_container(self, name: str, **_: object) -> None:
            if name == "ghost":
                raise docker.errors.NotFound("No such container: ghost")
            del self.listed[name]

        def networks(self, **_: object) -> list[dict[str, Any]]:
            return []

        def volumes(self, **_: object) -> dict[str, Any]:
            return {"Volumes": None}

        def unpause(self, name: str) -> None:
            raise AssertionError(f"{name} was not frozen")

    assert remove(Ghostly(), ["labctl.run=x"]) == (1, 0)


def test_what_is_frozen_is_set_going_before_it_is_removed() -> None:
    """Docker kills a container before it removes it, and one that is frozen does not die: the removal would never end."""

    class Frozen:
        def __init__(self) -> None:
            self.state: str | None = "paused"

        def containers(self, **_: object) -> list[dict[str, Any]]:
            return [{"Id": "one", "State": self.state}] if self.state else []

        def unpause(self, _: str) -> None:
            self.state = "running"

        def remove_container(self, _: str, **__: object) -> None:
            assert self.state == "running"
            self.state = None

        def networks(self, **_: object) -> list[dict[str, Any]]:
            return []

        def volumes(self, **_: object) -> dict[str, Any]:
            return {"Volumes": None}

    assert remove(Frozen(), ["labctl.run=x"]) == (1, 0)


def fake_docker(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    (folder / "docker").write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    (folder / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/bin:/usr/bin")


@pytest.mark.parametrize(
    "said",
    [
        "unknown shorthand flag: 'f' in -f", "unknown flag: --short",
        "docker: 'compose' is not a docker command.\nSee 'docker --help'", "docker: unknown command: docker compose",
    ],
)  # fmt: skip
def test_a_docker_without_compose_is_missing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    """However a docker command says that it knows no compose, that is MissingError with what installs it."""
    fake_docker(tmp_path, monkeypatch, f'echo "{said}" >&2; exit 125')
    with pytest.raises(MissingError, match=r"Docker Compose v2 is missing .* ./script/bootstrap installs it"):
        compose.read_config(tmp_path / "x.yml")


def test_no_docker_command_is_missing_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a docker command that is what is missing."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingError, match="there is no `docker` command on this machine"):
        compose.version()


def test_what_compose_says_of_a_file_is_told_with_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that Compose refuses is a ScenarioError with its last line; a lab that does not come up, LabError with several."""
    progress = "echo ' Network a_default  Creating' >&2; echo ' Container a-b-1  Created' >&2"
    fake_docker(tmp_path, monkeypatch, f"{progress}; echo first >&2; echo 'services.x must be a mapping' >&2; exit 15")
    with pytest.raises(
        ScenarioError, match=r"x.yml:1:1: docker compose cannot use this file: services.x must be a mapping"
    ):
        compose.read_config(tmp_path / "x.yml")
    with pytest.raises(LabError, match=r"the lab did not come up: first\nservices.x must be a mapping"):
        compose.up(tmp_path / "x.yml", "labctl-x", tmp_path, ["x"])


@pytest.mark.parametrize("said", ["[" * 100_000, "9" * 5000 + "x", ""])
def test_what_compose_makes_of_a_file_may_be_more_than_python_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    """Too deep or too long for its reader: the file's fault, and no traceback."""
    (tmp_path / "said").write_text(said, encoding="utf-8")
    fake_docker(tmp_path, monkeypatch, f"cat {tmp_path}/said")
    with pytest.raises(ScenarioError, match=r"x.yml:1:1: what docker compose makes of this file cannot be read"):
        compose.read_config(tmp_path / "x.yml")


def test_a_project_is_ours_whatever_the_environment_calls_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What creates something is told its project's name; what chooses a user's own is kept from Compose, the rest is not."""
    fake_docker(tmp_path, monkeypatch, f'echo "$@" >> {tmp_path}/argv; env > {tmp_path}/env; echo {{}}')
    theirs = ("COMPOSE_PROJECT_NAME", "COMPOSE_FILE", "COMPOSE_PROFILES", "COMPOSE_REMOVE_ORPHANS")
    for name in (*theirs, "TAG", "COMPOSE_PARALLEL_LIMIT", "DOCKER_CONTEXT"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("DOCKER_HOST", "tcp://x:1")
    for call in (
        lambda: compose.read_config(tmp_path / "x.yml"),
        lambda: compose.build({"web": {}}, tmp_path / "build.json", 10.0),
        lambda: compose.up(tmp_path / "run.yml", "labctl-x", tmp_path, ["a", "b"]),
    ):
        call()
        seen = dict(line.partition("=")[::2] for line in (tmp_path / "env").read_text(encoding="utf-8").splitlines())
        assert not seen.keys() & set(theirs)
        assert (seen["TAG"], seen["COMPOSE_PARALLEL_LIMIT"]) == ("1", "1")
        assert (seen["DOCKER_HOST"], "DOCKER_CONTEXT" in seen) == ("tcp://x:1", False)  # the engine of our own client
    assert (tmp_path / "argv").read_text(encoding="utf-8").splitlines() == [
        f"compose -f {tmp_path}/x.yml config --format json",
        f"compose --project-name labctl-build -f {tmp_path}/build.json build web",
        f"compose --project-name labctl-x -f {tmp_path}/run.yml --project-directory {tmp_path} "
        "up --detach --no-build --quiet-pull a b",
    ]


def test_an_env_file_that_is_not_there_is_not_the_compose_files_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """COMPOSE_ENV_FILES is the user's to mend, and named."""
    fake_docker(tmp_path, monkeypatch, "echo \"Couldn't find env file: $COMPOSE_ENV_FILES\" >&2; exit 1")
    monkeypatch.setenv("COMPOSE_ENV_FILES", "/gone")
    with pytest.raises(UsageError, match=r"COMPOSE_ENV_FILES=/gone: Couldn't find env file: /gone; write there what is, or "):
        compose.read_config(tmp_path / "x.yml")


def test_a_compose_that_does_not_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A compose that hangs is killed with all its children, and the command is named."""
    fake_docker(tmp_path, monkeypatch, "sleep 60")
    with pytest.raises(LabError, match=r"`docker compose version` did not end within 0.1s"):
        compose.compose("version", timeout_s=0.1)


class _NoImage:
    """An engine in which somebody removes the agent's image right after it was looked for, as often as is said."""

    def __init__(self, removals: int) -> None:
        self.removals, self.asked = removals, 0

    def create_host_config(self, **_: object) -> dict[str, object]:
        return {}

    def create_container(self, image: str, *_: object, **__: object) -> dict[str, str]:
        self.asked += 1
        if self.asked <= self.removals:
            raise docker.errors.ImageNotFound(f"No such image: {image}")
        return {"Id": "made"}

    def inspect_container(self, _: str) -> dict[str, object]:
        return {"State": {"Running": True}}


def test_an_agent_image_that_somebody_removes_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gc of another version may take it for stale between our looking and our asking: once is borne, twice is an error."""
    ensured: list[str] = []
    monkeypatch.setattr("labctl.engines.agentimage.ensure", lambda *_: ensured.append("again") or "labctl/agent:code-x")
    for removals, made in ((1, "made"), (2, None)):
        engine = DockerEngine(_NoImage(removals), "run")  # type: ignore[arg-type]
        engine._containers = {"server": "id"}
        if made:
            assert engine._beside("server", {}, ["-m", "agent"], detach=False) == made
        else:
            with pytest.raises(LabError, match="no agent could be started for server"):
                engine._beside("server", {}, ["-m", "agent"], detach=False)
    assert len(ensured) == 4


def state(status: str = "running", health: str | None = None, *log: dict[str, Any]) -> dict[str, Any]:
    told = {} if health is None else {"Health": {"Status": health, "FailingStreak": len(log), "Log": list(log)}}
    return {"State": {"Running": status == "running", "Status": status, "ExitCode": 1, **told}}


class Coming:
    """Hosts that come up, each as its states say, one after the other; the last of them stays."""

    def __init__(self, **states: list[dict[str, Any]]) -> None:
        self.states = states

    def inspect_container(self, host: str) -> dict[str, Any]:
        told = self.states[host]
        return told.pop(0) if len(told) > 1 else told[0]

    def logs(self, _: str, tail: int) -> bytes:  # noqa: ARG002
        return b"its last words\n"

    def wait(self, say: Any = lambda _: None) -> None:
        engine = DockerEngine(self, "run")  # type: ignore[arg-type]
        engine._containers = {host: host for host in self.states}
        engine._wait_healthy(list(self.states), _Patience(say))


FAILED = {"ExitCode": 7, "Output": "curl: (7) nobody listens\n"}


@pytest.mark.parametrize(
    ("states", "said"),
    [
        ([state("running", "starting"), state("running", "unhealthy", {"ExitCode": 1, "Output": "first"}, FAILED)],
         "the host web is unhealthy: its health check ended with 7 and said: curl: (7) nobody listens"),
        ([state("running", "unhealthy", {"ExitCode": 1, "Output": ""})],
         "the host web is unhealthy: its health check ended with 1 and said: nothing"),
        ([state("running", "unhealthy", {"ExitCode": 1, "Output": "x" * 9000 + "the end"})],
         "the host web is unhealthy: its health check ended with 1 and said: " + "x" * 493 + "the end"),
        ([state("created"), state("exited")], "the host web ended with 1 instead of staying up: its last words"),
    ],
)  # fmt: skip
def test_a_host_that_will_not_be_up_is_told_at_once(states: list[dict[str, Any]], said: str) -> None:
    """With what its health check, or itself, said last, and though another comes before it that is not up yet either."""
    with pytest.raises(LabError) as caught:
        Coming(slow=[state("running", "starting")], web=states).wait()
    assert str(caught.value) == said


def test_whom_a_lab_waits_for_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while, by name and how each is; a lab that comes up at once says nothing."""
    heard: list[str] = []
    Coming(web=[state()], db=[state("running", "healthy")]).wait(heard.append)
    assert heard == []
    monkeypatch.setattr("labctl.engines.docker.SAY_AFTER_S", 0.0)
    slow = [state("running", "starting")] * 3
    Coming(web=[*slow, state("running", "healthy")], db=[state("created"), state("created"), state()], up=[state()]).wait(
        heard.append
    )
    assert heard == ["waiting for web (running, starting) and db (created)"]


def test_a_host_that_does_not_come_up_in_time_is_told_with_how_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labctl.engines.docker.UP_TIMEOUT_S", 0.01)
    with pytest.raises(LabError, match=r"the host web is not up after 0.01s: running, starting$"):
        Coming(web=[state("running", "starting")]).wait()


class Gone:
    """Containers of which one was removed by somebody: Docker knows it no more."""

    def inspect_container(self, _: str, **__: object) -> dict[str, Any]:
        raise docker.errors.NotFound("404 Client Error: No such container")

    logs = create_container = inspect_container


def test_a_host_that_somebody_removed_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is wanted of it next: no bug, and no words of Docker about a number."""
    engine = DockerEngine(Gone(), "run", "s")  # type: ignore[arg-type]
    engine._containers, engine._agent_image = {"web": "id-web"}, "labctl/agent:code-x"
    monkeypatch.setattr("labctl.engines.agentimage.create", lambda api, *_: api.create_container("id-web"))
    for wanted in (engine.is_up, engine.why_down, engine.heal, engine.start_nursery):
        with pytest.raises(LabError, match=r"^the host web is gone: somebody removed it$"):
            wanted("web")
    told = engine._did_not_stay("web", {"ExitCode": 1})
    assert str(told) == "the host web ended with 1 instead of staying up: it said nothing"


class Starting:
    """Containers that run once they are told to; `sick` is how often Docker has no answer first."""

    def __init__(self, sick: int = 0) -> None:
        self.up: list[str] = []
        self.sick = sick
        self.status = "Up 2 seconds"

    def containers(self, **_: object) -> list[dict[str, Any]]:
        if self.sick:
            self.sick -= 1
            raise requests.exceptions.ReadTimeout("the daemon is busy")
        hosts = {"db": "running", "app": "created"} | dict.fromkeys(self.up, "running")
        return [
            {"Id": f"id-{h}", "Labels": {"labctl.host": h}, "State": state, "Status": self.status} for h, state in hosts.items()
        ]


@pytest.mark.parametrize("sick", [0, 3])
def test_each_host_that_runs_is_told_of_while_others_are_waited_for(sick: int) -> None:
    """Once, though the daemon does not answer at first; what that takes is waited for at the end."""
    starting, told, is_routed = Starting(sick), [], threading.Event()
    engine = DockerEngine(starting, "run")  # type: ignore[arg-type]

    def running(host: str) -> None:
        assert engine._containers[host] == f"id-{host}"
        time.sleep(0.05)
        told.append(host)
        is_routed.set()

    with engine._telling(["db", "app"], running, _Patience(pytest.fail)):
        assert is_routed.wait(10)
        time.sleep(0.1)
        assert told == ["db"]
        starting.up.append("app")
    assert told == ["db", "app"]


def test_whom_compose_waits_for_is_said_once_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while, by those whose health is not known yet; what is waited for afterwards is not said again."""
    monkeypatch.setattr("labctl.engines.docker.SAY_AFTER_S", 0.0)
    starting, heard = Starting(), []
    patience = _Patience(heard.append)
    engine = DockerEngine(starting, "run")  # type: ignore[arg-type]
    for status in ("Up 2 seconds (healthy)", "Up 3 seconds (health: starting)"):
        starting.status = status
        assert heard == []
        with engine._telling(["db", "app"], lambda _: None, patience):
            pass
    patience.waits({"late": "created"})
    assert heard == ["waiting for db (running, starting) and app (running, starting)"]


def test_what_could_not_be_done_at_a_host_is_why_a_lab_does_not_come_up() -> None:
    """And not what Compose says of another that waited for it in vain; with nothing of that kind it is what Compose says."""

    def refuse(host: str) -> None:
        raise LabError(f"no agent could be started for {host}")

    engine = DockerEngine(Starting(), "run")  # type: ignore[arg-type]

    def come_up(error: BaseException | None, running: Any) -> None:
        with engine._telling(["db", "app"], running, _Patience(pytest.fail)):
            if error is not None:
                raise error

    said = LabError("dependency failed to start: container app is unhealthy")
    for error in (None, said):
        with pytest.raises(LabError, match="no agent could be started for db"):
            come_up(error, refuse)
    with pytest.raises(LabError, match="dependency failed"):
        come_up(said, lambda _: None)
    with pytest.raises(KeyboardInterrupt):
        come_up(KeyboardInterrupt(), refuse)


def test_a_daemon_that_does_not_see_our_folders_gets_agents_without(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As where only its socket was mounted into a container. All hosts' agents find that out at the same moment."""
    hosts = ("client", "router", "server")
    refused = threading.Barrier(len(hosts))
    engine = DockerEngine(object(), "run", tshark=tmp_path)  # type: ignore[arg-type]

    def beside(host: str, labels: object, python: object, detach: bool, doors: Path | None = None) -> str:  # noqa: ARG001
        if doors is None:
            return host
        refused.wait(10)
        raise LabError("invalid mount config: bind source path does not exist")

    class Api:
        def start(self, container: str) -> None:
            started.append(container)

    started: list[str] = []
    engine._api = Api()  # type: ignore[assignment]
    monkeypatch.setattr(engine, "_beside", beside)
    monkeypatch.setattr("labctl.engines.docker.AttachedChannel", lambda _, container: container)
    with ThreadPoolExecutor(len(hosts)) as pool:
        assert list(pool.map(engine.open_agent, hosts)) == list(hosts)
    assert sorted(started) == list(hosts)
