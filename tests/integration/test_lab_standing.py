"""A lab that stays: up, ps, exec, run --lab, down; and what its hosts may do and reach."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path

import pytest
from labs import LABCTL, ROOT, SCENARIOS, Start, containers, docker, labctl, left_of, rules_in

from labctl.engines import door
from labctl.evidence import pcapng
from labctl.evidence.packets import dissect_argv

NAME = f"test-{os.getpid()}"
COUNTERS = re.compile(r"\[\d+:\d+\]|^#.*$", re.MULTILINE)
SHORT = """\
scenario: short
steps:
  - {start: [echo-server, "", 65432, --connections=0], on: server, ready: {listen: 65432}}
  - {fault: wall, at: router, drop: {protocol: tcp, dport: 65433, to: server}}
  - {fault: closed, at: server, reject: {protocol: tcp, dport: 65434, with: tcp-reset}}
  - {name: dropped, run: [probe, connect, server, 65433, --timeout=100ms], on: client, expect: {timed_out: true}}
  - {name: refused, run: [probe, connect, server, 65434], on: client, expect: {errno: ECONNREFUSED}}
  - {name: works, run: [echo-client, server, 65432], on: client, expect: {errno: null}}
"""
# Connects to an address and says what came of it; without a route the kernel answers at once.
REACH = """
import errno, socket, sys, time
s = socket.socket(); s.settimeout(5); began = time.monotonic()
try: s.connect((sys.argv[1], int(sys.argv[2]))); what = "connected"
except TimeoutError: what = "nothing"
except OSError as e: what = errno.errorcode[e.errno]
print(what, time.monotonic() - began < 1)
"""
CAPABILITIES = (
    "import re; print(*re.findall(r'Cap(?:Eff|Prm|Bnd):\\s*(\\w+)', open('/proc/self/status').read()))"
)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A standing lab of server, client and router."""
    compose = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    without = re.sub(r"  powerpc:\n(?:    .*\n)+", "", compose)
    path = tmp_path_factory.mktemp("lab") / "docker-compose.yml"
    path.write_text(without.replace("context: images", f"context: {ROOT / 'images'}"), encoding="utf-8")
    done = labctl("up", path, "--name", NAME)
    assert done.code == 0, done.out + done.err
    assert done.out == f"lab {NAME} is up: client, router, server\n"
    yield NAME
    all_of_it = len(containers(f"labctl.lab={NAME}"))  # three hosts, and what stands beside them
    down = labctl("down", NAME)
    assert (down.code, down.out) == (0, f"lab {NAME} is down: {all_of_it} containers and 3 networks removed\n"), down.err
    assert containers(f"labctl.lab={NAME}") == []
    assert docker("network", "ls", "--quiet", "--filter", f"label=labctl.lab={NAME}") == ""


@pytest.fixture
def short(tmp_path: Path) -> Path:
    """A short scenario with faults on two hosts that are never healed by it."""
    path = tmp_path / "short.yaml"
    path.write_text(SHORT, encoding="utf-8")
    return path


def addresses(host: str, name: str) -> list[str]:
    """The addresses of one host, as ps tells them."""
    (lab,) = [entry for entry in labctl("ps", "--json").json if entry["name"] == name]
    return next(h["addresses"] for h in lab["hosts"] if h["name"] == host)


def reach(lab: str, host: str, address: str, port: int = 22) -> list[str]:
    """What a connect from a host comes to, and whether it was known within a second."""
    return labctl("exec", "--lab", lab, host, "--", "python3", "-c", REACH, address, port).out.split()


def namespaces(name: str) -> list[str]:
    """Rules and queueing disciplines of every host of the lab, packet counters aside."""
    with ThreadPoolExecutor(max_workers=4) as pool:
        return [
            COUNTERS.sub("", said)
            for said in pool.map(rules_in, sorted(containers(f"labctl.lab={name}", "labctl.host")))
        ]


def test_ps_shows_the_lab_and_its_hosts(lab: str) -> None:
    """`labctl ps` lists the lab as standing, every host running, and the router on every network."""
    (entry,) = [e for e in labctl("ps", "--json").json if e["name"] == lab]
    assert entry["kind"] == "standing"
    assert [(h["name"], h["state"], len(h["addresses"])) for h in entry["hosts"]] == [
        ("client", "running", 1),
        ("router", "running", 3),
        ("server", "running", 1),
    ]


