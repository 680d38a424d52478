"""When something goes wrong: the exit code of the contract, what was tried and what to do, and nothing left behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from labs import LABCTL, ROOT, SCENARIOS, Start, containers, docker, labctl, left_of

from labctl.engines import door

PAIR = SCENARIOS / "pair.yaml"
WAIT = SCENARIOS / "wait.yaml"
LAB = f"lab: {SCENARIOS / 'pair.yml'}"


def scenario(folder: Path, steps: str, head: str = "") -> Path:
    """A scenario file with these steps in the lab of two hosts."""
    path = folder / "made.yaml"
    path.write_text(f"# Made for a test.\nscenario: made\n{LAB}\n{head}steps:\n{steps}", encoding="utf-8")
    return path


def run_name(out: Path) -> str:
    """The one run in a folder."""
    (found,) = out.iterdir()
    return found.name


SERVER = '  - {start: [echo-server, "", 65432, --connections=0], on: server, ready: {listen: 65432}}\n'


def test_a_wrong_expectation_fails_and_says_expected_and_actual(tmp_path: Path) -> None:
    """An errno that is not the one seen: exit 1, and both stand in the reason, in the output and in the finding."""
    path = scenario(
        tmp_path,
        SERVER
        + "  - {name: wrong, run: [probe, connect, server, 65433], on: client, expect: {errno: ETIMEDOUT}}\n",
    )
    done = labctl("run", path, "--out", tmp_path / "runs")
    assert done.code == 1, done.out + done.err
    assert "errno: expected ETIMEDOUT, got ECONNREFUSED" in " ".join(done.out.split())
    assert left_of(run_name(tmp_path / "runs")) == []


def test_a_users_own_project_of_that_name_survives_a_run(tmp_path: Path) -> None:
    """COMPOSE_PROJECT_NAME, in an `.env` or the environment, names the user's project; a run of his file is none of it.

    Its `.env` still gives the file's variables.
    """
    name = f"theirs{os.getpid()}"
    (tmp_path / ".env").write_text(f"COMPOSE_PROJECT_NAME={name}\nCOMPOSE_PROFILES=x\nWORD=seen\n", encoding="utf-8")
    compose = tmp_path / "compose.yml"
    compose.write_text(
        "services: {web: {image: labctl/host, command: [sleep, infinity], init: true, "
        'environment: {WORD: "${WORD} ${BESIDE-}"}}}\n',
        encoding="utf-8",
    )
    made = tmp_path / "made.yaml"
    made.write_text(
        "# Made for a test.\nscenario: made\nlab: compose.yml\nsteps:\n"
        '  - {run: [printenv, WORD], on: web, expect: {stdout: {exact: "seen too\\n"}}}\n',
        encoding="utf-8",
    )

    def theirs() -> list[str]:
        return docker("ps", "--no-trunc", "--format", "{{.ID}} {{.Names}}", "--filter", f"name=^{name}").splitlines()

    docker("compose", "--file", str(compose), "up", "--detach", "--quiet-pull")
    try:
        before = theirs()
        assert [line.partition(" ")[2] for line in before] == [f"{name}-web-1"]
        for environment in ({}, {"COMPOSE_PROJECT_NAME": name}):
            done = labctl("run", made, "--out", tmp_path / "runs", BESIDE="too", **environment)
            assert done.code == 0, done.out + done.err
            assert theirs() == before
    finally:
        docker("compose", "--file", str(compose), "down", "--timeout", "0")


def test_success_that_was_not_seen_fails(tmp_path: Path) -> None:
    """`errno: null` asks for success: a connect that is refused fails it."""
    path = scenario(
        tmp_path,
        "  - {name: wrong, run: [probe, connect, server, 65433], on: client, expect: {errno: null}}\n",
    )
    done = labctl("run", path, "--out", tmp_path / "runs", "--json")
    assert done.code == 1, done.out + done.err
    assert done.json["steps"][0]["findings"] == [
        {"check": "errno", "expected": "success", "actual": "ECONNREFUSED", "verdict": "fail"}
    ]


def test_a_fault_that_touches_no_packet_is_an_error(tmp_path: Path) -> None:
    """A fault on a port that nobody uses: the run is an error with exit 4, never a pass."""
    path = scenario(
        tmp_path,
        SERVER + "  - {fault: wall, at: server, drop: {protocol: tcp, dport: 9}}\n"
        "  - {name: works, run: [echo-client, server, 65432], on: client, expect: {errno: null}}\n",
    )
    done = labctl("run", path, "--out", tmp_path / "runs", "--json")
    assert done.code == 4, done.out + done.err
    assert "the fault wall on server touched no packet" in done.json["reason"]
    assert done.json["steps"][2]["verdict"] == "pass"


def test_a_scenario_with_a_mistake_starts_nothing(tmp_path: Path) -> None:
    """A mistake in one of several scenarios: exit 2 with file, line, column and the right word, before anything is started."""
    path = scenario(tmp_path, "  - {run: [probe, connect, server, 1], on: klient, expect: {errno: null}}\n")
    done = labctl("run", PAIR, path, "--out", tmp_path / "runs")
    assert done.code == 2
    assert re.search(rf"{path}:5:\d+: the lab has no host 'klient'; did you mean client\?", done.err)
    assert not (tmp_path / "runs").exists()


def test_a_filter_that_wireshark_refuses_is_an_error_that_names_it(tmp_path: Path) -> None:
    """A display filter that only tshark can refuse, and its words: an error with both, and the other findings stand."""
    path = scenario(
        tmp_path,
        SERVER
        + "  - name: filtered\n    run: [echo-client, server, 65432]\n    on: client\n    expect:\n      errno: null\n"
        "      packets: [{at: client, filter: 'tcp.flags.syn == nonsense'}, "
        "{at: client, filter: tcp.flags.syn == 1, count: 2}]\n",
    )
    done = labctl("run", path, "--out", tmp_path / "runs", "--json")
    assert done.code == 4, done.out + done.err
    findings = {f["check"]: f for f in done.json["steps"][1]["findings"]}
    refused = findings["packets at client: tcp.flags.syn == nonsense"]
    said = '"nonsense" cannot be found among the possible values for tcp.flags.syn'
    assert refused["actual"] == f"Wireshark refuses this filter: {said}"
    assert {check: found["verdict"] for check, found in findings.items()} == {
        "errno": "pass",
        "packets at client: tcp.flags.syn == nonsense": "error",
        "packets at client: tcp.flags.syn == 1": "pass",
    }


def test_a_program_that_never_ends_is_killed_at_its_timeout(tmp_path: Path) -> None:
    """A program that ignores SIGTERM and never ends: killed when its step's time is over, an error that shows its output."""
    path = scenario(
        tmp_path,
        "  - name: stuck\n    run: [sh, -c, 'trap \"\" TERM; echo so far; while :; do sleep 0.1; done']\n    on: client\n"
        "    timeout: 500ms\n    expect: {exit: 0}\n",
    )
    done = labctl("run", path, "--out", tmp_path / "runs", "--json")
    assert done.code == 4, done.out + done.err
    assert "sh did not end within 0.5s and was killed; it said:\nso far" in done.json["reason"]
    assert done.json["steps"][0]["exit"] == 137
    assert left_of(run_name(tmp_path / "runs")) == []


