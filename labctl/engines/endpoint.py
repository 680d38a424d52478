"""Which Docker engine is spoken to, told as the docker command tells it: DOCKER_HOST, DOCKER_CONTEXT, its current context.

Our own client and every docker command we start must ask the same one, or a lab is made in one and looked for in another.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docker.tls import TLSConfig
from docker.utils import kwargs_from_env

from labctl.errors import MissingError

DEFAULT = "default"
USUAL = "unix:///var/run/docker.sock"


class NoContext(MissingError):
    """The Docker context that the environment or the docker command's settings name is not there."""


@dataclass(frozen=True)
class Endpoint:
    """One Docker engine: its address, and the context by which it was chosen; None where DOCKER_HOST chose it.

    `certificates` is the folder of a context's own, if it has some; `verify` whether the engine must show one that they prove.
    """

    address: str
    context: str | None = DEFAULT
    certificates: Path | None = None
    verify: bool = True

    @property
    def is_here(self) -> bool:
        """Whether it is on this machine, as far as its address tells."""
        return self.address.startswith("unix://")

    @property
    def where(self) -> str:
        """Where it is, and who says so, as part of a sentence."""
        if self.context == DEFAULT:
            return "at its usual socket"
        return f"at {self.address} ({'DOCKER_HOST' if self.context is None else f'the Docker context {self.context}'})"

    @property
    def otherwise(self) -> str:
        """How another is chosen."""
        return "unset DOCKER_HOST" if self.context is None else "choose another with `docker context use`"

    def options(self) -> dict[str, Any]:
        """What docker-py's client is told of it. Raises docker.errors.DockerException for certificates that cannot be used."""
        if self.context in (None, DEFAULT):
            return {**kwargs_from_env()}
        if self.certificates is None:
            return {"base_url": self.address}
        own = (str(self.certificates / "cert.pem"), str(self.certificates / "key.pem"))
        tls = TLSConfig(client_cert=own, ca_cert=str(self.certificates / "ca.pem"), verify=self.verify)
        return {"base_url": self.address, "tls": tls}

    def environment(self) -> dict[str, str]:
        """This process's environment, so that a docker command in it speaks to this engine and no other."""
        found = {name: value for name, value in os.environ.items() if name != "DOCKER_CONTEXT"}
        if self.context is not None:
            found.pop("DOCKER_HOST", None)
            found["DOCKER_CONTEXT"] = self.context
        return found


def chosen() -> Endpoint:
    """The engine that the docker command would speak to (docs.docker.com, "Docker contexts"). Raises NoContext."""
    if host := os.environ.get("DOCKER_HOST"):
        return Endpoint(host, None)
    config = Path(os.environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker"))  # noqa: PTH111  no home is no error
    named = os.environ.get("DOCKER_CONTEXT")
    name = named or _current(config / "config.json") or DEFAULT
    if name == DEFAULT:
        return Endpoint(USUAL)
    where = hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()
    try:
        meta = json.loads((config / "contexts/meta" / where / "meta.json").read_text(encoding="utf-8"))
        told = meta["Endpoints"]["docker"]
        address, verify = str(told.get("Host") or USUAL), not told.get("SkipTLSVerify", False)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        by, cure = ("DOCKER_CONTEXT", "unset it") if named else (str(config / "config.json"), "`docker context use default`")
        raise NoContext(
            f"there is no Docker context {name}, which {by} names; choose one that `docker context ls` shows, or {cure}"
        ) from None
    certificates = config / "contexts/tls" / where / "docker"
    return Endpoint(address, name, certificates if certificates.is_dir() else None, verify)


def _current(settings: Path) -> str | None:
    """The docker command's current context; like that command, none where its settings cannot be read."""
    try:
        found = json.loads(settings.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    name = found.get("currentContext") if isinstance(found, dict) else None
    return name if isinstance(name, str) else None
