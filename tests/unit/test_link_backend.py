"""Which backend link faults get, by what the kernels of their hosts can do."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from labctl.errors import MissingError
from labctl.session.hosts import Hosts

REASONS = {"netem": "Specified qdisc kind is unknown", "seed": "no netem here takes a seed", "nfqueue": "no NFQUEUE"}


class Kernel:
    """An agent on a kernel that can do so much, and what else it was asked."""

    def __init__(self, *can: str) -> None:
        self.can = {name: name in can for name in REASONS} | {"reasons": {n: w for n, w in REASONS.items() if n not in can}}
        self.asked: list[str] = []
        self.devices: dict[str, str] = {}

    def call(self, op: str, **_: Any) -> Any:
        self.asked.append(op)
        return self.can if op == "capabilities" else self.can["netem"]


def plan(*specs: dict[str, Any]) -> Any:
    """A plan with a link fault at the host for each of these."""
    faults = [
        SimpleNamespace(host="host", request=lambda spec=spec: {"type": "link", "parts": [{"spec": spec}]}) for spec in specs
    ]
    return SimpleNamespace(hosts=("host",), steps=[SimpleNamespace(faults=faults)])


def hosts(kernel: Kernel, backend: str, *specs: dict[str, Any]) -> Hosts:
    made = Hosts(plan(*specs), None, None, backend)  # type: ignore[arg-type]
    made.agents["host"] = kernel  # type: ignore[assignment]
    made.prepare_links()
    return made


PLAIN, SEEDED = {"delay_s": 0.1}, {"loss": 5, "seed": 0}


@pytest.mark.parametrize(
    ("can", "specs", "backend"),
    [
        (("netem", "seed", "nfqueue"), (PLAIN, SEEDED), "auto"),
        (("netem", "nfqueue"), (PLAIN,), "auto"),
        (("netem", "nfqueue"), (PLAIN, SEEDED), "nfqueue"),
        (("nfqueue",), (PLAIN, SEEDED), "auto"),
        (("netem",), (PLAIN,), "auto"),
    ],
)
def test_a_seed_that_netem_cannot_take_is_the_emulators(
    can: tuple[str, ...], specs: tuple[dict[str, Any], ...], backend: str
) -> None:
    kernel = Kernel(*can)
    made = hosts(kernel, "auto", *specs)
    assert made.link_backend == backend
    assert made.environment["netem"] is ("netem" in can)
    assert ("offloads" in kernel.asked) == ("netem" in can and backend == "auto")


@pytest.mark.parametrize(
    ("can", "backend", "said"),
    [
        (("netem", "nfqueue"), "netem", "link faults at host need netem: no netem here takes a seed"),
        (("netem",), "auto", "link faults at host need netem or nfqueue: no netem here takes a seed; no NFQUEUE"),
        ((), "auto", "link faults at host need netem or nfqueue: Specified qdisc kind is unknown; no NFQUEUE"),
    ],
)
def test_what_neither_backend_can_do_is_missing_here(can: tuple[str, ...], backend: str, said: str) -> None:
    with pytest.raises(MissingError) as missing:
        hosts(Kernel(*can), backend, SEEDED)
    assert str(missing.value) == said


def test_a_seed_that_comes_when_the_plan_grows_is_seen() -> None:
    kernel = Kernel("netem", "nfqueue")
    made = hosts(kernel, "auto", PLAIN)
    made.plan = plan(PLAIN, SEEDED)
    made.prepare_links()
    assert made.link_backend == "nfqueue"
    assert kernel.asked.count("capabilities") == 1
