"""Labs that stay, and what dead runs leave: everything that is done to Docker outside a run."""

from __future__ import annotations

import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import docker.errors
from docker import APIClient

from labctl.agent.live import NO_FILTER, NO_INTERFACE
from labctl.composefile import resolved
from labctl.engines import agentimage, door, forks, notes
from labctl.engines.agents import AgentClient
from labctl.engines.base import on_free_addresses
from labctl.engines.daemon import connect
from labctl.engines.docker import OWN_COMPOSE, DockerEngine, addresses_of, programs_image
from labctl.engines.images import ensure, machine_lock, remove_untagged
from labctl.engines.labels import HOST, OWNER, RUN, STANDING, lab_name
from labctl.engines.leftovers import RUN_VARIABLE, dead_runs, each, end_exec, remove
from labctl.engines.owner import Owner, is_alive
from labctl.errors import LabctlError, LabError, UsageError
from labctl.evidence.rundir import new_run_name
from labctl.interrupts import handled, heard
from labctl.lab import PROGRAMS, Lab, from_compose, read_lab
from labctl.session.together import everywhere

GOING_S = 3.0  # how soon a lab that fails as it is being taken down is gone


def bring_up(compose: Path | None, name: str, say: Callable[[str], None]) -> tuple[str, ...]:
    """Bring up every host of a lab under a name; those that were not up.

    A lab that stands already and of which hosts are down gets those again. Raises ScenarioError for a compose file that is no
    lab, UsageError, MissingError, LabError.
    """
    lab_name(name)
    path = resolved(compose or OWN_COMPOSE)
    if compose is not None:
        read_lab(path)  # before Compose does, which reads a device without end
    api = connect()
    begun = notes.read_begun(api)
    if name in begun and not is_alive(begun[name]):
        remove(api, [f"{STANDING}={name}"])
    if api.containers(all=True, filters={"label": [f"{STANDING}={name}", HOST]}):
        return _bring_up_again(api, path if compose else None, name)
    engine = DockerEngine(api, new_run_name(name), name)
    config = engine.prepare(path, say)
    lab = from_compose(config, path)
    hosts = tuple(lab.hosts)
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as on_error:
        on_error.callback(remove, api, [f"{STANDING}={name}"])  # not take_down: having made nothing yet is no error here
        with ExitStack() as agents:
            agents.callback(engine.down)
            rendered = Path(scratch) / "compose.yaml"
            on_free_addresses(
                engine, lab, lambda found: engine.up(config, found, hosts, rendered, say, partial(_set_routes, engine, found))
            )
            engine.keep()
        on_error.pop_all()
    return hosts


def _bring_up_again(api: APIClient, compose: Path | None, name: str) -> tuple[str, ...]:
    """Start what is down of a lab that stands, whatever ended it; the hosts. Raises UsageError when all of it is up."""
    engine = DockerEngine(api, new_run_name("up"), name)
    lab = engine.attach()
    if compose is not None and compose != lab.path:
        raise UsageError(f"a lab named {name} stands already, and it is {lab.path}; choose another --name")
    held = {note.host: note for note in notes.read(api, name) if not note.is_orphaned}
    healed = heal(engine, lab, [host for host in lab.hosts if host not in held])
    if not healed:
        raise UsageError(
            f"a lab named {name} stands already; `labctl down {name}` takes it down, or choose another --name"
        )
    return healed


def heal(engine: DockerEngine, lab: Lab, hosts: Sequence[str]) -> tuple[str, ...]:
    """Have these hosts of a lab that stands run, with their nurseries and routes; those that did not. Raises LabError."""
    with machine_lock("heal"):  # two that do this at once would each start a nursery
        healed = [host for host, was_ill in zip(hosts, everywhere(engine.heal, hosts), strict=True) if was_ill]
        with ExitStack() as agents:
            agents.callback(engine.down)
            everywhere(partial(_set_routes, engine, lab), healed)
            engine.wait_healthy(healed)
    return tuple(healed)


def _set_routes(engine: DockerEngine, lab: Lab, host: str) -> None:
    """Set the routes of a host, by an agent that does nothing else. Raises LabError."""
    with _agent_of(engine, host) as agent:
        agent.set_routes(lab.routes(host, lab.hosts), lab.gateways(host))


def _agent_of(engine: DockerEngine, host: str) -> closing[AgentClient]:
    """An agent on a host, closed at the end of the block. Raises LabError."""
    return closing(AgentClient(host, engine.open_agent(host), lambda *_: None))


def take_down(name: str) -> tuple[int, int]:
    """Take a standing lab down; how many containers and networks went. Raises UsageError when there is none."""
    api = connect()
    label = f"{STANDING}={name}"
    if not api.containers(all=True, filters={"label": label}) and not api.networks(filters={"label": label}):
        raise UsageError(f"no lab named {name} stands here; `labctl ps` shows what does")
    removed = remove(api, [label])
    door.remove(DockerEngine(api, "down", name).project)
    return removed


