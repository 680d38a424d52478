"""Docker as the engine: hosts from a compose file, agents beside them in their network namespaces."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import platform
import random
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import docker.errors
import requests.exceptions
from docker import APIClient
from docker.types import LogConfig

from labctl.agent.nursery import DOORS
from labctl.engines import agentimage, compose, door, images, nearby, notes
from labctl.engines.base import AddressesTaken, Channel, Disturbed, NoSuchLab, OnRunning, Say
from labctl.engines.daemon import DaemonGone
from labctl.engines.docker_stream import AttachedChannel, DockerChannel, DockerProcess, ForkedChannel
from labctl.engines.door import DoorChannel
from labctl.engines.labels import AGENT, COMPANION, COMPOSE, HOST, NURSERY, OWNER, RESIDENT, RUN, STANDING
from labctl.engines.leftovers import each, end_programs, orphans, remove, thaw
from labctl.engines.owner import Owner
from labctl.engines.watch import Watch
from labctl.errors import LabError
from labctl.interrupts import uninterrupted
from labctl.lab import BLOCK_PREFIX, BLOCKS, POOL, PROGRAMS, ROLE, Host, Lab, Subnet, addressed, render
from labctl.scenario.words import listing

ROOT = Path(__file__).resolve().parents[2]
UP_TIMEOUT_S = 120.0
SAY_AFTER_S = 3.0
HEALTH_STARTING = "(health: starting)"  # in what Docker's list says of a container
LOOK_S = 0.03  # how often it is seen which hosts run, while Compose starts them
CHECK_CHARACTERS = 500
KILL_TIMEOUT_S = 30
OWN_COMPOSE = ROOT / "docker-compose.yml"


class DockerEngine:
    """One lab on Docker. `run` names it; `standing` is the name of a lab that outlives the driver, or will (`keep`).

    `tshark` is a folder by which its agents come to one that waits to be forked (`labctl.engines.forks`).
    """

    name = "docker"

    def __init__(self, api: APIClient, run: str, standing: str | None = None, tshark: Path | None = None) -> None:
        self._api = api
        self._run = run
        self._standing = standing
        self._tshark = tshark
        self._stays = False
        self.project = f"labctl-lab-{standing}" if standing else f"labctl-{run.lower()}"
        self._containers: dict[str, str] = {}
        self._watch: Watch | None = None
        self._compose_version: str | None = None
        self._agent_image: str | None = None
        self._nurseries: dict[str, str] = {}
        self._doors: dict[str, Path] = {}
        self._firsts: dict[str, tuple[int, bool]] = {}
        self._ran_on: set[str] = set()
        self._bereaved: dict[str, str | None] = {}  # hosts that were killed, and the nurseries of their first lives
        self._made_agents = False
        self._companions: dict[str, str] = {}
        self._lock = threading.Lock()

    # -- making the lab ---------------------------------------------------------------------------------------------

    def prepare(self, path: Path, say: Say) -> Mapping[str, Any]:  # noqa: ARG002
        return compose.read_config(path)

    def reserve(self, lab: Lab) -> Lab:
        return addressed(lab, random.choice(self.free_blocks()))

    def free_blocks(self) -> list[int]:
        """The blocks of the pool that no Docker network uses now, whole or in part. Raises LabError when there are none."""
        taken = {n["Subnet"] for net in self._api.networks() for n in (net["IPAM"]["Config"] or []) if "Subnet" in n}
        base, size = int(POOL.network_address), 2 ** (32 - BLOCK_PREFIX)
        used: set[int] = set()
        for network in map(ipaddress.ip_network, taken):
            if network.version == 4:
                first = (int(network.network_address) - base) // size
                last = (int(network.broadcast_address) - base) // size
                used.update(range(max(first, 0), min(last, BLOCKS - 1) + 1))
        free = [block for block in range(BLOCKS) if block not in used]
        if not free:
            raise LabError(
                f"all {BLOCKS} address blocks of {POOL} are in use; `labctl gc` removes what dead runs hold"
            )
        return free

    def up(
        self, config: Mapping[str, Any], lab: Lab, hosts: Sequence[str], rendered: Path, say: Say, on_running: OnRunning
    ) -> None:
        named = images.ensure(self._api, config, hosts, say, str(lab.path))
        self._agent_image = agentimage.ensure(self._api, say)
        labels = {**self._labels(), COMPOSE: str(lab.path)}
        document = render(config, lab, hosts, self.project, labels, named)
        rendered.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        if self._standing:
            notes.write_begun(self._api, self._standing, self._labels())
        try:
            patience = _Patience(say)
            with self._telling(hosts, on_running, patience):
                compose.up(rendered, self.project, lab.path.parent, hosts)
        except LabError as error:
            if "Pool overlaps" in str(error):
                self._remove()
                raise AddressesTaken(str(error)) from None
            raise
        if self._standing:
            notes.write_rendered(self._api, self._standing, self._labels(), rendered.read_text(encoding="utf-8"))
        found = self._hosts_here()
        self._find_containers(found, min((int(container["Created"]) for container in found), default=None))
        self._wait_healthy(hosts, patience)

    @contextlib.contextmanager
    def _telling(self, hosts: Sequence[str], on_running: OnRunning, patience: _Patience) -> Iterator[None]:
        """While the block brings hosts up, `on_running` is told of each as soon as it runs; at its end of all that do.

        Compose waits itself for hosts that others want healthy, and hosts for others that they must reach to be healthy.
        Raises what `on_running` raised, as that may be why the block failed.
        """
        is_over = threading.Event()
        told: dict[str, Future[object]] = {}

        def tell() -> None:
            found = {container["Labels"][HOST]: container for container in self._hosts_here()}
            for host, container in found.items():
                if container["State"] in ("running", "paused") and host not in told:
                    self._containers[host] = container["Id"]
                    told[host] = pool.submit(on_running, host)
            patience.waits({host: "running, starting" for host in found if HEALTH_STARTING in found[host]["Status"]})

        def look() -> None:
            while not is_over.wait(LOOK_S):
                with contextlib.suppress(docker.errors.APIError, requests.exceptions.RequestException):
                    tell()  # a daemon that is not well is what the block has to tell of
            tell()

        with ThreadPoolExecutor(max_workers=len(hosts) + 1) as pool:
            with uninterrupted():  # or a thread may have begun that the pool does not know of
                looking = pool.submit(look)
            failed: LabError | None = None
            try:
                yield
            except LabError as error:
                failed = error
            finally:
                is_over.set()
                wait([looking])
                wait(told.values())
            for one in told.values():
                one.result()
            if failed is not None:
                raise failed
            looking.result()

    def wait_healthy(self, hosts: Sequence[str]) -> None:
        self._wait_healthy(hosts, _Patience(lambda _: None))

    def _wait_healthy(self, hosts: Sequence[str], patience: _Patience) -> None:
        """Until every host runs and, where it has a health check, is healthy. Compose's --wait looks only twice a second.

        Raises LabError for one that ends, is not up in time, or is found unhealthy.
        """
        begun = time.monotonic()
        waiting = self._not_up(hosts)
        while waiting:
            if time.monotonic() - begun > UP_TIMEOUT_S:
                host, state = next(iter(waiting.items()))
                raise LabError(f"the host {host} is not up after {UP_TIMEOUT_S:g}s: {state}")
            patience.waits(waiting)
            time.sleep(0.02)
            waiting = self._not_up(waiting)

    def _not_up(self, hosts: Iterable[str]) -> dict[str, str]:
        """The hosts that do not run yet or are not healthy yet, and how they are. Raises LabError for one that never will."""
        found: dict[str, str] = {}
        for host in hosts:
            try:
                state = self._api.inspect_container(self._containers[host])["State"]
            except (KeyError, docker.errors.NotFound):
                raise LabError(f"the host {host} did not come up") from None
            health = state.get("Health", {}).get("Status", "healthy")
            if state["Status"] in ("exited", "dead"):
                raise self._did_not_stay(host, state)
            if health == "unhealthy":
                raise LabError(f"the host {host} is unhealthy: {_last_check(state['Health'])}")
            if not (state["Running"] and health == "healthy"):
                found[host] = f"{state['Status']}, {health}" if "Health" in state else state["Status"]
        return found

    def _did_not_stay(self, host: str, state: Mapping[str, Any]) -> LabError:
        logs = b""
        with contextlib.suppress(docker.errors.NotFound):  # it has been removed as well
            logs = self._api.logs(self._containers[host], tail=5)
        said = logs.decode(errors="replace").strip() or "it said nothing"
        return LabError(f"the host {host} ended with {state['ExitCode']} instead of staying up: {said}")

    def attach(self) -> Lab:
        """Use the standing lab of this name; the lab as its containers and networks say. Raises NoSuchLab, LabError."""
        found = self._hosts_here()
        if not found:
            raise NoSuchLab(
                f"no lab named {self._standing} stands here; `labctl up --name {self._standing}` makes one"
            )
        self._stays = True
        self._find_containers(found)
        with ThreadPoolExecutor() as pool:
            unfinished = pool.submit(notes.why_unfinished, self._api, str(self._standing))
            nets = pool.submit(self._api.networks, filters={"label": self._label})
            seen = dict(zip(self._containers, pool.map(self._look, self._containers.values()), strict=True))
            going_on = {self._containers[host]: look.get("ExecIDs") or () for host, look in seen.items()}
            left = pool.submit(orphans, self._api, going_on)
            nurseries = pool.submit(self._find_nurseries, {host: _began(look.get("State", {})) for host, look in seen.items()})
        if (why := unfinished.result()) is not None:
            raise LabError(why)
        nurseries.result()
        end_programs(self._api, left.result())
        threading.Thread(target=self._learn_version, daemon=True).start()
        networks = {self._own_name(n): _subnet(n) for n in nets.result()}
        hosts = [self._host(container) for container in found]
        path = Path(found[0]["Labels"][COMPOSE])
        return Lab(path, {host.name: host for host in sorted(hosts, key=lambda h: h.name)}, networks)

    def _learn_version(self) -> None:
        """Ask for what `environment` tells, while all else waits for agents: the daemon has to ask others for it."""
        with contextlib.suppress(Exception):  # it is asked again then
            self._api.version()

    def rendered(self) -> str | None:
        return notes.read_rendered(self._api, str(self._standing))

    def keep(self) -> str:
        self._stays = True
        with ThreadPoolExecutor(max_workers=max(1, len(self._containers))) as pool:
            list(pool.map(self.start_nursery, self._containers))
        notes.erase_begun(self._api, str(self._standing))
        return str(self._standing)

    def is_up(self, host: str) -> bool:
        """Whether a host runs, frozen or not."""
        return bool(self._state(host)["Running"])

    def why_down(self, host: str) -> str | None:
        state = self._state(host)
        if state["Running"] and not state["Paused"]:
            return None
        said = {note.what: note for note in self.noted() if note.host == host}
        note = said.get("pause") if state["Paused"] else said.get("kill")
        if state["Running"] and (note is None or not note.is_orphaned):
            return None  # frozen by hand is as somebody wants it
        what = "frozen" if state["Paused"] else "down"
        about = f"the host {host} of lab {self._standing} is {what}"
        if note is None:
            return (
                f"{about}: its container ended with {state['ExitCode']}; `labctl up --name {self._standing}` starts it again, "
                f"`labctl down {self._standing}` takes the lab away"
            )
        if note.is_orphaned:
            return f"{about}: {note}, which is gone, left it so; `labctl gc` sets it right"
        then = f"`labctl fault remove {note.fault}` starts it again" if note.is_by_hand else "wait until that has ended"
        return f"{about}: {note} wants it so now; {then}"

    def disturbed(self) -> list[Disturbed]:
        return [
            Disturbed(note.host, note.what, note.fault or note.what, note.by)
            for note in self.noted()
            if not note.is_orphaned
        ]

    def noted(self) -> list[notes.Note]:
        """What is noted of this lab's hosts."""
        return notes.read(self._api, str(self._standing))

    def _state(self, host: str) -> Mapping[str, Any]:
        """What Docker says of a host's life. Raises LabError when its container is gone."""
        state: Mapping[str, Any] | None = self._look(self._containers[host]).get("State")
        if state is None:
            raise LabError(f"the host {host} is gone: somebody removed it")
        return state

    def heal(self, host: str) -> bool:
        """Have a host of a lab that stays run, with a nursery beside it, and forget what dead runs did to it.

        Whether anything was to be done; then its routes are to be set as well, before it is healthy. Raises LabError.
        """
        state = self._state(host)
        left = {note.what: note for note in self.noted() if note.host == host and note.is_orphaned}
        try:
            if state["Paused"] and "pause" in left:
                self._api.unpause(self._containers[host])
            if not state["Running"]:
                self._api.start(self._containers[host])
        except docker.errors.APIError as error:
            raise LabError(f"{host} could not be started again: {error.explanation or error}") from None
        born_here, former = self._beside_it(host, NURSERY)
        each(lambda c: self._api.remove_container(c, force=True), [*former, *self._beside_it(host, RESIDENT)[1]])
        if not born_here:
            self.start_nursery(host)
        for note in left.values():
            notes.erase(self._api, note)
        return bool(left) or not state["Running"] or not born_here

    def _host(self, container: Mapping[str, Any]) -> Host:
        labels = container["Labels"]
        addresses = {
            name.removeprefix(f"{self.project}_"): addresses_of(n)
            for name, n in container["NetworkSettings"]["Networks"].items()
        }
        router = labels.get(ROLE) == "router"
        return Host(labels[HOST], tuple(addresses), router, labels.get(PROGRAMS), (), addresses)

    def _own_name(self, network: Mapping[str, Any]) -> str:
        return str(network["Name"]).removeprefix(f"{self.project}_")

    def _labels(self) -> dict[str, str]:
        labels = {RUN: self._run, OWNER: str(Owner.me())}
        return labels | {STANDING: self._standing} if self._standing else labels

    @property
    def _label(self) -> str:
        """What everything of this lab has."""
        return f"{STANDING}={self._standing}" if self._standing else f"{RUN}={self._run}"

    def _hosts_here(self) -> list[dict[str, Any]]:
        """The containers of this lab's hosts, running or not."""
        found: list[dict[str, Any]] = self._api.containers(all=True, filters={"label": [self._label, HOST]})
        return found

    def _find_containers(self, found: Sequence[Mapping[str, Any]], since: int | None = None) -> None:
        self._containers = {c["Labels"][HOST]: c["Id"] for c in found}
        self._compose_version = next((c["Labels"].get("com.docker.compose.version") for c in found), None)
        self._watch = Watch(self._api, self._containers, since)

    # -- using it ---------------------------------------------------------------------------------------------------

    def open_agent(self, host: str) -> Channel:
        if host in self._nurseries:
            with contextlib.suppress(OSError, KeyError):
                return DoorChannel(self._doors[host])
            return ForkedChannel(self._api, self._nurseries[host])
        # With detach=False the container gets StdinOnce: the agent's stdin ends when the driver does.
        labels = {RUN: self._run, OWNER: str(Owner.me()), AGENT: host}
        self._made_agents = True
        return self._agent(host, labels, detach=False)

    def start_nursery(self, host: str) -> None:
        """On a lab that stands: a process beside the host that gives birth to agents at once; see `labctl.agent.nursery`."""
        labels, python = {**self._labels(), NURSERY: host}, ["-m", "agent.nursery", door.name(host)]
        doors = door.folder(self.project)
        if doors is not None and host == min(self._containers):
            python.append("tshark")  # one for the whole lab (`labctl.agent.forks`)
        try:
            container = self._beside(host, labels, python, detach=True, doors=doors)
        except LabError:
            if doors is None:
                raise
            container = self._beside(host, labels, python, detach=True)  # a daemon that does not see our folder
        try:
            self._api.start(container)
        except docker.errors.APIError as error:
            raise self._no_agent(host, error) from None

    def _look(self, container: str) -> Mapping[str, Any]:
        """What Docker says of a container; nothing when it is gone."""
        with contextlib.suppress(docker.errors.NotFound):
            found: Mapping[str, Any] = self._api.inspect_container(container)
            return found
        return {}

    def _find_nurseries(self, began: Mapping[str, datetime | None]) -> None:
        """Those of this lab that have this driver's code; an agent of another version would not understand it.

        `began` is when each host began to live as it does.
        """
        image = self._image_of_agents()
        found = self._api.containers(filters={"label": [self._label, NURSERY]})
        ours = {c["Labels"][NURSERY]: c["Id"] for c in found if c["Image"] == image}
        hosts = [host for host in ours if host in self._containers]
        with ThreadPoolExecutor(max_workers=max(1, len(hosts))) as pool:
            here = pool.map(lambda host: self._lives(began[host], [ours[host]])[0], hosts)
        self._nurseries = {host: ours[host] for host, living in zip(hosts, here, strict=True) if ours[host] in living}
        doors = {c["Labels"][NURSERY]: m["Source"] for c in found for m in c["Mounts"] if m["Destination"] == DOORS}
        self._doors = {host: Path(doors[host]) / door.name(host) for host in self._nurseries if host in doors}

    def _beside_it(self, host: str, label: str) -> tuple[list[str], list[str]]:
        """What of a lab that stays lives beside a host: in its network namespace, and in one of a former life of its."""
        found = self._api.containers(filters={"label": [self._label, f"{label}={host}"]})
        began = _began(self._state(host)) if found else None
        return self._lives(began, [container["Id"] for container in found])

    def _lives(self, began: datetime | None, found: Sequence[str]) -> tuple[list[str], list[str]]:
        """Which of these containers live beside a host as it lives since it `began`, and which beside a former life of its."""
        here: list[str] = []
        former: list[str] = []
        for container in found:
            if (look := self._look(container)):
                born = _began(look["State"])
                (here if began is not None and (born or began) >= began else former).append(container)
        return here, former

    def resident_agent(self, host: str) -> DockerChannel:
        """The agent that holds what is broken by hand on a standing lab: it outlives the command that speaks to it."""
        here, former = self._beside_it(host, RESIDENT)
        each(lambda c: self._api.remove_container(c, force=True), former)
        if here:
            return AttachedChannel(self._api, here[0])
        return self._agent(host, {**self._labels(), RESIDENT: host}, detach=True)

    def capture_live(self, host: str, words: Sequence[str]) -> DockerChannel:
        """A live capture of a host of a standing lab (`labctl.agent.live` with these words), until the channel is finished."""
        labels = {RUN: self._run, OWNER: str(Owner.me()), AGENT: host}
        return self._agent(host, labels, detach=False, module="agent.live", words=words)

    def has_resident(self, host: str) -> bool:
        """Whether anything may be held by hand at a host."""
        return bool(self._beside_it(host, RESIDENT)[0])

    def _agent(
        self, host: str, labels: dict[str, str], detach: bool, module: str = "agent", words: Sequence[str] = ()
    ) -> DockerChannel:
        python = ["-m", module, *words]
        tshark = self._tshark  # another host's agent may find out at the same time that there is none
        try:
            container = self._beside(host, labels, python, detach, tshark)
        except LabError:
            if tshark is None:
                raise
            self._tshark = None  # a daemon that does not see our folder
            container = self._beside(host, labels, python, detach)
        try:
            channel = AttachedChannel(self._api, container)
            self._api.start(container)
        except docker.errors.APIError as error:
            raise self._no_agent(host, error) from None
        return channel

    def _beside(
        self, host: str, labels: dict[str, str], python: list[str], detach: bool, doors: Path | None = None
    ) -> str:
        """A container, made but not started, that shares the host's network namespace and may change it. Raises LabError."""

        def make() -> str:
            return agentimage.create(
                self._api, self._image_of_agents(), ["python3", "-u", *python], labels,
                f"container:{self._containers[host]}", ("NET_ADMIN", "NET_RAW"), doors, detach,
            )  # fmt: skip

        try:
            try:
                return make()
            except docker.errors.ImageNotFound:  # the gc of another version took it for stale in between: it is made again
                self._agent_image = None
                return make()
        except docker.errors.APIError as error:
            raise self._no_agent(host, error) from None

    def _image_of_agents(self) -> str:
        if self._agent_image is None:
            self._agent_image = agentimage.ensure(self._api, lambda _: None)
        return self._agent_image

    def _no_agent(self, host: str, error: docker.errors.APIError) -> LabError:
        state = self._state(host)
        if not state["Running"]:
            return self._did_not_stay(host, state)
        return LabError(f"no agent could be started for {host}: {error.explanation or error}")

    def start(self, host: str, argv: Sequence[str], env: Mapping[str, str], beside: bool = False) -> DockerProcess:
        container = self._companion(host) if beside else self._containers[host]
        if not beside:
            self._ran_on.add(host)
        return DockerProcess(self._api, host, container, tuple(argv), dict(env), self._run, self._first(container))

    def _first(self, container: str) -> int:
        """The number that a container's first process has on the daemon's machine; asked anew where it is seen here no more."""
        first, is_seen = self._firsts.get(container, (0, True))
        if is_seen and not nearby.sees(first, container):
            try:
                first = int(self._api.inspect_container(container)["State"]["Pid"])
            except (docker.errors.APIError, requests.exceptions.RequestException):
                return 0  # whatever it is, starting a program there says so
            self._firsts[container] = first, nearby.sees(first, container)
        return first

    def _companion(self, host: str) -> str:
        """A container with the bundled programs for a host that has none: its network namespace and names, no privilege."""
        with self._lock:
            if host not in self._companions:
                image = programs_image(self._api)
                config = self._api.create_host_config(
                    network_mode=f"container:{self._containers[host]}",
                    cap_drop=["ALL"],
                    security_opt=["no-new-privileges:true"],
                    log_config=LogConfig(type="none"),
                    auto_remove=True,
                )
                labels = {RUN: self._run, OWNER: str(Owner.me()), COMPANION: host}
                try:
                    made = self._api.create_container(image, labels=labels, host_config=config)["Id"]
                    self._api.start(made)
                except docker.errors.APIError as error:
                    raise LabError(f"nothing could be started beside {host}: {error.explanation or error}") from None
                self._companions[host] = made
            return self._companions[host]

    def disturb(self, host: str, what: str, on: bool, note: notes.Note | None = None) -> None:
        verbs = {"pause": ("set going again", "frozen"), "kill": ("started again", "killed")}[what]
        if on and self._standing:
            notes.write(self._api, note or self._note(host, what))
        try:
            if on and self._watch is not None:
                self._watch.expect(host, what)
            if what == "pause":
                (self._api.pause if on else self._api.unpause)(self._containers[host])
                if not on and self._standing:
                    notes.erase(self._api, self._note(host, what))
            elif on:
                self._api.kill(self._containers[host], "KILL")
                self._api.wait(self._containers[host], timeout=KILL_TIMEOUT_S)
                self._bereave(host)
            else:
                self._api.start(self._containers[host])
            if not on and self._watch is not None:
                self._watch.restored(host)
        except (docker.errors.APIError, requests.exceptions.RequestException) as error:
            raise LabError(f"{host} could not be {verbs[on]}: {getattr(error, 'explanation', None) or error}") from None

    def disturb_by_hand(self, host: str, what: str, fault: str, count: int) -> None:
        """Do to a host of a standing lab what stays until `set_right`, under the name of a fault. Raises LabError."""
        note = notes.Note(str(self._standing), host, what, "", Owner.me(), fault, count)
        try:
            self.disturb(host, what, True, note)
        except LabError:
            notes.erase(self._api, note)
            raise

    def set_right(self, note: notes.Note) -> None:
        """Take back what was done by hand to a host. One that was killed is to be healed then. Raises LabError."""
        if note.what == "pause" and self._state(note.host)["Paused"]:
            self.disturb(note.host, note.what, False)
        notes.erase(self._api, note)

    def _note(self, host: str, what: str) -> notes.Note:
        return notes.Note(str(self._standing), host, what, self._run, Owner.me())

    def _bereave(self, host: str) -> None:
        """On a lab that stands: what lived beside a host that was killed is in a network namespace that is no more.

        A nursery is replaced when the run ends: the agent of the dead host, which has its capture, still lives in it.
        """
        if self._standing:
            self._bereaved.setdefault(host, self._nurseries.pop(host, None))
        if host in self._companions:  # its programs die with their host, as those inside it do
            each(lambda c: self._api.remove_container(c, force=True), [self._companions.pop(host)])
        if self._standing:
            residents = self._api.containers(filters={"label": [self._label, f"{RESIDENT}={host}"]})
            each(lambda c: self._api.remove_container(c["Id"], force=True), residents)

    def dead(self, hosts: Sequence[str], look: bool = False) -> str | None:
        if self._watch is None:
            return None
        return str(DaemonGone()) if self._watch.is_cut_off else self._watch.first(hosts, look)

    def lost(self) -> str | None:
        if self._watch is not None and self._watch.is_cut_off:
            return str(DaemonGone())
        self._api.close()  # one that is ending takes no new connections, and answers on those that it has
        try:
            self._api.ping()
        except DaemonGone as error:
            return str(error)
        except (docker.errors.DockerException, requests.exceptions.RequestException):
            pass  # it is there, if not well
        return None

    def environment(self) -> dict[str, Any]:
        version = self._api.version()
        return {
            "kernel": version.get("KernelVersion"),
            "docker": version.get("Version"),
            "compose": self._compose_version,
            "python": platform.python_version(),
        }

    # -- taking it away ---------------------------------------------------------------------------------------------

    def release(self) -> None:
        self._over()
        if not self._stays:
            thaw(self._api, self._api.containers(filters={"label": f"{RUN}={self._run}", "status": "paused"}))
            each(lambda c: self._api.remove_container(c, force=True, v=True), self._containers.values())
            networks = self._api.networks(filters={"label": f"{RUN}={self._run}"})
            each(lambda n: self._api.remove_network(n["Id"]), networks)

    def tidy(self) -> None:
        end_programs(self._api, {self._containers[host]: {self._run} for host in self._ran_on if host in self._containers})

    def _over(self) -> None:
        if self._watch is not None:
            self._watch.over()

    def down(self) -> None:
        self._over()
        try:
            self._take_back()
        finally:
            self._hang_up()

    def _take_back(self) -> None:
        if not self._stays:
            return self._remove()
        if self._made_agents:
            remove(self._api, [AGENT, f"{RUN}={self._run}"])
        if self._companions:
            remove(self._api, [COMPANION, f"{RUN}={self._run}"])
        for host, nursery in self._bereaved.items():
            each(lambda c: self._api.remove_container(c, force=True), [nursery] if nursery else [])
            self.start_nursery(host)
            notes.erase(self._api, self._note(host, "kill"))
        return self._bereaved.clear()

    def _hang_up(self) -> None:
        """Close what is open towards the daemon: the program that made this lab may go on for long without it."""
        if self._watch is not None:
            self._watch.close()
        self._api.close()

    def _remove(self) -> None:
        remove(self._api, [f"{RUN}={self._run}"])


