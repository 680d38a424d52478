"""A record read back: what was written is there, and what was truncated, edited or made up is an EvidenceError."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labctl.errors import EvidenceError, UsageError
from labctl.evidence.packets import FIELDS, join_tables
from labctl.evidence.record import load
from labctl.evidence.shapes import is_outcome
from labctl.runs import judge_run
from labctl.verdict.judge import result

RUNS = Path(__file__).resolve().parents[2] / "data" / "runs"
LINES = [
    json.loads(line) for line in (RUNS / "firewall/events.jsonl").read_text(encoding="utf-8").splitlines()
]
ENOUGH = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def test_a_record_is_read_back() -> None:
    """Steps, programs, faults, captures and addresses of a recorded run are what its events say."""
    evidence = load(RUNS / "firewall")
    assert (evidence.scenario, evidence.engine, len(evidence.steps)) == ("firewall", "docker", 19)
    assert set(evidence.addresses) == {"client", "router", "server"}
    assert [f.name for f in evidence.faults] == ["reset", "no-port", "no-host", "wall", "black-hole"]
    assert all(f.removed is not None and f.packets for f in evidence.faults)
    assert all(c.complete for c in evidence.captures.values())
    assert evidence.programs["3"].outcome == {
        **(evidence.programs["3"].outcome or {}),
        "errno": "ECONNREFUSED",
    }
    assert evidence.programs["2"].stdout
    assert evidence.samples["client"]
    assert evidence.error is None
    assert not evidence.interrupted


def test_a_sample_holds_until_it_was_seen_last(run: Path) -> None:
    """The next one of the host says when that was; a record of before says nothing of it, and one by another host neither."""
    lines = [
        {"t": 1.0, "host": "client", "sockets": []},
        {"t": 1.1, "host": "server", "sockets": []},
        {"t": 2.0, "host": "client", "looked": 1.5, "sockets": []},
        {"t": 3.0, "host": "client", "looked": None, "sockets": []},
    ]
    (run / "sockets.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    evidence = load(run)
    assert [sample.seen for sample in evidence.samples["client"]] == [1.5, None, None]
    assert [sample.seen for sample in evidence.samples["server"]] == [None]
    assert [(sample.t, sample.is_sure(1.4)) for sample in evidence.sampled("client", 1.4, 2.5)] == [(1.0, True), (2.0, True)]
    assert [(sample.t, sample.is_sure(1.6)) for sample in evidence.sampled("client", 1.6, 2.5)] == [(1.0, False), (2.0, True)]
    assert [(sample.t, sample.is_sure(2.6)) for sample in evidence.sampled("client", 2.6, 2.7)] == [(2.0, True)]


def test_a_step_lasts_until_the_next_begins() -> None:
    """What happens between two steps belongs to the first; the last lasts until the run's end."""
    evidence = load(RUNS / "firewall")
    assert evidence.window(1)[1] == evidence.window(2)[0]
    assert evidence.window(19)[1] == evidence.seconds


