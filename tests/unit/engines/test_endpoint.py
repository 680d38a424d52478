"""Which engine is chosen: as the docker command chooses it, for our own client and for every docker command we start."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from labctl.engines import daemon, endpoint
from labctl.engines.endpoint import USUAL, Endpoint, NoContext, chosen
from labctl.errors import MissingError


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A docker command's settings, with one context, called `far`."""
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    return context(tmp_path, "far", {"Host": "tcp://far:2376", "SkipTLSVerify": False})


def context(config: Path, name: str, docker: object) -> Path:
    """As `docker context create` writes it."""
    folder = config / "contexts/meta" / hashlib.sha256(name.encode()).hexdigest()
    folder.mkdir(parents=True)
    value = {"Name": name, "Metadata": {}, "Endpoints": {"docker": docker}}
    (folder / "meta.json").write_text(json.dumps(value), encoding="utf-8")
    return config


def test_without_a_choice_it_is_the_usual_socket() -> None:
    """And a docker command is told so, whatever it would read meanwhile."""
    assert chosen() == Endpoint(USUAL)
    assert (chosen().options(), chosen().environment()["DOCKER_CONTEXT"]) == ({}, "default")
    assert chosen().where == "at its usual socket"


def test_docker_host_beats_every_context(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for the docker command, which is given that and no context."""
    (config / "config.json").write_text('{"currentContext": "far"}', encoding="utf-8")
    monkeypatch.setenv("DOCKER_CONTEXT", "gone")
    monkeypatch.setenv("DOCKER_HOST", "tcp://near:1")
    assert chosen() == Endpoint("tcp://near:1", None)
    assert chosen().options() == {"base_url": "tcp://near:1"}
    seen = chosen().environment()
    assert (seen["DOCKER_HOST"], "DOCKER_CONTEXT" in seen) == ("tcp://near:1", False)


@pytest.mark.parametrize("by", ["DOCKER_CONTEXT", "config.json"])
def test_a_context_is_an_engine_for_both(config: Path, monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    """Our own client asks where the context leads, and a docker command is told the context."""
    if by == "DOCKER_CONTEXT":
        monkeypatch.setenv(by, "far")
        monkeypatch.setenv("DOCKER_HOST", "")
    else:
        (config / by).write_text('{"currentContext": "far"}', encoding="utf-8")
    assert chosen() == Endpoint("tcp://far:2376", "far")
    assert chosen().options() == {"base_url": "tcp://far:2376"}
    seen = chosen().environment()
    assert (seen["DOCKER_CONTEXT"], "DOCKER_HOST" in seen) == ("far", False)
    assert chosen().where == "at tcp://far:2376 (the Docker context far)"
    assert not chosen().is_here


def test_a_context_may_bring_certificates(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are the context's own, and not those that the environment names."""
    folder = config / "contexts/tls" / hashlib.sha256(b"far").hexdigest() / "docker"
    folder.mkdir(parents=True)
    for name in ("ca.pem", "cert.pem", "key.pem"):
        (folder / name).write_text("", encoding="utf-8")
    monkeypatch.setenv("DOCKER_CONTEXT", "far")
    tls = chosen().options()["tls"]
    assert (tls.cert, tls.ca_cert, tls.verify) == (
        (f"{folder}/cert.pem", f"{folder}/key.pem"), f"{folder}/ca.pem", True
    )  # fmt: skip


def test_a_context_may_take_an_engine_without_proof(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was made with skip-tls-verify; any other wants its engine's certificate proved."""
    for skip in (True, False):
        name = f"skip-{skip}"
        context(config, name, {"Host": "tcp://192.0.2.7:2376", "SkipTLSVerify": skip})
        monkeypatch.setenv("DOCKER_CONTEXT", name)
        assert chosen().verify is not skip


@pytest.mark.parametrize("docker", [5, None, [], "x"])
def test_a_context_that_is_not_there_is_missing(config: Path, monkeypatch: pytest.MonkeyPatch, docker: object) -> None:
    """Exit 3, with who names it and what to do; nothing is asked of another engine in its place."""
    context(config, "odd", docker)
    for name in ("gone", "odd"):
        monkeypatch.setenv("DOCKER_CONTEXT", name)
        with pytest.raises(NoContext, match=rf"no Docker context {name}, which DOCKER_CONTEXT names; .*`docker context ls`"):
            daemon.connect()
        monkeypatch.delenv("DOCKER_CONTEXT")
        (config / "config.json").write_text(json.dumps({"currentContext": name}), encoding="utf-8")
        with pytest.raises(MissingError, match=r"which .*/config.json names; .* or `docker context use default`"):
            daemon.connect()


@pytest.mark.parametrize("text", ["", "[]", "{", '{"currentContext": 5}', '{"currentContext": "default"}', "{}"])
def test_settings_that_choose_nothing(config: Path, text: str) -> None:
    """As for the docker command, which goes on without them."""
    (config / "config.json").write_text(text, encoding="utf-8")
    assert chosen() == Endpoint(USUAL)


@pytest.mark.parametrize("host", ["tcp://[", "nonsense", "fd://x"])
def test_an_address_that_is_none_is_missing(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """What is no address at all is told with the variable that holds it."""
    monkeypatch.setenv("DOCKER_HOST", host)
    with pytest.raises(MissingError) as caught:
        daemon.connect()
    assert str(caught.value).startswith(f"the Docker daemon at {host} (DOCKER_HOST) cannot be used: ")


def test_without_a_home_there_are_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user whom the machine does not know has the usual socket."""
    monkeypatch.delenv("DOCKER_CONFIG")
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(endpoint.os.path, "expanduser", lambda path: path)  # what it does without a home
    assert chosen() == Endpoint(USUAL)
