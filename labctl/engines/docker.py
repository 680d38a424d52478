"""Docker as the engine: hosts from a compose file, agents beside them in their network namespaces."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import platform
import random
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import docker.errors
import requests.exceptions
from docker import APIClient
from docker.types import LogConfig
from docker.utils import kwargs_from_env

from labctl.engines import agentimage, compose, images
from labctl.engines.base import AddressesTaken, Say
from labctl.engines.docker_stream import AttachedChannel, DockerChannel, DockerProcess, ForkedChannel
from labctl.engines.owner import Owner
from labctl.errors import LabError, MissingError
from labctl.lab import BLOCK_PREFIX, BLOCKS, POOL, PROGRAMS, ROLE, Host, Lab, Subnet, addressed, render

RUN = "labctl.run"
OWNER = "labctl.owner"
STANDING = "labctl.lab"
HOST = "labctl.host"
AGENT = "labctl.agent"
RESIDENT = "labctl.resident"
NURSERY = "labctl.nursery"
COMPANION = "labctl.companion"
COMPOSE = "labctl.compose"
ROOT = Path(__file__).resolve().parents[2]
UP_TIMEOUT_S = 120.0
REMOVE_TIMEOUT_S = 30.0
KILL_TIMEOUT_S = 30
CONNECT_TIMEOUT_S = 15
TIMEOUT_S = 60
OWN_COMPOSE = ROOT / "docker-compose.yml"


def connect() -> APIClient:
    """A client of the Docker daemon that the environment names. Raises MissingError with what to do."""
    try:
        api = APIClient(version="auto", timeout=CONNECT_TIMEOUT_S, num_pools=32, **kwargs_from_env())
        api.ping()
    except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
        raise MissingError(_no_daemon(error)) from None
    api.timeout = TIMEOUT_S
    return api


REFUSED = "refuses this user"


def connect_refused(error: Exception) -> bool:
    """Whether what `connect` raised is a daemon that is there and does not let this user speak to it."""
    return REFUSED in str(error)


def _no_daemon(error: Exception) -> str:
    text = str(error)
    named = os.environ.get("DOCKER_HOST")
    where = f"at {named} (DOCKER_HOST)" if named else "at its usual socket"
    start = (
        "start that one, or unset DOCKER_HOST"
        if named
        else "start it (`systemctl start docker`), or let ./script/bootstrap do it"
    )
    if "Permission denied" in text:
        return f"the Docker daemon {where} {REFUSED}; join the group `docker` (or run as root) and log in again"
    if "No such file" in text or "Connection refused" in text:
        return f"no Docker daemon answers {where}; {start}"
    if "timed out" in text:
        return f"the Docker daemon {where} has not answered within {CONNECT_TIMEOUT_S} s; is it hung, or overloaded?"
    return f"the Docker daemon {where} cannot be used: {text[:300]}"


class DockerEngine:
    """One lab on Docker. `run` names it; `standing` is the name of a lab that outlives the driver."""

    name = "docker"

    def __init__(self, api: APIClient, run: str, standing: str | None = None) -> None:
        self._api = api
        self._run = run
        self._standing = standing
        self.project = f"labctl-lab-{standing}" if standing else f"labctl-{run.lower()}"
        self._containers: dict[str, str] = {}
        self._dead: dict[str, str] = {}
        self._expected: Counter[str] = Counter()  # deaths that were asked for and not heard of yet
        self._closing = False
        self._deaths: Any = None
        self._compose_version: str | None = None
        self._agent_image: str | None = None
        self._nurseries: dict[str, str] = {}
        self._childless: dict[str, str] = {}
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

    def up(self, config: Mapping[str, Any], lab: Lab, hosts: Sequence[str], rendered: Path, say: Say) -> None:
        """Bring up `hosts` of a lab whose addresses are reserved. Raises AddressesTaken, MissingError, LabError."""
        named = images.ensure(self._api, config, hosts, say)
        self._agent_image = agentimage.ensure(self._api, say)
        labels = {**self._labels(), COMPOSE: str(lab.path)}
        document = render(config, lab, hosts, self.project, labels, named)
        rendered.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        try:
            compose.up(rendered, lab.path.parent, hosts)
        except LabError as error:
            if "Pool overlaps" in str(error):
                self._remove()
                raise AddressesTaken(str(error)) from None
            raise
        self._find_containers()
        self._wait_running(hosts)

    def _wait_running(self, hosts: Sequence[str]) -> None:
        """Until every host runs and, where it has a health check, is healthy. Compose's --wait looks only twice a second."""
        deadline = time.monotonic() + UP_TIMEOUT_S
        for host in hosts:
            while True:
                try:
                    state = self._api.inspect_container(self._containers[host])["State"]
                except (KeyError, docker.errors.NotFound):
                    raise LabError(f"the host {host} did not come up") from None
                health = state.get("Health", {}).get("Status", "healthy")
                if state["Running"] and health == "healthy":
                    break
                if state["Status"] in ("exited", "dead"):
                    raise self._did_not_stay(host, state)
                if time.monotonic() > deadline:
                    raise LabError(
                        f"the host {host} is not up after {UP_TIMEOUT_S:g}s: {state['Status']}, {health}"
                    )
                time.sleep(0.02)

    def _did_not_stay(self, host: str, state: Mapping[str, Any]) -> LabError:
        logs = self._api.logs(self._containers[host], tail=5).decode(errors="replace").strip()
        said = logs or "it said nothing"
        return LabError(f"the host {host} ended with {state['ExitCode']} instead of staying up: {said}")

    def attach(self) -> Lab:
        """Use the standing lab of this name; the lab as its containers and networks say. Raises LabError."""
        label = f"{STANDING}={self._standing}"
        found = self._api.containers(filters={"label": [label, HOST]})
        if not found:
            raise LabError(
                f"no lab named {self._standing} stands here; `labctl up --name {self._standing}` makes one"
            )
        networks = {self._own_name(n): _subnet(n) for n in self._api.networks(filters={"label": label})}
        hosts = [self._host(container) for container in found]
        self._find_containers()
        self._find_nurseries()
        path = Path(found[0]["Labels"][COMPOSE])
        return Lab(path, {host.name: host for host in sorted(hosts, key=lambda h: h.name)}, networks)

    def _host(self, container: Mapping[str, Any]) -> Host:
        labels = container["Labels"]
        addresses = {
            name.removeprefix(f"{self.project}_"): tuple(
                a for a in (n.get("IPAddress"), n.get("GlobalIPv6Address")) if a
            )
            for name, n in container["NetworkSettings"]["Networks"].items()
        }
        router = labels.get(ROLE) == "router"
        return Host(labels[HOST], tuple(addresses), router, labels.get(PROGRAMS), (), addresses)

    def _own_name(self, network: Mapping[str, Any]) -> str:
        return str(network["Name"]).removeprefix(f"{self.project}_")

    def _labels(self) -> dict[str, str]:
        labels = {RUN: self._run, OWNER: str(Owner.me())}
        return labels | {STANDING: self._standing} if self._standing else labels

    def _find_containers(self) -> None:
        wanted = f"{STANDING}={self._standing}" if self._standing else f"{RUN}={self._run}"
        found = self._api.containers(all=True, filters={"label": [wanted, HOST]})
        self._containers = {c["Labels"][HOST]: c["Id"] for c in found}
        self._compose_version = next((c["Labels"].get("com.docker.compose.version") for c in found), None)
        threading.Thread(target=self._watch, name="deaths", daemon=True).start()

    def _watch(self) -> None:
        ids = {container: host for host, container in self._containers.items()}
        with contextlib.suppress(Exception):
            self._deaths = self._api.events(decode=True, filters={"event": "die", "container": list(ids)})
            for event in self._deaths:
                host = ids.get(event["id"])
                if host and self._expected[host]:
                    self._expected[host] -= 1
                elif host and not self._closing:
                    code = event["Actor"]["Attributes"].get("exitCode")
                    self._dead[host] = f"the host {host} ended by itself with exit status {code}"

    # -- using it ---------------------------------------------------------------------------------------------------

    def open_agent(self, host: str) -> DockerChannel:
        if host in self._nurseries:
            return ForkedChannel(self._api, self._nurseries[host])
        # With detach=False the container gets StdinOnce: the agent's stdin ends when the driver does.
        labels = {RUN: self._run, OWNER: str(Owner.me()), AGENT: host}
        self._made_agents = True
        return self._agent(host, labels, detach=False)

    def start_nursery(self, host: str) -> None:
        """On a lab that stands: a process beside the host that gives birth to agents at once; see `labctl.agent.nursery`."""
        container = self._beside(host, {**self._labels(), NURSERY: host}, ["-m", "agent.nursery"], detach=True)
        try:
            self._api.start(container)
        except docker.errors.APIError as error:
            raise self._no_agent(host, error) from None

    def _find_nurseries(self) -> None:
        """Those of this lab that have this driver's code; an agent of another version would not understand it."""
        image = self._image_of_agents()
        found = self._api.containers(filters={"label": [f"{STANDING}={self._standing}", NURSERY]})
        self._nurseries = {c["Labels"][NURSERY]: c["Id"] for c in found if c["Image"] == image}

    def resident_agent(self, host: str) -> DockerChannel:
        """The agent that holds what is broken by hand on a standing lab: it outlives the command that speaks to it."""
        wanted = [f"{STANDING}={self._standing}", f"{RESIDENT}={host}"]
        found = self._api.containers(filters={"label": wanted})
        if found:
            return AttachedChannel(self._api, found[0]["Id"])
        return self._agent(host, {**self._labels(), RESIDENT: host}, detach=True)

    def capture_live(self, host: str, words: Sequence[str]) -> DockerChannel:
        """A live capture of a host of a standing lab (`labctl.agent.live` with these words), until the channel is finished."""
        labels = {RUN: self._run, OWNER: str(Owner.me()), AGENT: host}
        return self._agent(host, labels, detach=False, module="agent.live", words=words)

    def has_resident(self, host: str) -> bool:
        """Whether anything may be held by hand at a host."""
        wanted = [f"{STANDING}={self._standing}", f"{RESIDENT}={host}"]
        return bool(self._api.containers(filters={"label": wanted}))

    def _agent(
        self, host: str, labels: dict[str, str], detach: bool, module: str = "agent", words: Sequence[str] = ()
    ) -> DockerChannel:
        container = self._beside(host, labels, ["-m", module, *words], detach)
        try:
            channel = AttachedChannel(self._api, container)
            self._api.start(container)
        except docker.errors.APIError as error:
            raise self._no_agent(host, error) from None
        return channel

    def _beside(self, host: str, labels: dict[str, str], python: list[str], detach: bool) -> str:
        """A container, made but not started, that shares the host's network namespace and may change it. Raises LabError."""
        config = self._api.create_host_config(
            network_mode=f"container:{self._containers[host]}",
            cap_drop=["ALL"],
            cap_add=["NET_ADMIN", "NET_RAW"],
            security_opt=["no-new-privileges:true"],
            log_config=LogConfig(type="none"),
            auto_remove=True,  # it ends by itself, and nobody has to wait until Docker has tidied up behind it
        )
        for last in (False, True):
            try:
                made = self._api.create_container(
                    self._image_of_agents(),
                    ["python3", "-u", *python],
                    stdin_open=True,
                    detach=detach,
                    working_dir=agentimage.DIRECTORY,
                    labels=labels,
                    host_config=config,
                )
                break
            except docker.errors.APIError as error:
                if last or not isinstance(error, docker.errors.ImageNotFound):
                    raise self._no_agent(host, error) from None
                self._agent_image = None  # the gc of another version took it for stale in between: it is made again
        return str(made["Id"])

    def _image_of_agents(self) -> str:
        if self._agent_image is None:
            self._agent_image = agentimage.ensure(self._api, lambda _: None)
        return self._agent_image

    def _no_agent(self, host: str, error: docker.errors.APIError) -> LabError:
        state = self._api.inspect_container(self._containers[host])["State"]
        if not state["Running"]:
            return self._did_not_stay(host, state)
        return LabError(f"no agent could be started for {host}: {error.explanation or error}")

    def start(self, host: str, argv: Sequence[str], env: Mapping[str, str], beside: bool = False) -> DockerProcess:
        container = self._companion(host) if beside else self._containers[host]
        return DockerProcess(self._api, host, container, tuple(argv), dict(env))

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

    def disturb(self, host: str, what: str, on: bool) -> None:
        verbs = {"pause": ("set going again", "frozen"), "kill": ("started again", "killed")}[what]
        try:
            if what == "pause":
                (self._api.pause if on else self._api.unpause)(self._containers[host])
            elif on:
                self._expected[host] += 1
                self._api.kill(self._containers[host], "KILL")
                self._api.wait(self._containers[host], timeout=KILL_TIMEOUT_S)
                self._bereave(host)
            else:
                self._api.start(self._containers[host])
                self._wait_running([host])
        except (docker.errors.APIError, requests.exceptions.RequestException) as error:
            raise LabError(f"{host} could not be {verbs[on]}: {getattr(error, 'explanation', None) or error}") from None

    def _bereave(self, host: str) -> None:
        """On a lab that stands: what lived beside a host that was killed is in a network namespace that is no more.

        A nursery is replaced when the run ends: the agent of the dead host, which has its capture, still lives in it.
        """
        if host in self._nurseries:
            self._childless[host] = self._nurseries.pop(host)
        if host in self._companions:  # its programs die with their host, as those inside it do
            _each(lambda c: self._api.remove_container(c, force=True), [self._companions.pop(host)])
        if self._standing:
            residents = self._api.containers(filters={"label": [f"{STANDING}={self._standing}", f"{RESIDENT}={host}"]})
            _each(lambda c: self._api.remove_container(c["Id"], force=True), residents)

    def dead(self) -> str | None:
        return next(iter(self._dead.values()), None)

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
        self._closing = True
        if not self._standing:
            _each(lambda c: self._api.remove_container(c, force=True, v=True), self._containers.values())
            networks = self._api.networks(filters={"label": f"{RUN}={self._run}"})
            _each(lambda n: self._api.remove_network(n["Id"]), networks)

    def down(self) -> None:
        self._closing = True
        if self._standing:
            if self._made_agents:
                remove(self._api, [AGENT, f"{RUN}={self._run}"])
            if self._companions:
                remove(self._api, [COMPANION, f"{RUN}={self._run}"])
            for host, nursery in self._childless.items():
                _each(lambda c: self._api.remove_container(c, force=True), [nursery])
                self.start_nursery(host)
            self._childless.clear()
        else:
            self._remove()
        self._hang_up()

    def _hang_up(self) -> None:
        """Close what is open towards the daemon: the program that made this lab may go on for long without it."""
        if self._deaths is not None:
            with contextlib.suppress(docker.errors.DockerException, OSError):
                self._deaths.close()
            self._deaths = None
        self._api.close()

    def _remove(self) -> None:
        remove(self._api, [f"{RUN}={self._run}"])


