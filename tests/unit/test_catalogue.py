"""The catalogue and the errno atlas: complete, true to the scenarios, and found by error, fault and tag."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from labctl.atlas import Shown, ends, icmp_seen, render, shown
from labctl.catalogue import LINK_EFFECTS, TOPICS, Entry, by_topic, catalogue, fault_words, select
from labctl.errnos import CLEAN_END, HANG, ICMP, TEXTS
from labctl.errors import UsageError
from labctl.faults import FAULTS
from labctl.faults.base import Fault
from labctl.faults.link import Link
from labctl.scenario.files import cases_of
from labctl.scenario.loader import load
from labctl.scenario.model import PROGRAMS, FaultStep

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "scenarios").glob("*.yaml"))
PAGE = ROOT / "docs/errors.md"
# What every user of sockets meets: each must be produced for real.
MET = (
    "EAGAIN",
    "EADDRINUSE",
    "ECONNRESET",
    "ETIMEDOUT",
    "ECONNREFUSED",
    "EPIPE",
    "EHOSTUNREACH",
    "ENETUNREACH",
    "ECONNABORTED",
    "EINPROGRESS",
    "EADDRNOTAVAIL",
    "EACCES",
    "EPERM",
    "EMSGSIZE",
    "ENOTCONN",
    "EISCONN",
    "EDESTADDRREQ",
    "EMFILE",
    "EAI_NONAME",
    "EAI_AGAIN",
)


@cache
def entries() -> list[Entry]:
    return catalogue(FILES)


@cache
def steps() -> list[Shown]:
    return shown(FILES)


def test_every_error_that_users_of_sockets_meet_is_produced_and_told() -> None:
    """Each error, a clean end and a hang have a text in the atlas and at least one scenario that expects them."""
    produced = {end for step in steps() for end in ends(step)}
    assert {*MET, CLEAN_END, HANG} <= produced
    assert {text.symbol for text in TEXTS} == produced


def test_every_text_of_the_atlas_says_everything() -> None:
    """A text has a meaning, a time, what the wire shows, what to check and a source; no symbol has two."""
    assert [text.symbol for text in TEXTS if not all(text)] == []
    assert len({text.symbol for text in TEXTS}) == len(TEXTS)


def test_every_icmp_message_of_the_atlas_is_seen_in_a_scenario() -> None:
    """Each row of the ICMP table is a message that some step wants to see in its packets."""
    seen = {message for step in steps() for message in icmp_seen(step)}
    kinds = {(six, kind, None) for six, kind, _ in seen}
    assert [row.name for row in ICMP if (row.six, row.type, row.code) not in seen | kinds] == []


def test_the_atlas_is_made_from_the_scenarios() -> None:
    """docs/errors.md is what `python -m labctl.atlas docs/errors.md` writes."""
    assert PAGE.read_text(encoding="utf-8") == render(FILES, PAGE), (
        "run: python -m labctl.atlas docs/errors.md"
    )


def test_every_way_in_the_atlas_is_a_step_of_a_scenario_that_expects_it() -> None:
    """Read as a user reads it: below each error stand links to files that exist, and each expects that error."""
    sections = re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:-1]
    by_name = {entry.name: entry for entry in entries()}
    for section in sections:
        symbol = section.split("\n", 1)[0]
        ways = re.findall(r"^- \[([a-z0-9-]+)\]\(([^)]+)\), step (\d+): ", section, flags=re.MULTILINE)
        assert ways, f"{symbol} has no way to get it"
        for name, link, step in ways:
            assert (PAGE.parent / link).resolve() in FILES
            if symbol.startswith("E"):
                assert (symbol, int(step)) in {(way.errno, way.step) for way in by_name[name].ways}


def test_the_catalogue_shows_every_fault_every_effect_and_every_program() -> None:
    """Each kind of fault, each thing a link does and each bundled program stand in some scenario; so do both byte orders."""
    assert {*FAULTS, *LINK_EFFECTS} <= {word for entry in entries() for word in entry.faults}
    assert PROGRAMS.keys() <= {word for entry in entries() for word in entry.programs}
    assert len(entries()) >= 45


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_shipped_scenario_reads_like_the_others(path: Path) -> None:
    """Tags are topics; keys stand in one order; a first sentence for the list; the first thing tried is not broken yet."""
    text = path.read_text(encoding="utf-8")
    entry = next(entry for entry in entries() if entry.name == path.stem)
    assert set(entry.tags) <= TOPICS.keys()
    assert entry.tags
    keys = re.findall(r"^([a-z]+):", text, flags=re.MULTILINE)
    order = ["scenario", "include", "lab", "tags", "timeout", "params", "cases", "capture", "sample", "steps"]
    assert keys == [key for key in order if key in keys]
    assert text.startswith("# yaml-language-server: $schema=../labctl/scenario/schema.json\n# ")
    assert 20 <= len(entry.summary) <= 140, "the first sentence is the scenario's line in `labctl list`"
    assert entry.summary.endswith(".")


def test_entries_are_found_by_errno_fault_and_tag() -> None:
    """An errno in any case or by its other name, a fault's kind or a link's effect, a tag; all that are given must hold."""
    assert {e.name for e in select(entries(), errno="econnaborted")} == {"connect-nonblocking"}
    assert select(entries(), errno="EWOULDBLOCK") == select(entries(), errno="EAGAIN") != []
    lossy = {e.name for e in select(entries(), fault="loss")}
    assert {"link-burst-loss", "link-loss-at-the-sender"} <= lossy
    assert "link-delay" not in lossy
    assert {e.name for e in select(entries(), fault="loss", errno="ETIMEDOUT", tag="connect")} <= lossy


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"errno": "ECONREFUSED"}, "there is no errno ECONREFUSED; did you mean ECONNREFUSED?"),
        ({"errno": "xyzzy"}, "there is no errno XYZZY; see errno(3)"),
        ({"fault": "los"}, "there is no fault los; did you mean loss?"),
        ({"tag": "fierwall"}, "there is no tag fierwall; did you mean firewall?"),
        ({"errno": "EXDEV"}, "no scenario is like that"),
    ],
)
def test_a_word_that_means_nothing_gets_the_nearest_that_does(asked: dict[str, str], said: str) -> None:
    """A misspelt errno, fault or tag is an error with the right word in it, never an empty list."""
    with pytest.raises(UsageError, match=re.escape(said)):
        select(entries(), **asked)


def test_topics_come_in_their_order_and_others_after_them() -> None:
    """Groups stand in the order of TOPICS; a scenario of one's own with another first tag has a group of its own."""
    found = catalogue([ROOT / "scenarios/link-delay.yaml", ROOT / "scenarios/firewall.yaml"])
    own = Entry(**{**found[0].__dict__, "topic": "shop"})
    assert [topic for topic, _ in by_topic([own, *found])] == ["firewall", "link", "shop"]


