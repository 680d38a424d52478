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
    """Scenario files and folders, with what each file shows; what is in a folder that alone begins like this as well.

    A shell puts a space behind a single word, and behind a folder nobody wants one.
    """
    found = _in_folder(incomplete)
    if len(found) == 1 and found[0].value.endswith("/"):
        found += _in_folder(found[0].value)
    return found


def _in_folder(incomplete: str) -> list[CompletionItem]:
    from labctl.scenario.files import summary_of
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
    from labctl.scenario.files import cases_of

    return _starting(incomplete, [case for path in _named(ctx) for case in cases_of(path) if case])


def parameters(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001
    """The parameters of the scenarios that were named before, each with its value, to be changed."""
    from labctl.scenario.files import declared
    from labctl.scenario.yamltext import read

    found: list[str] = []
    for path in _named(ctx):
        with contextlib.suppress(LabctlError):
            found += [f"{name}={value.text}" for name, value in declared(read(path))[1].items()]
    return _starting(incomplete, found)


def tags(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001
    """The tags of the scenarios that were named before; of our own where none was."""
    from labctl.scenario.files import tags_of

    return _starting(incomplete, sorted({tag for path in _named(ctx) or _ours() for tag in tags_of(path)}))


def errnos(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001
    """The errors of the atlas, each with its own words."""
    from labctl.errnos import TEXTS

    word = incomplete.upper()
    return [CompletionItem(t.symbol, help=t.says) for t in TEXTS if t.symbol.startswith("E") and t.symbol.startswith(word)]


def effects(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The kinds of faults, and what a link fault does to packets."""
    from labctl.catalogue import LINK_EFFECTS

    return faults(ctx, param, incomplete) + _starting(incomplete, LINK_EFFECTS)


def in_place(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001
    """The faults that are in place on the standing lab that is meant, and `all`."""
    from labctl.byhand import listing

    with contextlib.suppress(LabctlError):
        return _starting(incomplete, [*(fault["name"] for fault in listing(ctx.params.get("lab"))), "all"])
    return []


def fault_keys(kind: str | None, incomplete: str) -> list[CompletionItem]:
    """The keys of a kind of fault as options, each with what it says."""
    from labctl.faults import FAULTS

    model = FAULTS.get(kind or "")
    fields = model.model_fields.items() if model else ()
    options = ((f"--{(field.alias or name).replace('_', '-')}", field.description) for name, field in fields)
    return [CompletionItem(option, help=about) for option, about in options if option.startswith(incomplete)]


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


def _named(ctx: click.Context) -> list[Path]:
    """The scenario files that were named before, and those in the folders that were.

    While an option lacks its value, click leaves the arguments before it unread.
    """
    from labctl.scenario.files import find_scenarios

    named = ctx.params.get("paths") or [Path(word) for word in ctx.args if not word.startswith("-")]
    with contextlib.suppress(LabctlError):
        return find_scenarios(named)
    return []


def _ours() -> list[Path]:
    from labctl.scenario.files import find_scenarios

    with contextlib.suppress(LabctlError):
        return find_scenarios([Path(__file__).resolve().parent.parent / "scenarios"])
    return []


def _labs() -> list[dict[str, Any]]:
    from labctl.standing import listing

    with contextlib.suppress(LabctlError):
        return [lab for lab in listing() if lab["kind"] == "standing"]
    return []


def _starting(incomplete: str, words: Iterable[str]) -> list[CompletionItem]:
    return [CompletionItem(word) for word in dict.fromkeys(words) if word.startswith(incomplete)]