def test_what_a_program_leaves_behind_is_not_waited_for(tmp_path: Path) -> None:
    """A program has ended when its process has, though a child of its holds its output; Docker itself waits 2 s for that."""
    forks = "sh, -c, 'echo before; sleep 300 & exit 3'"
    steps = "".join(
        f"  - {{run: [{forks}], on: client, timeout: 1500ms, expect: {{exit: 3, within: 1500ms, stdout: {{exact: before}}}}}}\n"
        for _ in range(2)
    )
    path = scenario(tmp_path, f"{steps}  - {{run: ['true'], on: client, expect: {{exit: 0}}}}\n")
    for again in range(3):  # a machine that stands still for a second is not what this is about; Docker's 2 s come each time
        done = labctl("run", path, "--out", tmp_path / f"runs{again}", "--json")
        assert left_of(run_name(tmp_path / f"runs{again}")) == []
        if done.code == 0:
            break
    assert done.code == 0, done.out + done.err


def test_what_did_not_run_or_was_not_kept_is_no_pass(tmp_path: Path) -> None:
    """A command that the image has not is an error unless its status is asked for, and so is a finding on output that was cut.

    A program that says 127 by itself has run; one that was started and failed with nobody looking fails.
    """
    steps = (
        "  - {name: crashes, start: [sh, -c, exit 3], on: server, as: crasher}\n"
        "  - {name: none, run: [no-such-program], on: client, expect: {stdout: {lacks: x}}}\n"
        "  - {name: none and wanted, run: [no-such-program], on: client, expect: {exit: 127}}\n"
        f"  - {{name: too long, run: [ls, {'a' * 200_000}], on: client, expect: {{exit: 1}}}}\n"
        "  - {name: says so itself, run: [sh, -c, exit 127], on: client, expect: {stdout: {lacks: x}}}\n"
        "  - {name: much, run: [sh, -c, 'yes | head -c 20000000; echo the end'], on: client, expect: {stdout: {lacks: x}}}\n"
    )
    done = labctl("run", scenario(tmp_path, steps), "--out", tmp_path / "runs", "--json")
    assert done.code == 4, done.out + done.err
    told = {step["name"]: (step["verdict"], step["exit"]) for step in done.json["steps"]}
    assert told.pop("too long") in (("error", 1), ("error", 255))  # by Docker 20.10, and by 28
    assert told == {
        "crashes": ("fail", 3), "none": ("error", 127), "none and wanted": ("pass", 127),
        "says so itself": ("pass", 127), "much": ("error", 0),
    }  # fmt: skip
    reasons = {step["name"]: step["reason"] for step in done.json["steps"]}
    assert "it ended by itself, with exit status 3" in reasons["crashes"]
    assert "no-such-program could not be run on client: sh: 1: exec: no-such-program: not found" in reasons["none"]
    assert reasons["too long"].startswith("ls could not be run on client: exec ")
    assert reasons["too long"].endswith(": argument list too long")
    assert "bytes in its middle were not kept" in reasons["much"]
    kept = (tmp_path / "runs" / done.json["run"] / "programs/06-client.out").read_text(encoding="utf-8")
    assert kept.endswith("the end\n")
    assert "bytes left out here]" in kept


