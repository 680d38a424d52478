"""script/: what set-up says and does, on machines made of stubs. No Docker, no apt, nothing outside the test's folder."""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = ["script/bootstrap", "script/run", "script/test", "script/bench", "script/record", "script/docs", ".ci/run"]
TOOLS = (
    "awk basename bash cat cp cut dirname env flock grep head mkdir mktemp mv paste rm sed setsid sh sleep sort tail "
    "timeout touch tr true wc"
)

# What each stub does; $state holds what has "happened" on the machine. Every call is written to $state/calls.
DOCKER = """
case "$1 $2" in
  "version "*) [ -e "$state/denied" ] && { echo "permission denied while trying to connect" >&2; exit 1; }
               [ -e "$state/answers" ] ;;
  "compose version") [ -e "$state/compose" ] || [ -e "$HOME/.docker/cli-plugins/docker-compose" ] ;;
  "image inspect") [ -e "$state/image" ] ;;
  "pull "*) [ -e "$state/registry" ] && touch "$state/image" ;;
  "import "*) touch "$state/image" ;;
esac
"""
DOCKERD = """
echo "dockerd says hello"
[ -e "$state/dockerd-broken" ] && { echo "failed to start daemon: no luck"; exit 1; }
echo $$ > "$state/dockerd-pid"
touch "$state/answers"
exec sleep 60
"""
APT_GET = """
case " $* " in
  *" indextargets "*) echo "http://mirror.example/debian/ bookworm"
                      echo "http://mirror.example/security/ bookworm-security" ;;
  *" docker.io "*) cp "$state/later/docker" "$state/later/dockerd" "$state/bin/" ;;
  *" mmdebstrap "*) cp "$state/later/mmdebstrap" "$state/bin/" ;;
  *" download "*) touch docker-compose_2_amd64.deb ;;
esac
"""
DPKG_DEB = 'd="$3/usr/libexec/docker/cli-plugins"; mkdir -p "$d" && touch "$d/docker-compose"'


class Machine:
    """A folder that plays a whole machine: its PATH, its home, a clone of the scripts, and what has happened on it."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        self.bin = self.state / "bin"
        self.later = self.state / "later"
        self.home = folder / "home"
        self.clone = folder / "clone"
        for path in (self.bin, self.later, self.home, self.clone / "script", folder / "run"):
            path.mkdir(parents=True)
        for tool in TOOLS.split():
            (self.bin / tool).symlink_to(str(shutil.which(tool)))
        for script in SCRIPTS[:-1]:
            shutil.copy(ROOT / script, self.clone / script)
        shutil.copy(ROOT / "pyproject.toml", self.clone)
        self.release = folder / "os-release"
        self.run_folder = folder / "run"
        self.env = {
            "PATH": str(self.bin),
            "HOME": str(self.home),
            "TMPDIR": str(folder),
            "LABCTL_OS_RELEASE": str(self.release),
            "LABCTL_DOCKER_RUN": str(self.run_folder),
            "LABCTL_DOCKERD_LOG": str(folder / "dockerd.log"),
            "LABCTL_DOCKERD_SECONDS": "5",
            "LABCTL_SYSTEMD": str(folder / "no-systemd"),
        }
        self.is_a("debian", "12")
        self.user(0)
        self.stub("apt-get", APT_GET)
        self.stub("apt-config", "true")
        self.stub("dpkg-deb", DPKG_DEB)
        for name, body in (("docker", DOCKER), ("dockerd", DOCKERD), ("mmdebstrap", "true")):
            self.stub(name, body, self.later)

    def is_a(self, distribution: str, version: str) -> None:
        self.release.write_text(f'PRETTY_NAME="x"\nID={distribution}\nVERSION_ID="{version}"\n')

    def user(self, uid: int) -> None:
        self.stub("id", f'case "$1" in -un) echo {"root" if uid == 0 else "someone"} ;; *) echo {uid} ;; esac')

    def stub(self, name: str, body: str, folder: Path | None = None) -> None:
        path = (folder or self.bin) / name
        path.write_text(f'#!/bin/sh\nstate={self.state}\necho "{name} $*" >>"$state/calls"\n{body}\n')
        path.chmod(0o755)

    def has(self, *facts: str) -> None:
        """It has these from the start: `python` (.venv), `docker` (installed), or a fact that a stub asks for."""
        for fact in facts:
            if fact == "python":
                (self.clone / ".venv/bin").mkdir(parents=True)
                for name in ("python", "labctl"):
                    self.stub(name, 'echo "ran $*"', self.clone / ".venv/bin")
                stamp = f"{self.clone}\n{(self.clone / 'pyproject.toml').read_text()}"
                (self.clone / ".venv/.labctl-stamp").write_text(stamp)
            elif fact == "docker":
                for name in ("docker", "dockerd"):
                    shutil.copy(self.later / name, self.bin)
            else:
                (self.state / fact).touch()

    def run(self, *argv: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a script with pipes for output, as CI does: a daemon that holds them open fails the test by time."""
        return subprocess.run(
            [self.clone / "script" / argv[0], *argv[1:]],
            env=self.env | env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20, check=False,
        )  # fmt: skip

    def calls(self, pattern: str) -> list[str]:
        path = self.state / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line for line in lines if re.search(pattern, line)]

    def dockerd_pid(self) -> int | None:
        path = self.state / "dockerd-pid"
        return int(path.read_text()) if path.exists() else None


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    yield made
    if pid := made.dockerd_pid():
        os.kill(pid, signal.SIGKILL)