def listing() -> list[dict[str, Any]]:
    """Every lab there is, standing or of a run, with its hosts; `why` says what is to be done about one that is down."""
    api = connect()
    begun = notes.read_begun(api)
    labs: dict[str, dict[str, Any]] = {}
    for container in api.containers(all=True, filters={"label": [RUN, HOST]}):
        labels = container["Labels"]
        standing = labels.get(STANDING)
        key = standing or labels[RUN]
        kind = "unfinished" if standing in begun else "standing" if standing else "run"
        lab = labs.setdefault(key, {"name": key, "kind": kind, "hosts": []})
        networks = container["NetworkSettings"]["Networks"].values()
        addresses = [address for n in networks for address in addresses_of(n)[:1]]
        lab["hosts"].append({"name": labels[HOST], "state": container["State"], "addresses": addresses, "why": None})
    for lab in labs.values():
        lab["hosts"].sort(key=lambda host: host["name"])
        for host in lab["hosts"]:
            if lab["kind"] == "standing" and host["state"] != "running":
                with _unless_gone(api, lab["name"]):
                    host["why"] = _why_down(api, lab["name"], host["name"])
    return sorted(labs.values(), key=lambda lab: lab["name"])


def exec_argv(
    name: str | None, host: str, words: tuple[str, ...], interactive: bool
) -> tuple[list[str], Callable[[], None]]:
    """The docker command that runs `words` on a host of a standing lab, and how to end what they run when that was ended.

    Docker hands no signal on to what it runs in a container, and does not end it either. What ended by itself keeps what it
    has left in the background. Raises UsageError, LabError.
    """
    from labctl.plan import BUNDLED, command
    from labctl.scenario.model import PROGRAMS as BUNDLED_PROGRAMS

    container = _host(name, host)
    programs = container["Labels"].get(PROGRAMS)
    argv = command(words, programs or BUNDLED)
    mark = f"exec-{secrets.token_hex(4)}"
    streams = ["-i", *(["-t"] if interactive else [])]
    if words[0] in BUNDLED_PROGRAMS and programs is None:
        labels = ["--label", f"{RUN}=exec", "--label", f"{OWNER}={Owner.me()}"]
        beside = ["--name", f"labctl-{mark}", "--network", f"container:{container['Id']}", "--cap-drop", "ALL"]
        docker = ["docker", "run", "--rm", *streams, *beside, *labels, programs_image(connect()), *argv]
        return docker, lambda: each(lambda name: connect().remove_container(name, force=True), [f"labctl-{mark}"])
    docker = ["docker", "exec", "--env", f"{RUN_VARIABLE}={mark}", *streams, container["Id"], *argv]
    return docker, lambda: end_exec(connect(), container["Id"], argv, mark)


def _host(name: str | None, host: str) -> dict[str, Any]:
    """The container of a host of a standing lab. Raises UsageError, LabError."""
    api = connect()
    name = name or only_lab(api)
    found = api.containers(all=True, filters={"label": [f"{STANDING}={name}", HOST]})
    if not found:
        raise UsageError(f"no lab named {name} stands here; `labctl ps` shows what does")
    if (why := notes.why_unfinished(api, name)) is not None:
        raise LabError(why)
    container: dict[str, Any] | None = next((c for c in found if c["Labels"][HOST] == host), None)
    if container is None:
        hosts = ", ".join(sorted(c["Labels"][HOST] for c in found))
        raise UsageError(f"lab {name} has no host {host}; it has {hosts}")
    if container["State"] != "running" and (why := _why_down(api, name, host)) is not None:
        raise LabError(why)
    return container


def _why_down(api: APIClient, lab: str, host: str) -> str | None:
    engine = DockerEngine(api, new_run_name("ps"), lab)
    engine.attach()
    return engine.why_down(host)


def only_lab(api: APIClient) -> str:
    """The name of the lab that stands, when there is just one. Raises UsageError."""
    labs = _standing_labs(api)
    if not labs:
        raise UsageError("no lab stands here; `labctl up` makes one")
    if len(labs) > 1:
        raise UsageError(f"several labs stand here; choose one with --lab: {', '.join(sorted(labs))}")
    return labs.pop()


@contextmanager
def _unless_gone(api: APIClient, name: str) -> Iterator[None]:
    """What fails at a lab that somebody takes down meanwhile is no failure of whoever walks over all of them."""
    try:
        yield
    except (LabctlError, docker.errors.APIError, KeyError):  # KeyError: a host of which the container is gone
        deadline = time.monotonic() + GOING_S
        while name in _standing_labs(api):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _standing_labs(api: APIClient) -> set[str]:
    found = {c["Labels"][STANDING] for c in api.containers(all=True, filters={"label": [STANDING, HOST]})}
    return found - notes.read_begun(api).keys()