def test_who_ends_a_program_looks_at_all_of_its_life() -> None:
    """What broke it may have shown before the step that waits for its end began; other steps look at their own time."""
    evidence = load(RUNS / "firewall")
    started = next(p.step for p in evidence.programs.values() if p.step not in (2, 3))
    evidence.steps[19].program = next(id_ for id_, p in evidence.programs.items() if p.step == started)
    assert evidence.covered(19) == (evidence.steps[started].started, evidence.window(19)[1])
    assert evidence.covered(2) == evidence.window(2)
    evidence.steps[19].program = None
    assert evidence.covered(19) == evidence.window(19)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A copy of the recorded firewall run."""
    shutil.copytree(RUNS / "firewall", tmp_path / "run")
    return tmp_path / "run"


def rewrite(run: Path, lines: list[Any]) -> None:
    (run / "events.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no run-start line, so this is no run directory"),
        ('{"t": 0, "event": "progress", "message": "x"}\n', "has no run-start line"),
        ("not json\n", "events.jsonl:1: this line is no JSON"),
        ("[1]\n", "events.jsonl:1: this line is no JSON object"),
        ('{"t": NaN, "event": "run-end"}\n', "events.jsonl:1: this line is no JSON"),
        ("[" * 100000 + "\n", "events.jsonl:1: this line is no JSON"),
        ('{"t": 0, "event": "run-start", "version": 2}\n', "is of version 2; this labctl reads version 1"),
        ('{"t": 0, "event": "run-start", "version": 1}\n', "a run-start line lacks or garbles run"),
    ],
)
def test_what_is_no_record_is_told(run: Path, text: str, words: str) -> None:
    """A file that is empty, no JSON, of another version or without a start is named with what is wrong."""
    (run / "events.jsonl").write_text(text, encoding="utf-8")
    with pytest.raises(EvidenceError, match=words):
        load(run)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("programs/02-client.out", "No such file"),
        ("pcap/client.tsv", "No such file"),
    ],
)
def test_a_file_that_is_missing_is_told(run: Path, name: str, words: str) -> None:
    """Whichever file of a record is gone, judging says which."""
    (run / name).unlink()
    with pytest.raises(EvidenceError, match=f"{name} cannot be read: {words}"):
        judge_run(run)


def test_a_folder_that_is_none_is_told(tmp_path: Path) -> None:
    """What is no run directory is bad usage, and bytes in place of text are an EvidenceError."""
    (tmp_path / "file").write_text("")
    for nothing in (tmp_path / "file", tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UsageError, match=r"is no run directory: it has no events\.jsonl"):
            load(nothing)
    (tmp_path / "events.jsonl").write_bytes(b"\xff\xfe\n")
    with pytest.raises(EvidenceError, match="is not UTF-8"):
        load(tmp_path)


@pytest.mark.parametrize("file", ["../../../../etc/passwd", "/etc/passwd", "a/b", "", "..", "x\u0000"])
@pytest.mark.parametrize("kind", ["program-end", "capture-end"])
def test_a_record_reads_no_file_outside_its_folder(run: Path, kind: str, file: str) -> None:
    """A record that was edited to name files elsewhere is not followed."""
    rewrite(run, [{**line, "file": file} if line["event"] == kind else line for line in LINES])
    with pytest.raises(EvidenceError, match=f"a {kind} line lacks or garbles file"):
        load(run)


@pytest.mark.parametrize("name", ["pcap/client.tsv", "sockets.jsonl", "events.jsonl"])
def test_a_file_that_was_cut_off_is_told(run: Path, name: str) -> None:
    """A record whose file ends in the middle of a line is not believed."""
    path = run / name
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(EvidenceError, match=path.name):
        judge_run(run).evidence.samples["client"]


def test_a_dissection_with_other_columns_or_words_for_numbers_is_told(run: Path) -> None:
    """A .tsv that tshark did not write is named by line, or as no dissection."""
    path = run / "pcap/client.tsv"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join([lines[0], "1\t2\n", *lines[1:]]), encoding="utf-8")
    with pytest.raises(EvidenceError, match=r"client.tsv:2: 2 columns where \d+ were asked for"):
        judge_run(run)
    rows = [line for line in lines if "TCP" in line]
    path.write_text("".join([lines[0], "x", *rows]), encoding="utf-8")
    with pytest.raises(EvidenceError, match="is no dissection"):
        judge_run(run)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (None, "does not begin with the names of its columns"),
        (lambda line: line.replace("icmp.mtu", "icmp.other"), "has the columns of another version of labctl: no icmp.mtu"),
        (lambda line: line.replace("ip.src\tip.dst", "ip.dst\tip.src"), "of another version of labctl: another order"),
    ],
)  # fmt: skip
def test_a_dissection_of_another_version_is_refused(run: Path, header: Any, message: str) -> None:
    """A dissection whose first line does not name our columns in our order is not read as if it were ours."""
    path = run / "pcap/client.tsv"
    first, *rest = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join([*([] if header is None else [header(first)]), *rest]), encoding="utf-8")
    with pytest.raises(EvidenceError, match=message):
        judge_run(run)


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=5),
    st.lists(st.one_of(st.none(), st.integers(), st.text(max_size=3)), max_size=2), st.just({}), st.just({"op": 1}),
    st.just(10**400), st.just(-1), st.just("wall"), st.just([[]]),
)  # fmt: skip


@ENOUGH
@given(st.data())
def test_an_edited_record_is_judged_or_refused_but_never_a_traceback(run: Path, data: st.DataObject) -> None:
    """Whatever value stands in place of another in a record, judging ends in a result or in an EvidenceError."""
    lines: list[Any] = json.loads(json.dumps(LINES))
    for _ in range(data.draw(st.integers(1, 3))):
        line = data.draw(st.sampled_from([line for line in lines if line]))
        key = data.draw(st.sampled_from(sorted(line)))
        where: Any = line
        if isinstance(line[key], dict) and line[key] and data.draw(st.booleans()):
            where, key = line[key], data.draw(st.sampled_from(sorted(line[key])))
        if data.draw(st.booleans()):
            where[key] = copy.deepcopy(data.draw(VALUES))
        else:
            del where[key]
    rewrite(run, lines)
    try:
        value = result(judge_run(run))
    except EvidenceError:
        return
    json.dumps(value, allow_nan=False)


@ENOUGH
@given(st.data())
def test_a_record_whose_lines_were_dropped_or_moved_is_judged_or_refused(
    run: Path, data: st.DataObject
) -> None:
    """Lines that are missing, doubled or in another order: a result that is not pass, or the same one, or an EvidenceError."""
    lines = list(LINES)
    gone = data.draw(st.sampled_from(lines))
    lines.remove(gone)
    if data.draw(st.booleans()):
        lines.insert(data.draw(st.integers(0, len(lines))), gone)
    rewrite(run, lines)
    try:
        value = result(judge_run(run))
    except EvidenceError:
        return
    needed = {"step-start", "step-end", "program-end", "capture-end", "fault-removed", "run-end"}
    if len(lines) < len(LINES) and gone["event"] in needed and gone.get("handle") != "echo-server":
        assert value["verdict"] != "pass" or (gone["event"], gone.get("host")) == ("capture-end", "router")


@pytest.mark.parametrize(
    "value",
    [
        None, [], {}, {"op": "x"}, {"errno": None}, {"op": 1, "errno": None}, {"op": "x", "errno": 111},
        {"op": "x", "errno": ["E"]},
        {"op": "x", "errno": None, "ms": "1"}, {"op": "x", "errno": None, "sent": None}, {"op": "x", "errno": None, "ms": True},
        {"op": "x", "errno": None, "ms": float("nan")}, {"op": "x", "errno": None, "timed_out": 1},
        {"op": "x", "errno": None, "received": 10**30},
    ],
)  # fmt: skip
def test_what_is_no_outcome(value: Any) -> None:
    """A last line that only looks like an outcome is the program's own output and nothing else."""
    assert not is_outcome(value)


