"""Commands about scenarios that run nothing: check, explain, init, list, schema."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from labctl.cli.options import CASES, PATHS, SEEDS, SET, TAGS, WORDS, NamedPath, offers, overrides
from labctl.cli.output import echo_json, say
from labctl.errors import Problem, ScenarioError

if TYPE_CHECKING:
    from labctl.scenario.loader import Loaded

# How many of the YAML files beside them that are no scenarios `labctl check` names.
SHOWN_OTHERS = 5


@click.command("check")
@PATHS
@SET
@WORDS
@TAGS
@CASES
@click.option("--filters", is_flag=True, help="Also ask tshark and dumpcap about every filter; needs Docker, or them here.")
def check_command(
    paths: tuple[Path, ...], sets: tuple[str, ...], filters: bool, words: tuple[str, ...], tags: tuple[str, ...],
    cases: tuple[str, ...],
) -> None:  # fmt: skip
    """Validate scenarios: file:line:column, what is wrong, and what would be right."""
    from labctl import api

    files = api.find(paths, words, tags)
    found = api.load_all(files, overrides(sets), words, cases)
    if filters:
        check_filters([loaded for loaded, _ in found])
    scenarios = len({one.loaded.path for one in found})
    of_them = f" in {len(found)} cases" if len(found) != scenarios else ""
    click.echo(f"{scenarios} scenario{'s' * (scenarios != 1)} checked{of_them}, no problem")
    if words or tags or cases:
        return
    if others := [str(path) for path in api.left_out(paths, found)]:
        more = f" and {len(others) - SHOWN_OTHERS} more" * (len(others) > SHOWN_OTHERS)
        click.echo(f"no scenarios, so not looked at: {', '.join(others[:SHOWN_OTHERS])}{more}")


def check_filters(scenarios: Sequence[Loaded]) -> None:
    """Ask tshark and dumpcap about every filter of the scenarios. Raises ScenarioError with those that they refuse."""
    from labctl.engines.tshark import refused, tshark

    ask, can_ask = tshark(say)
    places = [
        (loaded, ("steps", index, "expect", *loc), text)
        for loaded in scenarios
        for index, step in enumerate(loaded.scenario.steps)
        if (expect := getattr(step, "expect", None)) is not None
        for loc, _, text in expect.filters()
        if can_ask(text)
    ]
    bad = refused([text for _, _, text in places], ask)
    problems = [
        loaded.problem(loc, f"Wireshark refuses this filter: {bad[text]}") for loaded, loc, text in places if text in bad
    ]
    problems += _capture_filters(scenarios)
    if problems:
        raise ScenarioError(list(dict.fromkeys(problems)))


def _capture_filters(scenarios: Sequence[Loaded]) -> list[Problem]:
    """What dumpcap says of those with which scenarios choose what is recorded."""
    from labctl.engines.tshark import dumpcap
    from labctl.evidence.packets import capture_filter_problem

    captures = [(loaded, text) for loaded in scenarios if (text := loaded.scenario.capture.filter) is not None]
    if not captures:
        return []
    ask = dumpcap(say)
    said = {text: ask(text) for text in dict.fromkeys(text for _, text in captures)}
    return [
        loaded.problem(("capture", "filter"), capture_filter_problem(why))
        for loaded, text in captures
        if (why := said[text]) is not None
    ]


@click.command()
@click.argument("path", type=NamedPath(), shell_complete=offers("scenarios"))
@SET
@CASES
@click.option("--seed", type=SEEDS, default=0, show_default=True, help="The run's, by which chance falls.")
@click.option("--json", "as_json", is_flag=True, help="The plan as plan.json holds it; a list where there are several cases.")
def explain(path: Path, sets: tuple[str, ...], cases: tuple[str, ...], seed: int, as_json: bool) -> None:
    """Show the plan: every host, step and exact command. Nothing is run; addresses are examples."""
    from labctl import api
    from labctl.report.explain import explain as words
    from labctl.scenario.files import summary_of

    scenarios = api.load_all([path], overrides(sets), cases=cases)
    if as_json:
        values = [api.plan(one, seed=seed).as_json() for one in scenarios]
        echo_json(values[0] if len(values) == 1 else values)
    else:
        click.echo("\n".join(words(api.plan(one, seed=seed), summary_of(one.loaded.text)) for one in scenarios))


@click.command()
@click.argument("compose", required=False, type=NamedPath())
@click.option("-o", "--output", type=NamedPath(), help="Where; scenarios/first.yaml beside it when not given.")
def init(compose: Path | None, output: Path | None) -> None:
    """Write a first scenario for your own compose file, with its hosts and ports filled in."""
    from labctl.first import find_compose, write_first

    compose = compose or find_compose(Path())
    target, schema_file = write_first(compose, output or compose.parent / "scenarios" / "first.yaml")
    click.echo(f"{target} is there, and {schema_file} for your editor; now: labctl run {target}")


@click.command("list")
@click.argument("paths", nargs=-1, type=NamedPath(), shell_complete=offers("scenarios"))
@click.option(
    "--errno", metavar="SYMBOL", shell_complete=offers("errnos"),
    help="Only scenarios that produce this error, like ECONNRESET.",
)  # fmt: skip
@click.option(
    "--fault", metavar="KIND", shell_complete=offers("effects"),
    help="Only scenarios with this fault, like drop, or loss for a link that loses.",
)  # fmt: skip
@click.option("--tag", metavar="TAG", shell_complete=offers("tags"), help="Only scenarios with this tag.")
@click.option("--json", "as_json", is_flag=True)
def list_command(
    paths: tuple[Path, ...], errno: str | None, fault: str | None, tag: str | None, as_json: bool
) -> None:
    """The catalogue of scenarios, by topic: ours, or those in PATHS."""
    import shutil

    from labctl.catalogue import TOPICS, by_topic, catalogue, select
    from labctl.report.plain import shorten
    from labctl.runs import OWN_LAB
    from labctl.scenario.files import find_scenarios

    chosen = select(catalogue(find_scenarios(paths or (OWN_LAB.parent / "scenarios",))), errno, fault, tag)
    if as_json:
        echo_json([e.as_json() for e in chosen])
        return
    width = max(len(e.name) for e in chosen)
    columns = shutil.get_terminal_size((140, 40)).columns if sys.stdout.isatty() else 10_000
    for number, (topic, entries) in enumerate(by_topic(chosen)):
        click.echo("\n" * bool(number) + f"{TOPICS.get(topic, topic)} ({topic})")
        for entry in entries:
            click.echo(shorten(f"  {entry.name:{width}}  {entry.summary}", columns))


@click.command()
def schema() -> None:
    """The JSON Schema of a scenario, for editors."""
    from labctl.scenario.schema import schema as of_scenarios

    echo_json(of_scenarios())
