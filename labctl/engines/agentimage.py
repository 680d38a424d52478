"""The image that agents run from: the tools of images/agent with the agent's own code in it, compiled.

The tools change seldom and are built once. The code is this driver's own, so it is laid over them in an image of its own,
named by a digest of both: whoever runs another version runs from another image, and nobody waits for a copy or a
compilation at every start.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import docker.errors
from docker import APIClient
from docker.types import LogConfig, Mount

import labctl.agent
from labctl.agent.nursery import DOORS
from labctl.engines import images
from labctl.engines.base import Say
from labctl.engines.owner import Owner
from labctl.errors import LabError

ROOT = Path(__file__).resolve().parents[2]
DISSECTOR = ROOT / "images/wireshark/labapp.lua"
REPOSITORY = "labctl/agent"
CODE = "labctl.agent.code"
DIRECTORY = "/opt/labctl"


def service() -> dict[str, Any]:
    """The agent as a service of its own: the image with the tools, built from images/agent."""
    return {
        "name": "labctl",
        "services": {"agent": {"image": REPOSITORY, "build": {"context": str(ROOT / "images/agent")}}},
    }


def ensure(api: APIClient, say: Say) -> str:
    """Make sure the image with the tools and this driver's code is there; its name. Raises MissingError, LabError."""
    images.ensure(api, service(), ["agent"], say)
    name = _name(api)
    if not images.is_here(api, name):
        with images.one_builder():
            if not images.is_here(api, name):
                _make(api, name)
    return name


def create(
    api: APIClient, image: str, argv: Sequence[str], labels: Mapping[str, str], network: str,
    may: Sequence[str] = (), doors: Path | None = None, detach: bool = False,
) -> str:  # fmt: skip
    """Make a container of an agent, or of what agents need, and do not start it; its id.

    Arguments: `image` as `ensure` names it; `network` as Docker takes it (`container:ID`, `none`); `may` are the capabilities
    that it gets; `doors` is mounted as the folder that agents and drivers share; with `detach` its standard input does not end
    with whoever attaches to it. Raises docker.errors.APIError.
    """
    config = api.create_host_config(
        network_mode=network, cap_drop=["ALL"], cap_add=list(may), security_opt=["no-new-privileges:true"],
        log_config=LogConfig(type="none"),
        auto_remove=True,  # it ends by itself, and nobody has to wait until Docker has tidied up behind it
        mounts=[Mount(DOORS, str(doors), type="bind")] if doors else None,
    )  # fmt: skip
    made = api.create_container(
        image, list(argv), stdin_open=True, detach=detach, working_dir=DIRECTORY, labels=dict(labels), host_config=config
    )
    return str(made["Id"])


def kernel_features(api: APIClient) -> dict[str, str | None]:
    """What the kernel under the engine can do for faults, tried in a network namespace of its own: feature -> why not, or None.

    Raises MissingError, LabError.
    """
    labels = {"labctl.run": "doctor", "labctl.owner": str(Owner.me())}
    limits = api.create_host_config(network_mode="none", cap_drop=["ALL"], cap_add=["NET_ADMIN", "NET_RAW"])
    try:
        made = api.create_container(
            ensure(api, lambda _: None), ["python3", "-m", "agent.features"], labels=labels, host_config=limits,
            working_dir=DIRECTORY,
        )["Id"]  # fmt: skip
        try:
            api.start(made)
            api.wait(made, timeout=60)
            said = api.logs(made, stderr=False)
            found: dict[str, str | None] = json.loads(said)
        except ValueError:
            raise LabError(f"the kernel could not be asked: {api.logs(made, tail=5)!r}") from None
        finally:
            api.remove_container(made, force=True)
    except docker.errors.APIError as error:
        raise LabError(f"the kernel could not be asked: {error.explanation or error}") from None
    return found


def stale(api: APIClient) -> list[str]:
    """Images with the code of another version, which any driver that needs them makes again within seconds."""
    mine = _name(api) if images.is_here(api, REPOSITORY) else None
    tags = [t for image in api.images(filters={"label": CODE}) for t in image["RepoTags"] or []]
    return [tag for tag in tags if tag != mine]


def _name(api: APIClient) -> str:
    tools = api.inspect_image(REPOSITORY)["Id"]  # type: ignore[no-untyped-call]
    digest = hashlib.sha256(tools.encode())
    for path in _sources():
        digest.update(f"\0{path.name}\0".encode() + path.read_bytes())
    return f"{REPOSITORY}:code-{digest.hexdigest()[:16]}"


def _make(api: APIClient, name: str) -> None:
    repository, tag = name.split(":")
    labels = {"labctl.run": "agent-image", "labctl.owner": str(Owner.me())}
    compile_all = ["python3", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", DIRECTORY]
    try:
        container = api.create_container(REPOSITORY, compile_all, labels=labels)["Id"]
        try:
            api.put_archive(container, "/", _archive())
            api.start(container)
            if status := api.wait(container, timeout=60)["StatusCode"]:
                raise LabError(f"compiling the agent ended with {status}: {api.logs(container, tail=5)!r}")
            labelled = [f"LABEL {CODE}={tag} labctl.run= labctl.owner="]  # a container's labels are its image's otherwise
            api.commit(container, repository, tag, changes=labelled)
        finally:
            api.remove_container(container, force=True)
    except docker.errors.APIError as error:
        raise LabError(f"the image {name} could not be made: {error.explanation or error}") from None


def _archive() -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for path in _sources():
            folder = "" if path == DISSECTOR else "agent/"
            archive.add(path, f"{DIRECTORY.strip('/')}/{folder}{path.name}")
    return data.getvalue()


def _sources() -> list[Path]:
    return [*sorted(Path(labctl.agent.__file__).parent.glob("*.py")), DISSECTOR]


def remove_stale(api: APIClient) -> int:
    """Remove them, but for those that something still runs from; how many went."""
    gone = 0
    for tag in stale(api):
        with contextlib.suppress(docker.errors.APIError):  # in use: it stays
            api.remove_image(tag)
            gone += 1
    return gone
