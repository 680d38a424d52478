"""The harness without a machine: keys, jobs, the tar, QEMU's command line, what is made of what a guest said."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from pathlib import Path

import pytest
from vm_disks import Disks, VmError, cache_home, key
from vm_fault_table import TABLE, Row, as_argument, missing, plain
from vm_jobs import Job, as_json, pack, tree_files
from vm_machine import KERNEL_LINE, Report, _unpack, container_argv, diagnose, options, qemu_argv, read_events
from vm_plan import jobs_for


def test_a_key_changes_with_every_input_and_with_nothing_else() -> None:
    assert key("a", "b") == key("a", "b")
    assert len({key("a", "b"), key("ab"), key("b", "a"), key("a", "b", ""), key("a")}) == 5


def test_the_cache_is_outside_the_clone_and_can_be_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LABCTL_VM_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert cache_home() == Path("/elsewhere/labctl/vm")
    monkeypatch.setenv("LABCTL_VM_CACHE", "/here")
    assert cache_home() == Path("/here/labctl/vm")


def test_a_job_list_is_what_the_guest_reads() -> None:
    work = json.loads(as_json([Job("one", ("true",), 5, {"A": "b"}), Job("two", ("false",))]))
    assert work["jobs"][0] == {"id": "one", "argv": ["true"], "timeout_s": 5, "env": {"A": "b"}}
    assert [job["id"] for job in work["jobs"]] == ["one", "two"]
    assert work["shell"] is False


def test_two_jobs_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two jobs have the id one"):
        as_json([Job("one", ("true",)), Job("one", ("false",))])


@pytest.mark.parametrize("name", ["", "../up", "A", "a b", ".hidden"])
def test_a_job_that_is_no_folder_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no name for a job"):
        Job(name, ("true",))


def test_only_what_the_chosen_tests_need_is_done() -> None:
    assert jobs_for([]) == []
    assert [job.id for job in jobs_for([("fault-table", None)] * 3)] == ["fault-table"]
    [chosen] = jobs_for(
        [("standing", "a.yaml"), ("fresh", "b.yaml"), ("standing", "c.yaml"), ("standing", "a.yaml")]
    )
    assert chosen.argv[-4:] == ("b.yaml", "--", "a.yaml", "c.yaml")


def test_the_tar_holds_the_tree_as_git_sees_it_and_the_jobs(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    subprocess.run(["git", "init", "-q", str(tree)], check=True)
    for name in ("kept", "ignored", ".gitignore"):
        (tree / name).write_text("ignored\n")
    assert tree_files(tree) == [".gitignore", "kept"]
    pack(tmp_path / "tree.tar", as_json([]), tree)
    with tarfile.open(tmp_path / "tree.tar") as archive:
        assert archive.getnames() == [".gitignore", "kept", "jobs.json"]
    assert (tmp_path / "tree.tar").stat().st_size % 512 == 0


def test_qemu_never_writes_to_a_cached_disk_and_has_no_network() -> None:
    argv = qemu_argv("/disks", "/run/vm")
    drives = [argv[i + 1] for i, word in enumerate(argv) if word == "-drive"]
    assert drives == [
        "file=/disks/root/root.ext4,format=raw,if=none,id=root,snapshot=on",
        "file=/disks/docker/docker.ext4,format=raw,if=none,id=docker,snapshot=on",
        "file=/run/vm/tree.tar,format=raw,if=none,id=tree,readonly=on",
        "file=/run/vm/results.tar,format=raw,if=none,id=results,cache=unsafe",
    ]
    assert argv[argv.index("-nic") + 1] == "none"
    assert argv[argv.index("-append") + 1] == KERNEL_LINE
    assert "-no-reboot" in argv
    assert "panic=-1" in KERNEL_LINE.split(), "a panic must end QEMU"


def test_kvm_is_for_who_asks() -> None:
    assert "kvm" not in qemu_argv()
    assert qemu_argv(kvm=True)[1:5] == ["-accel", "kvm", "-accel", "tcg,thread=multi,tb-size=512"]
    assert options("systemd", kvm=True) == ["--device=/dev/kvm"]


def test_the_container_has_no_network_no_privilege_and_a_limit() -> None:
    argv = container_argv(
        "vm-1", Disks(Path("/c/root-1"), Path("/c/docker-1")), Path("/run-1"), 60.0, ["qemu"]
    )
    assert {
        "--rm",
        "--network=none",
        "--cap-drop=ALL",
        "--name=vm-1",
        "--volume=/c/root-1:/disks/root:ro",
    } <= set(argv)
    assert argv[-3:] == ["run-qemu", "60", "qemu"]
    assert "--privileged" not in argv


def test_only_cgroupfs_needs_a_group_of_its_own() -> None:
    assert options("systemd", kvm=False) == []
    assert options("cgroupfs", kvm=False)[0] == "--cgroup-parent=/"


INIT = {"event": "init", "uptime_s": 3.0}
BEGIN = {"event": "begin", "id": "baseline", "uptime_s": 9.0}
END = {"event": "end", "uptime_s": 20.0}


@pytest.mark.parametrize(
    ("events", "serial", "said"),
    [
        ([], "SeaBIOS", "before its init began"),
        ([], "Kernel panic - not syncing: VFS", "its kernel panicked"),
        ([INIT], "", "before Docker was ready"),
        ([INIT, BEGIN], "", "while it did baseline"),
        (
            [INIT, {"event": "broken", "error": "RuntimeError: dockerd ended with 1"}, END],
            "",
            "dockerd ended with 1",
        ),
    ],
)
def test_a_guest_that_does_not_end_says_where_it_was(
    events: list[dict[str, object]], serial: str, said: str
) -> None:
    trouble = diagnose(events, "qemu: terminating on signal 15", f"first line\n{serial}", 60)
    assert trouble is not None
    assert said in trouble
    assert "terminating on signal 15" in trouble


def test_a_guest_that_does_is_no_trouble() -> None:
    assert diagnose([INIT, BEGIN, END], "", "", 60) is None


def test_an_event_that_was_cut_off_is_left_out() -> None:
    assert read_events('{"event": "init"}\n{"event": "jo') == ({"event": "init"},)


def test_results_are_unpacked_and_the_tars_are_gone(tmp_path: Path) -> None:
    """With every Python that is taken: Debian 12's own knows no filters for what it extracts."""
    (tmp_path / "tree.tar").touch()
    with tarfile.open(tmp_path / "results.tar", "w") as archive:
        info = tarfile.TarInfo("results/jobs/scenarios/out")
        info.size = 2
        archive.addfile(info, io.BytesIO(b"ok"))
    _unpack(tmp_path)
    assert (tmp_path / "results/jobs/scenarios/out").read_bytes() == b"ok"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results"]


