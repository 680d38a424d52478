"""What several scenarios share, in a file that they include: their lab, their parameters, their first steps.

An included file is checked by itself, so that what is wrong in it is told of it. What it gives goes below the scenario's own:
a key that the scenario has as well is the scenario's, and its steps come first.
"""

from __future__ import annotations

import os
from pathlib import Path

import yaml

from labctl.errors import ScenarioError
from labctl.scenario.tree import Mark, Tree
from labctl.scenario.yamltext import Source, read

KEY = "include"


def included_by(source: Source, root: yaml.MappingNode, text: str | None) -> Source | None:
    """The file that a scenario includes, if it does; `text` stands for it where it is known. Raises ScenarioError."""
    pairs = {key.value: (key, value) for key, value in root.value if isinstance(key, yaml.ScalarNode)}
    if KEY not in pairs:
        return None
    _, node = pairs[KEY]
    if not isinstance(node, yaml.ScalarNode) or not node.value:
        return None  # the model says what is wrong with it
    path = Path(source.file).parent / node.value
    if text is not None:
        return Source(str(path), text)
    try:
        return read(path)
    except ScenarioError as error:
        what = error.problems[0]
        mark = node.start_mark
        source.fail(mark.line + 1, mark.column + 1, f"include: {what.file}: {what.message}")


def put_below(tree: Tree, values: dict[str, object], below: dict[str, object] | None) -> bool:
    """Add to a scenario's `values` what its included file gives; whether it could. Positions then count all steps."""
    if tree.below is None or below is None:
        return False
    here = tree.marks[KEY,]
    if "lab" in below:
        folder = Path(tree.below.source.file).parent
        lab = os.path.relpath(folder / str(below["lab"]), Path(tree.source.file).parent)
        below = {**below, "lab": lab}
    first = below.pop("steps", ())
    assert isinstance(first, tuple)
    for key, value in below.items():
        if key not in values:
            values[key] = value
            tree.marks[key,] = here
    values["params"] = {name: param.value for name, param in tree.params.items()}
    own = values.get("steps")
    if first and isinstance(own, tuple):
        values["steps"] = (*first, *own)
        shifted = {
            (loc[0], int(loc[1]) + len(first), *loc[2:]) if loc[:1] == ("steps",) and len(loc) > 1 else loc: mark
            for loc, mark in tree.marks.items()
        }
        tree.marks.clear()
        tree.marks.update(shifted)
        for index in range(len(first)):
            tree.marks["steps", index] = Mark(here.line, here.column, here.key, "mapping")
    return True
