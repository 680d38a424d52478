"""What stays in Docker when nobody takes it away: found by its labels, and removed."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import docker.errors
from docker import APIClient

from labctl.engines import notes
from labctl.engines.labels import AGENT, OWNER, RUN, STANDING
from labctl.engines.owner import Owner, is_alive
from labctl.errors import LabError

REMOVE_TIMEOUT_S = 30.0
# In the environment of every program of a run, and so of what it forks.
RUN_VARIABLE = "LABCTL_RUN"
# The same of one program, which no other has.
PROGRAM_VARIABLE = "LABCTL_PROGRAM"
_END = """
for each in /proc/[0-9]*/environ; do
  if tr '\\0' '\\n' <"$each" 2>/dev/null | grep -qxF "$1"; then
    number=${each#/proc/}
    kill -KILL "${number%/environ}" 2>/dev/null
  fi
done
"""


def remove(api: APIClient, labels: list[str]) -> tuple[int, int]:
    """Remove every container, network and volume that has all the labels; how many containers and networks.

    Looks again until it finds nothing, since an engine may still be making what a dead driver asked for, or be
    removing what ended by itself. Raises LabError when something stays.
    """
    filters = {"label": labels}
    containers: set[str] = set()
    networks: set[str] = set()
    ghosts: set[str] = set()  # still listed and not there: a daemon that was killed had half removed them

    def drop(container: str) -> None:
        try:
            api.remove_container(container, force=True, v=True)
        except docker.errors.NotFound:
            ghosts.add(container)

    deadline = time.monotonic() + REMOVE_TIMEOUT_S
    while time.monotonic() < deadline:
        listed = api.containers(all=True, filters=filters)
        found = [c for c in listed if c["Id"] not in ghosts]
        nets = api.networks(filters=filters)
        volumes = (api.volumes(filters=filters).get("Volumes") or []) if AGENT not in labels else []
        if not found and not nets and not volumes:
            return len(containers - {c["Id"] for c in listed}), len(networks)
        thaw(api, found)
        containers |= {c["Id"] for c in found}
        networks |= {n["Id"] for n in nets}
        each(drop, [c["Id"] for c in found if c["State"] != "removing"])
        each(lambda n: api.remove_network(n["Id"]), nets)
        each(lambda v: api.remove_volume(v["Name"], force=True), volumes)
        if found and not nets and not volumes:
            time.sleep(0.02)
    raise LabError(
        f"something labelled {', '.join(labels)} is not to be removed; `docker ps -a` and `docker network ls` show it"
    )


def thaw(api: APIClient, containers: Sequence[Mapping[str, Any]]) -> None:
    """Set going what is frozen of these: no signal ends what does not run, and a removal would wait for it for ever."""
    each(lambda c: api.unpause(c["Id"]), [c for c in containers if c["State"] == "paused"])


def each(action: Any, things: Iterable[Any]) -> None:
    def safely(thing: Any) -> None:
        # What is gone already, or is being removed by somebody else, is what we want; all else is looked at again.
        with contextlib.suppress(docker.errors.NotFound, docker.errors.APIError):
            action(thing)

    things = list(things)
    if things:
        with ThreadPoolExecutor(max_workers=min(16, len(things))) as pool:
            list(pool.map(safely, things))


def dead_runs(api: APIClient) -> dict[str, str]:
    """Runs on this machine whose driver is gone: run -> its owner label.

    Standing labs are nobody's leftovers, once they stand; those that whoever began them never finished are.
    """
    found: dict[str, str] = {}
    unfinished = notes.read_begun(api)
    things = [
        *((c["Labels"]) for c in api.containers(all=True, filters={"label": RUN})),
        *((n["Labels"]) for n in api.networks(filters={"label": RUN})),
        *((v["Labels"]) for v in api.volumes(filters={"label": RUN}).get("Volumes") or []),
    ]
    for labels in things:
        lab = labels.get(STANDING)
        if (lab is None or lab in unfinished) and not is_alive(Owner.parse(labels.get(OWNER, ""))):
            found[labels[RUN]] = labels.get(OWNER, "")
    return found


def program_mark(run: str) -> str:
    """The first argument of what starts a program of ours: whose it is and of which run."""
    return f"labctl {Owner.me()} {run}"


def orphans(api: APIClient, going_on: Mapping[str, Sequence[str]]) -> dict[str, set[str]]:
    """The runs of which programs go on in containers though their drivers are gone, by container.

    Docker does not end what was started by exec when the one who asked for it goes away; `going_on` are these (container ->
    ExecIDs).
    """
    found: dict[str, set[str]] = {}
    for container, execs in going_on.items():
        with contextlib.suppress(docker.errors.NotFound):
            marks = filter(None, (_mark(api.exec_inspect(one)) for one in execs))
            found[container] = {run for owner, run in marks if not is_alive(owner)}
    return {container: runs for container, runs in found.items() if runs}


def _mark(said: Mapping[str, Any]) -> tuple[Owner | None, str] | None:
    marks = [word.split(" ") for word in said["ProcessConfig"].get("arguments") or [] if word.startswith("labctl ")]
    return next(((Owner.parse(owner), run) for _, owner, run in (m for m in marks if len(m) == 3)), None)


def _has_none(api: APIClient, container: str, run: str) -> bool:
    """Whether the daemon's ps sees nothing of a run in a container: that takes a quarter of the time of ending it."""
    try:
        seen = api.top(container, ps_args="axeww -o pid,args")["Processes"]
    except (docker.errors.APIError, KeyError):  # not every ps shows environments
        return False
    mark = f"{RUN_VARIABLE}={run}"
    return not any(mark in row[-1].split(" ") for row in seen or [])


def end_exec(api: APIClient, container: str, argv: Sequence[str], run: str) -> None:
    """Kill what was started by exec as these words and has not ended, with all that it forked; `run` is in its environment."""
    going_on = (api.exec_inspect(one) for one in api.inspect_container(container).get("ExecIDs") or [])
    about = [said["ProcessConfig"] for said in going_on if said["Running"]]
    if list(argv) in [[one["entrypoint"], *(one.get("arguments") or [])] for one in about]:
        end_programs(api, {container: [run]})


def end_programs(api: APIClient, left: Mapping[str, Iterable[str]]) -> None:
    """Kill what programs of runs have left in containers (container -> runs), with all that they have forked.

    An image without `tr` and `grep` keeps what is in it.
    """

    def end(job: tuple[str, str]) -> None:
        with contextlib.suppress(docker.errors.APIError):  # the host is gone, or frozen, and so are they
            if _has_none(api, *job):
                return
            api.exec_start(api.exec_create(job[0], ["sh", "-c", _END, "sh", f"{RUN_VARIABLE}={job[1]}"])["Id"])

    jobs = [(container, run) for container, runs in left.items() for run in runs]
    if jobs:
        with ThreadPoolExecutor(max_workers=len(jobs)) as pool:
            list(pool.map(end, jobs))
