"""The command line: the only module that prints and exits. What is slow to import is imported by the command that needs it."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from labctl import __version__
from labctl.errors import LabctlError, ScenarioError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from labctl.scenario.loader import Loaded



def offers(what: str) -> Any:
    """What the shell offers for a word, by the name of a function in `labctl.completing`; imported only when it is asked."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> Any:
        import labctl.completing

        return getattr(labctl.completing, what)(ctx, param, incomplete)

    return complete


PATHS = click.argument(
    "paths", nargs=-1, required=True, type=click.Path(path_type=Path), shell_complete=offers("scenarios")
)
WORDS = click.option("-k", "words", multiple=True, metavar="WORD", help="Only scenarios with this in their name; repeatable.")
TAGS = click.option("--tag", "tags", multiple=True, help="Only scenarios with this tag; repeatable.")
SET = click.option(
    "--set", "sets", multiple=True, metavar="NAME=VALUE", help="Change a parameter of the scenario."
)


class Commands(click.Group):
    """Turns labctl's own errors into exit codes, and nothing else."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except LabctlError as error:
            fail(error)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            sys.exit(130)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(141)


def fail(error: LabctlError) -> NoReturn:
    """Say what went wrong and exit with its code."""
    from labctl.report.plain import printable

    prefix = "" if isinstance(error, ScenarioError) else "labctl: "
    click.echo(prefix + "\n".join(printable(line) for line in str(error).splitlines()), err=True)
    sys.exit(error.exit_code)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="labctl")
def main() -> None:
    """A laboratory for network failures: real hosts, real faults, evidence and a verdict."""


@main.command()
@PATHS
@SET
@WORDS
@TAGS
@click.option(
    "--jobs", "-j", default=1, show_default=True, type=click.IntRange(1, 64), help="How many runs at once."
)
@click.option(
    "--out",
    default=Path("runs"),
    show_default=True,
    type=click.Path(path_type=Path),
    help="Where run directories go.",
)
@click.option("--lab", metavar="NAME", help="Use a standing lab (labctl up).", shell_complete=offers("labs"))
@click.option("--keep", is_flag=True, help="Leave the lab up afterwards.")
@click.option("--junit", type=click.Path(path_type=Path), help="Also write a JUnit file over all runs.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print the result as JSON, and nothing else, on stdout."
)
@click.option(
    "--link-backend", type=click.Choice(["auto", "netem", "nfqueue"]), default="auto", show_default=True,
    help="What makes link faults: the kernel's netem or our emulator.",
)  # fmt: skip
@click.option(
    "--markdown",
    type=click.Path(path_type=Path),
    help="Also write a Markdown summary, for a pull request or a CI job.",
)
@click.option(
    "--seed", type=click.IntRange(0, 2**31 - 1), help="For everything random; recorded in the result."
)
def run(
    paths: tuple[Path, ...], sets: tuple[str, ...], jobs: int, out: Path, lab: str | None, keep: bool,
    junit: Path | None, markdown: Path | None, as_json: bool, seed: int | None, link_backend: str,
    words: tuple[str, ...], tags: tuple[str, ...],
) -> None:  # fmt: skip
    """Run scenarios, or folders of them, and judge what was seen."""
    from labctl import api

    options = api.Options(out, overrides(sets), lab, keep, seed, link_backend)
    files = api.find(paths, words, tags)
    checked = [loaded for loaded, _ in check_all(files, options.overrides, api.load)]
    console = console_for(as_json)
    done = run_all(checked, options, jobs, console, as_json)
    results = [value for item in done if not isinstance(item, LabctlError) for value in (item[1],)]
    errors = [item for item in done if isinstance(item, LabctlError)]
    write_summaries(
        results,
        {item[1]["run"]: item[0] for item in done if not isinstance(item, LabctlError)},
        junit,
        markdown,
    )
    index = write_index(out, results) if len(results) > 1 else None
    if as_json:
        click.echo(
            json.dumps(results[0] if len(files) == 1 and results else results, indent=2, ensure_ascii=False)
        )
    elif len(files) > 1 and results:
        from labctl.report import terminal

        terminal.table(console, results)
        console.print(f"  index  {index}")
    for error in errors:
        click.echo(f"labctl: {error}", err=True)
    codes = [api.exit_code(results)] * bool(results) + [error.exit_code for error in errors]
    sys.exit(next((code for code in (130, 4, 3, 2, 1) if code in codes), 0))


def run_all(checked: Sequence[Loaded], options: Any, jobs: int, console: Console, quiet: bool) -> list[Any]:
    """Run the scenarios, one after the other here or several at once in processes of their own."""
    from labctl import api
    from labctl.interrupts import interruptible
    from labctl.jobs import run_many
    from labctl.report import terminal

    progress = terminal.Rich(console) if console.is_terminal and not quiet else terminal.Plain(console)
    done: list[Any] = []
    interruptible()
    with progress:
        if jobs > 1 and len(checked) > 1:
            done = run_many([loaded.path for loaded in checked], options, jobs, progress.observe)
        else:
            for loaded in checked:
                try:
                    done.append(api.run_with(loaded, options, partial(progress.observe, loaded.path.stem)))
                except LabctlError as error:
                    done.append(error)
                if not isinstance(done[-1], LabctlError) and done[-1][1]["interrupted"]:
                    break
    if not quiet:
        for item in done:
            if not isinstance(item, LabctlError) and (len(checked) == 1 or item[1]["verdict"] != "pass"):
                terminal.summary(console, item[1], str(item[0]))
    return done


def check_all(files: Sequence[Path], sets: Mapping[str, str], prepare: Any) -> list[Any]:
    """Load and check every file before anything is started. Raises ScenarioError with the problems of all of them."""
    problems, found, labs = [], [], {}  # type: ignore[var-annotated]
    for file in files:
        try:
            found.append(prepare(file, sets, labs))
        except ScenarioError as error:
            problems += error.problems
    if problems:
        raise ScenarioError(problems)
    return found


def console_for(quiet: bool) -> Console:
    """Where progress goes: the terminal, a pipe (with lines of a fixed width), or nowhere when only JSON is wanted."""
    from rich.console import Console

    if quiet:
        return Console(quiet=True)
    return Console(
        highlight=False, width=None if sys.stdout.isatty() else int(os.environ.get("COLUMNS", "110"))
    )


def overrides(sets: tuple[str, ...]) -> dict[str, str]:
    """`k=v` pairs as a mapping. Raises UsageError."""
    found = {}
    for item in sets:
        name, equals, value = item.partition("=")
        if not equals or not name:
            raise UsageError(f"--set {item}: write NAME=VALUE")
        found[name] = value
    return found


def write_summaries(
    results: list[dict[str, Any]], directories: Mapping[str, Path], junit: Path | None, markdown: Path | None
) -> None:
    """The files over all runs that were asked for. Raises LabctlError."""
    if junit is not None:
        from labctl.report.junit import junit as as_junit

        # Attachments are found from where the file is read, which is the folder it is in.
        here = [{**r, "directory": os.path.relpath(directories[r["run"]], junit.parent)} for r in results]
        write_file(junit, as_junit(here))
    if markdown is not None:
        from labctl.report.markdown import markdown as as_markdown

        write_file(markdown, as_markdown(results))


def write_index(out: Path, results: list[dict[str, Any]]) -> Path:
    """One page over several runs, beside their directories. Raises LabctlError."""
    from labctl.report.index import index

    return write_file(out / "index.html", index(results))


def write_file(path: Path, text: str) -> Path:
    """Write a text where somebody asked for it. Raises LabctlError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise LabctlError(f"{path} cannot be written: {error.strerror}") from None
    return path


