"""What the documents name exists, and what exists is in the documents."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import click
import pytest
import terminal_picture
import yaml

from labctl.catalogue import catalogue
from labctl.cataloguepage import render as render_catalogue
from labctl.cli import main
from labctl.commands import render, walk
from labctl.faultpage import render as render_faults
from labctl.faults import FAULTS
from labctl.faults.link import Link
from labctl.scenario.files import find_scenarios
from labctl.scenario.model import FaultStep
from labctl.scenario.shape import keys_of
from labctl.scenario.symbols import ERRNOS, LOOKUPS, SYNONYMS
from labctl.scenario.yamltext import CoreLoader

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
    """docs/faults.md has one section for each kind in the registry, with its block out of the code, and a line in the table."""
    page = text(ROOT / "docs/faults.md")
    assert sorted(re.findall(r"^## ([a-z-]+)$", page, flags=re.MULTILINE)) == sorted(FAULTS)
    assert sorted(re.findall(r"<!-- begin ([a-z-]+):", page)) == sorted(FAULTS)
    assert {kind for kind in FAULTS if f"](#{kind})" in page} == set(FAULTS)


def test_the_fault_page_says_what_the_code_and_the_scenarios_say() -> None:
    """Sentence, keys with defaults and scenarios of each fault are made from them; each fault is shown by a scenario."""
    page = ROOT / "docs/faults.md"
    entries = catalogue(find_scenarios([ROOT / "scenarios"]))
    assert text(page) == render_faults(text(page), entries, page), "run python -m labctl.faultpage docs/faults.md"
    assert set(FAULTS) - {word for entry in entries for word in entry.faults} == set()


def test_the_catalogue_page_has_every_scenario() -> None:
    """docs/catalogue.md is made from the scenarios, so each is in the documents, with what it shows."""
    page = ROOT / "docs/catalogue.md"
    made = render_catalogue(catalogue(find_scenarios([ROOT / "scenarios"])), page)
    assert text(page) == made, "run python -m labctl.cataloguepage docs/catalogue.md"
    assert all(f"[{path.stem}](" in made for path in find_scenarios([ROOT / "scenarios"]))


def test_the_picture_of_a_terminal_is_what_a_terminal_shows() -> None:
    """docs/img/terminal.svg says, word for word, what the recorded run of the firewall scenario says, and loads nothing."""
    svg = terminal_picture.PICTURE.read_text(encoding="utf-8")
    assert terminal_picture.lines(svg) == terminal_picture.lines(terminal_picture.draw()), "run script/docs"
    assert len(terminal_picture.lines(svg)) > 20
    assert set(re.findall(r"https?://[^\s\"]+", svg)) == {"http://www.w3.org/2000/svg"}


EXAMPLES = [
    (page, line.partition("  #")[0].strip().removeprefix("- "))
    for page in ("faults.md", "faults-link.md")
    for line in text(ROOT / "docs" / page).splitlines()
    if re.match(rf"(?:    |- )(?:- )?(?:{{fault: |(?:{'|'.join(FAULTS)}): {{)", line)
]


@pytest.mark.parametrize(("page", "line"), EXAMPLES)
def test_every_example_of_a_fault_is_one(page: str, line: str) -> None:
    """Each fault shown in the reference can be written so: as a step, or as the fault's own part of one."""
    value = yaml.load(line, Loader=CoreLoader)
    step = FaultStep.model_validate(value if "fault" in value else {"fault": "example", "at": "server", **value})
    assert step.spec.kind in FAULTS, page


def test_there_are_examples_of_faults() -> None:
    """The lines above are found: most kinds have one."""
    kinds = {kind for _, line in EXAMPLES for kind in FAULTS if f"{kind}: {{" in line}
    assert {"drop", "reject", "link", "partition", "resolve", "kill", "pause", "reset"} <= kinds


def test_the_page_of_link_faults_has_every_key_and_no_other() -> None:
    """docs/faults-link.md names each key of `link:`; what its table names are keys."""
    page = text(ROOT / "docs/faults-link.md")
    named = set(re.findall(r"[a-z_]+", " ".join(re.findall(r"`([^`]*)`", page))))
    keys = set(keys_of(Link))
    assert {key for key in keys - named if not key.endswith("_correlation")} == set()
    table = page.split("| key | what | tc |")[1].split("\n\n")[0]
    words = {word for row in table.splitlines()[2:] for word in re.findall(r"`([a-z_]+)", row.split("|")[1])}
    assert words - keys == set()


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
