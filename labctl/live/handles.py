"""What a lab hands out: a host, a program that was started, a fault in its block. Each turns a call into one step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from labctl.live.outcome import Outcome

if TYPE_CHECKING:
    from labctl.live.lab import Lab

Words = Sequence[object] | str


class Host:
    """One host of a lab."""

    def __init__(self, lab: Lab, name: str) -> None:
        self._lab, self.name = lab, name

    def run(
        self,
        command: Words,
        *,
        expect: Mapping[str, Any] | None = None,
        name: str | None = None,
        timeout: str | None = None,
        env: Mapping[str, object] | None = None,
    ) -> Outcome:
        """Run a program to its end; what it saw.

        Arguments: a bundled program or any command the host has, with its arguments; what must be seen, in the words of
        a scenario's `expect:`; a sentence for the report; when it is killed (`5s`); environment variables.
        Raises LabError when it is killed.
        """
        words = {"run": _argv(command), "on": self.name, "timeout": timeout, "env": env, "expect": expect}
        outcome = self._lab.take({**words, **named(name)})
        assert outcome is not None
        return outcome

    def start(
        self,
        command: Words,
        *,
        ready: Mapping[str, Any] | None = None,
        name: str | None = None,
        label: str | None = None,
        env: Mapping[str, object] | None = None,
    ) -> Program:
        """Start a program and go on; it runs until it is stopped or the lab ends.

        Arguments as for `run`; `ready` is the fact to wait for, like {"listen": 80}. Raises LabError when it does not come.
        """
        argv = _argv(command)
        label = label or self._lab.label(str(argv[0]) if argv else "")
        self._lab.take(
            {"start": argv, "on": self.name, "as": label, "ready": ready, "env": env, **named(name)}
        )
        return Program(self._lab, label)

    def until(self, *, listen: int | None = None, bound: int | None = None, timeout: str | None = None) -> None:
        """Wait until a service that the host itself started is there: a TCP port listened on, or a UDP port bound.

        Raises LabError when it does not come within `timeout` (`10s` when not given).
        """
        facts = {"listen": listen, "bound": bound, "timeout": timeout}
        self._lab.take({"until": {k: v for k, v in facts.items() if v is not None}, "on": self.name})


class Program:
    """A program that was started on a host."""

    def __init__(self, lab: Lab, label: str) -> None:
        self._lab, self.label = lab, label

    def finish(
        self, *, timeout: str | None = None, expect: Mapping[str, Any] | None = None, name: str | None = None
    ) -> Outcome:
        """Wait until it ends by itself; what it saw. Raises LabError when it does not."""
        return self._end({"finish": self.label, "timeout": timeout, "expect": expect, **named(name)})

    def stop(
        self, signal: str = "TERM", *, expect: Mapping[str, Any] | None = None, name: str | None = None
    ) -> Outcome:
        """End it with a signal; what it saw until then."""
        return self._end({"stop": self.label, "signal": signal, "expect": expect, **named(name)})

    def _end(self, words: Mapping[str, Any]) -> Outcome:
        outcome = self._lab.take(words)
        assert outcome is not None
        return outcome


class Fault:
    """A fault while its block runs."""

    def __init__(self, lab: Lab, name: str) -> None:
        self._lab, self.name = lab, name

    @property
    def packets(self) -> int | None:
        """How many packets it touched, counted when it is taken away; None when nobody could count them."""
        return self._lab.touched(self.name)

    def heal(self) -> None:
        """Take it away before its block ends."""
        if self._lab.is_broken(self.name):
            self._lab.take({"heal": self.name})


def named(name: str | None) -> dict[str, str]:
    """The key for a step's own sentence, where there is one."""
    return {} if name is None else {"name": name}


def _argv(command: Words) -> list[object]:
    if isinstance(command, str):
        return [command]
    return [word if isinstance(word, int) else str(word) for word in command]
