"""Images: built when they are missing or when what they are made of has changed, and only those that are needed."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import docker.errors
from docker import APIClient
from docker.utils import parse_repository_tag

from labctl.engines import compose
from labctl.engines.base import Say
from labctl.errors import MissingError, Problem, ScenarioError
from labctl.lab import from_label_list

INPUTS = "labctl.inputs"
NOTE = "labctl.build"
BUILD_TIMEOUT_S = 3600.0
_COPY = re.compile(r"\s*(?:COPY|ADD)\s+(.*)", re.IGNORECASE)
# Beyond this a build context is not read to see whether it changed; Compose's own cache decides then.
CONTEXT_LIMIT_BYTES = 64 * 2**20


def ensure(
    api: APIClient, config: Mapping[str, Any], services: Sequence[str], say: Say, where: str = "the compose file"
) -> dict[str, str]:
    """Make sure the image of every service is there; service -> image name. `where` is the file that names them.

    Raises ScenarioError for what can be no image's name, MissingError when an image is neither here nor buildable, and LabError
    when a build fails.
    """
    names = {name: image_name(config, name) for name in services}
    todo: dict[str, dict[str, Any]] = {}
    for service, image in names.items():
        raw = config["services"][service]
        if any(job["image"] == image for job in todo.values()):
            continue
        here = _labels(api, image, service, where)
        spec = raw.get("build")
        if spec is None:
            if here is None:
                _pull(api, image, say)
        elif (inputs := fingerprint(spec)) is None or (here or {}).get(INPUTS) != inputs:
            note = from_label_list(raw.get("labels")).get(NOTE)
            say(f"building image {image}" + (f" ({note})" if note else ""))
            todo[service] = {"image": image, "build": {**spec, "labels": {INPUTS: inputs or ""}}}
    if todo:
        with tempfile.TemporaryDirectory() as scratch, one_builder():
            compose.build(todo, Path(scratch) / "build.json", BUILD_TIMEOUT_S)
        remove_untagged(api)
    return names


def remove_untagged(api: APIClient) -> int:
    """Remove what builds of ours were called before others took their names; how many. What is in use stays."""
    gone = 0
    for image in api.images(filters={"label": INPUTS, "dangling": True}):
        with contextlib.suppress(docker.errors.APIError):
            api.remove_image(image["Id"])
            gone += 1
    return gone


def image_name(config: Mapping[str, Any], service: str) -> str:
    """The image a service runs: the one it names, or one of ours for a service that only says how to build it."""
    named = config["services"][service].get("image")
    return str(named) if named else f"labctl-{config.get('name', 'lab')}-{service}"


def fingerprint(spec: Mapping[str, Any]) -> str | None:
    """A digest of everything a build reads, or None when that is too large or not to be told from here."""
    context = Path(spec["context"])
    dockerfile = context / str(spec.get("dockerfile", "Dockerfile"))
    if not dockerfile.is_file():
        return None
    digest = hashlib.sha256(repr(sorted((k, str(v)) for k, v in spec.items() if k != "context")).encode())
    total = 0
    for path in (dockerfile, *_read_by(dockerfile, context)):
        total += path.stat().st_size
        if total > CONTEXT_LIMIT_BYTES:
            return None
        digest.update(f"{path.relative_to(context)}\0{path.stat().st_mode & 0o111}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:32]


def _read_by(dockerfile: Path, context: Path) -> list[Path]:
    """The files of a context that the Dockerfile copies; all of them where its words do not say which."""
    sources: list[str] = []
    whole = re.sub(r"\\[ \t]*\n", " ", dockerfile.read_text(encoding="utf-8", errors="replace"))
    for line in whole.splitlines():
        match = _COPY.match(line)
        if match and "--from" not in line:
            sources += [word for word in match[1].split()[:-1] if not word.startswith("--")]
    plain = all(not set(source) & set("*?[$\"'") for source in sources)
    roots = [context / source for source in sources] if plain else [context]
    files = [p for root in roots for p in ([root] if root.is_file() else sorted(root.rglob("*")))]
    return [p for p in files if p.is_file() and "__pycache__" not in p.parts]


def is_here(api: APIClient, image: str) -> bool:
    """Whether the engine has the image."""
    try:
        api.inspect_image(image)  # type: ignore[no-untyped-call]
    except docker.errors.ImageNotFound:
        return False
    return True


def _labels(api: APIClient, image: str, service: str, where: str) -> Mapping[str, str] | None:
    """An image's labels; None where it is not here. Raises ScenarioError when the engine says that this is no image's name."""
    try:
        return api.inspect_image(image)["Config"].get("Labels") or {}  # type: ignore[no-untyped-call]
    except docker.errors.ImageNotFound:
        return None
    except docker.errors.APIError as error:
        if not error.is_client_error():
            raise
        why = f"the service {service} has an image that can be none, {image!r}: {error.explanation or error}"
        raise ScenarioError([Problem(where, 1, 1, why)]) from None


def _pull(api: APIClient, image: str, say: Say) -> None:
    say(f"pulling image {image}")
    repository, tag = parse_repository_tag(image)
    why = f"image {image} is not on this machine and could not be pulled"
    try:
        said = api.pull(repository, tag=tag or "latest")
    except docker.errors.APIError as error:
        raise MissingError(f"{why}: {error.explanation or error}") from None
    if not is_here(api, image):  # what goes wrong after the first byte is only in what the daemon said
        raise MissingError(f"{why}: {str(said).strip()[-300:]}")


class machine_lock:
    """What has this name is done by one process of this machine at a time."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        self._file = (Path(tempfile.gettempdir()) / f"labctl-{self._name}-{os.getuid()}.lock").open("w")
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        self._file.close()


def one_builder() -> machine_lock:
    """Two runs that need the same image build it one after the other, and the second finds it done by the cache."""
    return machine_lock("build")
