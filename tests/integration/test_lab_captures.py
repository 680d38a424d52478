"""What captures hold beyond packets, and where they end: comments that Wireshark shows, a limit, none at all."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from labs import SCENARIOS, labctl

from labctl.evidence.pcapng import ENHANCED_PACKET, OPT_COMMENT, blocks, options

LAB = f"lab: {SCENARIOS / 'pair.yml'}"
SERVER = '  - {start: [echo-server, "", 65432, --connections=0], on: server, ready: {listen: 65432}}\n'


def scenario(folder: Path, steps: str, head: str = "") -> Path:
    """A scenario file with these steps in the lab of two hosts."""
    path = folder / "made.yaml"
    path.write_text(f"# Made for a test.\nscenario: made\n{LAB}\n{head}steps:\n{steps}", encoding="utf-8")
    return path


def comments(path: Path) -> list[str]:
    """The comments on all packets of a capture."""
    found = []
    with path.open("rb") as file:
        for block in blocks(file, path.name):
            if block.kind == ENHANCED_PACKET:
                start = 20 + (struct.unpack_from("=I", block.body, 12)[0] + 3) // 4 * 4
                found += [value.decode() for code, value in options(block.body, start) if code == OPT_COMMENT]
    return found


@pytest.mark.parametrize("file", ["client", "server", "merged"])
def test_captures_say_what_the_run_did(marked: Path, file: str) -> None:
    """Run, scenario, steps and faults, begin and end, once each and in order, in each host's file and in the merged one."""
    found = comments(marked / f"pcap/{file}.pcapng")
    assert found[0] == f"labctl run {marked.name}, scenario made"
    wanted = [
        "labctl: step 2 begins: it works",
        "labctl: step 2 ends",
        "labctl: fault wall (drop) at server begins",
        "labctl: step 4 begins: it does not",
        "labctl: fault wall (drop) at server ends; packets touched: ",
    ]
    places = [next(i for i, text in enumerate(found) if text.startswith(want)) for want in wanted]
    assert places == sorted(places)
    assert [sum(text.startswith(want) for text in found) for want in wanted] == [1] * len(wanted)


@pytest.fixture(scope="module")
def marked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a fault."""
    folder = tmp_path_factory.mktemp("marked")
    steps = SERVER + (
        "  - {name: it works, run: [probe, connect, server, 65432], on: client, expect: {errno: null}}\n"
        "  - {fault: wall, at: server, drop: {protocol: tcp, dport: 65432}}\n"
        "  - {name: it does not, run: [probe, connect, server, 65432, --connect-timeout=300ms], on: client, "
        "expect: {timed_out: true}}\n"
    )
    done = labctl("run", scenario(folder, steps), "--out", folder / "runs")
    assert done.code == 0, done.out + done.err
    (run,) = (folder / "runs").iterdir()
    return run


def test_a_capture_that_reaches_its_limit_ends_and_says_so(tmp_path: Path) -> None:
    """More packets than `capture: {max: …}` allows: the run is an error with the limit in its reason, and the file is small.

    What is sent fits into the buffers on the way, as the echo server blocks while nobody reads its answers.
    """
    send = (
        "  - {run: [probe, send, server, 65432, --size=512KiB, --receive=512KiB], on: client, "
        "expect: {errno: null, packets: [{at: client, filter: tcp}]}}\n"
    )
    path = scenario(tmp_path, SERVER + send, "capture: {max: 128KiB}\n")
    done = labctl("run", path, "--out", tmp_path / "runs", "--json")
    assert done.code == 4, done.out + done.err
    value = json.loads(done.out)
    assert "it reached its limit of 131072 bytes" in value["reason"]
    (run,) = (tmp_path / "runs").iterdir()
    assert (run / "pcap/client.pcapng").stat().st_size < 2**20


def test_a_capture_filter_keeps_what_it_selects_and_the_capture_stays_complete(tmp_path: Path) -> None:
    """`capture: {filter: …}`: other packets are not in the files, the brackets are; what is no filter is a mistake there."""
    probe = "  - {run: [probe, connect, server, 65433], on: client, expect: {errno: ECONNREFUSED}}\n"
    path = scenario(tmp_path, SERVER + probe, "capture: {filter: tcp port 65433}\n")
    done = labctl("run", path, "--out", tmp_path / "runs", "--json")
    assert done.code == 0, done.out + done.err
    # SYN and RST, and the brackets of each of the two interfaces, of which the last are sent again where dumpcap is late.
    assert [c["packets"] in range(6, 20, 2) for c in done.json["captures"]] == [True, True]
    assert done.json["reason"].endswith(" 4 packets captured on 2 hosts")
    path = scenario(tmp_path, SERVER + probe, "capture: {filter: tcp prot 1}\n")
    bad = labctl("run", path, "--out", tmp_path / "bad", "--json")
    line = path.read_text(encoding="utf-8").splitlines().index("capture: {filter: tcp prot 1}") + 1
    assert bad.code == 2, bad.out + bad.err
    assert bad.err.startswith(f"{path}:{line}:19: libpcap refuses this filter: ")
    assert list((tmp_path / "bad").iterdir()) == []


@pytest.mark.parametrize("word", ["off", "false"])
def test_without_a_capture_the_rest_is_judged(tmp_path: Path, word: str) -> None:
    """`capture: off`: no file, no packets, and everything else as ever."""
    probe = "  - {run: [probe, connect, server, 65433], on: client, expect: {errno: ECONNREFUSED}}\n"
    done = labctl("run", scenario(tmp_path, SERVER + probe, f"capture: {word}\n"), "--out", tmp_path / "runs", "--json")
    assert done.code == 0, done.out + done.err
    assert json.loads(done.out)["captures"] == []
    (run,) = (tmp_path / "runs").iterdir()
    assert list((run / "pcap").iterdir()) == []
