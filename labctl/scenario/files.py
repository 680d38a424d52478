"""Scenario files from the outside: where they are, what each shows, and the cases and parameters that it names.

Nothing here knows the models, so that a shell's Tab costs little.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import yaml

from labctl.errors import ScenarioError, UsageError
from labctl.scenario import grow
from labctl.scenario.include import included_by
from labctl.scenario.recognise import SUFFIXES, is_of_a_run, is_scenario, may_have_cases
from labctl.scenario.tree import Cases, Param
from labctl.scenario.yamltext import Source, compose, read


def find_scenarios(paths: Sequence[Path]) -> list[Path]:
    """The scenario files named, and those in the folders named, sorted; not what runs below them have kept.

    Raises UsageError when there are none, and for a folder that may not be read: what is in it would be passed over.
    """
    found: list[Path] = []
    for path in paths:
        if is_folder(path):
            inside = [p for p in yaml_files(path) if is_scenario(p) and (p.parent == path or not is_of_a_run(p))]
            if not inside:
                raise UsageError(f"there is no scenario in the folder {path}")
            found += inside
        else:
            found.append(path)
    return list(dict.fromkeys(found))


def is_folder(path: Path) -> bool:
    """Whether it is one; what cannot be looked at is none, and whoever reads it says why."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def yaml_files(folder: Path) -> list[Path]:
    """The YAML files in a folder and those below it, sorted. Raises UsageError for a folder that may not be read."""

    def refuse(error: OSError) -> NoReturn:
        raise UsageError(f"the folder {error.filename} cannot be read: {error.strerror}") from None

    walk = os.walk(folder, onerror=refuse)
    return sorted(Path(above, name) for above, _, names in walk for name in names if Path(name).suffix in SUFFIXES)


def summary_of(text: str) -> str:
    """The first sentence of a scenario's first comment; editors' own directives are passed over."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        if "yaml-language-server" not in line:
            lines.append(line.lstrip("# ").rstrip())
    words = " ".join(lines)
    end = words.find(". ")
    return words if end < 0 else words[: end + 1]


def declared(source: Source) -> tuple[Cases, dict[str, Param]]:
    """The cases and the parameters that a file, or the file it includes, names. Raises ScenarioError for what is no YAML."""
    root = compose(source)
    lower = included_by(source, root, None)
    return grow.declared(source, root, (lower, compose(lower)) if lower else None)


def tags_of(path: Path) -> tuple[str, ...]:
    """The tags of a scenario file; none for one that cannot be read."""
    try:
        root = compose(read(path))
    except ScenarioError:
        return ()
    found = next((value for key, value in root.value if getattr(key, "value", None) == "tags"), None)
    return tuple(str(item.value) for item in found.value) if isinstance(found, yaml.SequenceNode) else ()


def cases_of(path: Path) -> tuple[str | None, ...]:
    """The cases that a scenario file names; None alone for one that names none, or cannot be read: loading it says why."""
    try:
        return tuple(declared(read(path))[0] if may_have_cases(path) else ()) or (None,)
    except ScenarioError:
        return (None,)


def names_of(path: Path, case: str | None) -> tuple[str, ...]:
    """What a case of a scenario file is found by: the name it gives itself, and that of the file."""
    try:
        text = path.read_text("utf-8", "replace") if path.is_file() else ""
    except (OSError, ValueError):  # whoever loads it says why
        text = ""
    found = re.search(r"^scenario: *([^\s#]+)", text, re.MULTILINE)
    return tuple(cased(name, case) for name in dict.fromkeys((path.stem, *(found.groups() if found else ()))))


def cased(name: str, case: str | None) -> str:
    """What a case of a scenario is called: `name[case]`."""
    return name if case is None else f"{name}[{case}]"


def uncased(name: str) -> str:
    """The scenario of which `name` is a case, or is itself."""
    return name.partition("[")[0]