def test_exec_runs_a_command_and_a_bundled_program(lab: str) -> None:
    """`labctl exec` hands on output and exit status, and knows the bundled programs by name."""
    said = labctl("exec", "--lab", lab, "client", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (said.code, said.out, said.err) == (7, "out\n", "err\n")
    probe = labctl("exec", "--lab", lab, "client", "--", "probe", "connect", "server", "9")
    assert json.loads(probe.out.splitlines()[-1])["errno"] == "ECONNREFUSED"


def test_exec_says_what_there_is_when_there_is_no_such_host_or_lab(lab: str) -> None:
    """A wrong host is a usage error that lists the hosts; so is a wrong lab, and it says where there are some."""
    host = labctl("exec", "--lab", lab, "klient", "true")
    assert (host.code, host.err) == (
        2,
        f"labctl: lab {lab} has no host klient; it has client, router, server\n",
    )
    none = labctl("exec", "--lab", "no-such-lab", "client", "true")
    assert (none.code, "no lab named no-such-lab stands here" in none.err) == (2, True)


def test_a_name_that_is_taken_is_a_usage_error(lab: str) -> None:
    """A second lab of the same name is refused, and the first stands as before."""
    again = labctl("up", SCENARIOS / "pair.yml", "--name", lab)
    assert again.code == 2
    assert f"a lab named {lab} stands already, and it is " in again.err
    assert "; choose another --name" in again.err
    assert labctl("exec", "--lab", lab, "client", "true").code == 0


def test_a_lab_that_does_not_stand_is_told(tmp_path: Path, short: Path) -> None:
    """To name a lab that is not there is bad usage for every command, which says which and what to do; nothing is left."""
    for command in (
        ("down", "no-such-lab"), ("fault", "list", "--lab", "no-such-lab"), ("exec", "--lab", "no-such-lab", "a", "true"),
        ("fault", "add", "--lab", "no-such-lab", "a", "drop", "--protocol", "tcp"), ("capture", "--lab", "no-such-lab", "a"),
    ):  # fmt: skip
        done = labctl(*command)
        assert (done.code, "no lab named no-such-lab stands here" in done.err) == (2, True), command
    ran = labctl("run", short, "--lab", "no-such-lab", "--out", tmp_path / "runs")
    assert (ran.code, list((tmp_path / "runs").iterdir())) == (2, [])
    assert "no lab named no-such-lab stands here; `labctl up --name no-such-lab` makes one" in " ".join(
        (ran.out + ran.err).split()
    )


@pytest.mark.parametrize("name", ["Lab", "a b", "-x", "a" * 32, "", "ä"])
def test_a_name_that_cannot_be_is_a_usage_error(name: str) -> None:
    """A lab's name that Docker could not take, or that looks like an option, is refused with what may be written."""
    done = labctl("up", f"--name={name}")
    assert done.code == 2, done.out + done.err
    assert "lower case letters, digits and dashes" in done.err


def test_runs_on_a_standing_lab_pass_and_leave_it_byte_for_byte(
    lab: str, tmp_path: Path, short: Path
) -> None:
    """Two runs after each other pass; the lab stays up, and its rules and queueing disciplines are what they were before."""
    before = namespaces(lab)
    hosts = containers(f"labctl.lab={lab}", "labctl.host")
    for _ in range(2):
        done = labctl("run", short, "--lab", lab, "--out", tmp_path / "runs", "--json")
        assert done.code == 0, done.out + done.err
        assert left_of(done.json["run"]) == []
    assert namespaces(lab) == before
    assert containers(f"labctl.lab={lab}", "labctl.host") == hosts


@pytest.mark.usefixtures("collecting")
def test_a_driver_killed_on_a_standing_lab_leaves_it_byte_for_byte(
    lab: str, start: Start, short: Path
) -> None:
    """A driver that is killed while its faults are in place leaves a standing lab as it was, and gc leaves the lab alone."""
    before = namespaces(lab)
    text = short.read_text(encoding="utf-8") + "  - {wait: 60s}\n"
    short.write_text(text, encoding="utf-8")
    live = start(short, "--lab", lab)
    live.wait_for("step-start", kind="wait")
    assert namespaces(lab) != before
    live.process.kill()
    live.process.wait()
    killed = time.monotonic()
    while namespaces(lab) != before:
        assert time.monotonic() - killed < 20
    hosts = containers(f"labctl.lab={lab}", "labctl.host")
    assert labctl("gc").code == 0
    assert containers(f"labctl.lab={lab}", "labctl.host") == hosts
    assert left_of(live.run) == []


def test_agents_of_a_standing_lab_are_born_in_their_nursery(lab: str, start: Start, short: Path) -> None:
    """A run on a standing lab makes no container at all; when a nursery is gone, its host's agent is a container again."""
    short.write_text(short.read_text(encoding="utf-8") + "  - {wait: 60s}\n", encoding="utf-8")
    label = f"labctl.lab={lab}"
    for nursery_there in (True, False):
        if not nursery_there:
            docker("rm", "--force", *containers(label, "labctl.nursery=client"))
        live = start(short, "--lab", lab)
        live.wait_for("step-start", kind="wait")
        assert len(containers(f"labctl.run={live.run}")) == (0 if nursery_there else 1)
        agents = [docker("top", c, "-eo", "pid,args").count("agent.nursery") for c in containers(label, "labctl.nursery")]
        assert sum(agents) == (6 if nursery_there else 4)  # each nursery, and the agent it was forked into
        live.process.kill()
        live.process.wait()
        killed = time.monotonic()
        while any(docker("top", c, "-eo", "pid,args").count("agent.nursery") > 1 for c in containers(label, "labctl.nursery")):
            assert time.monotonic() - killed < 10


def test_a_scenario_for_other_hosts_is_a_clear_error(lab: str, tmp_path: Path) -> None:
    """A scenario that needs a host which this standing lab has not: an error that says what the lab has."""
    done = labctl(
        "run", ROOT / "scenarios/endianness.yaml", "--lab", lab, "--out", tmp_path / "runs", "--json"
    )
    assert done.code in (2, 4), done.out + done.err
    assert "the lab has no host 'powerpc'" in done.json["reason"]


def test_a_rule_that_was_there_before_is_there_afterwards(lab: str, tmp_path: Path, short: Path) -> None:
    """Somebody's own iptables rule on a host of the lab survives a run with faults in the same chain."""
    host = containers(f"labctl.lab={lab}", "labctl.host=server")[0]
    rule = ["INPUT", "-p", "tcp", "--dport", "7", "-j", "DROP"]
    beside = [
        "run",
        "--rm",
        "--network",
        f"container:{host}",
        "--cap-add",
        "NET_ADMIN",
        "labctl/agent",
        "iptables",
    ]
    docker(*beside, "-A", *rule)
    try:
        assert labctl("run", short, "--lab", lab, "--out", tmp_path / "runs").code == 0
        assert "-A INPUT -p tcp -m tcp --dport 7 -j DROP" in rules_in(host)
    finally:
        docker(*beside, "-D", *rule)


def test_hosts_have_no_capability_and_agents_have_two(lab: str, start: Start) -> None:
    """A program on a host can have no capability at all; an agent has NET_ADMIN and NET_RAW and nothing else."""
    said = labctl("exec", "--lab", lab, "client", "--", "python3", "-c", CAPABILITIES)
    assert said.out.split() == ["0" * 16] * 3
    live = start(SCENARIOS / "wait.yaml")
    live.wait_for("lab-up")
    agent = containers(f"labctl.run={live.run}", "labctl.agent=client")[0]
    assert docker("exec", agent, "python3", "-c", CAPABILITIES).split() == [f"{1 << 12 | 1 << 13:016x}"] * 3


def test_no_flipped_bit_makes_the_mac_address_of_one_host_that_of_another(lab: str) -> None:
    """A bridge that learns from a damaged source address learns of nobody: MAC addresses differ in two bits at least."""
    shown = [json.loads(docker("inspect", name))[0] for name in containers(f"com.docker.compose.project=labctl-lab-{lab}")]
    links = [link for one in shown for link in one["NetworkSettings"]["Networks"].values() if link["MacAddress"]]
    macs = {(link["NetworkID"], int(link["MacAddress"].replace(":", ""), 16)) for link in links}
    assert len(macs) == len(links) == 5  # the router is on three networks
    pairs = [(a, b) for (net, a), (other, b) in combinations(macs, 2) if net == other]
    assert len(pairs) == 2
    assert all((a ^ b).bit_count() >= 2 for a, b in pairs)


@pytest.mark.parametrize("host", ["client", "server", "router"])
def test_nothing_leaves_the_lab(lab: str, host: str) -> None:
    """No host reaches the machine itself, an address outside, or a lab beside it; each attempt fails at once."""
    own = addresses(host, lab)
    gateways = [f"{a.rsplit('.', 1)[0]}.{(int(a.rsplit('.', 1)[1]) // 64) * 64 + 1}" for a in own]
    for address in [*gateways, "192.0.2.1", "172.17.0.1"]:
        what, at_once = reach(lab, host, address)
        assert what in ("ENETUNREACH", "EHOSTUNREACH"), f"{host} to {address}: {what}"
        assert at_once == "True"


def test_two_labs_do_not_reach_each_other(lab: str, start: Start) -> None:
    """A host of a run beside this lab cannot be reached from it, though both are on one machine."""
    live = start(SCENARIOS / "wait.yaml")
    live.wait_for("step-start", kind="wait")
    other = next(h["addresses"][0] for h in live.wait_for("lab-up")["hosts"] if h["name"] == "server")
    what, at_once = reach(lab, "client", other, 65432)
    assert (what in ("ENETUNREACH", "EHOSTUNREACH"), at_once) == (True, "True"), what


def test_hosts_of_the_lab_reach_each_other_by_name(lab: str) -> None:
    """Each host finds each other by name, across the router, and is refused by its kernel: there and back works."""
    for host, other in (("client", "server"), ("server", "client"), ("client", "router")):
        assert reach(lab, host, other, 9) == ["ECONNREFUSED", "True"], f"{host} to {other}"


def test_a_name_that_is_no_host_does_not_leave_the_lab(lab: str) -> None:
    """Looking up a foreign name fails: the hosts' resolver asks nobody outside."""
    ask = "import socket\ntry: print(socket.getaddrinfo('example.org', 80))\nexcept socket.gaierror as e: print('gaierror')"
    assert labctl("exec", "--lab", lab, "client", "--", "python3", "-c", ask).out == "gaierror\n"


def live_captures() -> list[str]:
    """Containers that capture live, once those that are ending have had a moment."""
    deadline = time.monotonic() + 5
    while True:
        beside = docker("ps", "--all", "--no-trunc", "--format", "{{.Command}}", "--filter", "label=labctl.agent")
        found = [line for line in beside.splitlines() if "agent.live" in line]
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.05)


