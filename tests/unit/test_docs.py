"""What the documents name exists, and what exists is in the documents."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import click
import pytest

from labctl.cli import main
from labctl.commands import render, walk
from labctl.faults import FAULTS
from labctl.scenario.expectations import ERRNOS, LOOKUPS, SYNONYMS

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])
COMMANDS = dict(walk(main))
_CODE = re.compile(r"```[a-z]*\n(.*?)```|^ {4}([^\n]*)$|`([^`\n]+)`", re.DOTALL | re.MULTILINE)
_FILE = re.compile(r"(?<![\w./-])(?:\./)?((?:scenarios|script|docs|labctl|images|tests|bench|examples)/[\w./-]*\w)(?![\w*-])")
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
_SYMBOL = re.compile(r"\b(?:E[A-Z0-9]{3,}|EAI_[A-Z]+)\b")
# Capital words that begin with E and are no error.
WORDS = {"ERRNO", "ESTAB", "EXIT", "EXEC", "ECHO", "ENV", "ENTRYPOINT"}


@cache
def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def code(page: Path) -> str:
    """Everything in code style, one piece a line."""
    return "\n".join(next(part for part in match if part) for match in _CODE.findall(text(page)) if any(match))


def ids(page: Path) -> str:
    return str(page.relative_to(ROOT))


def test_the_commands_page_is_what_the_commands_say() -> None:
    """docs/commands.md is made from the commands; so every command and option is in the documents."""
    assert text(ROOT / "docs/commands.md") == render(), "run python -m labctl.commands docs/commands.md"


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_commands_and_options_that_are_named_exist(page: Path) -> None:
    """Each `labctl WORD …` in code style is a command, and each option on its line is one of its options."""
    for line in code(page).splitlines():
        for said in re.findall(r"(?<![\w./:-])labctl ((?:[a-z-]+)(?: [^|#;&)]*)?)", line):
            words = said.split()
            name = " ".join(words[:2]) if words[0] == "fault" and len(words) > 1 else words[0]
            if name in ("fault", "import", "from") or not re.fullmatch("[a-z ]+", name):
                continue
            for each in name.split("|"):
                assert each in COMMANDS, f"labctl {each}: {line}"
            if name in ("exec", "fault add", "init"):
                continue  # what follows belongs to the command that is run, or to the fault
            known = {o for p in COMMANDS[name].params for o in (*p.opts, *p.secondary_opts)} | {"--help", "-h"}
            for option in re.findall(r"(?<!\S)(--[a-z-]+)", said):
                assert option in known, f"{option} of labctl {name}: {line}"


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_links_and_files_that_are_named_exist(page: Path) -> None:
    """Links lead somewhere; scenarios, scripts, documents and sources named in code style are there."""
    for target in _LINK.findall(text(page)):
        if not re.match(r"[a-z]+:", target):
            assert (page.parent / target).exists(), target
    for path in _FILE.findall(code(page)):
        if "first" in path or "NAME" in path or re.fullmatch(r"labctl/[\w-]+", path):
            continue  # what `labctl init` makes, places for a name, and the names of images
        assert (ROOT / path).exists() or (page.parent / path).exists(), path


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_errors_that_are_named_exist(page: Path) -> None:
    """Each error symbol is one that Linux or getaddrinfo has."""
    assert set(_SYMBOL.findall(text(page))) - set(ERRNOS) - set(LOOKUPS) - set(SYNONYMS) - WORDS == set()


def test_every_fault_has_its_section_and_every_section_its_fault() -> None:
    """docs/faults.md has one section for each kind in the registry (link faults have a page of their own)."""
    sections = re.findall(r"^## ([a-z-]+)$", text(ROOT / "docs/faults.md"), flags=re.MULTILINE)
    assert set(sections) | {"link"} == set(FAULTS)
    assert (ROOT / "docs/faults-link.md").exists()


def test_every_command_has_help_and_every_document_is_linked() -> None:
    """A command without a sentence, or a page that README does not lead to, would not be found."""
    assert [name for name, command in COMMANDS.items() if not command.help] == []
    assert isinstance(main, click.Group)
    readme = text(ROOT / "README.md")
    linked = {(ROOT / target).resolve() for target in _LINK.findall(readme)}
    pages = set((ROOT / "docs").glob("*.md"))
    for page in [p for p in linked if p.suffix == ".md" and p.exists()]:
        linked |= {(page.parent / target).resolve() for target in _LINK.findall(text(page))}
    assert sorted(ids(p) for p in pages - linked) == []
