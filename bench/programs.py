"""How fast the programs are: `python3 bench/programs.py`, or `./script/bench programs`.

It compares the app server with a minimal asyncio server of the same protocol (at the end of this file), each
on one core, with the load generator of app_client.py on another: connections per second, the server's own CPU
time per connection, its memory before and after, and with 1,000 idle connections. Where the image labctl/powerpc
is there, the app server runs on its big-endian Python as well, a tenth as often.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

PROGRAMS = Path(__file__).resolve().parents[1] / "images" / "programs"
sys.path.insert(0, str(PROGRAMS))

from app_content import answer, text_request  # noqa: E402
from app_protocol import Decoder, encode  # noqa: E402

MEGABYTE = 2**20
IDLE_CONNECTIONS = 1000
SERVER_CORE = 0
REQUEST = encode(text_request("search", "morpheus"))


class Figures(NamedTuple):
    """What was measured of one server."""

    name: str
    per_second: float
    cpu_us: float
    p50_ms: float
    p99_ms: float
    before_mb: float
    after_mb: float
    idle_mb: float


def resident_mb(pid: int) -> float:
    """Memory in RAM (proc(5))."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MEGABYTE


def cpu_seconds(pid: int) -> float:
    """User and system time (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def on_powerpc(core: int, name: str) -> list[str]:
    """The command that runs a program in the powerpc image, on this machine's loopback."""
    options = ["--rm", "--name", name, "--network", "host", "--cap-drop", "ALL", "--cpuset-cpus", str(core)]
    return ["docker", "run", *options, "labctl/powerpc", "python3"]


def there_is_powerpc() -> bool:
    """Whether there is a Docker with the image."""
    with contextlib.suppress(FileNotFoundError):
        look = ["docker", "image", "inspect", "labctl/powerpc"]
        return subprocess.run(look, capture_output=True, check=False).returncode == 0
    return False


def pid_of_container(name: str) -> int:
    """The process that a container runs, as this machine numbers it."""
    look = ["docker", "inspect", "--format", "{{.State.Pid}}", name]
    return int(subprocess.run(look, capture_output=True, check=True).stdout)


@contextlib.contextmanager
def serving(command: Sequence[str], core: int, container: str | None) -> Iterator[tuple[int, int]]:
    """A server pinned to one core: its process id and its port."""
    with subprocess.Popen(
        ["taskset", "-c", str(core), *command], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        try:
            port = int(process.stdout.readline().rpartition(":")[2])
            yield pid_of_container(container) if container else process.pid, port
        finally:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=5)
            process.kill()


def load(port: int, connections: int, core: int, concurrency: int) -> dict[str, Any]:
    """Run the load generator, pinned to one core; its outcome."""
    client = [sys.executable, str(PROGRAMS / "app_client.py"), "127.0.0.1", str(port), "search", "morpheus"]
    options = ["--load", str(connections), "--concurrency", str(concurrency), "--quiet"]
    command = ["taskset", "-c", str(core), *client, *options]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=600)
    outcome: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return outcome


def measure(
    name: str, command: Sequence[str], connections: int, concurrency: int, container: str | None = None
) -> Figures:
    """Load one server, then let a thousand peers hang on it."""
    client_core = (os.cpu_count() or 1) - 1
    with serving(command, SERVER_CORE, container) as (pid, port):
        load(port, max(100, connections // 20), client_core, concurrency)  # warm
        before, cpu = resident_mb(pid), cpu_seconds(pid)
        outcome = load(port, connections, client_core, concurrency)
        after, cpu = resident_mb(pid), cpu_seconds(pid) - cpu
        with contextlib.ExitStack() as stack:
            for _ in range(IDLE_CONNECTIONS):
                sock = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
                sock.sendall(REQUEST[:50])
            load(port, 10, client_core, 1)  # they have all been accepted
            idle = resident_mb(pid)
    latency = outcome["latency_ms"]
    return Figures(
        name,
        outcome["per_second"],
        cpu / connections * 1e6,
        latency["p50"],
        latency["p99"],
        before,
        after,
        idle,
    )


def table(rows: Sequence[Figures]) -> str:
    """The figures, and each row's rate and CPU time as ratios to the first row's.

    The rate needs a machine with nothing else to do; the server's own CPU time hardly depends on that.
    """
    heading = (
        "server",
        "conn/s",
        "ratio",
        "CPU µs/conn",
        "CPU ratio",
        "p50 ms",
        "p99 ms",
        "MB before",
        "MB after",
        "MB 1,000 idle",
    )
    lines: list[tuple[str, ...]] = [heading]
    for row in rows:
        ratio = row.per_second / rows[0].per_second
        numbers = (row.per_second, ratio, row.cpu_us, row.cpu_us / rows[0].cpu_us, *row[3:])
        digits = (0, 2, 0, 2, 1, 1, 1, 1, 1)
        lines.append((row.name, *(f"{n:.{d}f}" for n, d in zip(numbers, digits, strict=True))))
    widths = [max(len(line[column]) for line in lines) for column in range(len(heading))]
    return "\n".join(
        "  ".join(f"{cell:>{width}}" for cell, width in zip(line, widths, strict=True)) for line in lines
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--connections", type=int, default=20_000, help="for each server")
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--without-powerpc", action="store_true", help="native servers only")
    parser.add_argument("--serve-asyncio", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve_asyncio:
        asyncio.run(serve_asyncio())
        return
    options = ["127.0.0.1", "0", "--quiet", "--idle-timeout", "0"]
    native = [sys.executable, str(PROGRAMS / "app_server.py"), *options]
    rows = [
        measure("app server", native, args.connections, args.concurrency),
        measure("asyncio", [sys.executable, __file__, "--serve-asyncio"], args.connections, args.concurrency),
    ]
    if not args.without_powerpc and there_is_powerpc():
        name = f"labctl-bench-{os.getpid()}"
        server = [*on_powerpc(SERVER_CORE, name), "/opt/labctl/programs/app_server.py", *options]
        fewer = max(1000, args.connections // 10)
        rows.append(measure("app server, powerpc", server, fewer, args.concurrency, name))
    load_1, load_5, _ = os.getloadavg()
    print(f"load average {load_1:.1f} (1 min), {load_5:.1f} (5 min), {os.cpu_count()} cores, with our own")
    print(
        f"{args.connections} connections each, {args.concurrency} at a time; server and client on a core each"
    )
    print(table(rows))


async def answer_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """What the app server does for one connection, as an asyncio program would do it."""
    decoder = Decoder()
    request = None
    while request is None:
        data = await reader.read(16384)
        if not data:
            break
        request = decoder.feed(data)
    if request is not None:
        writer.write(encode(answer(request)))
        await writer.drain()
    writer.close()


async def serve_asyncio() -> None:
    """The minimal server to compare with: asyncio.start_server and a coroutine for each connection."""
    server = await asyncio.start_server(answer_one, "127.0.0.1", 0, backlog=128)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, sys.exit)
    print(f"listening on 127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    main()
