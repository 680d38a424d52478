"""What Tab offers, and which scenarios -k and --tag choose."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

import labctl.byhand
import labctl.standing
from labctl.cli import main
from labctl.errors import MissingError, UsageError
from labctl.runs import choose
from labctl.scenario.files import find_scenarios

ROOT = Path(__file__).resolve().parents[2]
LABS = [
    {"name": "mine", "kind": "standing", "hosts": [{"name": "web"}, {"name": "db"}]},
    {"name": "other", "kind": "standing", "hosts": [{"name": "web"}, {"name": "cache"}]},
    {"name": "a-run", "kind": "run", "hosts": [{"name": "client"}]},
]


def offered(*words: str) -> list[str]:
    """What is offered for the last word."""
    completion = ShellComplete(main, {}, "labctl", "_LABCTL_COMPLETE")
    return [item.value for item in completion.get_completions(list(words[:-1]), words[-1])]


@pytest.fixture
def labs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labctl.standing, "listing", lambda: LABS)


def test_commands_and_scenarios_are_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands by their beginning; scenario files and folders, but no compose file beside them."""
    monkeypatch.chdir(ROOT)
    assert {"report", "run"} <= set(offered("r"))
    assert {"scenarios/", "scenarios/firewall.yaml"} <= set(offered("run", "scen"))  # alone it would get a space
    assert {"scenarios/", "script/"} == set(offered("run", "sc"))
    found = offered("run", "scenarios/")
    assert "scenarios/firewall.yaml" in found
    assert not [name for name in found if name.endswith("-lab.yml")]
    assert offered("run", "scenarios/interop-numbers.yaml", "--case", "") == ["signed", "unsigned"]
    assert offered("explain", "scenarios/interop-numbers.yaml", "--case", "u") == ["unsigned"]
    assert {"times=5", "last=-2"} <= set(offered("run", "scenarios/interop-numbers.yaml", "--set", ""))
    assert offered("check", "scenarios/interop-numbers.yaml", "--tag", "") == ["byte-order"]
    assert {"baseline", "path"} <= set(offered("list", "--tag", ""))
    assert {"ECONNREFUSED", "ECONNRESET"} <= set(offered("list", "--errno", "econn"))
    assert offered("list", "--fault", "lo") == ["loss"]


@pytest.mark.usefixtures("labs")
def test_hosts_labs_faults_and_runs_are_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hosts of standing labs (of the one that is named), labs, kinds of faults, run directories the newest first."""
    assert offered("exec", "") == ["web", "db", "cache"]
    assert offered("exec", "--lab", "other", "c") == ["cache"]
    assert offered("run", "--lab", "") == ["mine", "other"]
    assert offered("down", "o") == ["other"]
    assert {"drop", "down"} == set(offered("fault", "add", "web", "d"))
    assert offered("fault", "add", "web", "drop", "--pr") == ["--protocol", "--probability"]
    assert offered("fault", "add", "web", "link", "--reorder-") == ["--reorder-correlation"]
    assert "--name" in offered("fault", "add", "--n")
    monkeypatch.setattr(labctl.byhand, "listing", lambda lab: [{"name": f"wall-{lab}"}])
    assert offered("fault", "remove", "--lab", "mine", "") == ["wall-mine", "all"]
    for name in ("20260101T000000Z-a-0000", "20260102T000000Z-b-0000", "no-run"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    for run in (tmp_path / "runs").glob("2026*"):
        (run / "events.jsonl").touch()
    monkeypatch.chdir(tmp_path)
    assert offered("show", "") == ["runs/20260102T000000Z-b-0000", "runs/20260101T000000Z-a-0000"]


def test_without_docker_nothing_is_offered_and_nothing_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tab never shows an error."""

    def no_docker() -> None:
        raise MissingError("no Docker daemon answers")

    monkeypatch.setattr(labctl.standing, "listing", no_docker)
    assert offered("exec", "") == []
    monkeypatch.setattr(labctl.byhand, "listing", lambda _: no_docker())
    assert offered("fault", "remove", "") == []
    assert offered("run", "no/such.yaml", "--case", "") == offered("run", "no/such.yaml", "--set", "") == []


