"""The command line: the contract's commands and exit codes, JSON and nothing else, and never a traceback."""

from __future__ import annotations

import contextlib
import errno
import gc
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result
from fake_engine import COMPOSE, SCENARIO, FakeCapture, FakeEngine, Fuse, World, in_memory

import labctl.runs
from labctl import __version__
from labctl.agent.capture import CaptureFailed
from labctl.calibrate import Row, binomial, calibrate
from labctl.cli import main
from labctl.cli.output import console_for, ready_streams, try_to_write
from labctl.errors import LabError, MissingError, Problem, ScenarioError

ROOT = Path(__file__).resolve().parents[2]
RUNS = ROOT / "tests/data/runs"
COMMANDS = {
    "run", "check", "explain", "list", "up", "down", "ps", "exec", "fault", "capture", "judge", "report", "doctor", "gc",
    "schema",
}  # fmt: skip

# docker-py leaves the socket open with which it could not connect; the fixture has it collected in its own test.
NO_DAEMON = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning"
)


@pytest.fixture
def no_daemon(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A machine on which no Docker daemon answers."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    yield
    gc.collect()


def call(*arguments: object) -> Result:
    """Run a command line; whatever it ends in but an exit is a failure of the test."""
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    return result


def test_help_has_every_command_of_the_contract() -> None:
    """`labctl --help` lists them all, each with a sentence; `--version` says which labctl this is."""
    text = call("--help").output
    assert {line.split()[0] for line in text.split("Commands:")[1].splitlines() if line.strip()} >= COMMANDS
    assert main.commands.keys() >= COMMANDS
    assert all(command.help for command in main.commands.values())
    assert __version__ in call("--version").output


def test_what_only_asks_docker_waits_for_no_models() -> None:
    """ps, down and gc need nothing of the scenario language, whose models take longer to import than the rest of their work."""
    script = "import sys, labctl.standing; print(sorted({'pydantic', 'jinja2', 'rich'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "Usage"),
        (("fly",), "No such command 'fly'"),
        (("run",), "Missing argument"),
        (("run", "x", "--jobs", "0"), "0 is not in"),
        (("run", "x", "--seed", "-1"), "-1 is not in"),
        (("run", "none.yaml"), "none.yaml:1:1: "),
        (("check", "none.yaml"), "none.yaml:1:1: "),
        (("explain", "none.yaml"), "none.yaml:1:1: "),
        (("explain", ROOT), f"{ROOT}:1:1: "),
        (("run", "x.yaml", "--set", "novalue"), "--set novalue: write NAME=VALUE"),
        (("run", "x.yaml", "--set", "=v"), "--set =v: write NAME=VALUE"),
        (("judge", "none"), "does not exist"),
        (("check", ROOT / "labctl"), "there is no scenario in the folder"),
        (("list", "--errno", "ENOENT"), "no scenario is like that"),
    ],
)
def test_a_wrong_command_line_is_exit_2_and_says_why(arguments: tuple[object, ...], words: str) -> None:
    """A command, option, file or folder that cannot be: exit 2 and what is wrong, on stderr."""
    result = call(*arguments)
    assert result.exit_code == 2
    assert words in result.stderr or (not arguments and words in result.output)


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    """The scenario of the fake engine, with its compose file."""
    (tmp_path / "compose.yml").write_text(COMPOSE, encoding="utf-8")
    (tmp_path / "s.yaml").write_text(SCENARIO, encoding="utf-8")
    return tmp_path / "s.yaml"


def test_check_says_how_many_are_right_or_all_that_is_wrong(scenario: Path, tmp_path: Path) -> None:
    """Right scenarios are counted; of wrong ones all problems of all files are told by line and column."""
    assert call("check", scenario).output == "1 scenario checked, no problem\n"
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").write_text(SCENARIO.replace("on: client", "on: klient"), encoding="utf-8")
    result = call("check", tmp_path)
    assert result.exit_code == 2
    lines = result.stderr.splitlines()
    assert [line.split(":")[0] for line in lines] == [str(tmp_path / "a.yaml"), str(tmp_path / "b.yaml")]
    assert all("did you mean client?" in line for line in lines)


def test_explain_and_list_and_schema_need_no_docker(scenario: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything left of the runner works without Docker: plans in words and JSON, the catalogue, the schema."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent")
    assert "iptables" in call("explain", scenario).output
    assert json.loads(call("explain", scenario, "--json").output)["hosts"][0]["name"] == "server"
    assert json.loads(call("list", scenario, "--json").output)[0]["name"] == "fake"
    listed = call("list", "--errno", "econnrefused", "--fault", "reject").output
    assert listed.startswith("Firewalls (firewall)\n  firewall ")
    assert "properties" in json.loads(call("schema").output)


