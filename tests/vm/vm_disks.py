"""The disks of the virtual machine: built when what they are made of has changed, kept between runs and between clones.

    ~/.cache/labctl/vm/root-<key>/     root.ext4 vmlinuz initrd    Debian 13 with Docker; key: the recipe in disk/
    ~/.cache/labctl/vm/docker-<key>/   docker.ext4                 the guest's Docker with the lab's images; key: also theirs

Building happens in containers of images made from disk/Dockerfile, so the machine needs Docker and nothing else.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labctl.engines.daemon import connect
from labctl.engines.images import ensure, fingerprint

HERE = Path(__file__).resolve().parent
RECIPE = HERE / "disk"
GUEST_IMAGE, QEMU_IMAGE = "labctl/vm-guest", "labctl/vm-qemu"
LAB_IMAGES = ("labctl/host", "labctl/agent")
KEEP_UNUSED_S = 3 * 86400
STEP_LIMIT_S = 600.0
# What a dockerd needs to unpack images, and no more: overlay mounts and device nodes.
DOCKER_IN_DOCKER = (
    "--cap-add=SYS_ADMIN", "--cap-add=NET_ADMIN", "--security-opt=seccomp=unconfined",
    "--security-opt=apparmor=unconfined", "--volume=/var/lib/docker", "--tmpfs=/run",
)  # fmt: skip


class VmError(Exception):
    """The machine could not be made, or did not do what was asked; the message says which step and what was said."""


@dataclass(frozen=True)
class Disks:
    """Where the two halves are."""

    root: Path
    docker: Path


def cache_home() -> Path:
    """Where disks are kept: outside the clone, so that a fresh clone on the same machine finds them."""
    base = os.environ.get("LABCTL_VM_CACHE") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "labctl" / "vm"


def key(*parts: str) -> str:
    """A short name for a combination of inputs."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def recipe_config() -> dict[str, Any]:
    """The two images of disk/Dockerfile as a compose file would say it."""
    return {
        "name": "labctl-vm",
        "services": {
            stage: {"image": image, "build": {"context": str(RECIPE), "target": stage}}
            for stage, image in (("guest", GUEST_IMAGE), ("qemu", QEMU_IMAGE))
        },
    }


def say(line: str) -> None:
    """Progress, for whoever watches (pytest -s, script/vm)."""
    print(f"vm: {line}", file=sys.stderr, flush=True)


def ready(lab_images: Sequence[str] = LAB_IMAGES) -> Disks:
    """Both disks, built if need be. Raises VmError, and LabctlError for what Docker or a build says."""
    with contextlib.closing(connect()) as api:
        ensure(api, recipe_config(), ("guest", "qemu"), say)
        ids = [str(api.inspect_image(image)["Id"]) for image in lab_images]
    recipe = fingerprint({"context": str(RECIPE)}) or ""
    root = _entry(f"root-{key(recipe)}", _make_root)
    docker = _entry(f"docker-{key(recipe, *ids)}", lambda out: _make_docker(out, lab_images))
    _forget_unused(keep=(root, docker))
    return Disks(root, docker)


def _entry(name: str, make: Callable[[Path], None]) -> Path:
    """A folder of the cache; made complete elsewhere first, so that what is there can be believed."""
    home = cache_home()
    home.mkdir(parents=True, exist_ok=True)
    target = home / name
    with _only_one(home / "lock"):
        if not target.is_dir():
            begun = time.monotonic()
            say(f"making {name}")
            with tempfile.TemporaryDirectory(prefix=".making-", dir=home) as scratch:
                out = Path(scratch) / "out"
                out.mkdir()
                make(out)
                out.rename(target)
            say(f"made {name} in {time.monotonic() - begun:.0f} s")
        os.utime(target)
    return target


@contextlib.contextmanager
def _only_one(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make_root(out: Path) -> None:
    made = subprocess.run(["docker", "create", GUEST_IMAGE], capture_output=True, text=True, check=False)
    if made.returncode:
        raise VmError(f"a container of {GUEST_IMAGE} could not be created: {made.stderr.strip()}")
    container = made.stdout.strip()
    try:
        pipe(["docker", "export", container], in_container(QEMU_IMAGE, out, "make-root"))
    finally:
        subprocess.run(["docker", "rm", container], stdout=subprocess.DEVNULL, check=False)


def _make_docker(out: Path, images: Sequence[str]) -> None:
    pipe(["docker", "save", *images], in_container(QEMU_IMAGE, out, "make-docker", *DOCKER_IN_DOCKER))


def in_container(image: str, out: Path, command: str, *options: str) -> list[str]:
    """The `docker run` of one of disk/'s scripts, which reads its input and writes to `out`."""
    volume = f"--volume={out}:/out"
    return ["docker", "run", "--rm", "--interactive", "--network=none", volume, *options, image, command]


def pipe(source: list[str], sink: list[str]) -> None:
    """Run `source | sink`. Raises VmError with what they said when either fails or takes too long."""
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(source, stdout=subprocess.PIPE, stderr=said) as giver,
        subprocess.Popen(sink, stdin=giver.stdout, stdout=said, stderr=said) as taker,
    ):
        assert giver.stdout is not None
        giver.stdout.close()  # the taker alone holds it now, so that its end stops the giver
        try:
            codes = taker.wait(STEP_LIMIT_S), giver.wait(10)
        except subprocess.TimeoutExpired:
            giver.kill()
            taker.kill()
            raise VmError(f"`{' '.join(sink)}` did not end within {STEP_LIMIT_S:g}s") from None
        said.seek(0)
        text = said.read().decode(errors="replace").strip()
    if any(codes):
        raise VmError(
            f"`{' '.join(source)} | {' '.join(sink)}` ended with {codes[1]} and {codes[0]}:\n{text[-2000:]}"
        )


def _forget_unused(keep: Sequence[Path]) -> None:
    """Remove disks nobody used for days, and what a killed build left. A machine that has one open keeps its file."""
    for path in cache_home().iterdir():
        old = time.time() - path.stat().st_mtime > KEEP_UNUSED_S
        if path.is_dir() and old and path not in keep:
            shutil.rmtree(path, ignore_errors=True)
