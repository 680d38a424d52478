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

from labctl.runs import judge_run
from labctl.verdict.judge import RunVerdict

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "tests/data/runs/catalogue"
# Lines that judging does not read, and what tools said while labs came and went.
UNREAD = frozenset({"progress", "lab-down", "sockets"})


def shipped() -> list[Path]:
    """Every scenario that comes with labctl."""
    files = sorted((ROOT / "scenarios").glob("*.yaml"))
    return [f for f in files if any(line.startswith("scenario:") for line in f.read_text("utf-8").splitlines())]


def archive(scenario: Path) -> Path:
    return FOLDER / f"{scenario.stem}.tar.xz"


def expected(scenario: Path) -> Path:
    return FOLDER / f"{scenario.stem}.txt"


def unpack(scenario: Path, folder: Path) -> Path:
    """The recorded run directory of a scenario, in `folder`."""
    with tarfile.open(archive(scenario)) as tar:
        tar.extractall(folder, filter="data")
    return folder


def words(run: RunVerdict) -> str:
    """The verdict and what each step says, as a person reviews it."""
    lines = [f"{run.verdict}: {run.reason}"]
    for step in run.steps:
        lines += ["", f"{step.index}. {step.kind}: {step.name}", f"   {step.verdict}: {step.reason}"]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def pack(run: Path, scenario: Path) -> None:
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


def record(scenarios: list[Path], jobs: int) -> int:
    """Run the scenarios and record those that pass; how many did not."""
    with tempfile.TemporaryDirectory(prefix="labctl-record-") as out:
        argv = [sys.executable, "-m", "labctl", "run", *map(str, scenarios), "--jobs", str(jobs), "--out", out, "--json"]
        done = subprocess.run(argv, cwd=ROOT, stdout=subprocess.PIPE, check=False)
        value = json.loads(done.stdout)
        results = {r["scenario"]: r for r in (value if isinstance(value, list) else [value])}
        missed = 0
        for scenario in scenarios:
            found = results.get(scenario.stem)
            if found is None or found["verdict"] != "pass":
                missed += 1
                print(f"{scenario.stem}: not recorded: {found['reason'] if found else 'it did not run'}")
                continue
            pack(Path(out) / found["run"], scenario)
            with tempfile.TemporaryDirectory() as again:
                expected(scenario).write_text(words(judge_run(unpack(scenario, Path(again)))), encoding="utf-8")
            print(f"{scenario.stem}: recorded, {archive(scenario).stat().st_size} bytes")
        return missed


def judge_again(scenarios: list[Path]) -> int:
    """Write the words anew from the evidence that is recorded; how many have none."""
    for scenario in (s for s in scenarios if archive(s).exists()):
        with tempfile.TemporaryDirectory() as folder:
            expected(scenario).write_text(words(judge_run(unpack(scenario, Path(folder)))), encoding="utf-8")
    return sum(not archive(s).exists() for s in scenarios)


def main(names: list[str]) -> int:
    if names[:1] == ["--judge"]:
        return 1 if judge_again(shipped()) else 0
    chosen = [s for s in shipped() if not names or s.stem in {Path(n).stem for n in names}]
    if not chosen or len(chosen) < len(set(names)):
        print(f"script/record [SCENARIO...]: one or more of {', '.join(s.stem for s in shipped())}", file=sys.stderr)
        return 2
    return 1 if record(chosen, int(os.environ.get("RECORD_JOBS", "2"))) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