@pytest.mark.parametrize(
    ("path", "why"),
    [("a" * 300 + ".yaml", "File name too long"), ("/proc/self/mem", "Input/output error"), ("a" * 300, "File name too long")],
    ids=["long", "unreadable", "long folder"],
)
def test_a_scenario_that_cannot_be_read_is_told_with_its_name(path: str, why: str) -> None:
    """Exit 2, whatever keeps it from being read; nothing is said of printing."""
    for command in (("check",), ("check", "--tag", "y"), ("explain",)):
        result = call(*command, path)
        assert (result.exit_code, result.stderr) == (2, f"{path}:1:1: cannot be read: {why}\n"), command


def refused(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """What a user meets who may not read a folder; root may read all."""
    scandir = os.scandir

    def refusing(path: Any = ".") -> Any:
        if Path(path) == folder:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)


def test_a_folder_inside_that_may_not_be_read_is_not_passed_over(
    scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There may be scenarios in it, and what was not looked at is not in order."""
    (tmp_path / "locked").mkdir()
    assert call("check", tmp_path).exit_code == 0
    refused(monkeypatch, tmp_path / "locked")
    result = call("check", tmp_path)
    assert (result.exit_code, result.stderr) == (
        2, f"labctl: the folder {tmp_path}/locked cannot be read: Permission denied\n"
    )  # fmt: skip
    assert scenario.exists()


@NO_DAEMON
@pytest.mark.usefixtures("no_daemon")
def test_a_folder_that_is_gone_from_under_a_command_is_called_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not what was to be printed."""
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    result = call("doctor")
    assert (result.exit_code, result.stderr) == (
        4, "labctl: the folder in which this was started is gone; go to one that is there\n"
    )  # fmt: skip


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_only_a_stream_that_refuses_is_called_one(unbuffered: str) -> None:
    """Standard output on a full disk, however it is written to; any other file is told by its name."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "labctl", "schema"], stdout=full, stderr=subprocess.PIPE, text=True, check=False, cwd=ROOT,
            env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
        )  # fmt: skip
    said = "labctl: what was to be printed could not be written: No space left on device\n"
    assert (done.returncode, done.stderr) == (4, said)


def test_a_file_that_nobody_thought_of_is_told_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the operating system that comes from anywhere is told with its file."""

    def broken() -> None:
        (ROOT / "pyproject.toml" / "x").read_text()

    monkeypatch.setattr("labctl.scenario.schema.schema", broken)
    result = call("schema")
    assert (result.exit_code, result.stderr) == (4, f"labctl: {ROOT}/pyproject.toml/x: Not a directory\n")


Engines = list[FakeEngine]


@pytest.fixture
def engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engines]:
    """In place of Docker hosts in memory; the engines that were made, in order."""
    made: Engines = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}

    def make(*_: object) -> FakeEngine:
        root = tmp_path / f"agents{len(made)}"
        root.mkdir()
        made.append(FakeEngine(World(Fuse(), root)))
        return made[-1]

    monkeypatch.setattr(labctl.runs, "_docker", make)
    monkeypatch.setattr(labctl.runs, "_shared_tshark", contextlib.nullcontext)
    with in_memory(monkeypatch):
        yield made
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_run_that_passes_is_exit_0_with_its_files(scenario: Path, tmp_path: Path, engines: Engines) -> None:
    """Exit 0, a summary for people, and a run directory with everything in it."""
    result = call(
        "run", scenario, "--out", tmp_path / "runs", "--junit", tmp_path / "deep/all.xml", "--seed", 9
    )
    assert result.exit_code == 0, result.output
    assert "fake: pass" in result.output
    page = re.search(r"^  page +(.*)$", result.output, re.MULTILINE)
    assert page is not None
    assert Path(page[1]).is_file()
    (run,) = (tmp_path / "runs").iterdir()
    assert {"result.json", "report.html", "junit.xml", "plan.json", "events.jsonl", "scenario.yaml"} <= {
        p.name for p in run.iterdir()
    }
    assert json.loads((run / "result.json").read_text())["seed"] == 9
    assert (tmp_path / "deep/all.xml").read_text().startswith("<?xml")
    assert engines[0].downs == 1