@pytest.mark.parametrize("host", ["server", "client"])
def test_a_host_that_is_killed_makes_the_run_an_error_that_names_it(start: Start, host: str) -> None:
    """`docker kill` of a host in the middle of a run: exit 4, the reason names the host, nothing is left."""
    live = start(WAIT, "--json")
    live.wait_for("step-start", kind="wait")
    docker("kill", containers(f"labctl.run={live.run}", f"labctl.host={host}")[0])
    done = live.end()
    assert done.code == 4, done.out + done.err
    assert done.json["verdict"] == "error"
    assert f"the host {host} was ended by somebody else while the run went on, with exit status 137" in done.json["reason"]
    assert left_of(live.run) == []


@pytest.mark.parametrize(
    ("ways", "said"),
    [
        (["rm", "--force"], "the host client was removed by somebody else while the run went on"),
        (["pause"], "the host client was frozen by somebody else while the run went on"),
        (["network", "disconnect"], "the host client was taken off the network "),
    ],
    ids=["removed", "frozen", "cut off"],
)
def test_what_somebody_else_does_to_a_host_is_told(start: Start, ways: list[str], said: str) -> None:
    """A run whose host is taken away, frozen or cut off by other hands is an error that says so, and leaves nothing."""
    live = start(WAIT, "--json")
    live.wait_for("step-start", kind="wait")
    (host,) = containers(f"labctl.run={live.run}", "labctl.host=client")
    networks = json.loads(docker("inspect", host, "--format", "{{json .NetworkSettings.Networks}}"))
    docker(*ways, *(list(networks)[:1] if ways[0] == "network" else []), host)
    done = live.end()
    assert (done.code, done.json["verdict"]) == (4, "error"), done.out + done.err
    assert said in done.json["reason"]
    assert left_of(live.run) == []