def capturing(lab: str, *arguments: str) -> subprocess.Popen[bytes]:
    """`labctl capture` of the client, started and writing."""
    command = [*LABCTL, "capture", "--lab", lab, "client", *arguments]
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, bufsize=0
    )


def test_a_live_capture_is_whole_when_it_is_interrupted(lab: str, tmp_path: Path) -> None:
    """Ctrl-C ends `labctl capture` with 0, every packet is in what it wrote, and nothing is left in Docker."""
    live = capturing(lab)
    assert live.stdout is not None
    begin = live.stdout.read(64)
    assert labctl("exec", "--lab", lab, "client", "--", "probe", "connect", "server", "9").code in (0, 1)
    live.send_signal(signal.SIGINT)
    rest, said = live.communicate(timeout=20)
    assert (live.returncode, b"Capturing on 'any'" in said) == (0, True), said
    written = tmp_path / "live.pcapng"
    written.write_bytes(begin + rest)
    assert len(pcapng.Capture.read(written).packets) >= 2  # a SYN and a RST at least
    assert live_captures() == []


def test_a_live_capture_ends_with_its_reader(lab: str) -> None:
    """`labctl capture | head -c 64`: it ends when nobody reads any more, though no packet comes; nothing is left."""
    live = capturing(lab)
    assert live.stdout is not None
    assert len(live.stdout.read(64)) == 64
    live.stdout.close()
    assert live.wait(timeout=20) == 0
    assert live_captures() == []
    assert live.stderr is not None
    live.stderr.close()


