"""What the guest is asked to do, as data, and the tar that carries it there together with the repository's tree."""

from __future__ import annotations

import io
import json
import re
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
ID = re.compile(r"[a-z0-9][a-z0-9._-]*")
BLOCK_BYTES = 512


@dataclass(frozen=True)
class Job:
    """One command in the guest, in the repository's tree. `id` names it and its folder of results."""

    id: str
    argv: tuple[str, ...]
    timeout_s: float = 120.0
    env: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not ID.fullmatch(self.id):
            raise ValueError(f"{self.id!r} is no name for a job: lower case, digits, dots and dashes")

    def __str__(self) -> str:
        return self.id


def script(name: str, *arguments: str, timeout_s: float = 180.0) -> Job:
    """The job that runs a script of tests/vm/guest with the guest's Python."""
    return Job(
        Path(name).stem.replace("_", "-"), ("python3", f"tests/vm/guest/{name}", *arguments), timeout_s
    )


def as_json(jobs: Sequence[Job], shell: bool = False) -> str:
    """jobs.json, as guest/work.py reads it. Raises ValueError when two jobs have the same id."""
    ids = [job.id for job in jobs]
    twice = sorted({i for i in ids if ids.count(i) > 1})
    if twice:
        raise ValueError(f"two jobs have the id {', '.join(twice)}")
    work: dict[str, Any] = {"jobs": [asdict(job) for job in jobs], "shell": shell}
    return json.dumps(work, indent=1)


def tree_files(root: Path = ROOT) -> list[str]:
    """The tree as git sees it: what is tracked and there, and what is new and not ignored."""
    listed = subprocess.run(
        ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    names = listed.stdout.decode(errors="surrogateescape").split("\0")
    return sorted({name for name in names if name and (root / name).is_file()})


def pack(target: Path, work: str, root: Path = ROOT) -> None:
    """Write the tar that the guest unpacks at /work: the tree and jobs.json. Its size is one that a disk can have."""
    with tarfile.open(target, "w") as archive:
        for name in tree_files(root):
            archive.add(root / name, name, recursive=False)
        data = work.encode()
        info = tarfile.TarInfo("jobs.json")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    assert target.stat().st_size % BLOCK_BYTES == 0
