"""`labctl explain`: the exact commands of a fault, by every backend that may make it."""

from __future__ import annotations

from pathlib import Path

from labctl.lab import read_lab
from labctl.plan import plan
from labctl.report.explain import explain
from labctl.scenario.loader import load

ROOT = Path(__file__).resolve().parents[3]


def words(scenario: str) -> list[str]:
    loaded = load(ROOT / f"scenarios/{scenario}.yaml")
    return [line.strip() for line in explain(plan(loaded.scenario, read_lab(ROOT / "docker-compose.yml"))).splitlines()]


def test_a_link_fault_is_explained_for_both_backends() -> None:
    """After tc's commands come those of nfqueue, which are run where the kernel has no netem."""
    lines = words("link-delay")
    tc = next(i for i, line in enumerate(lines) if "tc qdisc add" in line and "netem" in line)
    other = lines.index("or, with the link backend nfqueue:")
    assert tc < other
    assert "iptables" in lines[other + 1]
    assert any("NFQUEUE" in line for line in lines[other:])


def test_a_fault_with_one_backend_has_no_other() -> None:
    """What iptables does it does on every kernel."""
    assert not any("link backend" in line for line in words("firewall"))
