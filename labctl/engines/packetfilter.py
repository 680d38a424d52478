"""A display filter over a capture that is on this disk: by this machine's tshark, or the one of the agent's image."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from labctl.engines.agentimage import REPOSITORY
from labctl.engines.labels import OWNER, RUN
from labctl.engines.owner import Owner
from labctl.errors import EvidenceError, MissingError, UsageError

TIMEOUT_S = 120.0


def select(capture: Path, display_filter: str) -> frozenset[int]:
    """The numbers of the packets that a Wireshark display filter selects.

    Raises UsageError for a filter that Wireshark refuses, EvidenceError for a file it cannot read, MissingError where
    there is neither tshark nor Docker.
    """
    numbers = ["-Y", display_filter, "-T", "fields", "-e", "frame.number"]
    done = _read(capture, numbers)
    if done.returncode == 0:
        return frozenset(int(word) for word in done.stdout.split())
    said = done.stderr.strip()[-500:]
    # Exit statuses differ between versions; but a file that can be read without the filter is not what was wrong.
    if _read(capture, ["-c", "1"]).returncode == 0:
        raise UsageError(f"Wireshark refuses the filter {display_filter!r}: {said}")
    raise EvidenceError(f"tshark could not read {capture}: {said}")


def _read(capture: Path, words: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        with capture.open("rb") as source:
            return subprocess.run(
                [*_tshark(), "-n", "-r", "-", *words], stdin=source, capture_output=True, text=True, errors="replace",
                check=False, timeout=TIMEOUT_S,
            )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise EvidenceError(f"tshark did not read {capture} within {TIMEOUT_S:g}s") from None
    except OSError as error:
        raise EvidenceError(f"{capture} cannot be read: {error.strerror}") from None


def _tshark() -> list[str]:
    if own := shutil.which("tshark"):
        return [own]
    docker = shutil.which("docker")
    if docker is None:
        raise MissingError(
            "a filter that was not asked in the run needs tshark or Docker; this machine has neither"
        )
    labels = ["--label", f"{RUN}=tshark", "--label", f"{OWNER}={Owner.me()}"]
    alone = ["--rm", "-i", "--network", "none", "--cap-drop", "ALL", "--pull", "never"]
    return [docker, "run", *alone, *labels, REPOSITORY, "tshark"]
