"""The Docker daemon, as everything here speaks to it: that it is gone is one clear error, wherever it is found out."""

from __future__ import annotations

import threading
from typing import Any

import docker.errors
import requests
from docker import APIClient
from docker.constants import DEFAULT_DOCKER_API_VERSION

from labctl.engines.endpoint import DEFAULT, Endpoint, chosen
from labctl.errors import LabError, MissingError

CONNECT_TIMEOUT_S = 15
TIMEOUT_S = 60


class DaemonGone(LabError):
    """The Docker daemon ended, or was restarted, while something was asked of it or a lab was up in it."""

    def __init__(self, detail: str = "") -> None:
        super().__init__(
            f"the Docker daemon ended or was restarted while the lab was up{f' ({detail})' if detail else ''}; once it runs "
            "again (`systemctl start docker`, or ./script/bootstrap), `labctl gc` removes what is left"
        )


class DaemonRefuses(MissingError):
    """The Docker daemon is there, and does not let this user speak to it."""


class Daemon(APIClient):
    """docker-py's client; a call that finds nobody at the other end raises DaemonGone."""

    def __init__(self, **options: Any) -> None:
        self._asking = threading.Lock()
        self._told: dict[str, Any] | None = None
        super().__init__(**options)

    def version(self, api_version: bool = True) -> dict[str, Any]:
        """What the daemon is, asked once, also by several at once."""
        with self._asking:
            if self._told is None:
                self._told = super().version(api_version)
            return self._told

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        """As requests.Session sends it, which every call does in the end."""
        try:
            return super().send(request, **options)
        except (requests.exceptions.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
            if "timed out" in str(error):  # it is there and does not answer; some callers have set that limit themselves
                raise
            raise DaemonGone(_cause(error)) from None


def _cause(error: BaseException) -> str:
    """What the operating system said, from under the layers of requests and urllib3."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, OSError) and found.strerror:
            return found.strerror
        inner = [arg for arg in found.args if isinstance(arg, BaseException)]
        found = inner[-1] if inner else found.__cause__ or found.__context__
    return "it closed the connection"


def connect() -> APIClient:
    """A client of the Docker daemon that is chosen (`endpoint`). Raises MissingError with what to do: DaemonRefuses is one."""
    endpoint = chosen()
    try:
        options = endpoint.options()
        with Daemon(version=DEFAULT_DOCKER_API_VERSION, timeout=CONNECT_TIMEOUT_S, **options) as asking:
            spoken = _spoken(asking)
        api = Daemon(version=spoken, timeout=CONNECT_TIMEOUT_S, num_pools=32, **options)
    except (docker.errors.DockerException, requests.exceptions.RequestException, DaemonGone, ValueError) as error:
        raise no_daemon(error, endpoint) from None
    api.timeout = TIMEOUT_S
    return api


def _spoken(api: APIClient) -> str:
    """The version of its interface that a daemon speaks, by the head of /_ping (Docker Engine API, SystemPing).

    docker-py looks into /version for it ("auto"), which takes ten times as long: the daemon asks others for theirs.
    """
    answer = api.get(f"{api.base_url}/_ping", timeout=api.timeout)
    answer.raise_for_status()
    return answer.headers.get("Api-Version", "auto")


def no_daemon(error: Exception, endpoint: Endpoint) -> MissingError:
    """What to say where there is none from the start: where it was looked for, and what to do."""
    text, where = str(error), endpoint.where
    start = (
        "start it (`systemctl start docker`), or let ./script/bootstrap do it"
        if endpoint.context == DEFAULT
        else f"start that one, or {endpoint.otherwise}"
    )
    if "Permission denied" in text:
        return DaemonRefuses(
            f"the Docker daemon {where} refuses this user; join the group `docker` (or run as root) and log in again"
        )
    if "No such file" in text or "Connection refused" in text:
        return MissingError(f"no Docker daemon answers {where}; {start}")
    if "timed out" in text:
        return MissingError(
            f"the Docker daemon {where} has not answered within {CONNECT_TIMEOUT_S} s; is it hung, or overloaded?"
        )
    return MissingError(f"the Docker daemon {where} cannot be used: {text[:300]}")