READY = ("python", "docker", "answers", "compose", "image")


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_is_executable_and_parses(script: str) -> None:
    assert os.access(ROOT / script, os.X_OK)
    subprocess.run(["bash", "-n", ROOT / script], check=True)


def test_no_script_or_image_names_a_package_host() -> None:
    """Mirrors come from the machine's own configuration."""
    files = [ROOT / s for s in SCRIPTS] + [ROOT / "docker-compose.yml", *ROOT.glob("images/*/[!_]*")]
    named = [f"{f.name}: {line}" for f in files if f.is_file() and f.parent.name != "programs"
             for line in f.read_text().splitlines() if re.search(r"https?://|debian\.org|pypi", line)]  # fmt: skip
    assert named == []


def test_nothing_to_do_is_quick_and_silent(machine: Machine) -> None:
    machine.has(*READY)
    took = []
    for _ in range(3):  # others are at work beside it
        began = time.monotonic()
        done = machine.run("bootstrap")
        took.append(time.monotonic() - began)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert min(took) < 1
    assert machine.calls("^(apt-get|dockerd|docker (pull|import))") == []


def test_a_bare_debian_12_gets_everything(machine: Machine) -> None:
    """Engine, daemon, Compose v2 and base image, one line each, and the output is closed though dockerd lives on."""
    machine.has("python")
    done = machine.run("bootstrap")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert [line.split(" (")[0] for line in done.stderr.splitlines()] == [
        "bootstrap: installing the Docker engine",
        "bootstrap: starting dockerd",
        "bootstrap: installing Compose v2",
        "bootstrap: fetching the image debian:trixie-slim",
        "bootstrap: installing mmdebstrap",
        "bootstrap: making the image debian:trixie-slim from Debian's packages",
    ]
    assert len(machine.calls("^apt-get -q update")) == 1
    assert machine.calls("^mmdebstrap .*deb http://mirror.example/debian trixie main") != []
    assert (machine.home / ".docker/cli-plugins/docker-compose").exists()
    pid = machine.dockerd_pid()
    assert pid is not None
    assert os.getsid(pid) != os.getsid(0)
    again = machine.run("bootstrap")
    assert (again.returncode, again.stderr) == (0, "")