@dataclass
class _Patience:
    """Says once, after a while, which hosts (name -> how it is) are waited for."""

    say: Say
    begun: float = field(default_factory=time.monotonic)
    has_said: bool = False

    def waits(self, waiting: Mapping[str, str]) -> None:
        if waiting and not self.has_said and time.monotonic() - self.begun > SAY_AFTER_S:
            self.has_said = True
            self.say("waiting for " + listing([f"{host} ({state})" for host, state in waiting.items()], "and"))


def programs_image(api: APIClient) -> str:
    """Make sure the image with the bundled programs is there; its name. Raises MissingError, LabError."""
    return images.ensure(api, compose.read_config(OWN_COMPOSE), ["server"], lambda _: None)["server"]


def _last_check(health: Mapping[str, Any]) -> str:
    """How the last try of a health check went: its status and the end of what it said."""
    last = (health.get("Log") or [{}])[-1]
    said = str(last.get("Output") or "").strip()[-CHECK_CHARACTERS:] or "nothing"
    return f"its health check ended with {last.get('ExitCode')} and said: {said}"


def _subnet(network: Mapping[str, Any]) -> Subnet:
    configs = network["IPAM"]["Config"] or []
    four: dict[str, str] = next((c for c in configs if ":" not in c["Subnet"]), {})
    six: dict[str, str] = next((c for c in configs if ":" in c["Subnet"]), {})
    return Subnet(four.get("Subnet", ""), four.get("Gateway", ""), six.get("Subnet"), six.get("Gateway"))


def addresses_of(endpoint: Mapping[str, Any]) -> tuple[str, ...]:
    """A host's addresses on one network, as Docker tells them; of one that is down, those that it will have again."""
    fixed = endpoint.get("IPAMConfig") or {}
    four = endpoint.get("IPAddress") or fixed.get("IPv4Address")
    six = endpoint.get("GlobalIPv6Address") or fixed.get("IPv6Address")
    return tuple(address for address in (four, six) if address)


def _began(state: Mapping[str, Any]) -> datetime | None:
    """When the life of a container began that goes on now; None when it is not up."""
    return datetime.fromisoformat(state["StartedAt"]) if state.get("Running") else None
