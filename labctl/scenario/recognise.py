"""Whether a file is a scenario, told from its lines alone; imports nothing, so that looking costs nothing."""

from __future__ import annotations

from pathlib import Path


def is_scenario(path: Path) -> bool:
    """Whether a file says that it is a scenario: a folder of them may hold compose files and defaults as well."""
    return _has(path, ("scenario:",))


def has_steps(path: Path) -> bool:
    """Whether a file says that it is a scenario and has steps, as no file of another tool that knows scenarios does."""
    return _has(path, ("scenario:", "steps:"))


def is_of_a_run(path: Path) -> bool:
    """Whether a file is what a run was asked to do, kept in its directory."""
    return path.name == "scenario.yaml" and (path.parent / "events.jsonl").exists()


def may_have_cases(path: Path) -> bool:
    """Whether a file says that it has cases, or includes one that may; most have none, and need not be read for them."""
    return _has(path, ("cases:",)) or _has(path, ("include:",))


def _has(path: Path, keys: tuple[str, ...]) -> bool:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return True  # whoever reads it will say why it cannot be read
    return all(any(line.startswith(key) for line in lines) for key in keys)