def test_json_is_the_result_and_nothing_else(scenario: Path, tmp_path: Path, engines: Engines) -> None:
    """With --json stdout is the result as result.json holds it; one run is an object, several are a list."""
    one = call("run", scenario, "--json", "--out", tmp_path / "runs")
    value = json.loads(one.stdout)
    (run,) = (tmp_path / "runs").iterdir()
    assert value == json.loads((run / "result.json").read_text())
    assert one.stderr == ""
    shutil.copy(scenario, tmp_path / "t.yaml")
    several = json.loads(
        call("run", scenario, tmp_path / "t.yaml", "--json", "--out", tmp_path / "runs").stdout
    )
    assert [v["verdict"] for v in several] == ["pass", "pass"]
    assert len(engines) == 3


@pytest.mark.parametrize(
    ("text", "prepare", "code", "words"),
    [
        (SCENARIO.replace("errno: null", "errno: EPIPE"), None, 1, "errno: expected EPIPE, got success"),
        (SCENARIO, lambda e: setattr(e.world, "packets", 0), 4, "touched no packet"),
        (SCENARIO, lambda e: e.deaths.append("the host server ended by itself"), 4, "the host server ended by itself"),
    ],
)  # fmt: skip
def test_the_verdict_is_the_exit_code(
    scenario: Path,
    tmp_path: Path,
    engines: Engines,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    prepare: Any,
    code: int,
    words: str,
) -> None:
    """A failed expectation is 1, a broken run or an untouched fault 4, each with the reason in the summary."""
    scenario.write_text(text, encoding="utf-8")
    make = labctl.runs._docker

    def made(*arguments: Any) -> Any:
        engine = make(*arguments)
        if prepare:
            prepare(engine)
        return engine

    monkeypatch.setattr(labctl.runs, "_docker", made)
    result = call("run", scenario, "--out", tmp_path / "runs")
    assert result.exit_code == code
    assert words in " ".join(result.output.split())
    assert engines[0].downs == 1


@pytest.mark.parametrize(
    ("error", "code"), [(MissingError("no Docker daemon answers"), 3), (LabError("it broke"), 4)]
)
def test_what_stops_a_run_before_it_begins_is_its_exit_code(
    scenario: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    code: int,
    engines: Engines,
) -> None:
    """No Docker is 3, a lab that cannot be is 4: said on stderr, and nothing is made in the output folder."""

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(labctl.runs, "_docker", fail)
    result = call("run", scenario, "--out", tmp_path / "runs", "--json")
    assert (result.exit_code, result.stderr) == (code, f"labctl: {error}\n")
    value = json.loads(result.stdout)
    assert (value["version"], value["scenario"], value["run"], value["interrupted"]) == (1, "fake", None, False)
    assert (value["verdict"], value["reason"]) == ("skip" if code == 3 else "error", str(error))
    junit = tmp_path / "junit.xml"
    assert call("run", scenario, scenario.parent, "--out", tmp_path / "runs", "--junit", junit).exit_code == code
    element = "skipped" if code == 3 else "error"
    assert re.search(rf'name="the run as a whole" time="0.000">\s*<{element}', junit.read_text())
    assert "ATTACHMENT" not in junit.read_text()
    assert not (tmp_path / "runs").exists()
    assert engines == []


def test_a_compose_file_that_only_compose_finds_wrong_is_a_usage_error_and_leaves_no_run(
    scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engines: Engines
) -> None:
    """It is found out when the run has begun, and is a mistake like any other: exit 2, told once, and no directory."""

    def refuse(*_: object) -> None:
        raise ScenarioError([Problem("compose.yml", 1, 1, "docker compose cannot use this file")])

    monkeypatch.setattr(FakeEngine, "prepare", refuse)
    result = call("run", scenario, "--out", tmp_path / "runs")
    assert (result.exit_code, result.stderr) == (2, "compose.yml:1:1: docker compose cannot use this file\n")
    assert len(engines) == 1
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_lab_that_does_not_stand_is_bad_usage_and_leaves_no_run(
    scenario: Path, tmp_path: Path, engines: Engines
) -> None:
    """Which labs there are is asked of the engine when the run has begun: exit 2, told once, and no directory."""
    result = call("run", scenario, "--lab", "x", "--out", tmp_path / "runs")
    assert (result.exit_code, result.stderr) == (2, "labctl: no lab named x stands here\n")
    assert len(engines) == 1
    assert list((tmp_path / "runs").iterdir()) == []


