"""What a shell offers when Tab is pressed: scenarios, hosts, labs, faults and runs. Never an error: then it offers nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem, get_completion_class

from labctl.errors import LabctlError, UsageError

SHELLS = ("bash", "zsh", "fish")


def script(shell: str) -> str:
    """What a shell has to evaluate so that Tab completes labctl (click's own; bash 4.4 and newer)."""
    kind = get_completion_class(shell)
    if kind is None:
        raise UsageError(f"{shell} is none of {', '.join(SHELLS)}")
    return kind(click.Command("labctl"), {}, "labctl", "_LABCTL_COMPLETE").source()


def scenarios(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001
    """Scenario files and folders, with what each file shows."""
    from labctl.catalogue import summary_of
    from labctl.scenario.recognise import SUFFIXES, is_scenario

    folder, _, start = incomplete.rpartition("/")
    found = []
    for path in sorted(Path(folder or (incomplete[:1] == "/" and "/") or ".").glob(f"{start}*")):
        shown = f"{folder}/{path.name}" if folder or incomplete.startswith("/") else path.name
        if path.is_dir() and not path.name.startswith("."):
            found.append(CompletionItem(f"{shown}/"))
        elif path.suffix in SUFFIXES and is_scenario(path):
            with contextlib.suppress(OSError, UnicodeDecodeError):
                found.append(CompletionItem(shown, help=summary_of(path.read_text(encoding="utf-8"))))
    return found


def cases(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001
    """The cases of the scenarios that were named before."""
    from labctl.runs import cases_of, find_scenarios

    # While an option lacks its value, click leaves the arguments before it unread.
    named = [Path(word) for word in ctx.args if not word.startswith("-")]
    with contextlib.suppress(LabctlError):
        return _starting(incomplete, [case for path in find_scenarios(named) for case in cases_of(path) if case])
    return []


def runs(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001
    """Run directories: under runs/, or under the folder that is being written; the newest first."""
    folder = Path(incomplete.rpartition("/")[0] or "runs")
    found = sorted((p for p in folder.glob("*-*") if (p / "events.jsonl").is_file()), reverse=True)
    return _starting(incomplete, [str(path) for path in found])


def hosts(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001
    """The hosts of the standing lab that is meant, or of all of them."""
    wanted = ctx.params.get("lab")
    return _starting(incomplete, [h["name"] for lab in _labs() if wanted in (None, lab["name"]) for h in lab["hosts"]])


def labs(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001
    """The labs that stand."""
    return _starting(incomplete, [lab["name"] for lab in _labs()])


def faults(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001
    """The kinds of faults, each with its sentence."""
    from labctl.faults import FAULTS

    return [CompletionItem(kind, help=fault.summary) for kind, fault in FAULTS.items() if kind.startswith(incomplete)]


def _labs() -> list[dict[str, Any]]:
    from labctl.standing import listing

    with contextlib.suppress(LabctlError):
        return [lab for lab in listing() if lab["kind"] == "standing"]
    return []


def _starting(incomplete: str, words: Iterable[str]) -> list[CompletionItem]:
    return [CompletionItem(word) for word in dict.fromkeys(words) if word.startswith(incomplete)]
