"""Commands for a lab that stays: up, down, ps, exec, capture."""

from __future__ import annotations

import functools
import os
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import click

from labctl.cli.options import HOST, LAB, NamedPath, lab_named, offers
from labctl.cli.output import echo_json, interrupt_unread, say, silence
from labctl.errors import LabctlError, UsageError


@click.command()
@click.argument("compose", required=False, type=NamedPath())
@click.option("--name", default="lab", show_default=True, help="What other commands call it.")
def up(compose: Path | None, name: str) -> None:
    """Bring up a lab that stays, for work by hand and for `labctl run --lab NAME`."""
    from labctl.interrupts import interruptible
    from labctl.standing import bring_up

    interruptible()
    hosts = bring_up(compose, name, say)
    click.echo(f"lab {name} is up: {', '.join(hosts)}")


@click.command()
@click.argument("name", default="lab", callback=lab_named, shell_complete=offers("labs"))
def down(name: str) -> None:
    """Take a standing lab down."""
    from labctl.standing import take_down

    containers, networks = take_down(name)
    click.echo(f"lab {name} is down: {containers} containers and {networks} networks removed")


@click.command()
@click.option("--json", "as_json", is_flag=True)
def ps(as_json: bool) -> None:
    """What stands and what runs: labs, their hosts and addresses."""
    from labctl.standing import listing

    labs = listing()
    if as_json:
        echo_json(labs)
        return
    if not labs:
        click.echo("no lab is up")
    for lab in labs:
        click.echo(f"{lab['name']}  ({lab['kind']})")
        for host in lab["hosts"]:
            click.echo(f"  {host['name']:12} {host['state']:10} {', '.join(host['addresses'])}")
            if host["why"]:
                click.echo(f"    {host['why']}")


@click.command("exec", context_settings={"ignore_unknown_options": True})
@LAB
@HOST
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def exec_command(lab: str | None, host: str, command: tuple[str, ...]) -> None:
    """Run a command (or a bundled program) on a host of a standing lab: labctl exec client -- probe connect server 80."""
    from labctl.cli.afterwards import when_gone
    from labctl.standing import exec_argv

    argv, end = exec_argv(lab, host, command, interactive=sys.stdin.isatty() and sys.stdout.isatty())
    when_gone(end)
    os.execvp(argv[0], argv)


@click.command()
@LAB
@click.option("-o", "--output", default="-", show_default=True, help="A file, or - for standard output.")
@click.option("-f", "--filter", "filter_", help="A capture filter, like tcp port 80 (pcap-filter(7)).")
@click.option("-i", "--interface", default="any", show_default=True, help="One interface of the host.")
@HOST
def capture(lab: str | None, output: str, filter_: str | None, interface: str, host: str) -> None:
    """Capture live on a host of a standing lab, until Ctrl-C: labctl capture server | wireshark -k -i -"""
    from labctl.interrupts import interruptible
    from labctl.standing import capture as capture_live

    if output == "-" and sys.stdout.isatty():
        raise UsageError(
            "a capture is no text for a terminal; write -o FILE, or pipe it: | wireshark -k -i -"
        )
    interruptible()
    if output == "-":
        threading.Thread(target=interrupt_unread, args=(sys.stdout.fileno(),), daemon=True).start()
    try:
        with ExitStack() as stack:

            @functools.cache  # once there is something to write: a capture that cannot be leaves a file that is there alone
            def target() -> BinaryIO:
                return sys.stdout.buffer if output == "-" else stack.enter_context(Path(output).open("wb"))

            def write(data: bytes) -> None:
                target().write(data)
                target().flush()  # whoever looks at it live sees each packet when it comes

            say(capture_live(lab, host, filter_, interface, write))
    except BrokenPipeError:  # whoever looked at it has seen enough
        silence()
    except OSError as error:
        raise LabctlError(f"{output} cannot be written: {error.strerror}") from None
