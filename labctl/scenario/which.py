"""Which kind of step a mapping is: told by its keys before any model is tried, so that only one model's
errors show.
"""

from __future__ import annotations

from typing import cast

from labctl.faults import FAULTS
from labctl.scenario.model import STEPS
from labctl.scenario.tree import Loc, Tree
from labctl.scenario.words import listing, nearest, shorten

_ALL_KINDS = f"a step is one of {listing(STEPS)}"


def which_step(tree: Tree, value: object, loc: Loc) -> str | None:
    """The kind of the step at `loc`; None, with a problem added to the tree, when it cannot be told."""
    mark = tree.marks[loc]
    if not isinstance(value, dict):
        word = f"{shorten(mark.written)!r} is no step" if mark.written else "this is no step"
        return _cannot_tell(tree, loc, f"{word}; {_ALL_KINDS}, each a mapping like wait: 2s")
    kinds = [key for key in value if key in STEPS]
    if len(kinds) == 1:
        return cast(str, kinds[0])
    if len(kinds) > 1:
        return _cannot_tell(
            tree, (*loc, kinds[1]), f"one step has both {listing(kinds, 'and')}; begin a new step with a dash"
        )
    if not value:
        return _cannot_tell(tree, loc, f"this step is empty; {_ALL_KINDS}")
    for key in value:
        if key in FAULTS:
            return _cannot_tell(
                tree,
                (*loc, key),
                f"{key}: needs a name for the fault; write fault: NAME and at: HOST with it",
            )
    # `name` is right in every step, so another key says more about what was meant.
    first = next((key for key in value if key != "name"), "name")
    near = nearest(first, STEPS)
    if near:
        return _cannot_tell(
            tree,
            (*loc, first),
            f"{first!r} is no kind of step; did you mean {near}? {_ALL_KINDS.capitalize()}",
        )
    return _cannot_tell(
        tree, (*loc, first), f"what kind of step is this? {_ALL_KINDS.capitalize()}, and has that key"
    )


def _cannot_tell(tree: Tree, loc: Loc, message: str) -> str | None:
    mark = tree.marks[loc]
    line, column = mark.key or (mark.line, mark.column)
    tree.problems.append(tree.source.problem(line, column, message))
    return None
