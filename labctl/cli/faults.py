"""labctl fault: a standing lab broken by hand."""

from __future__ import annotations

import shlex

import click
from click.shell_completion import CompletionItem

from labctl.cli.options import HOST, LAB, offers
from labctl.cli.output import echo_json, say


@click.group()
def fault() -> None:
    """Break a standing lab by hand."""


class WithKeys(click.Command):
    """Offers the keys of the kind of fault beside the command's own options."""

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        from labctl.completing import fault_keys

        return super().shell_complete(ctx, incomplete) + fault_keys(ctx.params.get("kind"), incomplete)


@fault.command("add", cls=WithKeys, context_settings={"ignore_unknown_options": True})
@LAB
@click.option("--name", help="What to call it; its kind when not given.")
@click.option("--json", "as_json", is_flag=True)
@HOST
@click.argument("kind", shell_complete=offers("faults"))
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def fault_add(
    lab: str | None, name: str | None, as_json: bool, host: str, kind: str, options: tuple[str, ...]
) -> None:
    """Put a fault at a host: labctl fault add router drop --protocol tcp --dport 80 --to server."""
    from labctl.byhand import add, parse_fault

    chosen, answer = add(lab, host, name, parse_fault(kind, options))
    if as_json:
        echo_json({"name": chosen, "host": host, **answer})
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

    tell_swept(lab)
    found = listing(lab)
    if as_json:
        echo_json(found)
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
@click.argument("name", shell_complete=offers("in_place"))
def fault_remove(lab: str | None, as_json: bool, name: str) -> None:
    """Take a fault away by name; `all` takes every one."""
    from labctl.byhand import remove
    from labctl.verdict.judge import what_it_did

    tell_swept(lab)
    removed = remove(lab, name)
    if as_json:
        echo_json(removed)
        return
    for item in removed:
        did = what_it_did(item.get("effect"), ": ")
        click.echo(f"{item['name']} at {item['host']} is gone; it touched {item['packets']} packets{did}")
    if not removed:
        click.echo("nothing was broken by hand")


def tell_swept(lab: str | None) -> None:
    """Take back what killed agents have left there, and say where that was."""
    from labctl.byhand import swept

    for host in swept(lab):
        say(f"{host}: the faults of an agent that is gone are taken back")
