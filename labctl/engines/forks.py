"""One tshark for many runs: a container in which it waits to be forked, and the folder by which their agents come to it.

See `labctl.agent.forks`. The container ends with this process, as its standard input is ours.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import docker.errors
from docker.types import LogConfig, Mount

from labctl.agent.nursery import DOORS
from labctl.engines import agentimage, door, images
from labctl.engines.daemon import connect
from labctl.engines.docker_stream import AttachedChannel
from labctl.engines.labels import OWNER, RUN
from labctl.engines.leftovers import remove
from labctl.engines.owner import Owner
from labctl.errors import LabError

KIND = "tshark"


@contextlib.contextmanager
def shared() -> Iterator[Path | None]:
    """The folder of a tshark that agents may fork theirs from while the block runs; None where there can be none.

    There can be none where the daemon does not see our folders, and before the agent's image is built. Raises MissingError or
    LabError when there is no daemon to be spoken to.
    """
    name = f"{KIND}-{os.getpid()}-{secrets.token_hex(2)}"
    api = connect()
    folder = door.folder(name) if images.is_here(api, agentimage.REPOSITORY) else None
    if folder is None:
        yield None
        return
    labels = {RUN: name, OWNER: str(Owner.me())}
    config = api.create_host_config(
        network_mode="none", cap_drop=["ALL"], security_opt=["no-new-privileges:true"], log_config=LogConfig(type="none"),
        auto_remove=True, mounts=[Mount(DOORS, str(folder), type="bind")],
    )  # fmt: skip
    try:
        try:
            made = api.create_container(
                agentimage.ensure(api, lambda _: None), ["python3", "-m", "agent.forks"], stdin_open=True, detach=False,
                working_dir=agentimage.DIRECTORY, labels=labels, host_config=config,
            )["Id"]  # fmt: skip
            channel = AttachedChannel(api, made)
            api.start(made)
        except docker.errors.APIError as error:
            raise LabError(f"no tshark could be started for all runs: {error.explanation or error}") from None
        yield folder
        channel.drop()
    finally:
        with contextlib.suppress(LabError):
            remove(api, [f"{RUN}={name}"])
        door.remove(name)
        api.close()
