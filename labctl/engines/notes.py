"""What is done to a whole host of a lab that stays, by a run or by hand, noted in Docker before it is done.

A driver that is killed while a host is down cannot start it again. The note says that a run did it, and which: so `labctl gc`
sets right what dead runs left, and leaves alone what a living one does now and what somebody did by hand, whose name for it and
count the note keeps. A note is an empty volume with labels, as Docker keeps those whatever becomes of containers, of their
networks, and of itself. The compose file as it was rendered for a lab that stays is noted in the same way, for the runs in it;
and so is that a lab does not stand yet, as labels of what is there cannot be changed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass

import docker.errors
from docker import APIClient

from labctl.engines.labels import HOST, OWNER, STANDING
from labctl.engines.owner import Owner, is_alive

WHAT = "labctl.disturbed"
RENDERED = "labctl.rendered"
BEGUN = "labctl.begun"
FAULT = "labctl.fault"
COUNT = "labctl.count"
BY = "labctl.by"  # not labctl.run: what belongs to a run goes with it


@dataclass(frozen=True)
class Note:
    """`what` (kill or pause) the run `by` does to a host of a standing lab; `owner` is its driver.

    Without `by` somebody does it by hand, as the `fault` of that name; `count` is what was counted when it was put.
    """

    lab: str
    host: str
    what: str
    by: str
    owner: Owner | None
    fault: str = ""
    count: int = 0

    @property
    def is_by_hand(self) -> bool:
        """Whether it stays until somebody takes it away by hand."""
        return not self.by

    @property
    def is_orphaned(self) -> bool:
        """Whether the run is gone that would have set it right."""
        return not self.is_by_hand and not is_alive(self.owner)

    def __str__(self) -> str:
        return f"the fault {self.fault}, put by hand," if self.is_by_hand else f"the run {self.by}"

    @property
    def volume(self) -> str:
        """The name of the volume: one for each thing that can be done to a host."""
        return f"labctl-{self.what}-{self.lab}-{self.host}"


def write(api: APIClient, note: Note) -> None:
    """Note it; one that is there already is of a run before this one, and goes."""
    erase(api, note)
    labels = {STANDING: note.lab, HOST: note.host, WHAT: note.what, BY: note.by, OWNER: str(note.owner)}
    api.create_volume(note.volume, labels={**labels, FAULT: note.fault, COUNT: str(note.count)})


def erase(api: APIClient, note: Note) -> None:
    """It has been set right."""
    with contextlib.suppress(docker.errors.NotFound):
        api.remove_volume(note.volume)


def read(api: APIClient, lab: str) -> list[Note]:
    """The notes on a lab's hosts."""
    found = api.volumes(filters={"label": [f"{STANDING}={lab}", WHAT]}).get("Volumes") or []
    labels = [volume["Labels"] for volume in found]
    return [
        Note(
            lab, said[HOST], said[WHAT], said[BY], Owner.parse(said[OWNER]), said.get(FAULT, ""), int(said.get(COUNT, "0"))
        )
        for said in labels
    ]


def write_rendered(api: APIClient, lab: str, labels: Mapping[str, str], text: str) -> None:
    """Note the compose file that a lab came up from; the note goes with the lab, whose `labels` it has."""
    api.create_volume(f"labctl-rendered-{lab}", labels={**labels, RENDERED: text})


def read_rendered(api: APIClient, lab: str) -> str | None:
    """The compose file that a lab came up from; None for one that an older labctl brought up."""
    found = api.volumes(filters={"label": [f"{STANDING}={lab}", RENDERED]}).get("Volumes") or []
    return next((str(volume["Labels"][RENDERED]) for volume in found), None)


def write_begun(api: APIClient, lab: str, labels: Mapping[str, str]) -> None:
    """Note that a lab which is to stay is being brought up, by the owner in `labels`."""
    api.create_volume(f"labctl-begun-{lab}", labels={**labels, BEGUN: lab})


def erase_begun(api: APIClient, lab: str) -> None:
    """It stands."""
    with contextlib.suppress(docker.errors.NotFound):
        api.remove_volume(f"labctl-begun-{lab}")


def read_begun(api: APIClient) -> dict[str, Owner | None]:
    """The labs that are to stay and do not yet, each with who brings it up; when that one is gone nobody will finish it."""
    found = api.volumes(filters={"label": BEGUN}).get("Volumes") or []
    return {volume["Labels"][BEGUN]: Owner.parse(volume["Labels"].get(OWNER, "")) for volume in found}


def why_unfinished(api: APIClient, lab: str) -> str | None:
    """Why nothing can be done on a lab that does not stand yet or never will, and what to do; None for one that stands."""
    begun = read_begun(api)
    if lab not in begun:
        return None
    if is_alive(begun[lab]):
        return f"the lab {lab} is being brought up; wait until it stands"
    return (
        f"the lab {lab} was never finished, and who brought it up is gone; `labctl up --name {lab}` brings it up anew, "
        "`labctl gc` removes it"
    )
