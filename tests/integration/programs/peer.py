"""Another implementation of the application protocol, written from PROTOCOL.md alone, with asyncio.

It shares nothing with images/programs, so that the two can only agree about what is on the wire:

    peer.py serve ORDER              answers as a machine of that byte order, until it is ended; prints its port first
    peer.py ask PORT ORDER ANSWERS   asks everything, expects answers in the order ANSWERS; prints what was wrong
"""

from __future__ import annotations

import asyncio
import json
import struct
import sys
from collections.abc import Iterator

HOST = "127.0.0.1"
TABLE = {
    "morpheus": "Follow the white rabbit. \U0001f430",
    "ring": "In the caves beneath the Misty Mountains. \U0001f48d",
    "\U0001f436": "\U0001f43e Playing ball! \U0001f3d0",
}
ENCODINGS = ("utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32")
NUMBERS = {
    **dict.fromkeys("hiqfd", (1, -2, 300)),
    **dict.fromkeys("HIQ", (1, 200, 60000)),
}
SIGN = {"little": "<", "big": ">"}
Message = tuple[dict[str, object], bytes]


def pack(order: str, kind: str, encoding: str, content: bytes, **more: str) -> bytes:
    """A message as it must be on the wire."""
    header = {
        "byteorder": order,
        "content-type": kind,
        "content-encoding": encoding,
        "content-length": len(content),
        **more,
    }
    text = json.dumps(header, ensure_ascii=False).encode()
    return len(text).to_bytes(2, "big") + text + content


async def read(reader: asyncio.StreamReader) -> Message:
    """A message, and a complaint if its header is not written as the protocol says."""
    length = int.from_bytes(await reader.readexactly(2), "big")
    raw = await reader.readexactly(length)
    header = json.loads(raw)
    expected = ["byteorder", "content-type", "content-encoding", "content-length"]
    assert list(header)[:4] == expected, f"header fields are {list(header)}"
    assert raw == json.dumps(header, ensure_ascii=False).encode(), f"header is written as {raw!r}"
    return header, await reader.readexactly(header["content-length"])


def text_in(order: str, encoding: str, text: str) -> bytes:
    """Text as Python on a machine of that order encodes it: utf-16 and utf-32 with a byte order mark."""
    if encoding in ("utf-16", "utf-32"):
        return ("\ufeff" + text).encode(f"{encoding}-{'le' if order == 'little' else 'be'}")
    return text.encode(encoding)


def numbers_in(order: str, form: str, values: tuple[float, ...]) -> bytes:
    return struct.pack(f"{SIGN[order]}{len(values)}{form}", *values)


def answer_to(header: dict[str, object], content: bytes, order: str) -> bytes:
    """What a server of that byte order says to a request."""
    kind = header["content-type"]
    if kind == "text/json":
        asked = json.loads(content.decode(str(header["content-encoding"])))
        if asked["action"] == "search":
            result = TABLE.get(asked["value"]) or f"No match for '{asked['value']}'."
        else:
            result = f"Error: invalid action '{asked['action']}'."
        said = json.dumps({"result": result}, ensure_ascii=False).encode()
        return pack(order, "text/json", "utf-8", said)
    if kind == "binary/array":
        form = str(header["format"])
        values = [v for (v,) in struct.iter_unpack(SIGN[str(header["byteorder"])] + form, content)]
        said = numbers_in(order, form, (sum(values), *values))
        return pack(order, "binary/array", "binary", said, format=form)
    said = b"First 10 bytes of request: " + content[:10]
    return pack(order, "binary/custom-server-binary-type", "binary", said)


def questions(order: str, answers: str) -> Iterator[tuple[bytes, bytes]]:
    """Every request of a client of one byte order, and the answer of a server of another, byte for byte."""
    asked = [("search", value) for value in (*TABLE, "no such thing", "'")] + [("find", "ring")]
    requests = [
        pack(
            order,
            "text/json",
            encoding,
            text_in(order, encoding, json.dumps({"action": a, "value": v}, ensure_ascii=False)),
        )
        for encoding in ENCODINGS
        for a, v in asked
    ]
    requests += [
        pack(order, "binary/array", "binary", numbers_in(order, form, values), format=form)
        for form, values in NUMBERS.items()
    ]
    contents = [b"", b"short", bytes(range(256)) * 100]
    requests += [pack(order, "binary/custom-client-binary-type", "binary", content) for content in contents]
    for request in requests:
        end = 2 + int.from_bytes(request[:2], "big")
        yield request, answer_to(json.loads(request[2:end]), request[end:], answers)


async def ask(port: int, order: str, answers: str) -> None:
    """Ask everything, some of it in pieces; print what came back otherwise than it must."""
    wrong = asked = 0
    for request, expected in questions(order, answers):
        reader, writer = await asyncio.open_connection(HOST, port)
        middle = len(request) // 2 if asked % 3 else 1
        for piece in (request[:middle], request[middle:]):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.001)
        got = await reader.read(-1)  # to the end: the server closes once everything is sent
        writer.close()
        await writer.wait_closed()
        asked += 1
        if got != expected:
            wrong += 1
            print(f"asked {request[:300]!r}\n  expected {expected[:300]!r}\n  got {got[:300]!r}")
    print(f"{asked} asked, {wrong} wrong")


async def serve(order: str) -> None:
    """Answer one request on each connection, a byte at a time at first."""

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            answer = answer_to(*await read(reader), order)
        except AssertionError as error:
            answer = pack(order, "text/json", "utf-8", json.dumps({"result": f"PEER: {error}"}).encode())
        for start in range(5):
            writer.write(answer[start : start + 1])
            await writer.drain()
            await asyncio.sleep(0.001)
        writer.write(answer[5:])
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(one, HOST, 0)
    print(f"listening on {HOST}:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        asyncio.run(serve(sys.argv[2]))
    else:
        asyncio.run(ask(int(sys.argv[2]), *sys.argv[3:5]))
