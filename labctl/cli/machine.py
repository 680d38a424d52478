"""Commands about this machine: doctor, gc, images, completion."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

from labctl.cli.options import BACKENDS
from labctl.cli.output import echo_json, say


@click.command()
@click.option("--json", "as_json", is_flag=True)
@click.option("--calibrate", is_flag=True, help="Measure what link faults do here against what they are asked.")
@click.option(
    "--link-backend", type=BACKENDS, default="auto", show_default=True,
    help="With --calibrate: what makes the link faults.",
)  # fmt: skip
def doctor(as_json: bool, calibrate: bool, link_backend: str) -> None:
    """What this machine can do, what is missing, and how to get it."""
    from labctl.doctor import examine, summary

    if calibrate:
        sys.exit(0 if calibration(link_backend, as_json) else 1)
    found = examine(Path())
    if as_json:
        echo_json([f.as_json() for f in found])
    else:
        for finding in found:
            click.echo(f"{'✓' if finding.ok else '✗'} {finding.what}: {finding.found}")
            if not finding.ok:
                click.echo(f"    {finding.cost}\n    {finding.cure}")
        click.echo(summary(found))
    sys.exit(0 if all(f.ok or not f.needed for f in found) else 3)


def calibration(backend: str, as_json: bool) -> bool:
    """Print asked against got for each kind of link fault, as it is measured; whether all lie in their bounds."""
    from labctl.calibrate import calibrate
    from labctl.standing import build_images

    build_images(("agent",), say)
    rows = []
    if not as_json:
        click.echo(f"  {'link fault':38} {'asked':>10} {'got':>10}   bounds")
    for row in calibrate(backend):
        rows.append(row)
        if not as_json:
            mark = "✓" if row.ok else "✗"
            click.echo(f"{mark} {row.what:38} {row.asked:10.3f} {row.got:10.3f}   {row.low:.3f} to {row.high:.3f} {row.unit}")
    if as_json:
        echo_json([row.as_json() for row in rows])
    return all(row.ok for row in rows)


@click.command()
def gc() -> None:
    """Remove what dead runs left, and set right what they and dead agents did to standing labs. What lives is not touched."""
    from labctl.standing import collect_garbage, heal_standing, sweep_standing

    runs, containers, networks = collect_garbage()
    click.echo(f"{runs} dead run{'s' * (runs != 1)}: {containers} containers and {networks} networks removed")
    for host in heal_standing():
        click.echo(f"{host}: a run that is gone had killed or frozen it; it is up again")
    for host, commands in sweep_standing().items():
        click.echo(f"{host}: the faults of an agent that is gone are taken back")
        for argv in commands:
            click.echo(f"    {shlex.join(argv)}")


@click.command("images")
@click.argument("services", nargs=-1)
def images_command(services: tuple[str, ...]) -> None:
    """Build the lab's images now instead of when a run needs them: labctl images [SERVICE...]."""
    from labctl.standing import build_images

    for name in build_images(services, say):
        click.echo(name)


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """What makes Tab complete commands, scenarios, hosts and runs: eval "$(labctl completion bash)" in your ~/.bashrc."""
    from labctl.completing import script

    click.echo(script(shell))
