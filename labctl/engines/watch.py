"""What becomes of a lab's hosts though the run did not ask for it: ended, removed, frozen, cut off; in words for people."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import docker.errors
from docker import APIClient

EVENTS = ["die", "kill", "oom", "pause", "destroy", "disconnect"]
MEANWHILE = "by somebody else while the run went on"


class Watch:
    """The hosts (name -> container), watched by the daemon's events from now on, and looked at when asked.

    `since`, in seconds by the daemon's own clock, is from when on events count that came before now.
    What a run does to its hosts itself it tells beforehand (`expect`), and when it has taken that back (`restored`).
    """

    def __init__(self, api: APIClient, containers: Mapping[str, str], since: int | None = None) -> None:
        self._api = api
        self._containers = dict(containers)
        self._since = since
        self._found: dict[str, str] = {}
        self._expected: Counter[tuple[str, str]] = Counter()  # asked for, and not heard of yet
        self._wanted: set[str] = set()  # hosts that are down or frozen now because the run wants it
        self._signalled: set[str] = set()
        self._starved: set[str] = set()
        self._is_over = False
        self._has_hung_up = False
        self.is_cut_off = False  # the daemon's events ended, and we did not end them: it ended itself
        self._events: Any = None
        threading.Thread(target=self._listen, name="hosts", daemon=True).start()

    def expect(self, host: str, what: str) -> None:
        """The run does this to a host now: `kill` or `pause`, which then stays so until `restored`."""
        self._expected[host, "die" if what == "kill" else what] += 1
        self._wanted.add(host)

    def restored(self, host: str) -> None:
        """The run has taken back what it had done to a host."""
        self._wanted.discard(host)

    def first(self, hosts: Sequence[str], look: bool = False) -> str | None:
        """What was heard of these hosts first; None when all is as the run wants it.

        `look`: also what can be seen of them now, as what happened this moment may not have been told yet.
        """
        heard = next((said for host, said in list(self._found.items()) if host in hosts), None)
        if heard is not None or not look:
            return heard
        with ThreadPoolExecutor(max_workers=max(1, len(hosts))) as pool:
            return next(filter(None, pool.map(self._seen, hosts)), None)

    def over(self) -> None:
        """From now on the hosts are being taken away."""
        self._is_over = True

    def close(self) -> None:
        """Listen no more."""
        self._has_hung_up = True
        if self._events is not None:
            with contextlib.suppress(docker.errors.DockerException, OSError):
                self._events.close()
            self._events = None

    def _listen(self) -> None:
        hosts = {container: host for host, container in self._containers.items()}
        with contextlib.suppress(Exception):
            self._events = self._api.events(decode=True, since=self._since, filters={"event": EVENTS})
            for event in self._events:
                about = event["Actor"]["Attributes"]
                host = hosts.get(about.get("container") if event["Type"] == "network" else event["Actor"]["ID"])
                if host is not None and not self._is_over:
                    self._hear(host, event["Action"], about)
        self.is_cut_off = self.is_cut_off or not self._has_hung_up

    def _hear(self, host: str, what: str, about: Mapping[str, str]) -> None:
        if self._expected[host, what]:
            self._expected[host, what] -= 1
        elif what == "kill" and not self._expected[host, "die"]:
            self._signalled.add(host)  # and perhaps it does not end of it
        elif what == "oom":
            self._starved.add(host)  # a program of its, and perhaps not the first
        elif what == "die":
            self._found[host] = self._ended(host, about.get("exitCode"))
        elif what == "destroy":
            self._found[host] = _removed(host)
        elif what == "pause":
            self._found[host] = f"the host {host} was frozen {MEANWHILE}"
        elif what == "disconnect" and host not in self._found and self._is_off(host, about.get("name", "")):
            self._found[host] = f"the host {host} was taken off the network {about.get('name')} {MEANWHILE}"

    def _is_off(self, host: str, network: str) -> bool:
        """Whether a host runs without that network. One that ends leaves all of them, and that is told by its end."""
        found = self._inspected(host)
        return found is not None and bool(found["State"]["Running"]) and network not in found["NetworkSettings"]["Networks"]

    def _seen(self, host: str) -> str | None:
        if host in self._wanted:
            return None
        state = self._state(host)
        if state is None:
            return _removed(host)
        return None if state["Running"] else self._ended(host, state["ExitCode"])

    def _state(self, host: str) -> Mapping[str, Any] | None:
        """A container's state; None when it is gone."""
        found = self._inspected(host)
        return None if found is None else found["State"]

    def _inspected(self, host: str) -> Mapping[str, Any] | None:
        """What Docker knows of a host's container; None when it is gone."""
        try:
            found: Mapping[str, Any] = self._api.inspect_container(self._containers[host])
        except docker.errors.NotFound:
            return None
        return found

    def _ended(self, host: str, status: object) -> str:
        if host in self._signalled:
            state = self._state(host)
            # A removal begins with the end, and is told only when it is over.
            if state is None or state.get("Status") in ("removing", "dead"):
                return _removed(host)
            how = f"was ended {MEANWHILE}, with"
        else:
            how = "ran out of memory and ended with" if host in self._starved else "ended by itself with"
        return f"the host {host} {how} exit status {status}"


def _removed(host: str) -> str:
    return f"the host {host} was removed {MEANWHILE}"