@main.command("check")
@PATHS
@SET
@WORDS
@TAGS
@click.option("--filters", is_flag=True, help="Also ask tshark about every packet filter; needs Docker, or a tshark here.")
def check_command(
    paths: tuple[Path, ...], sets: tuple[str, ...], filters: bool, words: tuple[str, ...], tags: tuple[str, ...]
) -> None:
    """Validate scenarios: file:line:column, what is wrong, and what would be right."""
    from labctl import api

    files = api.find(paths, words, tags)
    found = check_all(files, overrides(sets), api.load)
    if filters:
        check_filters([loaded for loaded, _ in found])
    click.echo(f"{len(files)} scenario{'s' * (len(files) != 1)} checked, no problem")


def check_filters(scenarios: Sequence[Any]) -> None:
    """Ask tshark about every packet filter of the scenarios. Raises ScenarioError with those that it refuses."""
    from labctl.engines.tshark import refused, tshark

    ask, can_ask = tshark(lambda line: click.echo(line, err=True))
    places = [
        (loaded, ("steps", index, "expect", *loc), text)
        for loaded in scenarios
        for index, step in enumerate(loaded.scenario.steps)
        if getattr(step, "expect", None)
        for loc, _, text in step.expect.filters()
        if can_ask(text)
    ]
    bad = refused([text for _, _, text in places], ask)
    problems = [
        loaded.problem(loc, f"Wireshark refuses this filter: {bad[text]}") for loaded, loc, text in places if text in bad
    ]
    if problems:
        raise ScenarioError(list(dict.fromkeys(problems)))


