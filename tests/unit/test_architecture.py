"""The arrows of DESIGN.md and the rules of the house, held by reading every module's source."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from labctl.catalogue import catalogue
from labctl.plan import plan
from labctl.report.explain import explain
from labctl.runs import prepare_all
from labctl.scenario.files import cased

ROOT = Path(__file__).resolve().parents[2]
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "labctl").rglob("*.py"))
}
SCENARIOS = sorted((ROOT / "scenarios").rglob("*.yaml"))
# What is pure: scenarios, plans, verdicts and reports know no engine, not even by way of others.
PURE = (
    "scenario", "faults", "plan", "lab", "units", "errors", "evidence", "verdict", "report", "catalogue", "atlas", "errnos",
    "faultpage", "cataloguepage",
)  # fmt: skip
# The modules of the command line that speak to Docker outside a run.
DOCKER = ("labctl.engines", "labctl.standing", "labctl.doctor", "labctl.byhand")


class Read(NamedTuple):
    """What these tests ask of a module's source: its tree is read once and not kept."""

    docstring: str | None
    imports: frozenset[str]  # anywhere in it but under TYPE_CHECKING; relative ones made absolute
    absolute: tuple[str, ...]  # the modules named by `from ... import` without a dot
    calls: tuple[tuple[int, str, frozenset[str | None]], ...]  # line, what is called as it is written, keywords


@cache
def read(name: str) -> Read:
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    nodes = list(ast.walk(tree))
    return Read(
        ast.get_docstring(tree),
        _imports(name, tree),
        tuple(str(n.module) for n in nodes if isinstance(n, ast.ImportFrom) and not n.level),
        tuple(
            (n.lineno, _written(n.func), frozenset(k.arg for k in n.keywords))
            for n in nodes
            if isinstance(n, ast.Call)
        ),
    )


def _written(node: ast.expr) -> str:
    """An expression as it is written; to unparse one takes long, and what is called is mostly a name with dots."""
    if isinstance(node, ast.Name):
        return node.id
    return f"{_written(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else ast.unparse(node)


def imports(name: str) -> frozenset[str]:
    """Every module that a module imports."""
    return read(name).imports


def calls(name: str) -> Iterable[tuple[int, str, frozenset[str | None]]]:
    """Every call in a module: its line, what is called as it is written, and its keywords."""
    return read(name).calls