def test_what_is_an_outcome() -> None:
    """An outcome has an operation and an errno; all else may be there or not."""
    assert is_outcome({"op": "x", "errno": None})
    assert is_outcome(
        {"op": "x", "errno": "EPIPE", "ms": 1.5, "sent": 1, "received": 0, "timed_out": False, "more": [1]}
    )


def tsv_line(**cells: str) -> str:
    """One line of a dissection; what is not given is empty."""
    return "\t".join(cells.get(name, "") for name in FIELDS)


def test_dissections_of_parts_are_numbered_as_the_joined_capture(tmp_path: Path) -> None:
    """Frames go on after all packets of the part before, dissected or not; TCP streams after its last; all else stays."""
    one, two = tmp_path / "a.tsv", tmp_path / "b.tsv"
    names = "\t".join(FIELDS.values())
    one.write_text("\n".join([names, tsv_line(number="1", tcp_stream="0"), tsv_line(number="2", tcp_stream="3", info="x"), ""]))
    two.write_text("\n".join([names, tsv_line(number="1"), tsv_line(number="2", tcp_stream="0", info="y"), ""]))
    join_tables([one, two], [0, 5], one)
    assert one.read_text().splitlines() == [
        names, tsv_line(number="1", tcp_stream="0"), tsv_line(number="2", tcp_stream="3", info="x"),
        tsv_line(number="6"), tsv_line(number="7", tcp_stream="4", info="y"),
    ]  # fmt: skip
    two.write_text(f"{names}\nnonsense\n")
    with pytest.raises(EvidenceError, match=r"b\.tsv is no dissection"):
        join_tables([one, two], [0, 5], one)


def test_a_filter_that_was_refused_is_read_with_wiresharks_words(run: Path) -> None:
    """Older records name it alone."""
    ends = [{**line, "refused": ["no.field", "old"], "why_refused": {"no.field": "there is none"}} for line in LINES
            if line["event"] == "capture-end"]  # fmt: skip
    rewrite(run, [*(line for line in LINES if line["event"] != "capture-end"), *ends])
    assert load(run).captures["client"].refused == {"no.field": "there is none", "old": ""}