def test_an_agent_that_is_killed_makes_the_run_an_error_that_names_it(start: Start) -> None:
    """`docker kill` of an agent in the middle of a run: exit 4, the reason names its host, nothing is left."""
    live = start(WAIT, "--json")
    live.wait_for("step-start", kind="wait")
    docker("kill", containers(f"labctl.run={live.run}", "labctl.agent=server")[0])
    done = live.end()
    assert done.code == 4, done.out + done.err
    assert "the agent on server ended" in done.json["reason"]
    assert [c["host"] for c in done.json["captures"]] == ["client"]
    assert left_of(live.run) == []


def test_a_program_that_dies_with_its_host_is_no_pass(tmp_path: Path) -> None:
    """A host whose first process ends because of what a step does: an error that names the host."""
    steps = "  - {name: last, run: [sh, -c, 'kill -TERM -1; exit 0'], on: client, expect: {exit: 0}}\n"
    compose = (
        (SCENARIOS / "pair.yml")
        .read_text(encoding="utf-8")
        .replace("[sleep, infinity]", "[sh, -c, 'sleep infinity']")
    )
    (tmp_path / "pair.yml").write_text(compose, encoding="utf-8")
    path = tmp_path / "made.yaml"
    path.write_text(f"scenario: made\nlab: pair.yml\nsteps:\n{steps}", encoding="utf-8")
    done = labctl("run", path, "--out", tmp_path / "runs", "--json")
    assert done.code == 4, done.out + done.err
    assert "client" in done.json["reason"]


def test_a_host_that_does_not_stay_up_is_told_with_its_own_words(tmp_path: Path) -> None:
    """A service whose command fails at once: an error that names it and shows what it said; nothing is left."""
    compose = "services: {server: {image: labctl/host, pull_policy: never, command: [sh, -c, 'echo no config; exit 3']}}\n"
    (tmp_path / "lab.yml").write_text(compose, encoding="utf-8")
    path = tmp_path / "made.yaml"
    path.write_text(
        "scenario: made\nlab: lab.yml\nsteps:\n  - {run: ['true'], on: server, expect: {exit: 0}}\n",
        encoding="utf-8",
    )
    done = labctl("run", path, "--out", tmp_path / "runs", "--json")
    assert done.code == 4, done.out + done.err
    assert "the host server ended with 3 instead of staying up: no config" in done.json["reason"]
    assert left_of(run_name(tmp_path / "runs")) == []


THROUGH_THE_ROUTER = """\
x-host: &host {image: labctl/host, pull_policy: never, init: true, cap_drop: [ALL], command: [sleep, infinity]}
services:
  db:
    <<: *host
    networks: [back]
    command: [python3, -m, http.server, "5432"]
    healthcheck: {test: [CMD, python3, -c, "import socket; socket.create_connection(('127.0.0.1', 5432))"], interval: 500ms}
  app:
    <<: *host
    networks: [front]
    depends_on: {db: {condition: service_healthy}}
    healthcheck:
      test: [CMD, python3, -c, "import socket; socket.create_connection(('db', 5432), 2)"]
      interval: 500ms
      retries: 15
  client:
    <<: *host
    networks: [front]
    depends_on: {app: {condition: service_healthy}}
  router:
    <<: *host
    networks: [front, back]
    labels: {labctl.role: router}
networks: {front: {}, back: {}}
"""
ITS_SCENARIO = """\
scenario: healthy-through-the-router
lab: lab.yml
steps:
  - {run: [probe, connect, db, "5432"], on: client, expect: {errno: null}}
  - {fault: death, at: app, kill: {}}
  - {run: [probe, connect, app, "9"], on: client, expect: {errno: EHOSTUNREACH}}
  - heal: death
  - {run: [probe, connect, db, "5432"], on: app, expect: {errno: null}}
"""