@pytest.mark.parametrize("name", ["", "A B", "-x", "a" * 32])
def test_what_can_be_no_labs_name_is_bad_usage(scenario: Path, tmp_path: Path, engines: Engines, name: str) -> None:
    """Every command refuses it as `up` does: nothing is looked for, and no name is advised that cannot be had."""
    said = f"labctl: {name!r} is no name for a lab; write lower case letters, digits and dashes\n"
    for command in (
        ("exec", f"--lab={name}", "client", "true"), ("capture", f"--lab={name}", "client"), ("fault", "list", f"--lab={name}"),
        ("fault", "remove", f"--lab={name}", "all"), ("down", "--", name), ("up", f"--name={name}"),
        ("run", scenario, f"--lab={name}", "--out", tmp_path / "runs"),
    ):  # fmt: skip
        result = call(*command)
        assert (result.exit_code, result.stderr) == (2, said), command
    assert engines == []
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "command",
    [
        ("check", ""), ("run", ""), ("explain", ""), ("list", ""), ("init", ""), ("up", ""), ("judge", ""), ("diff", "", ""),
        ("run", "x.yaml", "--out="), ("run", "x.yaml", "--junit="), ("run", "x.yaml", "--markdown="),
    ],
    ids=" ".join,
)  # fmt: skip
def test_an_empty_name_is_not_the_current_folder(
    scenario: Path, monkeypatch: pytest.MonkeyPatch, engines: Engines, command: tuple[str, ...]
) -> None:
    """A variable that is not set must not run all there is."""
    monkeypatch.chdir(scenario.parent)
    result = call(*command)
    assert (result.exit_code, "write . for the current folder" in " ".join(result.stderr.split())) == (2, True)
    assert engines == []


DUMPCAP = """Capturing on 'Loopback: lo' and 'eth0'
dumpcap: Invalid capture filter "(tpc port 80) or ether proto 0x88b5" for interface 'lo'.

That string isn't a valid capture filter (can't parse filter expression: syntax error).
See the User's Guide for a description of the capture filter syntax."""


def test_a_capture_filter_that_is_none_is_a_mistake_in_the_scenario(
    scenario: Path, tmp_path: Path, engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """dumpcap finds it out when the lab is up: exit 2 with the place in the file, and neither lab nor directory is left."""

    def refuse(_: object) -> None:
        raise CaptureFailed(f"dumpcap made no /tmp/x.pcapng: {DUMPCAP}")

    monkeypatch.setattr(FakeCapture, "start", refuse)
    scenario.write_text(SCENARIO.replace("steps:", "capture: {filter: tpc port 80}\nsteps:"), encoding="utf-8")
    result = call("run", scenario, "--out", tmp_path / "runs")
    why = "libpcap refuses this filter: can't parse filter expression: syntax error; its words are those of pcap-filter(7),"
    line = scenario.read_text(encoding="utf-8").splitlines().index("capture: {filter: tpc port 80}") + 1
    assert (result.exit_code, result.stderr) == (2, f"{scenario}:{line}:19: {why} like tcp port 80\n")
    assert list((tmp_path / "runs").iterdir()) == []
    assert [engine.downs for engine in engines] == [1]


def test_a_mistake_in_one_of_several_starts_none(scenario: Path, tmp_path: Path, engines: Engines) -> None:
    """All scenarios are checked before the first is started."""
    (tmp_path / "wrong.yaml").write_text(SCENARIO.replace("probe", "prob"), encoding="utf-8")
    result = call("run", scenario, tmp_path / "wrong.yaml", "--out", tmp_path / "runs")
    assert (result.exit_code, engines) == (2, [])
    assert "did you mean probe?" in result.stderr


def test_set_changes_a_parameter_and_is_recorded(scenario: Path, tmp_path: Path, engines: Engines) -> None:
    """--set replaces a parameter for this run, and judging again needs no such option; an unknown one is exit 2."""
    text = SCENARIO.replace("steps:", "params: {port: 80}\nsteps:").replace(
        "connect, server, 80", 'connect, server, "${port}"'
    )
    scenario.write_text(text, encoding="utf-8")
    out = tmp_path / "runs"
    assert call("run", scenario, "--set", "port=81", "--out", out).exit_code == 0
    assert engines[0].processes[-1].argv[-1] == "81"
    (run,) = out.iterdir()
    assert call("judge", run).exit_code == 0
    result = call("run", scenario, "--set", "prot=81", "--out", out)
    assert (result.exit_code, "prot" in result.stderr) == (2, True)


def unwritable(where: str, tmp_path: Path) -> Path:
    """A path at which no file can be written, by anybody."""
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    (tmp_path / "folder").mkdir()
    return {"below a file": tmp_path / "file/x.xml", "a folder": tmp_path / "folder", "nowhere": Path("/proc/x/x.xml")}[where]


@pytest.mark.parametrize("where", ["below a file", "a folder", "nowhere"])
@pytest.mark.parametrize("option", ["--junit", "--markdown"])
def test_a_summary_that_cannot_be_written_is_told_before_anything_is_run(
    scenario: Path, tmp_path: Path, engines: Engines, option: str, where: str
) -> None:
    """Nobody waits for runs whose result was asked for where it cannot be."""
    path = unwritable(where, tmp_path)
    result = call("run", scenario, "--out", tmp_path / "runs", option, path)
    assert (result.exit_code, result.stdout, engines) == (4, "", [])
    assert result.stderr.startswith(f"labctl: {path} cannot be written: ")


def test_trying_whether_a_summary_can_be_written_changes_nothing(tmp_path: Path) -> None:
    """No empty file and no folder is left, an old file stays as it is, and who reads a pipe hears of nothing."""
    (tmp_path / "old.xml").write_text("old", encoding="utf-8")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("new.xml")
    before = sorted(tmp_path.rglob("*"))
    for name in ("old.xml", "new.xml", "a/b/c.xml", "pipe", "link"):
        try_to_write(tmp_path / name)
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "old.xml").read_text(encoding="utf-8") == "old"


