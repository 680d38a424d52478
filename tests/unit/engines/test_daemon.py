"""A Docker daemon that is not there, or goes away in the middle of an answer, on a real Unix socket."""

from __future__ import annotations

import gc
import socket
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from labctl.engines.daemon import Daemon, DaemonGone

HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK"
CUT = b"HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\nOK"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "docker.sock"


@pytest.fixture
def listener(place: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(place))
        listening.listen()
        yield listening


def answer_with(listening: socket.socket, said: bytes) -> threading.Thread:
    """Take one connection, read the request, say this, and close."""

    def serve() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(said)

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


def client(place: Path) -> Daemon:
    return Daemon(base_url=f"unix://{place}", version="1.41", timeout=5)


def test_one_that_is_there_is_heard(place: Path, listener: socket.socket) -> None:
    """What it answers is the answer."""
    thread = answer_with(listener, HELLO)
    with client(place) as api:
        assert api.ping()
    thread.join()


@pytest.fixture
def leaky() -> Iterator[None]:
    """docker-py leaves a socket that it could not connect to be collected; that is not what is tested."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield
        gc.collect()


@pytest.mark.usefixtures("leaky")
@pytest.mark.parametrize("was_there", [False, True], ids=["no socket", "a socket that is left"])
def test_one_that_is_not_there_is_gone(place: Path, was_there: bool) -> None:
    """The system's own words, and what to do."""
    if was_there:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as left:
            left.bind(str(place))
    said = "Connection refused" if was_there else "No such file or directory"
    with client(place) as api, pytest.raises(DaemonGone, match=rf"\({said}\).*`labctl gc` removes what is left"):
        api.ping()


@pytest.mark.parametrize("said", [b"", CUT], ids=["before the answer", "within it"])
def test_one_that_goes_away_meanwhile_is_gone(place: Path, listener: socket.socket, said: bytes) -> None:
    """It closes the connection before it has answered, or before it has said all."""
    thread = answer_with(listener, said)
    with client(place) as api, pytest.raises(DaemonGone, match="ended or was restarted while the lab was up"):
        api.ping()
    thread.join()


def test_one_that_does_not_answer_in_time_is_not_gone(place: Path, listener: socket.socket) -> None:
    """It is there, and slow: no word of its having ended."""
    assert listener
    slow = Daemon(base_url=f"unix://{place}", version="1.41", timeout=1)
    with slow as api, pytest.raises(requests.exceptions.RequestException, match="timed out"):
        api.ping()
