"""The `docker compose` v2 command, run as a child that can neither outlive nor distract the driver."""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from labctl.engines.endpoint import chosen
from labctl.errors import LabError, MissingError, Problem, ScenarioError, UsageError
from labctl.interrupts import uninterrupted

_PR_SET_PDEATHSIG = 1
# What a docker command without the plugin says: it takes compose's options for its own (20.10 to 28), or knows no such word.
_NO_PLUGIN = (
    "unknown shorthand flag: 'f' in -f",
    "unknown flag: --short",
    "'compose' is not a docker command",
    "unknown command: docker compose",
)
_NO_ENV_FILE = "couldn't find env file"
# What it says of each thing that it makes or waits for, on its way to what went wrong.
_PROGRESS = re.compile(r" ?(?:Container|Network|Volume|Image) \S+ +[A-Z][a-z]+(?: .*)?| ?\S+ Pulling ?")
# What in a user's environment chooses or shapes a project of his own; ours say all of that themselves. Of his `.env` a command
# line option beats the name, and what else it may hold of these chooses nothing where a file is named and has no profiles.
_OF_PROJECTS = ("COMPOSE_PROJECT_NAME", "COMPOSE_FILE", "COMPOSE_PROFILES", "COMPOSE_REMOVE_ORPHANS")
_ENV_FILES = "COMPOSE_ENV_FILES"
_libc = ctypes.CDLL(None)


def _die_with_parent() -> None:
    # A driver that is killed must not leave a compose behind that goes on creating containers (prctl(2)).
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def compose(
    *arguments: str, timeout_s: float = 120.0, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `docker compose ARGUMENTS`; its exit status is the caller's business. Raises MissingError, UsageError, LabError.

    It speaks to the engine that our own client speaks to, unless an environment is given, and has all of this process's that a
    file may name as `${VARIABLE}`.
    """
    seen = chosen().environment() if environment is None else environment
    docker = shutil.which("docker")
    if docker is None:
        raise MissingError("there is no `docker` command on this machine; ./script/bootstrap installs it")
    # A session of its own: Ctrl-C is for the driver, which then takes the lab down in order.
    child = None
    try:
        with uninterrupted():  # an interrupt in what Python does after a fork would be swallowed (os.register_at_fork)
            child = subprocess.Popen(
                [docker, "compose", *arguments], env={k: v for k, v in seen.items() if k not in _OF_PROJECTS},
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
                start_new_session=True, preexec_fn=_die_with_parent if os.name == "posix" else None,  # noqa: PLW1509
            )  # fmt: skip
        out, err = child.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        raise LabError(f"`docker compose {' '.join(arguments)}` did not end within {timeout_s:g}s") from None
    finally:
        if child is not None and child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.communicate()  # which closes its pipes as well
    if child.returncode and any(said in err for said in _NO_PLUGIN):
        raise MissingError("Docker Compose v2 is missing (`docker compose`); ./script/bootstrap installs it")
    if child.returncode and (files := os.environ.get(_ENV_FILES)) and _NO_ENV_FILE in err.lower():
        raise UsageError(f"{_ENV_FILES}={files}: {last_line(err)}; write there what is, or unset it")
    return subprocess.CompletedProcess(child.args, child.returncode, out, err)


def read_config(path: Path) -> dict[str, Any]:
    """A compose file as Compose itself resolves it (includes, variables, short forms). Raises ScenarioError, MissingError."""
    done = compose("-f", str(path), "config", "--format", "json")
    if done.returncode:
        raise ScenarioError(
            [Problem(str(path), 1, 1, f"docker compose cannot use this file: {last_line(done.stderr)}")]
        )
    try:
        config: dict[str, Any] = json.loads(done.stdout)
    except (ValueError, RecursionError) as error:  # what Compose prints for it, and Python takes for too long or too deep
        raise ScenarioError(
            [Problem(str(path), 1, 1, f"what docker compose makes of this file cannot be read: {error}")]
        ) from None
    return config


def build(services: Mapping[str, Mapping[str, Any]], scratch: Path, timeout_s: float) -> None:
    """Build images: service name -> {"image": NAME, "build": {...}}, from a compose file of their own. Raises LabError."""
    scratch.write_text(json.dumps({"services": services}), encoding="utf-8")
    done = compose("--project-name", "labctl-build", "-f", str(scratch), "build", *services, timeout_s=timeout_s)
    if done.returncode:
        raise LabError(f"building {', '.join(services)} failed:\n{tail(done.stderr + done.stdout, 25)}")


def up(rendered: Path, project: str, project_directory: Path, services: Sequence[str]) -> None:
    """Start services as a project of this name, whatever the environment or an `.env` in the directory call theirs.

    Raises LabError with Compose's own words.
    """
    done = compose(
        "--project-name", project, "-f", str(rendered), "--project-directory", str(project_directory),
        "up", "--detach", "--no-build", "--quiet-pull", *services,
    )  # fmt: skip
    if done.returncode:
        raise LabError(f"the lab did not come up: {tail(_without_progress(done.stderr), 12)}")


def _without_progress(said: str) -> str:
    return "\n".join(line for line in said.splitlines() if not _PROGRESS.fullmatch(line))


def version() -> str:
    """Compose's version, whichever engine is chosen, and whether there is one or not. Raises MissingError."""
    return compose("version", "--short", environment=os.environ).stdout.strip()


def tail(text: str, lines: int) -> str:
    """The last lines of what a command said."""
    return "\n".join([line for line in text.strip().splitlines() if line.strip()][-lines:])


def last_line(text: str) -> str:
    return tail(text, 1) or "it said nothing"
