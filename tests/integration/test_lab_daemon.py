"""The Docker daemon is killed or restarted: a run says so, a standing lab is down and comes back, no fault is left."""

from __future__ import annotations

import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from labs import SCENARIOS, Start, containers, docker, labctl, left_of, rules_in
from private_daemon import PrivateDaemon, why_not

PAIR = SCENARIOS / "pair.yml"
WAIT = SCENARIOS / "wait.yaml"
NAMED = "the Docker daemon ended or was restarted while the lab was up"
PING = """\
scenario: ping
steps: [{run: [probe, ping, server], on: client, expect: {errno: null}}]
"""
BROKEN = ("server", "drop", "--protocol", "tcp", "--dport", 9, "--direction", "in")
TRIES = 5  # for a moment that is soon over: a test that has to wait for its turn meanwhile comes too late for it
SIGNALS = pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The images of the lab and of the agent, of the machine's own daemon."""
    done = labctl("images", "server", "agent", timeout_s=600)
    assert done.code == 0, done.err
    archive = tmp_path_factory.mktemp("images") / "images.tar"
    docker("save", "--output", str(archive), "labctl/agent", *done.out.split())
    return archive


def daemon_with(images: Path, *options: str) -> Iterator[PrivateDaemon]:
    with PrivateDaemon(Path(tempfile.mkdtemp(prefix="labctl-d")), options) as daemon:
        daemon.load(images)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DOCKER_HOST", daemon.environment["DOCKER_HOST"])
            yield daemon


@pytest.fixture(scope="module")
def mortal(images: Path) -> Iterator[PrivateDaemon]:
    """A daemon to be killed; everything in these tests speaks to it."""
    yield from daemon_with(images)


@pytest.fixture
def daemon(mortal: PrivateDaemon) -> Iterator[PrivateDaemon]:
    """That daemon, running; afterwards no lab is left in it, whatever became of the test."""
    mortal.start()
    yield mortal
    mortal.start()
    labctl("down", "s")


def exists(container: str) -> bool:
    """Whether Docker has it: one that was killed while it removed a container lists that for ever, and knows it no more."""
    return subprocess.run(["docker", "inspect", container], capture_output=True, check=False).returncode == 0


def still_there(label: str) -> list[str]:
    """The containers with this label; not what a daemon that was killed lists and has not, as it had half removed it."""
    return [container for container in containers(label) if exists(container)]


MOMENTS = {
    "the lab comes up": ("run-start", {}),
    "captures begin": ("capture-start", {}),
    "a fault is in place": ("step-start", {"kind": "wait"}),
    "captures end": ("capture-end", {}),
}


@pytest.mark.parametrize(
    ("moment", "number"),
    [*((moment, signal.SIGKILL) for moment in MOMENTS), ("a fault is in place", signal.SIGTERM)],
    ids=[*(f"{moment}, killed" for moment in MOMENTS), "a fault is in place, stopped"],
)
def test_a_run_whose_daemon_goes_away_says_so_and_gc_leaves_nothing(
    daemon: PrivateDaemon, start: Start, moment: str, number: int
) -> None:
    """Exit 4 within seconds, a reason that names the daemon and what to do, the result is saved; later gc takes all of it."""
    event, fields = MOMENTS[moment]
    for _ in range(TRIES):
        daemon.start()
        live = start(WAIT, "--set", "seconds=300ms" if moment == "captures end" else "seconds=60s")
        live.wait_for(event, **fields)
        sent = time.time()
        daemon.end(number)
        done = live.end(timeout_s=20)
        if not live.was_past("lab-down", sent):
            break
    assert done.code == 4, done.out + done.err
    value = live.result()
    assert value["verdict"] == "error"
    assert value["reason"].startswith(NAMED)
    assert "`labctl gc` removes what is left" in value["reason"]
    assert "a bug in labctl" not in done.out
    daemon.start()
    assert labctl("gc").code == 0
    assert [thing for thing in left_of(live.run) if not thing.startswith("container")] == []
    assert still_there(f"labctl.run={live.run}") == []
    assert "LABCTL" not in daemon.namespace()


def standing() -> dict[str, Any]:
    """What `labctl ps` says of the lab that stands."""
    (lab,) = [lab for lab in labctl("ps", "--json").json if lab["kind"] == "standing"]
    assert isinstance(lab, dict)
    return lab


def states() -> list[str]:
    return [host["state"] for host in standing()["hosts"]]