def programs_image(api: APIClient) -> str:
    """Make sure the image with the bundled programs is there; its name. Raises MissingError, LabError."""
    return images.ensure(api, compose.read_config(OWN_COMPOSE), ["server"], lambda _: None)["server"]


def remove(api: APIClient, labels: list[str]) -> tuple[int, int]:
    """Remove every container, network and volume that has all the labels; how many containers and networks.

    Looks again until it finds nothing, since an engine may still be making what a dead driver asked for, or be
    removing what ended by itself. Raises LabError when something stays.
    """
    filters = {"label": labels}
    containers: set[str] = set()
    networks: set[str] = set()
    deadline = time.monotonic() + REMOVE_TIMEOUT_S
    while time.monotonic() < deadline:
        found = api.containers(all=True, filters=filters)
        nets = api.networks(filters=filters)
        volumes = (api.volumes(filters=filters).get("Volumes") or []) if AGENT not in labels else []
        if not found and not nets and not volumes:
            return len(containers), len(networks)
        containers |= {c["Id"] for c in found}
        networks |= {n["Id"] for n in nets}
        _each(
            lambda c: api.remove_container(c["Id"], force=True, v=True),
            [c for c in found if c["State"] != "removing"],
        )
        _each(lambda n: api.remove_network(n["Id"]), nets)
        _each(lambda v: api.remove_volume(v["Name"], force=True), volumes)
        if found and not nets and not volumes:
            time.sleep(0.02)
    raise LabError(
        f"something labelled {', '.join(labels)} is not to be removed; `docker ps -a` and `docker network ls` show it"
    )