def test_a_live_capture_ends_with_a_driver_that_is_killed(lab: str) -> None:
    """SIGKILL of `labctl capture` leaves no container that goes on capturing."""
    live = capturing(lab)
    assert live.stdout is not None
    live.stdout.read(64)
    live.kill()
    live.communicate(timeout=20)
    assert live_captures() == []


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["client", "--interface", "eth9"], 2, "there is no interface eth9; there are eth0, lo and any"),
        (["client", "--filter", "tcp prot 80"], 2, "Invalid capture filter"),
        (["clint"], 2, "has no host clint"),
        (["client", "--output", "/dev/full"], 4, "/dev/full cannot be written: No space left on device"),
    ],
)
def test_what_cannot_be_captured_is_told(lab: str, tmp_path: Path, arguments: list[str], code: int, words: str) -> None:
    """A wrong interface, filter or host is bad usage, a full disk is trouble; each with its reason."""
    done = labctl("capture", "--lab", lab, "--output", tmp_path / "x.pcapng", *arguments)
    assert (done.code, words in done.err) == (code, True), done.err
    assert live_captures() == []


def test_a_run_of_one_host_leaves_the_ways_of_a_standing_lab(lab: str, tmp_path: Path) -> None:
    """A scenario that speaks of one host alone, so of no router, takes no route away from that host of a lab that stands."""
    alone = tmp_path / "alone.yaml"
    alone.write_text(
        "scenario: alone\nsteps:\n  - {run: [sh, -c, 'true'], on: client, expect: {exit: 0}}\n", encoding="utf-8"
    )
    reach = ("exec", "--lab", lab, "client", "--", "probe", "connect", "server", "9")
    assert "ECONNREFUSED" in labctl(*reach).out
    done = labctl("run", alone, "--lab", lab, "--out", tmp_path / "runs")
    assert done.code == 0, done.out + done.err
    assert "ECONNREFUSED" in labctl(*reach).out