@pytest.mark.usefixtures("engines")
@pytest.mark.parametrize("option", ["--junit", "--markdown"])
def test_a_summary_that_is_lost_loses_no_result(
    scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    """What cannot be written when the runs are over is exit 4; their result, their table and their index are there."""
    monkeypatch.setattr("labctl.cli.running.try_to_write", lambda _: None)
    out, path = tmp_path / "runs", unwritable("a folder", tmp_path)
    one = call("run", scenario, "--out", out, "--json", option, path)
    assert (one.exit_code, json.loads(one.stdout)["verdict"]) == (4, "pass")
    assert one.stderr == f"labctl: {path} cannot be written: Is a directory\n"
    shutil.copy(scenario, tmp_path / "t.yaml")
    two = call("run", scenario, tmp_path / "t.yaml", "--out", out, option, path)
    assert (two.exit_code, two.stderr) == (4, one.stderr)
    assert two.stdout.count("pass") >= 2
    assert f"  index  {out / 'index.html'}" in two.stdout
    assert (out / "index.html").is_file()


@pytest.mark.usefixtures("engines")
def test_each_summary_is_written_whatever_became_of_the_others(
    scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each that cannot be is told, those that can be are there."""
    monkeypatch.setattr("labctl.cli.running.try_to_write", lambda _: None)
    path, other = unwritable("a folder", tmp_path), tmp_path / "summary.md"
    result = call("run", scenario, "--out", tmp_path / "runs", "--junit", path, "--markdown", other)
    assert (result.exit_code, result.stderr) == (4, f"labctl: {path} cannot be written: Is a directory\n")
    assert other.is_file()


@pytest.mark.usefixtures("engines")
@pytest.mark.parametrize("mine", ["<!doctype html>\n<title>my page</title>\n", None])
def test_an_index_of_the_users_own_is_left_alone(scenario: Path, tmp_path: Path, mine: str | None) -> None:
    """Where something else has the name, a file or a folder, the page gets another one, and that is said."""
    shutil.copy(scenario, tmp_path / "t.yaml")
    out = tmp_path / "site"
    out.mkdir()
    own = out / "index.html"
    if mine is None:
        own.mkdir()
    else:
        own.write_text(mine, encoding="utf-8")
    for _ in range(2):
        result = call("run", scenario, tmp_path / "t.yaml", "--out", out)
        assert (result.exit_code, f"  index  {out / 'labctl-index.html'}" in result.stdout) == (0, True)
        assert f"{own} is no page of labctl's, and is left as it is" in result.stderr
        assert own.is_dir() if mine is None else own.read_text(encoding="utf-8") == mine
    assert [path.name for path in out.glob("*.html")].count("labctl-index.html") == 1
    runs = len(list(out.glob("*/result.json")))
    assert (runs, (out / "labctl-index.html").read_text(encoding="utf-8").count("/report.html")) == (4, 2)


@pytest.mark.usefixtures("engines")
def test_an_index_of_ours_is_written_anew(scenario: Path, tmp_path: Path) -> None:
    """However long it is; nothing is said of it."""
    shutil.copy(scenario, tmp_path / "t.yaml")
    out = tmp_path / "runs"
    pages = []
    for _ in range(2):
        result = call("run", scenario, tmp_path / "t.yaml", "--out", out)
        assert (result.exit_code, result.stderr) == (0, "")
        pages.append((out / "index.html").read_text(encoding="utf-8"))
    assert pages[0] != pages[1]
    assert [path.name for path in out.glob("*.html")] == ["index.html"]


CASES = SCENARIO.replace("steps:", "cases:\n  web: {port: 80}\n  other: {port: 81}\nsteps:").replace(
    "connect, server, 80", 'connect, server, "${port}"'
)


def test_each_case_is_a_run_of_its_own(scenario: Path, tmp_path: Path, engines: Engines) -> None:
    """Cases run one after the other, named scenario[case] in results, JUnit and folders; judging finds the case again."""
    scenario.write_text(CASES, encoding="utf-8")
    out = tmp_path / "runs"
    result = call("run", scenario, "--out", out, "--junit", tmp_path / "all.xml", "--json")
    values = json.loads(result.stdout)
    assert [(v["scenario"], v["case"], v["verdict"]) for v in values] == [
        ("fake[web]", "web", "pass"),
        ("fake[other]", "other", "pass"),
    ]
    assert [engine.processes[-1].argv[-1] for engine in engines] == ["80", "81"]
    assert [v["run"].split("-", 1)[1][:-5] for v in values] == ["fake-web", "fake-other"]
    assert all(call("judge", out / v["run"]).exit_code == 0 for v in values)
    cases = ElementTree.parse(tmp_path / "all.xml").getroot().iter("testcase")
    assert {case.get("classname") for case in cases} == {"fake[web]", "fake[other]"}


def test_cases_are_chosen_and_set(scenario: Path, tmp_path: Path, engines: Engines) -> None:
    """--case names one, -k finds it by its whole name, --set wins over it; explain and check take each; none left is exit 2."""
    scenario.write_text(CASES, encoding="utf-8")
    out = tmp_path / "runs"
    assert "fake[other]: pass" in call("run", scenario, "--case", "other", "--out", out).output
    assert "fake[web]: pass" in call("run", tmp_path, "-k", "[web", "--set", "port=7", "--out", out).output
    assert [engine.processes[-1].argv[-1] for engine in engines] == ["81", "7"]
    assert call("check", scenario).output == "1 scenario checked in 2 cases, no problem\n"
    assert [line for line in call("explain", scenario).output.splitlines() if line.startswith("scenario ")] == [
        f"scenario fake[{case}] in the lab {tmp_path / 'compose.yml'}" for case in ("web", "other")
    ]
    assert json.loads(call("explain", scenario, "--case", "web", "--json").output)["scenario"] == "fake[web]"
    assert [plan["scenario"] for plan in json.loads(call("explain", scenario, "--json").output)] == ["fake[web]", "fake[other]"]
    wrong = call("run", scenario, "--case", "wbe", "--out", out)
    assert (wrong.exit_code, "there is no case wbe; did you mean web?" in wrong.stderr) == (2, True)
    assert json.loads(call("list", scenario, "--json").output)[0]["cases"] == ["web", "other"]


def test_out_that_cannot_be_made_is_exit_4(scenario: Path, tmp_path: Path, engines: Engines) -> None:
    """A file in place of the output folder: exit 4 and which, and no engine was asked for anything."""
    (tmp_path / "file").write_text("")
    result = call("run", scenario, "--out", tmp_path / "file")
    assert result.exit_code == 4
    assert f"{tmp_path / 'file'}" in result.stderr
    assert "cannot be written: Not a directory" in result.stderr
    assert all(engine.world.fuse.passed == [] for engine in engines)


def test_an_interrupt_is_exit_130_and_begins_no_other(
    scenario: Path, tmp_path: Path, engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the first of two runs: its result is saved as interrupted, the second is not begun, exit 130."""
    from fake_engine import interrupt_driver

    shutil.copy(scenario, tmp_path / "t.yaml")
    make = labctl.runs._docker

    def made(*arguments: Any) -> Any:
        engine = make(*arguments)
        engine.world.fuse.at, engine.world.fuse.bad = "engine.start.python3", interrupt_driver
        return engine

    monkeypatch.setattr(labctl.runs, "_docker", made)
    result = call("run", scenario, tmp_path / "t.yaml", "--out", tmp_path / "runs")
    assert result.exit_code == 130
    assert len(engines) == 1
    (run,) = [p for p in (tmp_path / "runs").iterdir() if p.is_dir()]
    assert json.loads((run / "result.json").read_text())["interrupted"] is True
    assert engines[0].downs == 1


def test_judge_and_report_work_from_the_record_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recorded run is judged with its exit code, and its page is written again, with no Docker anywhere."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent")
    shutil.copytree(RUNS / "firewall", tmp_path / "run")
    assert json.loads(call("judge", tmp_path / "run", "--json").stdout)["verdict"] == "pass"
    assert "firewall: pass" in call("judge", tmp_path / "run").output
    assert call("judge", RUNS / "report-firewall").exit_code == 1
    assert call("report", tmp_path / "run").output == f"{tmp_path / 'run/report.html'}\n"
    assert "<html" in (tmp_path / "run/report.html").read_text(encoding="utf-8")


def test_the_record_of_a_run_that_was_killed_is_judged(tmp_path: Path) -> None:
    """SIGKILL of labctl leaves a record without an end: every command that looks at runs says so."""
    shutil.copytree(RUNS / "firewall", tmp_path / "run")
    lines = (tmp_path / "run/events.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    kept = lines[: len(lines) * 2 // 3]
    (tmp_path / "run/events.jsonl").write_text("".join(kept), encoding="utf-8")
    value = json.loads(call("judge", tmp_path / "run", "--json").stdout)
    assert (value["verdict"], value["reason"]) == ("error", "the record ends before the run did; was labctl killed?")
    assert value["seconds"] is None
    for command in ("judge", "report", "show"):
        assert call(command, tmp_path / "run").exit_code == (4 if command == "judge" else 0)
    assert call("diff", tmp_path / "run", RUNS / "firewall").exit_code in (0, 1)


@pytest.mark.parametrize("text", ["null", "[]", '"x"', "{", "[" * 100_000])
def test_a_plan_that_is_none_is_told(tmp_path: Path, text: str) -> None:
    """A run directory that was edited cannot be believed: exit 4, and which file."""
    shutil.copytree(RUNS / "firewall", tmp_path / "run")
    (tmp_path / "run/plan.json").write_text(text, encoding="utf-8")
    result = call("report", tmp_path / "run")
    assert (result.exit_code, result.stderr.startswith(f"labctl: {tmp_path}/run/plan.json cannot be read: ")) == (4, True)


def test_a_parameter_that_is_no_text_is_bad_usage(scenario: Path) -> None:
    """Bytes that are no UTF-8 come from the command line as half characters, which nobody can write down."""
    scenario.write_text(SCENARIO.replace("steps:", "params: {p: 1}\nsteps:", 1), encoding="utf-8")
    result = call("check", scenario, "--set", "p=a\udcffb")
    assert (result.exit_code, "a parameter is UTF-8 text, and this is not" in result.stderr) == (2, True)


@pytest.mark.parametrize("command", ["judge", "report"])
def test_a_folder_that_is_no_run_is_told(tmp_path: Path, command: str) -> None:
    """A folder without a record is bad usage; half a record is evidence that cannot be believed, exit 4 and which file."""
    result = call(command, tmp_path)
    assert (result.exit_code, result.stderr) == (2, f"labctl: {tmp_path} is no run directory: it has no events.jsonl\n")
    (tmp_path / "events.jsonl").write_text("half a li", encoding="utf-8")
    result = call(command, tmp_path)
    assert (result.exit_code, "this line is no JSON" in result.stderr) == (4, True)


@pytest.mark.parametrize(
    "arguments",
    [
        ("ps",),
        ("gc",),
        ("up",),
        ("down", "x"),
        ("exec", "a", "b"),
        ("fault", "list"),
        ("capture", "a", "-o", "x"),
    ],
)
@NO_DAEMON
@pytest.mark.usefixtures("no_daemon")
def test_without_docker_a_command_that_needs_it_is_exit_3(arguments: tuple[str, ...]) -> None:
    """No daemon: exit 3, and one line on stderr that says what to do."""
    result = call(*arguments)
    assert result.exit_code == 3
    assert result.stderr.startswith("labctl: no Docker daemon answers at unix:")
    assert result.stdout == ""


@NO_DAEMON
@pytest.mark.usefixtures("no_daemon")
def test_doctor_goes_on_where_something_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without Docker, doctor still lists what it looked at, with cost and cure, in words and in JSON, and exits with 3."""
    monkeypatch.setenv("PATH", str(tmp_path))
    result = call("doctor")
    assert result.exit_code == 3
    assert "✗ Docker engine" in result.output
    found = {f["what"]: f for f in json.loads(call("doctor", "--json").stdout)}
    assert found["Python"]["ok"] is True
    assert found["Docker engine"]["cure"]
    assert found["Docker Compose"]["ok"] is False


def test_control_characters_in_a_message_are_shown_and_not_obeyed(tmp_path: Path) -> None:
    """A file's name with terminal escapes in it cannot write to the terminal through an error."""
    result = call("check", tmp_path / "\x1b[31mred.yaml")
    assert result.exit_code == 2
    assert "\x1b" not in result.stderr


def test_doctor_calibrates(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table has what was asked and got; one row out of its bounds makes the exit status 1; the backend is passed on."""
    asked = []

    def calibrate(backend: str) -> list[Row]:
        asked.append(backend)
        return [Row("loss", "%", 5.0, got, 4.6, 5.4) for got in gots]

    monkeypatch.setattr("labctl.standing.build_images", lambda *_: [])
    monkeypatch.setattr("labctl.calibrate.calibrate", calibrate)
    gots = [5.1]
    result = call("doctor", "--calibrate", "--link-backend", "nfqueue")
    assert (result.exit_code, asked) == (0, ["nfqueue"])
    assert re.search(r"✓ loss +5\.000 +5\.100 +4\.600 to 5\.400 %", result.output)
    gots = [5.1, 9.0]
    result = call("doctor", "--calibrate", "--json")
    assert result.exit_code == 1
    assert [(row["got"], row["ok"]) for row in json.loads(result.stdout)] == [(5.1, True), (9.0, False)]


def test_what_was_measured_is_bounded_by_what_so_many_packets_can_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chance that few packets were sent to measure has wide bounds: those of the packets that were, not of a fixed number."""
    host = types.SimpleNamespace(ask=lambda *_, **__: {"netem": True, "reasons": {}}, link=lambda *_, **__: None)
    monkeypatch.setattr("labctl.calibrate.bed", lambda: contextlib.nullcontext((host, host)))
    monkeypatch.setattr("labctl.calibrate.measure_delays", lambda *_: [10.0] * 30 + [60.0] * 70)
    monkeypatch.setattr("labctl.calibrate.measure_chance", lambda *_: 5.0)
    monkeypatch.setattr("labctl.calibrate.measure_rate", lambda *_: 1e6)
    rows = {row.what: row for row in calibrate("netem", packets=400)}
    assert (rows["reorder"].got, rows["reorder"].low, rows["reorder"].high) == (30.0, *binomial(100, 25))
    assert (rows["loss"].low, rows["loss"].high) == binomial(400, 5)


def test_doctor_cannot_calibrate_what_the_kernel_has_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """A backend that this kernel has not is missing, exit 3, with the kernel's own words."""
    can = {"netem": False, "nfqueue": True, "reasons": {"netem": "Specified qdisc kind is unknown"}}
    client = types.SimpleNamespace(ask=lambda _: can)
    monkeypatch.setattr("labctl.standing.build_images", lambda *_: [])
    monkeypatch.setattr("labctl.calibrate.bed", lambda: contextlib.nullcontext((client, client)))
    result = call("doctor", "--calibrate", "--link-backend", "netem")
    assert result.exit_code == 3
    assert "Specified qdisc kind is unknown" in result.output


def test_what_an_encoding_lacks_is_a_question_mark_and_a_closed_stream_leads_nowhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A pipe whose encoding was set to ASCII, and a command that was started with `>&-`: no traceback."""
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    monkeypatch.setattr(sys, "stderr", None)
    ready_streams()
    print("\u2713 pass", flush=True)
    print("nobody hears this", file=sys.stderr)
    sys.stderr.close()
    assert written.getvalue() == b"? pass\n"
    closed = f"exec {sys.executable} -m labctl schema >&-"
    done = subprocess.run(["sh", "-c", closed], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("columns", "width"), [("90", 90), ("", 110), ("many", 110), ("-5", 110), ("0", 110)])
def test_lines_in_a_pipe_are_as_wide_as_columns_says(monkeypatch: pytest.MonkeyPatch, columns: str, width: int) -> None:
    """Where it says a number of columns."""
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert console_for().width == width