@main.command()
@click.argument("path", type=click.Path(path_type=Path))
@SET
@click.option("--json", "as_json", is_flag=True, help="The plan as plan.json holds it.")
def explain(path: Path, sets: tuple[str, ...], as_json: bool) -> None:
    """Show the plan: every host, step and exact command. Nothing is run; addresses are examples."""
    from labctl import api
    from labctl.report.explain import explain as words

    planned = api.plan(path, overrides(sets))
    click.echo(json.dumps(planned.as_json(), indent=2, ensure_ascii=False) if as_json else words(planned))


@main.command()
@click.argument("compose", required=False, type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Where; scenarios/first.yaml beside it when not given.")
def init(compose: Path | None, output: Path | None) -> None:
    """Write a first scenario for your own compose file, with its hosts and ports filled in."""
    from labctl.first import find_compose, write_first

    compose = compose or find_compose(Path())
    target, schema_file = write_first(compose, output or compose.parent / "scenarios" / "first.yaml")
    click.echo(f"{target} is there, and {schema_file} for your editor; now: labctl run {target}")


@main.command("list")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option("--errno", metavar="SYMBOL", help="Only scenarios that produce this error, like ECONNRESET.")
@click.option("--fault", metavar="KIND", help="Only scenarios with this fault, like drop, or loss for a link that loses.")
@click.option("--tag", metavar="TAG", help="Only scenarios with this tag.")
@click.option("--json", "as_json", is_flag=True)
def list_command(
    paths: tuple[Path, ...], errno: str | None, fault: str | None, tag: str | None, as_json: bool
) -> None:
    """The catalogue of scenarios, by topic: ours, or those in PATHS."""
    import shutil

    from labctl.catalogue import TOPICS, by_topic, catalogue, select
    from labctl.report.plain import shorten
    from labctl.runs import OWN_LAB, find_scenarios

    chosen = select(catalogue(find_scenarios(paths or (OWN_LAB.parent / "scenarios",))), errno, fault, tag)
    if as_json:
        click.echo(json.dumps([e.as_json() for e in chosen], indent=2, ensure_ascii=False))
        return
    width = max(len(e.name) for e in chosen)
    columns = shutil.get_terminal_size((140, 40)).columns if sys.stdout.isatty() else 10_000
    for number, (topic, entries) in enumerate(by_topic(chosen)):
        click.echo("\n" * bool(number) + f"{TOPICS.get(topic, topic)} ({topic})")
        for entry in entries:
            click.echo(shorten(f"  {entry.name:{width}}  {entry.summary}", columns))


@main.command()
@click.argument("compose", required=False, type=click.Path(path_type=Path))
@click.option("--name", default="lab", show_default=True, help="What other commands call it.")
def up(compose: Path | None, name: str) -> None:
    """Bring up a lab that stays, for work by hand and for `labctl run --lab NAME`."""
    from labctl.standing import bring_up

    hosts = bring_up(compose, name, lambda line: click.echo(line, err=True))
    click.echo(f"lab {name} is up: {', '.join(hosts)}")


@main.command()
@click.argument("name", default="lab", shell_complete=offers("labs"))
def down(name: str) -> None:
    """Take a standing lab down."""
    from labctl.standing import take_down

    containers, networks = take_down(name)
    click.echo(f"lab {name} is down: {containers} containers and {networks} networks removed")


@main.command()
@click.option("--json", "as_json", is_flag=True)
def ps(as_json: bool) -> None:
    """What stands and what runs: labs, their hosts and addresses."""
    from labctl.standing import listing

    labs = listing()
    if as_json:
        click.echo(json.dumps(labs, indent=2))
        return
    if not labs:
        click.echo("no lab is up")
    for lab in labs:
        click.echo(f"{lab['name']}  ({lab['kind']})")
        for host in lab["hosts"]:
            click.echo(f"  {host['name']:12} {host['state']:10} {', '.join(host['addresses'])}")


@main.command("exec", context_settings={"ignore_unknown_options": True})
@click.option("--lab", metavar="NAME", help="Which standing lab, when there are several.", shell_complete=offers("labs"))
@click.argument("host", shell_complete=offers("hosts"))
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def exec_command(lab: str | None, host: str, command: tuple[str, ...]) -> None:
    """Run a command (or a bundled program) on a host of a standing lab: labctl exec client -- probe connect server 80."""
    from labctl.standing import exec_argv

    argv = exec_argv(lab, host, command, interactive=sys.stdin.isatty() and sys.stdout.isatty())
    os.execvp(argv[0], argv)


@main.command()
@click.option("--lab", metavar="NAME", help="Which standing lab, when there are several.", shell_complete=offers("labs"))
@click.option("-o", "--output", default="-", show_default=True, help="A file, or - for standard output.")
@click.option("-f", "--filter", "filter_", help="A capture filter, like tcp port 80 (pcap-filter(7)).")
@click.option("-i", "--interface", default="any", show_default=True, help="One interface of the host.")
@click.argument("host", shell_complete=offers("hosts"))
def capture(lab: str | None, output: str, filter_: str | None, interface: str, host: str) -> None:
    """Capture live on a host of a standing lab, until Ctrl-C: labctl capture server | wireshark -k -i -"""
    from labctl.standing import capture_argv

    if output == "-" and sys.stdout.isatty():
        raise UsageError(
            "a capture is no text for a terminal; write -o FILE, or pipe it: | wireshark -k -i -"
        )
    argv = capture_argv(lab, host, filter_, interface)
    if output != "-":
        try:
            os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666), sys.stdout.fileno())
        except OSError as error:
            raise LabctlError(f"{output} cannot be written: {error.strerror}") from None
    os.execvp(argv[0], argv)