def test_a_link_fault_is_found_by_what_it_does() -> None:
    """A link that loses in bursts is found by loss, and by nothing that it does not do."""
    assert fault_words(Link.model_validate({"loss_gemodel": {"p": "5%", "r": "25%"}})) == ("link", "loss")


def _said_in(model: type[Fault]) -> set[tuple[str, str]]:
    """The keys of a fault, each as YAML writes it, with the class that has it: those of a base are alike in all its faults."""
    return {
        (next(c.__name__ for c in reversed(model.__mro__) if name in getattr(c, "model_fields", {})), key.alias or name)
        for name, key in model.model_fields.items()
    }


def test_every_key_of_every_fault_is_shown_by_a_scenario() -> None:
    """Whatever a fault can be asked is asked by some shipped scenario, so that it has been seen to do what it says."""
    loaded = [load(path, case=case) for path in FILES for case in cases_of(path)]
    specs = [step.spec for one in loaded for step in one.scenario.steps if isinstance(step, FaultStep)]
    asked = {
        (owner, key)
        for spec in specs
        for owner, key in _said_in(type(spec))
        if key in {type(spec).model_fields[name].alias or name for name in spec.model_fields_set}
    }
    every = {said for model in FAULTS.values() for said in _said_in(model)}
    assert sorted(every - asked) == []