@pytest.mark.usefixtures("collecting")
def test_a_lab_that_a_run_kept_is_one_that_stands(tmp_path: Path) -> None:
    """`run --keep` leaves its lab under a name: gc passes it by, exec and run --lab use it, down takes it away."""
    out = tmp_path / "runs"
    assert labctl("run", SCENARIOS / "pair.yaml", "--keep", "--out", out).code == 0
    (run,) = out.iterdir()
    name = "pair-" + run.name.rpartition("-")[2]
    try:
        assert labctl("gc").code == 0
        assert f"{name}  (standing)" in labctl("ps").out
        assert "ECONNREFUSED" in labctl("exec", "--lab", name, "client", "--", "probe", "connect", "server", "9").out
        again = labctl("run", SCENARIOS / "pair.yaml", "--lab", name, "--out", tmp_path / "again", "--json")
        assert again.json["verdict"] == "pass"
        (second,) = (tmp_path / "again").iterdir()
        assert (second / "compose.yaml").read_bytes() == (run / "compose.yaml").read_bytes()
    finally:
        done = labctl("down", name)
    assert done.code == 0, done.err
    assert left_of(run.name) == []


def test_without_its_doors_a_lab_that_stands_is_reached_the_long_way(lab: str, tmp_path: Path) -> None:
    """Agents are asked for through a folder of the driver's own, and by `docker exec` where that is gone."""
    doors = door.folder(f"labctl-lab-{lab}")
    assert doors is not None
    expected = {"tshark", *map(door.name, ("client", "router", "server"))}
    deadline = time.monotonic() + 10  # they come a moment after the lab is up
    while {path.name for path in doors.iterdir()} != expected:
        assert time.monotonic() < deadline, sorted(path.name for path in doors.iterdir())
        time.sleep(0.05)
    short = tmp_path / "short.yaml"
    short.write_text(SHORT, encoding="utf-8")
    away = doors.rename(tmp_path / "doors")
    try:
        done = labctl("run", short, "--lab", lab, "--out", tmp_path / "runs", "--json")
    finally:
        away.rename(doors)
    assert (done.code, done.json["verdict"]) == (0, "pass"), done.err


