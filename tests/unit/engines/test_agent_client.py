"""The driver's side of an agent, over a channel in memory: answers, events, refusals, and agents that die or talk nonsense."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from labctl.agent import PROTOCOL
from labctl.engines.agents import AgentClient, AgentGone, AgentRefused
from labctl.errors import LabError


class Pipe:
    """A channel whose other end is the test: `answer` makes what the agent says of a request, None for silence."""

    def __init__(self, answer: Callable[[dict[str, Any]], Any]) -> None:
        self._answer, self._out = answer, queue.Queue[bytes]()
        self.said, self.is_closed, self.refuses = "", False, False

    def send(self, data: bytes) -> None:
        if self.refuses:
            raise BrokenPipeError(32, "Broken pipe")
        answer = self._answer(json.loads(data))
        if answer is not None:
            self.say(answer if isinstance(answer, bytes) else json.dumps(answer).encode() + b"\n")

    def say(self, data: bytes) -> None:
        self._out.put(data)

    def receive(self) -> bytes:
        return self._out.get()

    def errors(self) -> str:
        return self.said

    def close(self) -> None:
        self.is_closed = True
        self.say(b"")


Connect = Callable[..., tuple[AgentClient, Pipe]]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """A client of an agent that answers what a test says; closed at the end."""
    clients: list[AgentClient] = []

    def make(
        answer: Callable[[dict[str, Any]], Any], on_event: Any = lambda *_: None
    ) -> tuple[AgentClient, Pipe]:
        pipe = Pipe(answer)
        clients.append(AgentClient("server", pipe, on_event))
        return clients[-1], pipe

    yield make
    for client in clients:
        client.close()
        client._reader.join(5)
        assert not client._reader.is_alive()


def ok(request: dict[str, Any], result: Any = None) -> dict[str, Any]:
    return {"id": request["id"], "ok": True, "result": result}


def test_a_call_is_answered_whatever_comes_first(connect: Connect) -> None:
    """Answers find their questions by number, in any order and in any pieces."""
    asked: list[dict[str, Any]] = []
    client, pipe = connect(asked.append)
    first, second = client.ask("one", x=1), client.ask("two")
    answers = (ok(asked[1], "b"), ok({"id": -1}, "nobody asked"), ok(asked[0], "a"))
    said = b"".join(json.dumps(answer).encode() + b"\n" for answer in answers)
    pipe.say(said[:10])
    pipe.say(said[10:])
    assert (client.result(first, "one"), client.result(second, "two")) == ("a", "b")


def test_many_threads_ask_at_once(connect: Connect) -> None:
    """Each of many threads gets the answer to its own question."""
    client, _ = connect(lambda request: ok(request, request["x"]))
    found: list[bool] = []
    threads = [
        threading.Thread(target=lambda n=n: found.append(client.call("echo", x=n) == n)) for n in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 20


def test_a_refusal_names_the_host_and_has_the_agents_details(connect: Connect) -> None:
    """What an agent cannot do is AgentRefused, with its words and the commands it ran."""
    client, _ = connect(
        lambda r: {"id": r["id"], "ok": False, "error": "no such chain", "detail": {"ran": [1]}}
    )
    with pytest.raises(AgentRefused, match="server: no such chain") as caught:
        client.call("apply")
    assert caught.value.detail == {"ran": [1]}
    client.check()


def test_an_agent_that_does_not_answer_in_time_is_named(connect: Connect) -> None:
    """Silence ends at the time limit, with the operation and the host."""
    client, _ = connect(lambda _: None)
    with pytest.raises(LabError, match=r"the agent on server did not answer hello within 0.02s"):
        client.call("hello", timeout_s=0.02)


@pytest.mark.parametrize("said", ["", "Traceback: boom"])
def test_an_agent_that_ends_is_told_at_once_and_to_everybody(connect: Connect, said: str) -> None:
    """Everyone who waits, and everyone who asks later, hears that the agent ended, and what it said last."""
    client, pipe = connect(lambda _: None)
    waiting = client.ask("wait_bound")
    pipe.said = said
    pipe.say(b"")
    words = "the agent on server ended" + (f" and said: {said}" if said else "")
    began = time.monotonic()
    with pytest.raises(AgentGone, match=words):
        client.result(waiting, "wait_bound", 10)
    assert time.monotonic() - began < 5
    with pytest.raises(AgentGone, match=words):
        client.call("hello")
    with pytest.raises(AgentGone, match=words):
        client.check()


def test_an_agent_that_cannot_be_written_to_is_gone(connect: Connect) -> None:
    """A broken pipe is AgentGone, with the system's words."""
    client, pipe = connect(lambda _: None)
    pipe.refuses = True
    with pytest.raises(AgentGone, match=r"the agent on server cannot be reached: .*Broken pipe"):
        client.call("hello")


