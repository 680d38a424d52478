"""The run directory: everything is on disk at once, whole or not at all, and what cannot be written is named."""

from __future__ import annotations

import json
import re
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from labctl.errors import LabError
from labctl.evidence.rundir import RunDirectory, new_run_name


@pytest.fixture
def record(tmp_path: Path) -> Any:
    made = RunDirectory.create(tmp_path / "out", "r", lambda _: None)
    yield made
    made.close()


def test_names_sort_by_time_and_differ() -> None:
    """A run's name is UTC time, scenario and four hex digits; two of one second differ."""
    now = datetime(2026, 11, 23, 15, 4, 6, tzinfo=UTC)
    names = {new_run_name("firewall", now) for _ in range(20)}
    assert len(names) > 1
    assert all(re.fullmatch(r"20261123T150406Z-firewall-[0-9a-f]{4}", name) for name in names)


def test_an_event_is_on_disk_the_moment_it_is_recorded(record: RunDirectory) -> None:
    """Each event is one whole line of JSON at once, so that a crash loses nothing that was seen."""
    record.event("progress", message="größe \u2028 \n")
    record.sample("client", 1.5, [{"state": "ESTAB"}])
    line = (record.path / "events.jsonl").read_text(encoding="utf-8")
    assert line.count("\n") == 1
    assert json.loads(line)["message"] == "größe \u2028 \n"
    assert json.loads((record.path / "sockets.jsonl").read_text())["host"] == "client"


def test_events_of_many_threads_do_not_mix(record: RunDirectory) -> None:
    """Lines from several threads are all there and all whole."""
    threads = [
        threading.Thread(target=lambda: [record.event("x", message="m" * 500) for _ in range(50)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = (record.path / "events.jsonl").read_text().splitlines()
    assert len(lines) == 200
    assert all(json.loads(line)["event"] == "x" for line in lines)


def test_the_observer_sees_events_and_samples(tmp_path: Path) -> None:
    """Whoever watches a run gets the very lines that are recorded."""
    seen: list[dict[str, Any]] = []
    record = RunDirectory.create(tmp_path, "r", seen.append)
    record.event("a", t=1.0)
    record.sample("h", 2.0, [], looked=1.9)
    record.close()
    assert seen == [{"t": 1.0, "event": "a"}, {"event": "sockets", "t": 2.0, "host": "h", "looked": 1.9, "sockets": []}]


def test_a_file_is_there_whole_or_not_at_all(record: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that fails in the middle leaves the file that was there before."""
    record.write("plan.json", "first")
    real = Path.write_bytes

    def half(self: Path, data: bytes) -> int:
        real(self, data[:2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(
        LabError, match=r"plan.json cannot be written: No space left on device; free some space"
    ):
        record.write("plan.json", "second")
    assert (record.path / "plan.json").read_text() == "first"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """An --out that is a file, or already has this run, is an error that names the folder."""
    (tmp_path / "file").write_text("")
    with pytest.raises(LabError, match=r"file/r cannot be written: Not a directory; choose another --out"):
        RunDirectory.create(tmp_path / "file", "r", lambda _: None)
    RunDirectory.create(tmp_path, "r", lambda _: None).close()
    with pytest.raises(LabError, match=r"/r cannot be written: File exists"):
        RunDirectory.create(tmp_path, "r", lambda _: None)


def test_a_folder_that_goes_away_is_named(record: RunDirectory, tmp_path: Path) -> None:
    """When the folder is removed under a run, the next new file is an error that names it."""
    (tmp_path / "out").rename(tmp_path / "gone")
    with pytest.raises(LabError, match=r"events.jsonl cannot be written: No such file or directory"):
        record.event("x")