def test_what_programs_forked_ends_with_their_run(lab: str, tmp_path: Path) -> None:
    """A process that a program left in the background of a host that stays is gone when the run is over; others' are not."""
    path = tmp_path / "forks.yaml"
    step = '{run: [sh, -c, "sleep 4321 & echo x"], on: client, expect: {exit: 0}}'
    path.write_text(f"scenario: forks\nsteps:\n  - {step}\n", encoding="utf-8")
    client = containers(f"labctl.lab={lab}", "labctl.host=client")[0]
    docker("exec", "--detach", client, "sleep", "1234")
    done = labctl("run", path, "--lab", lab, "--out", tmp_path / "runs")
    assert done.code == 0, done.out + done.err
    running = docker("top", client, "-eo", "pid,args")
    assert ("sleep 4321" in running, "sleep 1234" in running) == (False, True)


def test_programs_of_a_driver_that_was_killed_do_not_stay_for_the_next_run(lab: str, start: Start, tmp_path: Path) -> None:
    """SIGKILL of the driver leaves its programs to Docker; the next run on that lab ends them, and finds its port free."""
    long = tmp_path / "long.yaml"
    long.write_text(SHORT + "  - wait: 30s\n", encoding="utf-8")
    live = start(long, "--lab", lab)
    live.wait_for("step-start", kind="wait")
    server = containers(f"labctl.lab={lab}", "labctl.host=server")[0]
    live.process.kill()
    live.process.wait()
    assert "echo_server" in docker("top", server, "-eo", "pid,args")
    short = tmp_path / "short.yaml"
    short.write_text(SHORT, encoding="utf-8")
    done = labctl("run", short, "--lab", lab, "--out", tmp_path / "runs", "--json")
    assert (done.code, done.json["verdict"]) == (0, "pass"), done.out
    assert "echo_server" not in docker("top", server, "-eo", "pid,args")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_lab_whose_bringing_up_is_ended_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    """`kill`, or a terminal that is closed, is as Ctrl-C: exit 130, and no half of a lab."""
    name = f"{NAME}-half"
    up = begun(slow_lab(tmp_path), name)
    up.send_signal(number)
    assert up.wait(60) == 130
    assert containers(f"labctl.lab={name}") == []
    assert docker("network", "ls", "--quiet", "--filter", f"label=labctl.lab={name}") == ""


@pytest.mark.usefixtures("collecting")
def test_a_lab_that_was_never_finished_is_none_that_stands(tmp_path: Path) -> None:
    """SIGKILL of `labctl up` leaves half a lab: everybody says so, `up` brings it up anew, and gc removes it."""
    name = f"{NAME}-half"
    slow = slow_lab(tmp_path)
    up = begun(slow, name)
    up.kill()
    up.wait(60)
    (half,) = [lab for lab in labctl("ps", "--json").json if lab["name"] == name]
    assert half["kind"] == "unfinished"
    done = labctl("exec", "--lab", name, "client", "true")
    assert done.code == 4
    assert f"the lab {name} was never finished, and who brought it up is gone" in done.err
    again = labctl("up", slow, "--name", name)
    assert (again.code, again.out) == (0, f"lab {name} is up: client, server\n"), again.err
    assert labctl("gc").code == 0
    assert labctl("exec", "--lab", name, "client", "true").code == 0, "it stands now, whoever had begun it"
    assert labctl("down", name).code == 0
    up = begun(slow, name)
    up.kill()
    up.wait(60)
    assert labctl("gc").code == 0
    assert containers(f"labctl.lab={name}") == []
    assert docker("volume", "ls", "--quiet", "--filter", f"label=labctl.lab={name}") == ""


def slow_lab(folder: Path) -> Path:
    """The lab of two hosts, one of which is some seconds without its health: bringing it up cannot be over at once."""
    text = (SCENARIOS / "pair.yml").read_text(encoding="utf-8")
    health = "    healthcheck: {test: [CMD-SHELL, sleep 6], interval: 500ms, timeout: 60s}\n"
    path = folder / "slow.yml"
    path.write_text(text.replace("    <<: *host\n", f"    <<: *host\n{health}"), encoding="utf-8")
    return path