def capture(
    name: str | None, host: str, filter_: str | None, interface: str, write: Callable[[bytes], object]
) -> str:
    """Capture live on a host of a standing lab until an interrupt, handing pcapng to `write`; what dumpcap said at its end.

    Arguments: a capture filter (pcap-filter(7)) and an interface; `any` is all of them. The capture ends with this process,
    however that ends, and when `write` raises. Raises UsageError, LabError.
    """
    api = connect()
    name = name or only_lab(api)
    _host(name, host)
    engine = DockerEngine(api, new_run_name("capture"), name)
    engine.attach()
    channel = engine.capture_live(host, [interface, *([filter_] if filter_ else [])])
    interrupted: list[int] = []

    def end(number: int, _: object) -> None:
        """Tell it to end; what it still says is read. Again: nobody reads what is written."""
        if interrupted:
            raise KeyboardInterrupt
        interrupted.append(number)
        channel.finish()

    try:
        with handled(end, heard()):  # an exception would end whoever reads the stream in the middle of it
            while data := channel.receive():
                write(data)
    finally:
        channel.drop()
    said = channel.errors().strip()
    wrong = next((said[said.index(words) :] for words in (NO_INTERFACE, NO_FILTER) if words in said), None)
    if wrong is not None:
        raise UsageError(" ".join(wrong.split()))
    if not interrupted:
        raise LabError(f"the capture of {host} ended by itself: {said or 'it said nothing'}")
    return said


def collect_garbage() -> tuple[int, int, int]:
    """Remove what dead runs of this machine left; how many runs, containers and networks.

    Images with the agent's code of other versions go too, and those that were built anew, unless something runs from them.
    """
    api = connect()
    runs = dead_runs(api)
    door.remove_dead(forks.KIND)
    counts = [remove(api, [f"{RUN}={run}"]) for run in runs]
    agentimage.remove_stale(api)
    remove_untagged(api)
    return len(runs), sum(c for c, _ in counts), sum(n for _, n in counts)


def heal_standing() -> list[str]:
    """Set right what dead runs did to whole hosts of standing labs, which they killed or froze; these, as `LAB/HOST`.

    What a living run has done, or a person by hand, stays as it is. Raises LabError.
    """
    api = connect()
    healed = []
    for name in sorted(_standing_labs(api)):
        with _unless_gone(api, name):
            orphaned = sorted({note.host for note in notes.read(api, name) if note.is_orphaned})
            if orphaned:
                engine = DockerEngine(api, new_run_name("gc"), name)
                lab = engine.attach()
                healed += [f"{name}/{host}" for host in heal(engine, lab, [h for h in orphaned if h in lab.hosts])]
    return healed


def sweep_standing(only: str | None = None) -> dict[str, list[list[str]]]:
    """Take back what killed agents left on the hosts of standing labs, or of one: by `LAB/HOST`, the commands that did it.

    An agent that starts sweeps (`labctl.agent.sweep`); here one starts at every host, and that is all it does. Raises LabError.
    """
    api = connect()
    if only:
        return _sweep(api, only)
    swept: dict[str, list[list[str]]] = {}
    for name in sorted(_standing_labs(api)):
        with _unless_gone(api, name):
            swept |= _sweep(api, name)
    return dict(sorted(swept.items()))


def _sweep(api: APIClient, name: str) -> dict[str, list[list[str]]]:
    swept: dict[str, list[list[str]]] = {}
    engine = DockerEngine(api, new_run_name("gc"), name)
    lab = engine.attach()
    up = [host for host in lab.hosts if engine.is_up(host)]

    def at(host: str) -> None:
        with _agent_of(engine, host) as agent:
            if commands := [ran["argv"] for ran in agent.call("hello")["swept"]]:
                swept[f"{name}/{host}"] = commands
                # An interface that was down has lost what led through it.
                agent.set_routes(lab.routes(host, lab.hosts), lab.gateways(host))

    with ExitStack() as agents:
        agents.callback(engine.down)
        everywhere(at, up)
    return dict(sorted(swept.items()))


def build_images(services: tuple[str, ...], say: Callable[[str], None]) -> list[str]:
    """Build the images of our own lab's services (all when none is named) and the agent's; their names."""
    api = connect()
    config = DockerEngine(api, "images").prepare(OWN_COMPOSE, say)
    unknown = [s for s in services if s not in config["services"] and s != "agent"]
    if unknown:
        raise UsageError(
            f"there is no service {unknown[0]}; there are {', '.join(config['services'])} and agent"
        )
    wanted = [s for s in services if s != "agent"] or ([] if services else list(config["services"]))
    names = ensure(api, config, wanted, say) if wanted else {}
    names["agent"] = agentimage.ensure(api, say)
    return sorted(set(names.values()))