def test_debian_13_takes_its_own_compose(machine: Machine) -> None:
    machine.is_a("debian", "13")
    machine.has("python")
    machine.stub("apt-get", APT_GET + 'case " $* " in *" docker-compose "*) touch "$state/compose" ;; esac')
    done = machine.run("bootstrap")
    assert done.returncode == 0, done.stderr
    assert machine.calls("install .*docker.io docker-cli") != []
    assert machine.calls("download") == []


def test_a_docker_that_answers_is_used_and_nothing_installed(machine: Machine) -> None:
    machine.is_a("fedora", "41")
    machine.user(1000)
    machine.has("python", "docker", "answers", "compose", "registry")
    done = machine.run("bootstrap")
    assert done.returncode == 0, done.stderr
    assert machine.calls("^(apt-get|dockerd|mmdebstrap)") == []


@pytest.mark.parametrize(
    ("distribution", "version", "uid", "has", "says"),
    [
        ("debian", "12", 1000, [], ["Docker is missing", "this is not root", "apt-get install docker.io"]),
        ("fedora", "41", 0, [], ["this is not Debian (ID=fedora", "dnf install moby-engine"]),
        ("debian", "11", 0, [], ["this is Debian 11, and only 12 and 13"]),
        ("debian", "12", 1000, ["docker"], ["installed but not running", "this is not root", "sudo dockerd"]),
        ("debian", "12", 1000, ["docker", "denied"], ["someone may not use it", "usermod -aG docker someone"]),
        ("ubuntu", "24.04", 0, ["docker", "answers"], ["Compose v2 is missing", "docker-compose-v2"]),
        ("fedora", "41", 0, ["docker", "answers", "compose"], ["could not be pulled", "docker load"]),
    ],
)
def test_where_it_may_not_install_it_says_what_to_install(
    machine: Machine, distribution: str, version: str, uid: int, has: list[str], says: list[str]
) -> None:
    machine.is_a(distribution, version)
    machine.user(uid)
    machine.has("python", *has)
    done = machine.run("bootstrap")
    assert done.returncode == 3, done.stderr
    for words in says:
        assert words in done.stderr
    assert machine.calls("^apt-get .*(install|update)") == []
    assert machine.dockerd_pid() is None


def test_a_missing_python_names_the_way_to_one(machine: Machine) -> None:
    machine.user(1000)
    done = machine.run("bootstrap", "--python", LABCTL_PYTHON="/nowhere/python3")
    assert done.returncode == 3
    assert "apt-get install python3 python3-venv" in done.stderr
    assert "LABCTL_PYTHON=" in done.stderr


@pytest.mark.parametrize(
    ("fits", "named", "taken"),
    [
        (True, {}, "system-python"),
        (False, {}, "python3"),
        (True, {"LABCTL_PYTHON": "python3.12"}, "python3.12"),
    ],
)
def test_the_python_of_the_distribution_is_taken_before_others(
    machine: Machine, fits: bool, named: dict[str, str], taken: str
) -> None:
    """If it fits: one without venv, or too old, does not. What LABCTL_PYTHON names comes before all."""
    makes = 'case "$*" in "-m venv "*) mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; cp "$0" "$3/bin/labctl" ;; esac'
    for name in ("system-python", "python3", "python3.12"):
        body = makes if fits or name != "system-python" else "exit 1"
        machine.stub(name, body, machine.later if name == "system-python" else None)
    done = machine.run("bootstrap", "--python", LABCTL_SYSTEM_PYTHON=str(machine.later / "system-python"), **named)
    assert done.returncode == 0, done.stderr
    assert [call.split()[0] for call in machine.calls(" -m venv ")] == [taken]
    assert f"{taken}\n" in done.stderr


def test_a_docker_host_that_does_not_answer_is_not_replaced(machine: Machine) -> None:
    machine.has("python", "docker")
    done = machine.run("bootstrap", DOCKER_HOST="tcp://192.0.2.1:2375")
    assert done.returncode == 3
    assert "DOCKER_HOST=tcp://192.0.2.1:2375 does not answer" in done.stderr
    assert machine.dockerd_pid() is None


