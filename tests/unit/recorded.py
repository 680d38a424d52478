"""Recorded evidence of the shipped scenarios: one archive each, and beside it the words that judging it must say.

As a program (script/record) it runs scenarios on the real lab and records them anew.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from labctl.runs import judge_run
from labctl.scenario.files import cased, cases_of, find_scenarios
from labctl.verdict.judge import RunVerdict

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "tests/data/runs/catalogue"
# Lines that judging does not read, and what tools said while labs came and went.
UNREAD = frozenset({"progress", "lab-down", "sockets"})


class Shipped(NamedTuple):
    """A scenario that comes with labctl, in one of its cases where it has some."""

    path: Path
    case: str | None

    @property
    def name(self) -> str:
        return cased(self.path.stem, self.case)


def shipped() -> list[Shipped]:
    """Every scenario that comes with labctl, in each of its cases."""
    return [Shipped(f, case) for f in find_scenarios([ROOT / "scenarios"]) for case in cases_of(f)]


def archive(scenario: Shipped) -> Path:
    return FOLDER / f"{_stem(scenario)}.tar.xz"


def expected(scenario: Shipped) -> Path:
    return FOLDER / f"{_stem(scenario)}.txt"


def _stem(scenario: Shipped) -> str:
    return "-".join(filter(None, (scenario.path.stem, scenario.case)))


def unpack(scenario: Shipped, folder: Path) -> Path:
    """The recorded run directory of a scenario, in `folder`."""
    with tarfile.open(archive(scenario)) as tar:
        for member in tar:
            path = folder / member.name
            path.parent.mkdir(parents=True, exist_ok=True)
            content = tar.extractfile(member)
            assert content is not None, f"{path} is no file"
            path.write_bytes(content.read())
    return folder


def words(run: RunVerdict) -> str:
    """The verdict and what each step says, as a person reviews it."""
    lines = [f"{run.verdict}: {run.reason}"]
    for step in run.steps:
        lines += ["", f"{step.index}. {step.kind}: {step.name}", f"   {step.verdict}: {step.reason}"]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def pack(run: Path, scenario: Shipped) -> None:
    """Make an archive of what judging and reporting read of a run; nothing in it names this machine's folders."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive(scenario), "w:xz", preset=9) as tar:
        for name, content in _kept(run):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def _kept(run: Path) -> Iterator[tuple[str, bytes]]:
    names = ("scenario.yaml", "include.yaml", "plan.json", "events.jsonl", "sockets.jsonl")
    files = [run / name for name in names if (run / name).exists()]
    for path in [*files, *sorted((run / "programs").iterdir()), *sorted((run / "pcap").glob("*.tsv"))]:
        text = path.read_bytes()
        if path.name == "events.jsonl":
            text = b"".join(line for line in text.splitlines(keepends=True) if json.loads(line)["event"] not in UNREAD)
        yield path.relative_to(run).as_posix(), text.replace(f"{ROOT}/".encode(), b"")


def record(scenarios: list[Shipped], jobs: int) -> int:
    """Run the scenarios and record those that pass; how many did not."""
    with tempfile.TemporaryDirectory(prefix="labctl-record-") as out:
        files = dict.fromkeys(str(s.path) for s in scenarios)
        argv = [sys.executable, "-m", "labctl", "run", *files, "--jobs", str(jobs), "--out", out, "--json"]
        done = subprocess.run(argv, cwd=ROOT, stdout=subprocess.PIPE, check=False)
        value = json.loads(done.stdout)
        results = {r["scenario"]: r for r in (value if isinstance(value, list) else [value])}
        missed = 0
        for scenario in scenarios:
            found = results.get(scenario.name)
            if found is None or found["verdict"] != "pass":
                missed += 1
                print(f"{scenario.name}: not recorded: {found['reason'] if found else 'it did not run'}")
                continue
            pack(Path(out) / found["run"], scenario)
            with tempfile.TemporaryDirectory() as again:
                expected(scenario).write_text(words(judge_run(unpack(scenario, Path(again)))), encoding="utf-8")
            print(f"{scenario.name}: recorded, {archive(scenario).stat().st_size} bytes")
        return missed


def judge_again(scenarios: list[Shipped]) -> int:
    """Write the words anew from the evidence that is recorded; how many have none."""
    for scenario in (s for s in scenarios if archive(s).exists()):
        with tempfile.TemporaryDirectory() as folder:
            expected(scenario).write_text(words(judge_run(unpack(scenario, Path(folder)))), encoding="utf-8")
    return sum(not archive(s).exists() for s in scenarios)


def main(names: list[str]) -> int:
    if names[:1] == ["--judge"]:
        return 1 if judge_again(shipped()) else 0
    chosen = [s for s in shipped() if not names or s.path.stem in {Path(n).stem for n in names}]
    if not chosen or len({s.path for s in chosen}) < len(set(names)):
        known = ", ".join(dict.fromkeys(s.path.stem for s in shipped()))
        print(f"script/record [SCENARIO...]: one or more of {known}", file=sys.stderr)
        return 2
    return 1 if record(chosen, int(os.environ.get("RECORD_JOBS", "2"))) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