LAB = click.option("--lab", metavar="NAME", help="Which standing lab, when there are several.", shell_complete=offers("labs"))


@main.group()
def fault() -> None:
    """Break a standing lab by hand."""


@fault.command("add", context_settings={"ignore_unknown_options": True})
@LAB
@click.option("--name", help="What to call it; its kind when not given.")
@click.option("--json", "as_json", is_flag=True)
@click.argument("host", shell_complete=offers("hosts"))
@click.argument("kind", shell_complete=offers("faults"))
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def fault_add(
    lab: str | None, name: str | None, as_json: bool, host: str, kind: str, options: tuple[str, ...]
) -> None:
    """Put a fault at a host: labctl fault add router drop --protocol tcp --dport 80 --to server."""
    from labctl.byhand import add, parse_fault

    chosen, answer = add(lab, host, name, parse_fault(kind, options))
    if as_json:
        click.echo(json.dumps({"name": chosen, "host": host, **answer}, indent=2))
        return
    for ran in answer["ran"]:
        click.echo(f"{host}# {shlex.join(ran['argv'])}")
    click.echo(f"{chosen} is in place at {host}; `labctl fault remove {chosen}` takes it away")


@fault.command("list")
@LAB
@click.option("--json", "as_json", is_flag=True)
def fault_list(lab: str | None, as_json: bool) -> None:
    """What is broken by hand, and how many packets each fault has touched."""
    from labctl.byhand import listing

    found = listing(lab)
    if as_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    for item in found:
        note = dict(item["note"] or {})
        words = " ".join([str(note.pop("kind", "")), *(f"{k}={v}" for k, v in note.items())])
        click.echo(f"{item['host']:12} {item['name']:20} {item['packets']} packets   {words}")
    if not found:
        click.echo("nothing is broken by hand")


@fault.command("remove")
@LAB
@click.option("--json", "as_json", is_flag=True)
@click.argument("name")
def fault_remove(lab: str | None, as_json: bool, name: str) -> None:
    """Take a fault away by name; `all` takes every one."""
    from labctl.byhand import remove

    removed = remove(lab, name)
    if as_json:
        click.echo(json.dumps(removed, indent=2))
        return
    for item in removed:
        click.echo(f"{item['name']} at {item['host']} is gone; it touched {item['packets']} packets")


@main.command()
@click.argument("run", type=click.Path(path_type=Path, exists=True), shell_complete=offers("runs"))
@click.option("--json", "as_json", is_flag=True)
def judge(run: Path, as_json: bool) -> None:
    """Judge a run again from its directory alone."""
    from labctl import api
    from labctl.report import terminal

    value = api.judge(run).result
    if as_json:
        click.echo(json.dumps(value, indent=2, ensure_ascii=False))
    else:
        terminal.summary(console_for(False), value, str(run))
    sys.exit(api.exit_code([value]))


