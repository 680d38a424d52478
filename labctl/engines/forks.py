"""One tshark for many runs: a container in which it waits to be forked, and the folder by which their agents come to it.

See `labctl.agent.forks`. The container ends with this process, as its standard input is ours.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path

import docker.errors
import requests.exceptions

from labctl.engines import agentimage, door, images
from labctl.engines.daemon import connect
from labctl.engines.docker_stream import AttachedChannel
from labctl.engines.labels import OWNER, RUN
from labctl.engines.leftovers import remove
from labctl.engines.owner import Owner
from labctl.errors import LabctlError

KIND = "tshark"
CLOSE_TIMEOUT_S = 10.0


@contextlib.contextmanager
def shared() -> Iterator[Path | None]:
    """The folder of a tshark that agents may fork theirs from while the block runs; None where there can be no such folder.

    Nobody waits for it: until it is there, and where it cannot be (no daemon, one that does not see our folders, no image yet),
    agents start their own.
    """
    name = f"{KIND}-{Owner.me()}-{secrets.token_hex(2)}"
    folder = door.folder(name)
    if folder is None:
        yield None
        return
    waiting = _Waiting(name, folder)
    try:
        yield folder
    finally:
        waiting.close()
        door.remove(name)


class _Waiting:
    """The container, as a thread of its own makes it, holds it, and takes it away."""

    def __init__(self, name: str, folder: Path) -> None:
        self._name, self._folder = name, folder
        self._is_over = threading.Event()
        self._is_reached = threading.Event()  # the daemon, which may also never answer
        self._thread = threading.Thread(target=self._hold, name="tshark", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Take it away, if there is one."""
        self._is_over.set()
        if self._is_reached.is_set():
            self._thread.join(CLOSE_TIMEOUT_S)

    def _hold(self) -> None:
        with contextlib.suppress(LabctlError, docker.errors.DockerException, requests.exceptions.RequestException, OSError):
            api = connect()
            self._is_reached.set()
            if self._is_over.is_set() or not images.is_here(api, agentimage.REPOSITORY):
                return
            labels = {RUN: self._name, OWNER: str(Owner.me())}
            try:
                image = agentimage.ensure(api, lambda _: None)
                made = agentimage.create(api, image, ["python3", "-m", "agent.forks"], labels, "none", doors=self._folder)
                channel = AttachedChannel(api, made)
                api.start(made)
                self._is_over.wait()
                channel.drop()
            finally:
                remove(api, [f"{RUN}={self._name}"])
                api.close()
