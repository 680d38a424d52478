"""Docker's multiplexed streams: an attached agent, and a program started with exec."""

from __future__ import annotations

import contextlib
import io
import os
import secrets
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import docker.errors
from docker import APIClient

from labctl.engines import leftovers, nearby
from labctl.engines.written import LAUNCHER, Errors, Written
from labctl.errors import LabError
from labctl.evidence.shapes import NOT_RUN

STDOUT, STDERR = 1, 2
_FRAME = struct.Struct(">BxxxL")
CLOSE_TIMEOUT_S = 10.0
START_TIMEOUT_S = 20.0
# A program that goes on for so long is looked for among this machine's processes, so that its end is seen.
LOOK_AFTER_S = 0.1
# What it wrote before its end is waited for as long as Docker itself does, where something that it forked may hold its output
# (daemon/monitor.go, ProcessEvent); where nothing does, the output ends as soon as a daemon that is busy comes to it.
OUTPUT_END_S = 2.0
OUTPUT_LATE_S = 20.0
# Docker takes the ends of programs on one host one after the other, for each as long as its output goes on, up to twice that.
STATUS_TIMEOUT_S = 30.0
ASK_FIRST_S, ASK_LAST_S = 0.01, 1.0
ASK_NURSERY = ["python3", "-S", "-E", "/opt/labctl/agent/nursery.py", "ask"]


class Upgraded:
    """A connection that Docker turned into a multiplexed stream (Docker Engine API, ContainerAttach), from its first byte on.

    `stream` is what docker-py hands out for `socket=True`: the socket under the answer. It leaves behind what http.client read
    of the stream together with the answer's head: a driver that comes late to that head finds a program's first words there.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._socket: socket.socket = getattr(stream, "_sock", stream)
        self._socket.setblocking(False)
        self._ahead = bytearray(self._read_ahead())
        self._socket.settimeout(None)

    def frames(self) -> Iterator[tuple[int, bytes]]:
        """Which stream of the program, and what it wrote: in parts as they come, to the end. Raises OSError."""
        while len(header := self._exactly(_FRAME.size)) == _FRAME.size:
            kind, left = _FRAME.unpack(header)
            while left:
                data = self._some(left)
                if not data:
                    return
                left -= len(data)
                yield kind, data

    def send(self, data: bytes) -> None:
        """Write to its standard input. Raises OSError."""
        self._socket.sendall(data)

    def finish(self) -> None:
        """End its standard input; what it still writes can be read."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close what docker-py handed out, and the socket under it, which it keeps open by itself; who reads hears the end."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # close(2) wakes nobody who waits in recv(2)
        with contextlib.suppress(OSError, ValueError):
            self._stream._response.close()  # the answer to the request that became this stream; it holds the socket as well
        with contextlib.suppress(OSError):
            self._socket.close()

    def _read_ahead(self) -> bytes:
        """What is in http.client's buffer. (With SSH it is paramiko's, and stays there.)"""
        read_by = getattr(self._stream._response.raw._fp, "fp", None)
        with contextlib.suppress(OSError):
            return read_by.peek() if isinstance(read_by, io.BufferedReader) else b""
        return b""

    def _some(self, number: int) -> bytes:
        """At least one byte and at most `number`; none at the end."""
        if self._ahead:
            data = bytes(self._ahead[:number])
            del self._ahead[:number]
            return data
        return self._socket.recv(number)

    def _exactly(self, number: int) -> bytes:
        """So many bytes, or fewer at the end."""
        data = b""
        while len(data) < number and (more := self._some(number - len(data))):
            data += more
        return data


class DockerChannel:
    """An agent's standard streams as Docker multiplexes them."""

    def __init__(self, stream: Any) -> None:
        self._stream = Upgraded(stream)
        self._frames = self._stream.frames()
        self._errors = bytearray()
        self._sending = threading.Lock()
        self._ended = threading.Event()

    def send(self, data: bytes) -> None:
        with self._sending:
            self._stream.send(data)

    def receive(self) -> bytes:
        try:
            for kind, data in self._frames:
                if kind == STDOUT:
                    return data
                self._errors += data[: max(0, 65536 - len(self._errors))]
        except BaseException:
            self._ended.set()
            raise
        self._ended.set()
        return b""

    def errors(self) -> str:
        return self._errors.decode(errors="replace")

    def finish(self) -> None:
        """End its standard input; what it still says can be received."""
        self._stream.finish()

    def drop(self) -> None:
        """Go away without waiting for what it still says."""
        self._ended.set()
        self.close()

    def close(self) -> None:
        # Whoever reads hears the end of the agent's output when it has undone everything and exited.
        self.finish()
        self._ended.wait(CLOSE_TIMEOUT_S)
        self._stream.close()