def begun(compose: Path, name: str) -> subprocess.Popen[bytes]:
    """`labctl up` of which there is something already."""
    command = [*LABCTL, "up", str(compose), "--name", name]
    up = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT)
    while not containers(f"labctl.lab={name}"):
        assert up.poll() is None, "it had nothing and has ended"
    return up


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_what_exec_runs_ends_with_it(lab: str, number: signal.Signals) -> None:
    """A command that is ended from outside leaves nothing on the host; one that ended by itself keeps what it left there."""
    client = containers(f"labctl.lab={lab}", "labctl.host=client")[0]
    kept = labctl("exec", "--lab", lab, "client", "--", "sh", "-c", f"sleep 33{number.value} & echo kept")
    assert kept.out == "kept\n"
    command = [*LABCTL, "exec", "--lab", lab, "client", "--", "sh", "-c", "sleep 2345 & echo ready; sleep 3456"]
    running = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, cwd=ROOT)
    assert running.stdout is not None
    assert running.stdout.readline() == b"ready\n"
    running.send_signal(number)
    running.wait(30)
    running.stdout.close()
    wait_until(lambda: "3456" not in docker("top", client, "-eo", "pid,args"))
    left = docker("top", client, "-eo", "pid,args")
    assert ("sleep 2345" in left, f"sleep 33{number.value}" in left) == (False, True)


def test_a_bundled_program_beside_a_host_ends_with_exec() -> None:
    """Where an image has no bundled programs they run in a container of their own, which goes as well."""
    name = f"{NAME}-bare"
    assert labctl("up", SCENARIOS / "bare.yml", "--name", name).code == 0
    (host, *_) = [h["name"] for lab in labctl("ps", "--json").json if lab["name"] == name for h in lab["hosts"]]
    command = [*LABCTL, "exec", "--lab", name, host, "--", "probe", "listen", "", "65432"]
    before = set(containers("labctl.run=exec"))
    running = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd=ROOT)
    wait_until(lambda: set(containers("labctl.run=exec")) > before)
    running.kill()
    running.wait(30)
    wait_until(lambda: set(containers("labctl.run=exec")) <= before)
    assert labctl("down", name).code == 0


def wait_until(happened: Callable[[], bool]) -> None:
    """Wait for something that happens soon."""
    deadline = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


FORKED = """
import json, sys
from pathlib import Path
sys.path.insert(0, "/opt/labctl")
from agent import dissect
from agent.forks import Forked
asked, capture = json.load(sys.stdin), Path("/tmp/forked/x.pcapng")
capture.parent.mkdir()
capture.write_bytes(bytes.fromhex(asked["capture"]))
def ways(argv, size):
    for start in (Forked, lambda argv, out, err: Forked(argv, out, err, "/nowhere")):
        dissect.Forked = start
        dissector = dissect.Dissector(argv, capture.with_suffix(".tsv"))
        kind = type(dissector._process).__name__
        done = dissector.read(capture, size)
        said = [line for line in done["err"].splitlines() if not line.startswith("Running as")]
        yield kind, done["exit"], done["packets"], said, capture.with_suffix(".tsv").read_text()
print(json.dumps([list(ways(argv, asked["size"])) for argv in asked["argvs"]]))
"""


def test_a_forked_tshark_says_what_one_that_was_started_says(lab: str, tmp_path: Path) -> None:
    """On a lab that stands no tshark is started: of a run's capture what is forked has the same lines, errors and status."""
    labctl("up", "--name", lab)  # nurseries that another test has removed
    ran = labctl("run", ROOT / "scenarios/baseline.yaml", "--lab", lab, "--out", tmp_path, "--json")
    assert ran.code == 0, ran.out + ran.err
    capture = (tmp_path / ran.json["run"] / "pcap/client.pcapng").read_bytes()
    argvs = [dissect_argv(["tcp.flags.syn == 1", "labapp"]), dissect_argv(["tcp.flags.syn =="])]
    asked = {"capture": capture.hex(), "size": len(capture), "argvs": argvs}
    for host in ("client", "server"):  # the one that all share waits beside the first
        (nursery,) = containers(f"labctl.lab={lab}", f"labctl.nursery={host}")
        done = subprocess.run(
            ["docker", "exec", "--interactive", nursery, "python3", "-c", FORKED], input=json.dumps(asked), text=True,
            capture_output=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        for (forked, *its), (started, *others) in json.loads(done.stdout):
            assert (forked, started) == ("Forked", "Popen")
            assert its == others
        good, bad = json.loads(done.stdout)
        assert (good[0][1], good[0][2] > 5, bad[0][1]) == (0, True, 1)
        docker("exec", nursery, "rm", "-r", "/tmp/forked")