def test_files_of_a_dead_dockerd_are_cleared(machine: Machine) -> None:
    """A recycled process id in either pid file would stop dockerd, or be taken for its containerd."""
    machine.has("python", "docker", "compose", "image")
    contained = machine.run_folder / "docker/containerd"
    contained.mkdir(parents=True)
    for path in (machine.run_folder / "docker.pid", contained / "containerd.pid"):
        path.write_text(str(os.getpid()))
    (machine.run_folder / "docker.sock").touch()
    done = machine.run("bootstrap")
    assert done.returncode == 0, done.stderr
    assert not [path for path in machine.run_folder.rglob("*") if path.is_file()]


def test_a_dockerd_that_dies_is_reported_at_once_with_its_last_words(machine: Machine) -> None:
    machine.has("python", "docker", "dockerd-broken")
    began = time.monotonic()
    done = machine.run("bootstrap", LABCTL_DOCKERD_SECONDS="60")
    assert done.returncode == 3
    assert "failed to start daemon: no luck" in done.stderr
    assert time.monotonic() - began < 5


def test_no_network_shows_what_failed(machine: Machine) -> None:
    machine.has("python")
    machine.stub("apt-get", 'echo "E: Temporary failure resolving mirror.example"; exit 100')
    done = machine.run("bootstrap")
    assert done.returncode == 3
    assert "Temporary failure resolving" in done.stderr
    assert "Is the network there?" in done.stderr


def test_run_hands_over_its_arguments_and_keeps_stdout_for_labctl(machine: Machine) -> None:
    machine.has(*READY)
    done = machine.run("run", "a b.yaml", "--json")
    assert (done.returncode, done.stdout, done.stderr) == (0, "ran run a b.yaml --json\n", "")


def test_bench_lists_what_there_is(machine: Machine) -> None:
    machine.has(*READY)
    (machine.clone / "bench").mkdir()
    (machine.clone / "bench/lab.py").touch()
    for argv in ([], ["nope"], ["../evil"]):
        done = machine.run("bench", *argv)
        assert (done.returncode, "one of: lab\n" in done.stderr) == (2, True)
    assert machine.run("bench", "lab", "-n", "3").stdout == f"ran {machine.clone}/bench/lab.py -n 3\n"


@pytest.mark.parametrize("argv", [["bootstrap", "--wat"], ["bootstrap", "--images", "wat"], ["test", "wat"]])
def test_an_unknown_argument_is_bad_usage(machine: Machine, argv: list[str]) -> None:
    machine.has(*READY)
    done = machine.run(*argv)
    assert done.returncode == 2
    assert "wat" in done.stderr


@pytest.mark.parametrize("script", ["bootstrap", "test"])
def test_help_is_the_head_of_the_script(machine: Machine, script: str) -> None:
    done = machine.run(script, "--help")
    assert done.returncode == 0
    assert f"script/{script}" in done.stdout
    assert "set -euo" not in done.stdout


def test_unit_tests_ask_for_no_docker(machine: Machine) -> None:
    machine.has("python")
    for name in ("ruff", "mypy"):
        machine.stub(name, "true", machine.clone / ".venv/bin")
    (machine.clone / "tests/unit").mkdir(parents=True)
    (machine.clone / "tests/unit/test_x.py").touch()
    machine.stub("find", "echo found")
    done = machine.run("test", "unit", "--", "-k", "x")
    ran = "ran -m pytest --types -n 3 --dist loadfile tests/unit -k x\n"
    assert (done.returncode, done.stdout) == (0, ran)
    assert machine.calls("^docker") == []


def test_a_style_error_fails_before_the_tests(machine: Machine) -> None:
    machine.has("python")
    machine.stub("ruff", "echo E501; exit 1", machine.clone / ".venv/bin")
    machine.stub("find", "echo found")
    done = machine.run("test", "unit")
    assert (done.returncode, done.stdout) == (1, "E501\n")