class AttachedChannel(DockerChannel):
    """An agent that is a container of its own, over Docker's attach.

    The container is created with StdinOnce, so that when this end goes away, however it goes, the agent reads its end
    of file within milliseconds.
    """

    def __init__(self, api: APIClient, container: str) -> None:
        stream = api.attach_socket(container, params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
        super().__init__(stream)


class ForkedChannel(DockerChannel):
    """An agent forked in a nursery's container, over the streams of a `docker exec`.

    The standard input of an exec ends when the one who asked for it goes away, so the agent reads its end of file as
    quickly as an attached one. Raises LabError when the exec cannot be made.
    """

    def __init__(self, api: APIClient, nursery: str) -> None:
        try:
            created = api.exec_create(nursery, ASK_NURSERY, stdin=True)
            stream = api.exec_start(created["Id"], socket=True)
        except docker.errors.APIError as error:
            raise LabError(f"no agent could be started: {error.explanation or error}") from None
        super().__init__(stream)


class DockerProcess:
    """A program started on a host with Docker's exec. `first` is the number of the container's first process, 0 if not known.

    Whoever asks the daemon about a program that has ended waits until its output has as well, or for two seconds (Docker 28;
    ProcessEvent in daemon/monitor.go, which holds the lock meanwhile). So this machine's own processes are looked at first.
    """

    def __init__(
        self, api: APIClient, host: str, container: str, argv: tuple[str, ...], env: dict[str, str], run: str, first: int = 0
    ) -> None:
        self._api, self._host, self._container, self.argv = api, host, container, argv
        self._first = first
        self._out, self._err = Written(), Errors()
        self._exit: int | None = None
        self._ended_at: float | None = None
        self._silent_at: float | None = None
        self._ended = threading.Event()
        self._has_said_who = threading.Event()
        self._is_silent = threading.Event()  # its output has ended
        self._number = 0  # on the machine of the daemon
        try:
            launcher = [*LAUNCHER, leftovers.program_mark(run)]
            marks = {leftovers.RUN_VARIABLE: run, leftovers.PROGRAM_VARIABLE: secrets.token_hex(8)}
            created = api.exec_create(container, [*launcher, *argv], environment=env | marks)
            self._id: str = created["Id"]
            self._mark = f"{leftovers.PROGRAM_VARIABLE}={marks[leftovers.PROGRAM_VARIABLE]}"
            self._stream = Upgraded(api.exec_start(self._id, socket=True))
        except docker.errors.APIError as error:
            raise LabError(
                f"{argv[0]} could not be started on {host}: {error.explanation or error}"
            ) from None
        for each in (self._pump, self._follow):
            threading.Thread(target=each, name=f"exec-{host}", daemon=True).start()

    def wait(self, timeout_s: float) -> bool:
        return self._ended.wait(timeout_s)

    def exit_status(self) -> int | None:
        return self._exit

    def ended_at(self) -> float | None:
        return self._ended_at

    def output(self) -> tuple[bytes, bytes]:
        return self._out.kept(), self._err.kept()

    def left_out(self) -> Mapping[str, int]:
        found = {"stdout": self._out.left_out, "stderr": self._err.left_out}
        return {name: number for name, number in found.items() if number}

    def refusal(self) -> str | None:
        if not self._exit:
            return None
        # Who has not said its number was not run itself: no shell is there, or the kernel took no such arguments.
        if self._err.pid is not None and not (self._err.not_run and self._exit in NOT_RUN):
            return None
        said = b"\n".join(self.output()).decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(said) if line.strip()), f"status {self._exit}, and nothing was said")

    def signal(self, name: str) -> None:
        # Docker answers before it has started anything.
        self._has_said_who.wait(START_TIMEOUT_S)
        if self._err.pid is None and self._is_silent.is_set():
            self._ended.wait(START_TIMEOUT_S)
        if self._ended_at is not None:
            return
        if self._err.pid is None:
            raise LabError(
                f"{self.argv[0]} on {self._host} has not said its process number, so it cannot be signalled"
            )
        try:
            number = self._number or self._api.exec_inspect(self._id)["Pid"]
            if number and nearby.send(number, self._err.pid, self._mark, name):
                return
            said = self._send(name)
        except docker.errors.APIError as error:  # its host has just ended, or is frozen
            said = str(error.explanation or error)
        if said is not None and not self.wait(0.5):
            raise LabError(f"{self.argv[0]} on {self._host} could not be sent SIG{name}: {said}")

    def _send(self, name: str) -> str | None:
        """Send it a signal by a program of its host; what that said when it could not."""
        kill = ["sh", "-c", 'kill -s "$1" "$2"', "sh", name, str(self._err.pid)]
        created = self._api.exec_create(self._container, kill)
        said: bytes = self._api.exec_start(created["Id"])
        return said.decode(errors="replace").strip() if self._api.exec_inspect(created["Id"])["ExitCode"] else None

    def _pump(self) -> None:
        try:
            for kind, data in self._stream.frames():
                (self._err if kind == STDERR else self._out).add(data)
                if self._err.pid is not None:
                    self._has_said_who.set()
        except (OSError, ValueError):
            pass
        self._silent_at = time.time()
        self._is_silent.set()
        self._has_said_who.set()

    def _follow(self) -> None:
        """Wait for the end of the program, which is that of its process: what it has forked may hold its output on for long."""
        try:
            self._exit = self._end()
        finally:
            self._ended_at = self._ended_at or time.time()
            self._stream.close()
            self._ended.set()

    def _end(self) -> int | None:
        """Note when it has ended as soon as that is known; the status, which the daemon may tell later, or never."""
        self._has_said_who.wait(START_TIMEOUT_S)
        pause = LOOK_AFTER_S
        while True:
            is_silent = self._is_silent.wait(pause)
            if not is_silent and self._is_gone():
                return self._over()
            said = self._asked()
            if said is None or not said["Running"]:
                self._note_end()
                return said["ExitCode"] if said is not None else None
            self._number = said["Pid"]
            process = nearby.handle(self._number, self._err.pid or 0, self._mark)
            if process is not None:
                return self._end_of(process)
            if is_silent or self._is_gone():
                return self._over()
            pause = min(ASK_LAST_S, pause * 2)

    def _is_gone(self) -> bool:
        """Whether its process is no more, though the daemon may not have come to that yet: its host is seen here, it is not."""
        return bool(self._first and self._err.pid) and nearby.has_ended(self._first, self._container, self._err.pid or 0)

    def _note_end(self) -> None:
        self._ended_at = self._silent_at or time.time()
        self._hear_out()

    def _over(self) -> int | None:
        self._note_end()
        return self._status()

    def _end_of(self, process: int) -> int | None:
        """The same for a process of this machine, by a descriptor of it, which is closed."""
        try:
            end = select.poll()
            end.register(process)
            while not end.poll(ASK_LAST_S * 1000):
                if self._is_silent.is_set() and self._asked() is None:  # not its output has ended, but the daemon
                    return None
        finally:
            os.close(process)
        self._ended_at = time.time()
        self._hear_out()
        return self._status()

    def _hear_out(self) -> None:
        """What it wrote before its end may be on its way yet; what something that it forked writes later is not its own."""
        if not self._is_silent.wait(OUTPUT_END_S) and nearby.goes_on(self._first, self._container, self._mark) is False:
            self._is_silent.wait(OUTPUT_LATE_S)

    def _status(self) -> int | None:
        pause, last = ASK_FIRST_S, time.monotonic() + STATUS_TIMEOUT_S
        while (said := self._asked()) is not None and said["Running"] and time.monotonic() < last:
            time.sleep(pause)
            pause = min(ASK_LAST_S, pause * 2)
        return said["ExitCode"] if said is not None else None

    def _asked(self) -> Mapping[str, Any] | None:
        """What the daemon says of it; None when it does not know it any more."""
        try:
            said: Mapping[str, Any] = self._api.exec_inspect(self._id)
        except (docker.errors.APIError, OSError, LabError):
            return None
        return said