def test_a_host_that_is_healthy_only_through_the_router_comes_up(tmp_path: Path) -> None:
    """Compose waits for its health before it starts another; it is so again after it was killed, and on a lab that stands."""
    (tmp_path / "lab.yml").write_text(THROUGH_THE_ROUTER, encoding="utf-8")
    scenario = tmp_path / "a.yaml"
    scenario.write_text(ITS_SCENARIO, encoding="utf-8")
    done = labctl("run", scenario, "--out", tmp_path / "runs", "--json")
    assert done.code == 0, done.out + done.err
    up = labctl("up", tmp_path / "lab.yml", "--name", "healthy")
    try:
        assert (up.code, up.out) == (0, "lab healthy is up: app, client, db, router\n"), up.err
        app = containers("labctl.lab=healthy", "labctl.host=app")
        docker("kill", *app)
        again = labctl("up", "--name", "healthy")
        assert (again.code, again.out) == (0, "lab healthy is up: app\n"), again.err
        assert docker("inspect", "--format", "{{.State.Health.Status}}", *app).strip() == "healthy"
    finally:
        assert labctl("down", "healthy").code == 0


def test_an_image_that_is_nowhere_is_a_skip_with_exit_3(tmp_path: Path) -> None:
    """An image that is not here and cannot be pulled: skip, exit 3, and the reason names it."""
    (tmp_path / "lab.yml").write_text(
        "services: {server: {image: localhost:9/no/such-image}}\n", encoding="utf-8"
    )
    path = tmp_path / "made.yaml"
    path.write_text(
        "scenario: made\nlab: lab.yml\nsteps:\n  - {run: ['true'], on: server, expect: {exit: 0}}\n",
        encoding="utf-8",
    )
    done = labctl("run", path, "--out", tmp_path / "runs", "--json")
    assert done.code == 3, done.out + done.err
    assert done.json["verdict"] == "skip"
    assert (
        "image localhost:9/no/such-image is not on this machine and could not be pulled"
        in done.json["reason"]
    )


def test_no_daemon_is_exit_3_with_what_to_do(tmp_path: Path) -> None:
    """Without a Docker daemon: exit 3 and one line that says how to get one; `doctor` says the same and goes on."""
    nowhere = {"DOCKER_HOST": "unix:///nonexistent/docker.sock"}
    done = labctl("run", PAIR, "--out", tmp_path / "runs", **nowhere)
    assert done.code == 3
    assert "no Docker daemon answers at unix:" in done.err
    assert "Traceback" not in done.err + done.out
    doctor = labctl("doctor", **nowhere)
    assert doctor.code == 3
    assert "no Docker daemon answers" in doctor.out
    for command in (("ps",), ("gc",), ("down", "x"), ("up",), ("exec", "server", "true")):
        assert labctl(*command, **nowhere).code == 3


def no_compose(tmp_path: Path) -> dict[str, str]:
    """An environment in which the docker command has no compose plugin."""
    bin_, config = tmp_path / "bin", tmp_path / "config"
    bin_.mkdir()
    config.mkdir()
    real = subprocess.run(
        ["sh", "-c", "command -v docker"], capture_output=True, text=True, check=True
    ).stdout.strip()
    # Plugins are looked for in system folders too, which a test cannot empty: so this docker refuses the word itself,
    # as one without the plugin does (cli/command.go: "docker: 'compose' is not a docker command.").
    script = f"""#!/bin/sh
if [ "$1" = compose ]; then
  echo "unknown shorthand flag: 'f' in -f" >&2; echo "See 'docker --help'." >&2; exit 125
fi
exec {real} "$@"
"""
    (bin_ / "docker").write_text(script, encoding="utf-8")
    (bin_ / "docker").chmod(0o755)
    return {"PATH": f"{bin_}:{os.environ['PATH']}", "DOCKER_CONFIG": str(config)}


def test_no_compose_is_exit_3_with_what_to_do(tmp_path: Path) -> None:
    """With a docker command that has no Compose plugin: exit 3, and what installs it; never a complaint about the file."""
    done = labctl("run", PAIR, "--out", tmp_path / "runs", **no_compose(tmp_path))
    assert done.code == 3, done.out + done.err
    assert "Docker Compose v2 is missing" in done.out + done.err