def _imports(name: str, tree: ast.Module) -> frozenset[str]:
    found: set[str] = set()
    package = name.split(".") if MODULES[name].name == "__init__.py" else name.split(".")[:-1]
    for node in _nodes(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = (
                [*package[: len(package) - node.level + 1], *([node.module] if node.module else [])]
                if node.level
                else [node.module]
            )
            module = ".".join(str(part) for part in base)
            # `from labctl.engines import docker` imports a module, `from labctl.lab import Lab` a name of one.
            found |= {f"{module}.{a.name}" if f"{module}.{a.name}" in MODULES else module for a in node.names}
    return frozenset(found)


def _nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node but those under TYPE_CHECKING."""
    waiting = [tree]
    while waiting:
        for child in ast.iter_child_nodes(waiting.pop()):
            if not (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)):
                yield child
                waiting.append(child)


def reachable(name: str) -> set[str]:
    """Every module of ours that importing this one can lead to."""
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        for module in imports(waiting.pop()):
            if module in MODULES and module not in seen:
                seen.add(module)
                waiting.append(module)
    return seen


def offenders(offence: Callable[[str], object], names: Iterable[str] = MODULES) -> dict[str, object]:
    """What each module does that it must not; modules that do nothing of it are left out."""
    return {name: found for name in names if (found := offence(name))}


def test_there_are_modules_to_look_at() -> None:
    """These tests see the modules they are about."""
    assert {"labctl.runner", "labctl.cli.running", "labctl.agent.__main__", "labctl.engines.docker"} <= MODULES.keys()
    assert "labctl.session.hosts" in imports("labctl.runner")
    assert "labctl.engines.agents" in imports("labctl.session.hosts")
    assert "labctl.agent.journal" in imports("labctl.agent.__main__")
    assert any(what == "click.echo" for _, what, _ in calls("labctl.cli.output"))
    assert len(SCENARIOS) >= 4


def test_what_is_pure_leads_to_no_engine() -> None:
    """Scenarios, faults, plans, evidence, verdicts and reports import no engine and no Docker, not even through others."""

    def impure(name: str) -> list[str]:
        found = {name} | reachable(name)
        engines = [m for m in found if m.startswith(("labctl.engines", "labctl.session", "labctl.runner"))]
        return engines + [
            m for m in found if {used.split(".")[0] for used in imports(m)} & {"docker", "requests"}
        ]

    assert offenders(impure, [m for m in MODULES if m.split(".")[1:2] and m.split(".")[1] in PURE]) == {}


def test_the_agent_is_standard_library_only() -> None:
    """The agent runs where only Python is: it imports the standard library and itself, by relative names."""

    def foreign(name: str) -> list[str]:
        named = [module for module in read(name).absolute if module.startswith("labctl")]
        others = [m for m in imports(name) if not m.startswith("labctl.agent")]
        return named + [m for m in others if m.split(".")[0] not in sys.stdlib_module_names]

    assert offenders(foreign, [m for m in MODULES if m.startswith("labctl.agent")]) == {}


def test_only_engines_and_what_stands_outside_a_run_know_docker() -> None:
    """Docker's SDK is imported by engines, standing labs and the doctor; a later engine needs no change elsewhere."""
    others = [m for m in MODULES if not m.startswith(DOCKER)]
    assert offenders(lambda name: [m for m in imports(name) if m.split(".")[0] == "docker"], others) == {}


def test_the_runner_knows_engines_by_their_protocol_only() -> None:
    """The runner and its session import the seam and the agents, and no engine."""
    seam = {"labctl.engines.base", "labctl.engines.agents", "labctl.engines.hostaction"}
    rooms = [m for m in MODULES if m == "labctl.runner" or m.startswith("labctl.session")]
    assert offenders(lambda name: {m for m in imports(name) if m.startswith("labctl.engines")} - seam, rooms) == {}


def test_only_the_command_line_prints_and_exits() -> None:
    """Nothing but cli/ (and __main__) writes to the terminal or ends the process; all else returns or raises."""
    ends = (
        "print",
        "exit",
        "quit",
        "sys.exit",
        "os._exit",
        "click.echo",
        "sys.stdout.write",
        "sys.stderr.write",
    )
    others = [m for m in MODULES if not m.startswith(("labctl.agent", "labctl.cli", "labctl.__main__"))]
    assert (
        offenders(lambda name: [(line, what) for line, what, _ in calls(name) if what in ends], others) == {}
    )


def test_no_module_uses_a_shell() -> None:
    """Commands are argv tuples: no shell=, no os.system, no os.popen, anywhere."""

    def shells(name: str) -> list[tuple[int, str]]:
        return [
            (line, what)
            for line, what, keys in calls(name)
            if "shell" in keys or what in ("os.system", "os.popen")
        ]

    assert offenders(shells) == {}


def test_every_module_says_what_it_is() -> None:
    """A module begins with a docstring."""
    assert offenders(lambda name: read(name).docstring is None) == {}


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_every_shipped_scenario_parses_checks_plans_and_explains(path: Path) -> None:
    """Each scenario we ship is called as its file, says in its first comment what it shows, and can be explained."""
    for loaded, lab in prepare_all([path], {}):
        assert loaded.name == cased(path.stem, loaded.case)
        planned = plan(loaded.scenario, lab)
        words = explain(planned)
        assert all(f"{step.index}. {step.title}" in words for step in planned.steps)
        assert planned.hosts
    (entry,) = catalogue([path])
    assert entry.summary.endswith((".", ":", "!")) or len(entry.summary) > 20