def _each(action: Any, things: Iterable[Any]) -> None:
    def safely(thing: Any) -> None:
        # What is gone already, or is being removed by somebody else, is what we want; all else is looked at again.
        with contextlib.suppress(docker.errors.NotFound, docker.errors.APIError):
            action(thing)

    things = list(things)
    if things:
        with ThreadPoolExecutor(max_workers=min(16, len(things))) as pool:
            list(pool.map(safely, things))


def dead_runs(api: APIClient) -> dict[str, str]:
    """Runs on this machine whose driver is gone: run -> its owner label. Standing labs are nobody's leftovers."""
    found: dict[str, str] = {}
    things = [
        *((c["Labels"]) for c in api.containers(all=True, filters={"label": RUN})),
        *((n["Labels"]) for n in api.networks(filters={"label": RUN})),
        *((v["Labels"]) for v in api.volumes(filters={"label": RUN}).get("Volumes") or []),
    ]
    for labels in things:
        owner = Owner.parse(labels.get(OWNER, ""))
        if labels.get(STANDING) is None and (owner is None or not owner.is_alive()):
            found[labels[RUN]] = labels.get(OWNER, "")
    return found


def _subnet(network: Mapping[str, Any]) -> Subnet:
    configs = network["IPAM"]["Config"] or []
    four: dict[str, str] = next((c for c in configs if ":" not in c["Subnet"]), {})
    six: dict[str, str] = next((c for c in configs if ":" in c["Subnet"]), {})
    return Subnet(four.get("Subnet", ""), four.get("Gateway", ""), six.get("Subnet"), six.get("Gateway"))