def test_no_docker_command_is_exit_3_with_what_to_do(tmp_path: Path) -> None:
    """With a daemon but no docker command: exit 3, and what installs it."""
    done = labctl("run", PAIR, "--out", tmp_path / "runs", PATH=str(tmp_path))
    assert done.code == 3, done.out + done.err
    assert "there is no `docker` command on this machine" in done.out + done.err


def test_a_run_is_made_in_the_engine_of_the_current_context(tmp_path: Path) -> None:
    """A context of the docker command's leads labctl and Compose to the same engine; one that is not there is exit 3."""
    chosen = {"DOCKER_CONFIG": str(tmp_path), "DOCKER_HOST": ""}
    (tmp_path / "engine").symlink_to("/var/run/docker.sock")
    plugins = docker("info", "--format", '{{range .ClientInfo.Plugins}}{{if eq .Name "compose"}}{{.Path}}{{end}}{{end}}')
    (tmp_path / "cli-plugins").mkdir()  # of the settings' folder too
    (tmp_path / "cli-plugins/docker-compose").symlink_to(plugins)

    def docker_with(*arguments: str) -> None:
        subprocess.run(["docker", *arguments], env=os.environ | chosen, check=True, stdout=subprocess.DEVNULL, timeout=60)

    docker_with("context", "create", "other", "--docker", f"host=unix://{tmp_path}/engine")
    docker_with("context", "use", "other")
    done = labctl("doctor", **chosen)
    assert f"at unix://{tmp_path}/engine (the Docker context other)" in " ".join(done.out.split())
    done = labctl("run", PAIR, "--out", tmp_path / "runs", **chosen)
    assert done.code == 0, done.out + done.err
    (tmp_path / "engine").unlink()
    done = labctl("run", PAIR, "--out", tmp_path / "none", **chosen)
    assert (done.code, f"at unix://{tmp_path}/engine (the Docker context other)" in done.err) == (3, True)
    done = labctl("run", PAIR, "--out", tmp_path / "none", DOCKER_CONTEXT="nope", **chosen)
    assert done.code == 3, done.out + done.err
    assert "there is no Docker context nope, which DOCKER_CONTEXT names" in done.err


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A file system with hardly any room."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_is_exit_4_and_leaves_nothing(tiny: Path) -> None:
    """When the folder for the record is full: exit 4, a message that names the file and what to do, nothing left behind."""
    before = set(containers("labctl.run"))
    done = labctl("run", PAIR, "--out", tiny / "runs", timeout_s=100)
    assert done.code == 4, done.out + done.err
    assert "No space left on device" in done.err + done.out
    assert "choose another --out" in done.err + done.out
    assert "Traceback" not in done.err + done.out
    assert left_of(run_name(tiny / "runs")) == []
    assert set(containers("labctl.run")) - before == set() or left_of(run_name(tiny / "runs")) == []


@pytest.mark.parametrize("where", ["/proc/nowhere", "/dev/null/runs"])
def test_a_folder_that_cannot_be_written_is_exit_4(where: str) -> None:
    """An --out that cannot be made: exit 4 with the reason, before anything is started."""
    done = labctl("run", PAIR, "--out", where)
    assert done.code == 4, done.out + done.err
    assert "cannot be written" in done.err
    assert "Traceback" not in done.err


