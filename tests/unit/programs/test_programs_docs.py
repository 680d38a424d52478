"""docs/programs.md and the programs say the same."""

from __future__ import annotations

import re

import probe
from launching import PROGRAMS
from options import socket_options
from probe_misuse import MISUSES

DOCS = (PROGRAMS.parents[1] / "docs" / "programs.md").read_text(encoding="utf-8")


def all_options() -> set[str]:
    """Every long option of every program, as written in the sources."""
    sources = "".join(path.read_text(encoding="utf-8") for path in PROGRAMS.glob("*.py"))
    return set(re.findall(r'"(--[a-z][a-z-]+)"', sources)) | {"--no-reuseaddr", "--help"}


def test_every_verb_is_documented_and_the_other_way_round() -> None:
    section = DOCS.partition("## The probe's verbs")[2].partition("\n## ")[0]
    documented = set(re.findall(r"^\| `([a-z-]+)", section, re.MULTILINE))
    assert documented == {verb.name for verb in probe.VERBS}


def test_every_option_named_in_the_docs_exists() -> None:
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", DOCS))
    assert named <= all_options()


def test_every_shared_option_is_documented() -> None:
    flags = {flag for action in socket_options()._actions for flag in action.option_strings}
    assert {flag for flag in flags if f"`{flag}" not in DOCS} == set()


def test_every_misuse_is_documented() -> None:
    assert [name for name in MISUSES if name not in DOCS] == []


def test_every_program_is_there_and_documented() -> None:
    for stem in ("echo", "multiconn", "app", "noread"):
        for side in ("server", "client"):
            assert (PROGRAMS / f"{stem}_{side}.py").is_file()
            assert f"`{stem}_{side}`" in DOCS


def test_every_verb_has_help() -> None:
    assert all((verb.run.__doc__ or "").strip() for verb in probe.VERBS)
