# ruff: noqa: E501  messages stand here as they are shown, on one line
"""Arguments of bundled programs are held to what their own parsers take, before anything runs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from test_scenario_check import HEAD, problems

from labctl.runs import prepare_all
from labctl.scenario.files import find_scenarios
from labctl.scenario.model import PROGRAMS, RunStep, StartStep
from labctl.scenario.usage import FOLDER, misuse, parser_of

ROOT = Path(__file__).resolve().parents[3]
VERBS = "There are connect, listen, bind, send, recv, slow-reader, trickle, half-close, abort, hold, backlog, resolve, ping, echo, fds and misuse"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("probe konnect server 81", (1, f"probe has no verb 'konnect'; did you mean connect? {VERBS}")),
        ("probe", (0, "probe needs VERB here as well")),
        ("probe connect server", (0, "probe needs PORT here as well")),
        ("probe connect server 81 --tmeout=3s", (4, "probe has no option '--tmeout' here; did you mean --timeout?")),
        ("probe connect server 81 --frobnicate", (4, "probe has no option '--frobnicate' here")),
        ("probe connect server 81 82", (4, "'82' is one argument too many for probe")),
        ("probe connect server 99999", (3, "probe: PORT: '99999' is not a port: 0 to 65535")),
        ("probe connect server 81 --timeout=x", (4, "probe: --timeout: 'x' is not a time: write 100ms, 5s or 2m")),
        ("probe send server 81 --hex zz", (5, "probe: --hex: 'zz' is not hexadecimal: write 00ff")),
        ("probe listen server 81 --then=hug", (4, "probe has no --then 'hug'; there are hold, close, close-unread, abort, read and peername")),
        ("app-client server 81 sum 1,2 --format=z", (5, "app-client: --format: 'z' is not one of h, H, i, I, q, Q, f, d")),
        ("app-client server 81 sum -- -1,2", None),
        ("probe connect server 81 --timeout=2s", None),
        ("probe --help", None),
        ("nginx konnect", None),
    ],
)  # fmt: skip
def test_a_wrong_argument_is_told_with_its_place_and_what_would_be_right(words: str, said: tuple[int, str] | None) -> None:
    """A verb, an option, a value that the program does not take; one that is not bundled takes anything."""
    assert misuse(words.split()) == said


def test_check_puts_the_problem_at_the_word() -> None:
    """The line and column are those of the wrong word, in start steps and in run steps."""
    steps = "  - {start: [probe, lisen, '', 80], on: server}\n  - run: [probe, connect, server, 80, --nodelai]\n    on: client\n    expect: {errno: null}\n"
    assert problems(HEAD + steps) == [
        f"f.yaml:3:21: probe has no verb 'lisen'; did you mean listen? {VERBS}",
        "f.yaml:4:39: probe has no option '--nodelai' here; did you mean --nodelay?",
    ]


def test_every_shipped_command_is_taken() -> None:
    """No command of a shipped scenario is refused, and every bundled program is run by one of them."""
    used = set()
    for checked in prepare_all(find_scenarios([ROOT / "scenarios"]), {}):
        for step in checked.scenario.steps:
            words = step.start if isinstance(step, StartStep) else step.run if isinstance(step, RunStep) else ("x",)
            assert misuse(words) is None, words
            used.add(words[0])
    assert used >= PROGRAMS.keys()


def test_asking_the_programs_leaves_no_trace() -> None:
    """Their modules have common names, so none of them stays importable, nor is one of somebody else's lost."""
    names = {path.stem for path in FOLDER.glob("*.py")}
    before = {name: sys.modules.get(name) for name in names}
    path = list(sys.path)
    parser_of.cache_clear()
    assert misuse(["probe", "x"]) is not None
    assert ({name: sys.modules.get(name) for name in names}, sys.path) == (before, path)