def test_a_subnet_that_somebody_takes_is_left_alone(tmp_path: Path) -> None:
    """When another network sits on the addresses that were chosen, others are chosen, and that network is not touched."""
    name = f"labctl-test-{os.getpid()}"
    for number in range(77, 177):  # one that no lab has now
        made = subprocess.run(
            ["docker", "network", "create", "--subnet", f"198.18.{number}.0/26", name], capture_output=True, check=False
        )
        if made.returncode == 0:
            break
    try:
        # Its first choice is that block, as if the network had been made right after it had looked.
        chosen = textwrap.dedent("""
            import random, sys
            from labctl.cli import main
            first, choice = [int(sys.argv.pop())], random.choice
            random.choice = lambda blocks: first.pop() if first else choice(blocks)
            main()
        """)
        done = subprocess.run(
            [sys.executable, "-c", chosen, "run", str(PAIR), "--out", str(tmp_path / "runs"), "--json", str(number)],
            capture_output=True, text=True, check=False, timeout=100, cwd=ROOT,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert (
            docker("network", "inspect", name, "--format", "{{(index .IPAM.Config 0).Subnet}}")
            == f"198.18.{number}.0/26"
        )
    finally:
        docker("network", "rm", name)


def test_a_closed_pipe_is_no_bug_and_leaves_nothing(start: Start) -> None:
    """`labctl run … | head -1`: the run ends, and nothing is left."""
    live = start(PAIR)
    assert live.process.stdout is not None
    live.process.stdout.readline()
    live.process.stdout.close()
    live.process.stdout = None
    deadline = time.monotonic() + 60
    while live.process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert live.process.stderr is not None
    assert "Traceback" not in live.process.stderr.read()
    assert left_of(live.run) == []


def test_a_run_goes_on_when_nobody_reads_what_it_says(start: Start) -> None:
    """`labctl run … | head -1`: the reader goes away after a line, and the run is saved and judged all the same."""
    live = start(PAIR)
    assert live.process.stdout is not None
    assert live.process.stdout.readline()
    live.process.stdout.close()
    assert live.process.wait(timeout=60) == 0
    assert live.result()["verdict"] == "pass"
    assert left_of(live.run) == []


def test_output_that_cannot_be_written_is_an_error_and_the_run_is_saved(tmp_path: Path) -> None:
    """Standard output on a full disk: the run ends with its record whole, and labctl says that its words were lost."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*LABCTL, "run", str(PAIR), "--out", str(tmp_path / "runs"), "--json"],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=60, cwd=ROOT,
        )  # fmt: skip
    assert done.returncode == 4
    assert done.stderr == "labctl: what was to be printed could not be written: No space left on device\n"
    result = json.loads((tmp_path / "runs" / run_name(tmp_path / "runs") / "result.json").read_text())
    assert result["verdict"] == "pass"


def shared_by(process: subprocess.Popen[str]) -> list[str]:
    """The containers in which a tshark waits for the runs of a command."""
    lines = docker("ps", "--all", "--no-trunc", "--format", '{{.ID}} {{.Label "labctl.run"}}').splitlines()
    return [line.split()[0] for line in lines if " tshark-" in line and f":{process.pid}:" in line]


def test_runs_side_by_side_have_one_tshark_in_common(start: Start, tmp_path: Path) -> None:
    """With --jobs one waits for the agents of all runs to fork theirs from, and goes with the command."""
    for name in ("a", "b"):
        steps = "  - {run: [probe, ping, server], on: client, expect: {errno: null}}\n  - {wait: 20s}\n"
        (tmp_path / f"{name}.yaml").write_text(f"scenario: {name}\n{LAB}\nsteps:\n{steps}", encoding="utf-8")
    live = start(tmp_path / "a.yaml", tmp_path / "b.yaml", "--jobs", 2)
    live.wait_for("step-start", kind="wait")
    (shared,) = shared_by(live.process)
    (mount,) = json.loads(docker("inspect", shared, "--format", "{{json .Mounts}}"))
    deadline = time.monotonic() + 20
    while not (there := [path.name for path in Path(mount["Source"]).iterdir()]):  # the runs do not wait for it
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert there == ["tshark"]
    for agent in containers(f"labctl.run={live.run}", "labctl.agent"):
        assert mount in json.loads(docker("inspect", agent, "--format", "{{json .Mounts}}"))
    live.signal(signal.SIGINT)
    assert live.end(timeout_s=60).code == 130
    assert shared_by(live.process) == []
    assert not Path(mount["Source"]).exists()


def test_a_shared_tshark_ends_with_a_command_that_is_killed() -> None:
    """Nobody has to take it away: its container ends and is gone when its standard input ends."""
    code = "import sys; from labctl.engines.forks import shared\nwith shared() as f: print(f, flush=True); sys.stdin.read()"
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, **streams) as process:  # type: ignore[call-overload]
        folder = Path(process.stdout.readline().strip())
        deadline = time.monotonic() + 20
        while not (folder / "tshark").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert len(shared_by(process)) == 1
        process.kill()
        process.wait()
        while shared_by(process):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    door.remove(folder.name)