@SIGNALS
def test_a_standing_lab_is_down_after_a_restart_and_comes_back(daemon: PrivateDaemon, tmp_path: Path, number: int) -> None:
    """Each command says what there is; `labctl up` starts the hosts again, with nurseries and without the old faults."""
    assert labctl("up", PAIR, "--name", "s").code == 0
    assert labctl("fault", "add", "--lab", "s", *BROKEN).code == 0
    before = standing()
    daemon.end(number)
    assert labctl("ps").code == 3
    daemon.start()

    lab = standing()
    assert states() == ["exited", "exited"]
    assert [host["addresses"] for host in lab["hosts"]] == [host["addresses"] for host in before["hosts"]]
    down = [f"the host {host} of lab s is down: its container ended with " for host in ("client", "server")]
    assert [host["why"].startswith(why) for host, why in zip(lab["hosts"], down, strict=True)] == [True, True]
    assert all("`labctl up --name s` starts it again, `labctl down s` takes the lab away" in h["why"] for h in lab["hosts"])
    ran = labctl("run", WAIT, "--lab", "s", "--out", tmp_path / "runs", "--json")
    assert (ran.code, ran.json["reason"]) == (4, lab["hosts"][0]["why"])
    asked = labctl("exec", "--lab", "s", "client", "true")
    assert (asked.code, asked.err) == (4, f"labctl: {lab['hosts'][0]['why']}\n")
    assert labctl("fault", "add", "--lab", "s", *BROKEN).code == 4
    assert labctl("fault", "list", "--lab", "s").out == "nothing is broken by hand\n"
    assert labctl("gc").code == 0
    assert states() == ["exited", "exited"]

    up = labctl("up", "--name", "s")
    assert (up.code, up.out) == (0, "lab s is up: client, server\n"), up.err
    assert standing() == before
    # Only those that run: what a daemon that was killed had begun to remove may be listed until it has.
    assert len(docker("ps", "--quiet", "--filter", "label=labctl.lab=s", "--filter", "label=labctl.nursery").split()) == 2
    assert not any("LABCTL" in rules_in(host) for host in containers("labctl.lab=s", "labctl.host"))
    passed = labctl("run", WAIT, "--set", "seconds=10ms", "--lab", "s", "--out", tmp_path / "runs", "--json")
    assert passed.code == 0, passed.out + passed.err
    assert labctl("down", "s").code == 0
    assert still_there("labctl.lab=s") == []


def test_a_lab_that_is_down_can_be_taken_down(daemon: PrivateDaemon) -> None:
    """`labctl down` needs no host that runs: after a restart it leaves neither container, network nor volume."""
    assert labctl("up", PAIR, "--name", "s").code == 0
    daemon.end(signal.SIGTERM)
    daemon.start()
    down = labctl("down", "s")
    assert down.code == 0, down.err
    # With nurseries that the daemon had half removed, or without.
    assert re.fullmatch(r"lab s is down: [234] containers and 1 networks removed\n", down.out)
    assert still_there("labctl.lab=s") == []
    assert docker("volume", "ls", "--quiet") == ""


def test_a_host_speaks_from_its_own_address_alone(daemon: PrivateDaemon) -> None:
    """Nothing on the machine gives another address to what a host sends, in the instants in which Docker lets it past."""
    assert labctl("up", PAIR, "--name", "s").code == 0
    masqueraded = re.findall(r"^-A POSTROUTING -s (\S+) .*-j MASQUERADE", daemon.namespace(), re.MULTILINE)
    assert masqueraded == ["172.17.0.0/16"]  # Docker's own default network, of which this daemon has one as well
    assert labctl("down", "s").code == 0


def test_a_host_that_was_dead_when_the_daemon_went_is_set_right_by_gc(daemon: PrivateDaemon, start: Start) -> None:
    """A run on a standing lab had killed a host: its note outlives the daemon; gc starts that host and `up` the others."""
    assert labctl("up", PAIR, "--name", "s").code == 0
    live = start(SCENARIOS / "dead.yaml", "--lab", "s")
    live.wait_for("step-start", kind="wait")
    daemon.end(signal.SIGKILL)
    assert live.end(timeout_s=20).code == 4
    assert live.result()["reason"].startswith(NAMED)
    daemon.start()
    assert "s/server: a run that is gone had killed or frozen it; it is up again" in labctl("gc").out
    assert labctl("up", "--name", "s").out == "lab s is up: client\n"
    assert docker("volume", "ls", "--quiet", "--filter", "label=labctl.disturbed") == ""
    assert labctl("down", "s").code == 0


def test_hosts_that_outlive_the_daemon_are_rid_of_faults_by_gc(images: Path, start: Start, tmp_path: Path) -> None:
    """With live-restore hosts go on without the daemon, and agents do not: gc takes back a run's faults and those by hand."""
    ping = tmp_path / "ping.yaml"
    ping.write_text(PING, encoding="utf-8")
    for daemon in daemon_with(images, "--live-restore"):
        assert labctl("up", PAIR, "--name", "s").code == 0
        assert labctl("fault", "add", "--lab", "s", *BROKEN).code == 0
        live = start(WAIT, "--lab", "s")
        live.wait_for("step-start", kind="wait")
        daemon.end(signal.SIGKILL)
        assert live.end(timeout_s=20).code == 4
        daemon.start()
        assert states() == ["running", "running"]
        assert labctl("fault", "list", "--lab", "s").out == "nothing is broken by hand\n"
        assert labctl("gc").code == 0
        assert not any("LABCTL" in rules_in(host) for host in containers("labctl.lab=s", "labctl.host"))
        passed = labctl("run", ping, "--lab", "s", "--out", tmp_path / "runs", "--json")
        assert passed.code == 0, passed.out + passed.err
        assert labctl("up", "--name", "s").out == "lab s is up: client, server\n"  # their nurseries
        assert labctl("down", "s").code == 0