def test_a_job_that_did_not_end_is_an_error_with_the_guests_last_words() -> None:
    report = Report(
        (INIT, {"event": "job", "id": "a", "exit": 0}), Path(), 1.0, "its kernel panicked\n  | Oops"
    )
    assert report.job("a")["exit"] == 0
    with pytest.raises(VmError, match="did not finish b: its kernel panicked"):
        report.job("b")


def test_rows_have_names_of_their_own_and_go_to_the_guest_as_json() -> None:
    assert len({row.name for row in TABLE}) == len(TABLE)
    assert json.loads(as_argument(TABLE))[0] == {"name": "delay", "faults": [{"delay_s": 0.1}]}


def test_a_line_of_tc_is_compared_without_what_the_kernel_chose() -> None:
    line = "qdisc netem 1b0: dev lci12 parent 1ab:10 limit 1000 delay 100ms seed 4337824038170427540"
    assert plain(line) == "qdisc netem 1b0: dev ifb parent 1ab:10 limit 1000 delay 100ms"
    assert plain("qdisc netem 1b0: dev eth0 limit 9 loss 5% seed 7").endswith("loss 5% seed 7")
    assert missing(Row("x", ({},), "delay 1ms"), ["qdisc noqueue 0: dev eth0 root refcnt 2"])


@pytest.mark.parametrize(
    "name", ["init", "initramfs-init", "make-tree", "make-root", "make-docker", "run-qemu"]
)
def test_the_scripts_of_the_disk_are_shell_that_parses_and_can_be_run(name: str) -> None:
    path = Path(__file__).parent / "disk" / name
    assert path.stat().st_mode & 0o111
    subprocess.run(["sh", "-n", str(path)], check=True)