@pytest.mark.parametrize(
    "line",
    [
        b"Traceback\n",
        b"5\n",
        b"null\n",
        b"{}\n",
        b"[1]\n",
        b'{"id": %d}\n',
        b'{"id": %d, "ok": false}\n',
        b"\xff\xfe\n",
    ],
)
def test_an_agent_that_talks_nonsense_is_told_at_once(connect: Connect, line: bytes) -> None:
    """A line that is no message fails whoever waits, at once, and names the host."""
    client, _ = connect(lambda request: line % request["id"] if b"%" in line else line)
    began = time.monotonic()
    with pytest.raises(AgentGone, match="server"):
        client.call("hello", timeout_s=20)
    assert time.monotonic() - began < 5


def test_an_event_goes_to_its_reader_and_one_that_fails_is_told(connect: Connect) -> None:
    """Events reach whoever listens; when that fails (the disk is full) those who wait for the agent hear of it at once."""
    seen: list[Any] = []
    client, pipe = connect(ok, lambda host, message: seen.append((host, message["event"])))
    pipe.say(b'{"event": "sockets"}\n')
    client.call("hello")
    assert seen == [("server", "sockets")]

    def full(*_: object) -> None:
        raise LabError("sockets.jsonl cannot be written: No space left on device")

    client, pipe = connect(lambda _: b'{"event": "sockets"}\n', full)
    with pytest.raises(AgentGone, match="No space left on device"):
        client.call("hello", timeout_s=20)


def hello(
    offset_s: float = 0.0, protocol: int = PROTOCOL, addresses: tuple[str, ...] = ("10.0.0.2",)
) -> Callable[[Any], Any]:
    interfaces = [{"name": f"eth{i}", "addresses": [a]} for i, a in reversed(list(enumerate(addresses)))]
    return lambda r: ok(
        r, {"protocol": protocol, "time": time.time() + offset_s, "interfaces": interfaces, "rss_kib": 1}
    )


def test_interfaces_are_found_by_address(connect: Connect) -> None:
    """Which interface is on which network is told by address, as their order is not fixed."""
    client, _ = connect(hello(addresses=("10.0.0.2", "10.0.1.2")))
    client.greet({"back": ("10.0.1.2", "fd00::2"), "front": ("10.0.0.2",)})
    assert client.devices == {"back": "eth1", "front": "eth0"}


def test_a_network_without_an_interface_is_told(connect: Connect) -> None:
    """An address that no interface has is an error that names host, address and network."""
    client, _ = connect(hello())
    with pytest.raises(LabError, match=r"no interface of server has the address 10.9.9.9 of network front"):
        client.greet({"front": ("10.9.9.9",)})


def test_an_agent_of_another_version_is_told(connect: Connect) -> None:
    """An agent that speaks another protocol is refused with both numbers."""
    client, _ = connect(hello(protocol=99))
    with pytest.raises(LabError, match=f"the agent on server speaks protocol 99, this labctl {PROTOCOL}"):
        client.greet({})


@pytest.mark.parametrize("offset_s", [0.0, 5.0, -3.0])
def test_a_clock_that_differs_is_known(connect: Connect, offset_s: float) -> None:
    """An agent's clock that differs by more than the question took is known; one that does not is taken to be ours."""
    client, _ = connect(hello(offset_s))
    client.greet({})
    assert client.clock_offset_s == pytest.approx(offset_s, abs=0.5)
    assert (client.clock_offset_s == 0.0) == (offset_s == 0.0)


def test_a_closed_agent_is_asked_nothing(connect: Connect) -> None:
    """After close the agent is gone, and whoever asks is told that it has been closed."""
    client, pipe = connect(ok)
    client.close()
    assert pipe.is_closed
    with pytest.raises(AgentGone, match="the agent on server has been closed"):
        client.call("hello")
