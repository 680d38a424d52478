"""A first scenario for somebody's own compose file: its hosts and ports filled in, ready to run and to be changed."""

from __future__ import annotations

import os
from pathlib import Path

from labctl.errors import UsageError
from labctl.lab import Host, Lab, read_lab
from labctl.scenario.schema import text as schema_text

# The names that Compose looks for, in its order (docs.docker.com/compose, "Compose file").
COMPOSE_FILES = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")
SCHEMA = "labctl.schema.json"
FALLBACK_PORT = 80

TEMPLATE = """\
# yaml-language-server: $schema={schema}
# A firewall in front of {server} swallows everything, so connect() gives up: ETIMEDOUT; then it refuses: ECONNREFUSED.
# Make it yours: put your own client in the place of `probe`, and say what it must do when this happens (exit: 1, stdout: ...,
# within: 5s). `labctl list` shows what else can break; `labctl explain` shows every command of this file.
scenario: {name}
lab: {lab}
params: {{port: {port}}}{note}
steps:
  - {{until: {{listen: "${{port}}", timeout: 1m}}, on: {server}}}
  - name: the path works before anything is broken
    run: [probe, connect, {server}, "${{port}}"]
    on: {client}
    expect: {{errno: null, within: 10s}}

  - {{fault: wall, at: {server}, drop: {{protocol: tcp, dport: "${{port}}"}}}}
  - name: dropped, so the SYNs arrive and nothing answers
    run: [probe, connect, {server}, "${{port}}", --syn-retries=1]
    on: {client}
    expect:
      errno: ETIMEDOUT
      packets: [{{at: {server}, filter: "tcp.flags.syn == 1 && tcp.dstport == ${{port}}", count: {{min: 2}}}}]
  - heal: wall

  - {{fault: closed, at: {server}, reject: {{protocol: tcp, dport: "${{port}}", with: tcp-reset}}}}
  - name: rejected with a reset, so it is refused at once
    run: [probe, connect, {server}, "${{port}}"]
    on: {client}
    expect: {{errno: ECONNREFUSED}}
  - heal: closed

  - name: healed, the path works again
    run: [probe, connect, {server}, "${{port}}"]
    on: {client}
    expect: {{errno: null}}
"""


def find_compose(folder: Path) -> Path:
    """The compose file of a folder, as Compose itself would find it. Raises UsageError."""
    for name in COMPOSE_FILES:
        if (folder / name).is_file():
            return folder / name
    raise UsageError(
        f"there is no compose file in {folder.resolve()} ({', '.join(COMPOSE_FILES)}); name one: labctl init PATH"
    )


def write_first(compose: Path, target: Path) -> tuple[Path, Path]:
    """Write a first scenario for a compose file, and the JSON Schema beside it for the editor; both paths.

    Raises UsageError when the scenario is there already, when the lab has no two hosts that could speak to each other, or when
    nothing can be written; ScenarioError when the compose file is no lab.
    """
    text = first_scenario(read_lab(compose), target)
    schema = target.parent / SCHEMA
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("x", encoding="utf-8") as file:
            file.write(text)
        schema.write_text(schema_text(), encoding="utf-8")
    except FileExistsError:
        raise UsageError(f"{target} is there already; choose another with -o FILE") from None
    except OSError as error:
        raise UsageError(f"{target} cannot be written: {error.strerror}") from None
    return target, schema


def first_scenario(lab: Lab, target: Path) -> str:
    """Its text. Raises UsageError when the lab has no two hosts."""
    hosts = [host for host in lab.hosts.values() if not host.is_router]
    if len(hosts) < 2:
        names = ", ".join(lab.hosts)
        raise UsageError(
            f"{lab.path} has one host only ({names}); somebody has to speak to it: add a service, like\n"
            "  client: {image: debian:trixie-slim, command: [sleep, infinity]}"
        )
    server = max(hosts, key=lambda host: bool(host.ports))
    client = _client(server, hosts)
    port = server.ports[0] if server.ports else FALLBACK_PORT
    note = "" if server.ports else f"   # the file does not say which port {server.name} serves: write it here"
    return TEMPLATE.format(
        schema=SCHEMA, name="first", lab=os.path.relpath(lab.path, target.parent), server=server.name,
        client=client.name, port=port, note=note,
    )  # fmt: skip


def _client(server: Host, hosts: list[Host]) -> Host:
    """Who speaks to the server: a host that depends on it or serves nothing itself, on one of its networks if there is one."""
    others = [host for host in hosts if host is not server]
    return max(
        others,
        key=lambda host: (server.name in host.depends_on, bool({*host.networks} & {*server.networks}), not host.ports),
    )
