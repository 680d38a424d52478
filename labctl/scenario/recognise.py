"""Whether a file is a scenario, told from its top-level keys alone; reads no YAML, so that looking costs next to nothing."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

SUFFIXES = (".yaml", ".yml")
_KEY = re.compile(r"""^["']?([A-Za-z_][\w-]*)["']?[ \t]*:(?:\s|$)""", re.MULTILINE)
_FLOW = re.compile(r"^(?:(?:#.*|---.*|%.*|\s*)\n)*\{")
_FLOW_KEY = re.compile(r"""[{,]\s*["']?([A-Za-z_][\w-]*)["']?\s*:""")


def is_scenario(path: Path) -> bool:
    """Whether a file says that it is a scenario: a folder of them may hold compose files and defaults as well.

    One that misspells the word is one too, or a slip of the pen would turn a test off; so is one that cannot be read:
    whoever loads it says why.
    """
    keys = top_level_keys(path)
    if keys is None or "scenario" in keys:
        return True
    return "steps" in keys and _misspelt(keys)


def has_steps(path: Path) -> bool:
    """Whether a file says that it is a scenario and has steps, as no file of another tool that knows scenarios does."""
    keys = top_level_keys(path)
    return keys is None or ("steps" in keys and ("scenario" in keys or _misspelt(keys)))


def is_of_a_run(path: Path) -> bool:
    """Whether a file is what a run was asked to do, kept in its directory."""
    return path.name == "scenario.yaml" and (path.parent / "events.jsonl").exists()


def may_have_cases(path: Path) -> bool:
    """Whether a file says that it has cases, or includes one that may; most have none, and need not be read for them."""
    keys = top_level_keys(path)
    return keys is None or bool(keys & {"cases", "include"})


def top_level_keys(path: Path) -> frozenset[str] | None:
    """What stands before a colon at the beginning of a line, or in one flow mapping; None for a file that cannot be read."""
    try:
        if not path.is_file():
            return None
        text = _decoded(path.read_bytes())
    except (OSError, ValueError):  # ValueError: a name with a NUL
        return None
    if _FLOW.match(text):
        return frozenset(_FLOW_KEY.findall(text))
    return frozenset(_KEY.findall(text))


def _decoded(data: bytes) -> str:
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", errors="replace")
    return data.decode("utf-8-sig", errors="replace").replace("\r\n", "\n")


def _misspelt(keys: frozenset[str]) -> bool:
    from difflib import get_close_matches

    return bool(get_close_matches("scenario", [key.lower() for key in keys], cutoff=0.75))
