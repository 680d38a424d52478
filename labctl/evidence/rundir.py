"""The run directory: one run's record on disk, written as things happen, so that a crash loses nothing that was seen."""

from __future__ import annotations

import contextlib
import errno
import json
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from labctl.errors import LabError

Observer = Callable[[dict[str, Any]], None]


def new_run_name(scenario: str, now: datetime | None = None) -> str:
    """`<UTC time>-<scenario>-<4 hex>`: sorts by time, says what it was, and two at once differ.

    The brackets of `scenario[case]` mean something to shells, so a run has a dash in their place.
    """
    stamp = (now or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ")
    return f"{stamp}-{scenario.replace('[', '-').rstrip(']')}-{secrets.token_hex(2)}"


class RunDirectory:
    """Writes one run's files. Times are seconds since `epoch`, the wall clock at the start.

    Every write that fails (disk full, folder gone) raises LabError naming the file; what was written stays. `lost` is the
    first of them: the record is not whole, whatever else is said of the run.
    """

    lost: str | None = None

    def __init__(self, path: Path, observe: Observer) -> None:
        self.path = path
        self.epoch = time.time()
        self._observe = observe
        self._lock = threading.Lock()
        self._files: dict[str, TextIO] = {}

    @classmethod
    def create(cls, out: Path, run: str, observe: Observer) -> RunDirectory:
        """Make the directory under `out`. Raises LabError when it cannot be made."""
        path = out / run
        with written(path):
            for folder in (path / "pcap", path / "programs"):
                folder.mkdir(parents=True)
        return cls(path, observe)

    def now(self) -> float:
        """Seconds since the run began."""
        return round(time.time() - self.epoch, 6)

    def at(self, wall_clock: float) -> float:
        """A wall clock time of an agent (its offset taken off already) as seconds since the run began."""
        return round(wall_clock - self.epoch, 6)

    def event(self, event: str, **fields: Any) -> dict[str, Any]:
        """Append one line to events.jsonl, at once, and tell the observer."""
        line = {"t": fields.pop("t") if "t" in fields else self.now(), "event": event, **fields}
        self._append("events.jsonl", line)
        self._observe(line)
        return line

    def sample(self, host: str, t: float, sockets: list[dict[str, Any]], looked: float | None = None) -> None:
        """Append one socket sample to sockets.jsonl; `looked` is when the host's sample before it was last seen to hold."""
        line = {"t": t, "host": host, "looked": looked, "sockets": sockets}
        self._append("sockets.jsonl", line)
        self._observe({"event": "sockets", **line})

    def write(self, name: str, content: str | bytes) -> Path:
        """Write a whole file, by way of a temporary one, so that it is there whole or not at all."""
        target = self.path / name
        with self.writing(target):
            scratch = target.with_name(target.name + ".part")
            scratch.write_bytes(content.encode() if isinstance(content, str) else content)
            scratch.replace(target)
        return target

    def write_json(self, name: str, value: object) -> Path:
        """Write a value as JSON for people: indented, UTF-8."""
        return self.write(name, json.dumps(value, indent=2, ensure_ascii=False) + "\n")

    @contextlib.contextmanager
    def writing(self, path: Path) -> Iterator[None]:
        """The block writes this file of the record. Raises LabError, naming it, when it cannot be written."""
        try:
            with written(path):
                yield
        except LabError as error:
            self.lost = self.lost or str(error)
            raise

    def close(self) -> None:
        """Close what is open; the directory stays."""
        with self._lock:
            for file in self._files.values():
                with contextlib.suppress(OSError):
                    file.close()
            self._files.clear()

    def remove(self) -> None:
        """Take the directory away: there was no run."""
        self.close()
        shutil.rmtree(self.path, ignore_errors=True)

    def _append(self, name: str, line: dict[str, Any]) -> None:
        with self._lock, self.writing(self.path / name):
            if name not in self._files:
                self._files[name] = (self.path / name).open("a", encoding="utf-8")
            self._files[name].write(json.dumps(line, ensure_ascii=False) + "\n")
            self._files[name].flush()


@contextlib.contextmanager
def written(path: Path) -> Iterator[None]:
    """Raises LabError, naming the file, for what keeps the block from writing it."""
    try:
        yield
    except OSError as error:
        space = "free some space or " if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        raise LabError(f"{path} cannot be written: {error.strerror}; {space}choose another --out") from None
