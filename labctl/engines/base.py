"""The seam between a run and whatever provides its hosts. Nothing outside `engines/` knows Docker."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from labctl.errors import LabError, UsageError
from labctl.lab import Lab

Say = Callable[[str], None]
OnRunning = Callable[[str], object]
Up = TypeVar("Up")

ADDRESS_ATTEMPTS = 5


@dataclass(frozen=True)
class Disturbed:
    """What is done to a whole host of a standing lab (`kill`, `pause`), as a fault of a run, or by hand where `by` is empty."""

    host: str
    what: str
    fault: str
    by: str


class AddressesTaken(LabError):
    """Somebody took the addresses between our looking and our asking; others will do."""


class NoSuchLab(UsageError):
    """No lab of the name that was given stands here: there is nothing to be run on."""


class Channel(Protocol):
    """A byte stream to one agent, both ways."""

    def send(self, data: bytes) -> None:
        """Write all of it. Raises OSError when the agent is gone."""

    def receive(self) -> bytes:
        """Some bytes the agent wrote; empty when it has ended."""

    def errors(self) -> str:
        """What the agent wrote to standard error so far."""

    def close(self) -> None:
        """End the agent's standard input, which makes it undo everything and exit, and wait until it has."""


class Process(Protocol):
    """A program running on a host."""

    def wait(self, timeout_s: float) -> bool:
        """Whether it has ended and all is known of that, waiting at most timeout_s seconds for it."""

    def exit_status(self) -> int | None:
        """Its exit status, or None while it runs; 128 + n when signal n ended it."""

    def ended_at(self) -> float | None:
        """When it was seen to have ended, as seconds since the epoch by this machine's clock; None while it runs.

        That is the end of its process: what it has forked may run on, and write where it wrote. How it ended may be known
        later.
        """

    def refusal(self) -> str | None:
        """Why it could not be run at all (no such command, not executable), in the words of who tried; None when it ran."""

    def output(self) -> tuple[bytes, bytes]:
        """What it has written to stdout and stderr so far; of a lot of it the beginning and the end (`left_out`)."""

    def left_out(self) -> Mapping[str, int]:
        """How many bytes of `stdout` and `stderr` were not kept; empty when all was."""

    def signal(self, name: str) -> None:
        """Send it a signal by name (TERM, KILL, …); one that has ended already needs none. Raises LabError."""


class Engine(Protocol):
    """Makes hosts, opens agents on them, starts programs on them, and takes everything away again."""

    name: str

    def prepare(self, path: Path, say: Say) -> Mapping[str, Any]:
        """Read a compose file as the engine resolves it; its content, for `labctl.lab`. Raises ScenarioError, MissingError."""

    def reserve(self, lab: Lab) -> Lab:
        """The lab with addresses that nobody uses now. Raises LabError when there are none left."""

    def up(
        self, config: Mapping[str, Any], lab: Lab, hosts: Sequence[str], rendered: Path, say: Say, on_running: OnRunning
    ) -> None:
        """Bring up `hosts` of a lab whose addresses are reserved, from a rendered copy written to `rendered`.

        `on_running` is called with the name of each host as soon as it runs, for several at once: what one waits for before it
        is healthy may be another, and the way there. It is over for all of them, and each is healthy, when this returns.

        Raises AddressesTaken (reserve again), MissingError (an image cannot be had), LabError (it did not come up), and what
        `on_running` raises.
        """

    def wait_healthy(self, hosts: Sequence[str]) -> None:
        """Until each of these hosts runs and, where it has a health check, is healthy. Raises LabError for one that is not."""

    def attach(self) -> Lab:
        """Use the standing lab that this engine was made for; the lab as it stands. Raises LabError when there is none.

        Hosts that are down now are in it as well.
        """

    def rendered(self) -> str | None:
        """The compose file that the standing lab was brought up from, as it was rendered; None where it is not known."""

    def keep(self) -> str:
        """From now on the lab that was brought up outlives this engine, as one that stands; the name it is found by."""

    def why_down(self, host: str) -> str | None:
        """Why nothing can be done at a host of the standing lab, and what to do about it; None when it is up."""

    def disturbed(self) -> list[Disturbed]:
        """What others have done to whole hosts of the standing lab, and want so now."""

    def open_agent(self, host: str) -> Channel:
        """Start an agent in the host's network namespace. Raises LabError."""

    def start(self, host: str, argv: Sequence[str], env: Mapping[str, str], beside: bool = False) -> Process:
        """Start a program on a host; `beside`: a bundled one, in its network namespace only. Raises LabError."""

    def disturb(self, host: str, what: str, on: bool) -> None:
        """Begin (on) or end something that only an engine can do with a whole host. Raises LabError.

        `pause` freezes its processes; `kill` ends them and its network namespace, and then starts it in a new one, with the
        same addresses, and does not wait until it is healthy. Such a death is none that `dead` tells of.
        """

    def dead(self, hosts: Sequence[str], look: bool = False) -> str | None:
        """What became of one of these hosts though the run did not ask for it: ended, removed, frozen, cut off; or None.

        `look`: it is looked at now, besides what was heard.
        """

    def lost(self) -> str | None:
        """Why the engine itself cannot go on, and what to do: it ended, or is not the one any more that made the lab."""

    def release(self) -> None:
        """Take the hosts away; agents stay, so that what they recorded can be fetched. `down` must follow."""

    def tidy(self) -> None:
        """End what programs of this run have left running on hosts that stay, such as what they forked."""

    def down(self) -> None:
        """Take away everything this engine made for this run; safe to call again. Raises LabError when something stays."""

    def environment(self) -> dict[str, Any]:
        """What result.json says of the machine: versions of kernel, engine and so on."""


def on_free_addresses(engine: Engine, lab: Lab, bring_up: Callable[[Lab], Up]) -> Up:
    """Bring a lab up on addresses that nobody uses, and on others where somebody takes them first.

    Raises what `bring_up` does, AddressesTaken only when that came of several tries, and LabError when there are none left.
    """
    for _ in range(ADDRESS_ATTEMPTS - 1):
        with contextlib.suppress(AddressesTaken):
            return bring_up(engine.reserve(lab))
    return bring_up(engine.reserve(lab))
