"""Display filters, asked of the tshark that will try them: the agent image's, or this machine's where Docker is not."""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Callable, Sequence

from labctl.engines.base import Say
from labctl.errors import LabctlError, MissingError
from labctl.evidence.pcapng import MAGIC, SECTION, block

TIMEOUT_S = 60.0
# A capture without a packet: enough for tshark to compile a filter.
EMPTY = block(SECTION, struct.pack("=IHHq", MAGIC, 1, 0, -1))
# What only our own dissector knows (images/wireshark); this machine's tshark may not have it.
OURS = "labapp"

Ask = Callable[[str], str | None]


def refused(filters: Sequence[str], ask: Ask) -> dict[str, str]:
    """The filters that tshark refuses, with its own words. One call when it takes them all; else each is asked by itself."""
    wanted = list(dict.fromkeys(filters))
    if not wanted or ask(" || ".join(f"({text})" for text in wanted)) is None:
        return {}
    return {text: said for text in wanted if (said := ask(text)) is not None}


def tshark(say: Say) -> tuple[Ask, Callable[[str], bool]]:
    """Who is asked, and which filters can be asked of it. Raises MissingError when there is neither Docker nor a tshark."""
    from labctl.engines import agentimage
    from labctl.engines.daemon import connect

    try:
        image = agentimage.ensure(connect(), say)
    except LabctlError as error:
        local = shutil.which("tshark")
        if local is None:
            raise MissingError(f"filters need a tshark to be tried: {error}; and this machine has none either") from None
        return asking([local]), lambda text: OURS not in text
    docker = shutil.which("docker") or "docker"
    return asking([docker, "run", "--rm", "-i", "--network", "none", image, "tshark"]), lambda _: True


def asking(argv: Sequence[str]) -> Ask:
    """A way to ask one tshark about one filter: None when it takes it, else what it says."""

    def ask(text: str) -> str | None:
        done = subprocess.run(
            [*argv, "-n", "-r", "-", "-Y", text], input=EMPTY, capture_output=True, timeout=TIMEOUT_S, check=False
        )
        said = [line for line in done.stderr.decode(errors="replace").splitlines() if line.startswith("tshark: ")]
        return None if done.returncode == 0 else (said[0].removeprefix("tshark: ") if said else "tshark refuses it")

    return ask