@main.command()
@click.argument("run", type=click.Path(path_type=Path, exists=True), shell_complete=offers("runs"))
@click.option("--open", "open_it", is_flag=True, help="Open the page in a browser.")
def report(run: Path, open_it: bool) -> None:
    """Write a run's page again."""
    from labctl.evidence.rundir import RunDirectory
    from labctl.runs import judge_run, write_reports
    from labctl.verdict.judge import result

    verdict = judge_run(run)
    write_reports(RunDirectory(run, lambda _: None), verdict, result(verdict))
    click.echo(run / "report.html")
    if open_it:
        click.launch(str(run / "report.html"))


@main.command()
@click.argument("run", type=click.Path(path_type=Path, exists=True), shell_complete=offers("runs"))
@click.option("--width", type=click.IntRange(60, 400), help="Columns; the terminal's when not given.")
def show(run: Path, width: int | None) -> None:
    """A run as a ladder of its packets in text, with the faults in it."""
    import shutil

    from labctl.report.text import show as ladder
    from labctl.runs import judge_run

    click.echo(ladder(judge_run(run), width or shutil.get_terminal_size((100, 40)).columns))


@main.command()
@click.argument("first", type=click.Path(path_type=Path, exists=True), shell_complete=offers("runs"))
@click.argument("second", type=click.Path(path_type=Path, exists=True), shell_complete=offers("runs"))
def diff(first: Path, second: Path) -> None:
    """What changed between two runs of a scenario: verdicts, errnos, times, packets."""
    from labctl.report.diff import diff as compare
    from labctl.report.diff import text
    from labctl.runs import judge_run

    click.echo(text(compare(judge_run(first), judge_run(second))))


@main.command()
@click.option("--json", "as_json", is_flag=True)
@click.option("--calibrate", is_flag=True, help="Measure what link faults do here against what they are asked.")
@click.option(
    "--link-backend", type=click.Choice(["auto", "netem", "nfqueue"]), default="auto", show_default=True,
    help="With --calibrate: what makes the link faults.",
)  # fmt: skip
def doctor(as_json: bool, calibrate: bool, link_backend: str) -> None:
    """What this machine can do, what is missing, and how to get it."""
    from labctl.doctor import examine

    if calibrate:
        sys.exit(0 if calibration(link_backend, as_json) else 1)
    found = examine()
    if as_json:
        click.echo(json.dumps([f.as_json() for f in found], indent=2))
    else:
        for finding in found:
            click.echo(f"{'✓' if finding.ok else '✗'} {finding.what}: {finding.found}")
            if not finding.ok:
                click.echo(f"    {finding.cost}\n    {finding.cure}")
    sys.exit(0 if all(f.ok or not f.needed for f in found) else 3)


def calibration(backend: str, as_json: bool) -> bool:
    """Print asked against got for each kind of link fault, as it is measured; whether all lie in their bounds."""
    from labctl.calibrate import calibrate
    from labctl.standing import build_images

    build_images(("agent",), lambda line: click.echo(line, err=True))
    rows = []
    if not as_json:
        click.echo(f"  {'link fault':38} {'asked':>10} {'got':>10}   bounds")
    for row in calibrate(backend):
        rows.append(row)
        if not as_json:
            mark = "✓" if row.ok else "✗"
            click.echo(f"{mark} {row.what:38} {row.asked:10.3f} {row.got:10.3f}   {row.low:.3f} to {row.high:.3f} {row.unit}")
    if as_json:
        click.echo(json.dumps([row.as_json() for row in rows], indent=2))
    return all(row.ok for row in rows)


@main.command()
def gc() -> None:
    """Remove what dead runs left behind, and what dead agents left on standing labs. What lives is not touched."""
    from labctl.standing import collect_garbage, sweep_standing

    runs, containers, networks = collect_garbage()
    click.echo(f"{runs} dead run{'s' * (runs != 1)}: {containers} containers and {networks} networks removed")
    for host, commands in sweep_standing().items():
        click.echo(f"{host}: the faults of an agent that is gone are taken back")
        for argv in commands:
            click.echo(f"    {shlex.join(argv)}")


@main.command("images")
@click.argument("services", nargs=-1)
def images_command(services: tuple[str, ...]) -> None:
    """Build the lab's images now instead of when a run needs them: labctl images [SERVICE...]."""
    from labctl.standing import build_images

    for name in build_images(services, lambda line: click.echo(line, err=True)):
        click.echo(name)


@main.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """What makes Tab complete commands, scenarios, hosts and runs: eval "$(labctl completion bash)" in your ~/.bashrc."""
    from labctl.completing import script

    click.echo(script(shell))


@main.command()
def schema() -> None:
    """The JSON Schema of a scenario, for editors."""
    from labctl.scenario.schema import schema as of_scenarios

    click.echo(json.dumps(of_scenarios(), indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