BASH = """\
eval "$(labctl completion bash)"
try() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _labctl_completion labctl; echo "${COMPREPLY[@]}"; }
try labctl sche
try labctl run scenarios/firewall.y
try labctl run scenarios/interop-numbers.yaml --case ""
"""


def test_bash_completes_with_what_labctl_prints_for_it() -> None:
    """A real bash that has evaluated the script completes a command, a scenario and a case."""
    bash = shutil.which("bash")
    assert bash is not None
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        [bash, "--norc", "-c", BASH], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["schema", "scenarios/firewall.yaml", "signed unsigned"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_script(shell: str) -> None:
    """`labctl completion SHELL` prints what that shell evaluates; another shell is exit 2."""
    done = CliRunner().invoke(main, ["completion", shell])
    assert (done.exit_code, "_LABCTL_COMPLETE" in done.output) == (0, True)
    assert CliRunner().invoke(main, ["completion", "tcsh"]).exit_code == 2


def test_scenarios_are_chosen_by_word_and_tag() -> None:
    """-k by a part of the name, --tag by a tag; several of one kind are alternatives, both kinds must hold."""
    files = find_scenarios([ROOT / "scenarios"])
    assert choose(files, [], []) == files
    by_word = choose(files, ["firewall", "partition"], [])
    assert {p.stem for p in by_word} >= {"firewall", "partition", "one-way-partition"}
    assert all("firewall" in p.stem or "partition" in p.stem for p in by_word)
    assert {p.stem for p in choose(files, ["one-way"], ["path"])} == {"one-way-partition"}
    assert [p.stem for p in choose(files, ["numbers[uns"], [])] == ["interop-numbers"]
    with pytest.raises(UsageError, match="none of 2 scenarios is like -k x or y and --tag z"):
        choose(files[:2], ["x", "y"], ["z"])


def test_a_scenario_is_chosen_by_its_own_name_as_well_as_by_its_file_s(tmp_path: Path) -> None:
    """-k looks at what the scenario calls itself too, with its cases."""
    path = tmp_path / "first.yaml"
    path.write_text("# a\nscenario: shop  # its name\ncases: {slow: {a: 1}, fast: {a: 2}}\nsteps: []\n", encoding="utf-8")
    for word in ("first", "shop", "shop[slow]", "first[fa"):
        assert choose([path], [word], []) == [path]
    with pytest.raises(UsageError):
        choose([path], ["name"], [])


def test_what_a_run_has_kept_is_no_scenario_of_the_folder_above(tmp_path: Path) -> None:
    """A folder's scenarios are not those of the run directories in it; a run that is named itself is."""
    run = tmp_path / "runs/20260101T000000Z-a-0000"
    run.mkdir(parents=True)
    for path in (tmp_path / "a.yaml", run / "scenario.yaml"):
        path.write_text("scenario: a\nsteps: []\n", encoding="utf-8")
    (run / "events.jsonl").touch()
    assert find_scenarios([tmp_path]) == [tmp_path / "a.yaml"]
    assert find_scenarios([run]) == [run / "scenario.yaml"]


def test_the_options_are_there() -> None:
    """`labctl check -k WORD --tag TAG` says how many were left, and exits with 2 when none was."""
    done = CliRunner().invoke(main, ["check", str(ROOT / "scenarios"), "-k", "one-way", "--tag", "path"])
    assert (done.exit_code, done.output) == (0, "1 scenario checked, no problem\n")
    assert CliRunner().invoke(main, ["check", str(ROOT / "scenarios"), "-k", "no-such"]).exit_code == 2
    assert isinstance(main, click.Group)
