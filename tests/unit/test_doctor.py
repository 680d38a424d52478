"""The doctor, without Docker: what it says of each thing it finds or misses, and that it asks for all that faults need."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from labctl import doctor
from labctl.agent.features import RULES, _permissions
from labctl.agent.probes import QDISCS
from labctl.doctor import engine, kernel, machine
from labctl.doctor.finding import Finding, at_least
from labctl.engines import agentimage, compose
from labctl.engines.daemon import DaemonRefuses
from labctl.errors import LabError, MissingError

ROOT = Path(__file__).resolve().parents[2]
ALL = frozenset({*RULES, *QDISCS, "ifb", "seed", "nfqueue", "sock_diag", "NET_ADMIN", "NET_RAW"})


class Api:
    """As much of Docker's API as the doctor asks for."""

    def __init__(self, version: str = "28.5.2", images: tuple[str, ...] = (agentimage.REPOSITORY,), root: str = "/") -> None:
        self._version, self._images, self._root = version, images, root
        self.taken: list[str] = []

    def version(self) -> dict[str, str]:
        return {"Version": self._version, "KernelVersion": "6.18.0"}

    def info(self) -> dict[str, str]:
        return {"DockerRootDir": self._root}

    def images(self, name: str) -> list[str]:
        return [name] if name in self._images else []

    def networks(self, filters: object = None) -> list[Any]:
        return [] if filters else [{"IPAM": {"Config": [{"Subnet": subnet}]}, "Labels": {}} for subnet in self.taken]

    def containers(self, **_: Any) -> list[Any]:
        return []

    def volumes(self, **_: Any) -> dict[str, Any]:
        return {"Volumes": None}


@pytest.fixture
def features(monkeypatch: pytest.MonkeyPatch) -> dict[str, str | None]:
    """What the agent says of the kernel."""
    said: dict[str, str | None] = dict.fromkeys(ALL)
    monkeypatch.setattr(agentimage, "kernel_features", lambda _: said)
    return said


def by_name(found: Iterator[Finding] | list[Finding]) -> dict[str, Finding]:
    return {finding.what: finding for finding in found}


@pytest.mark.parametrize(
    ("version", "least", "is_it"),
    [
        ("20.10.24+dfsg1", (20, 10), True), ("19.03.15", (20, 10), False), ("v2.26.1-4", (2, 20), True),
        ("2.3.3", (2, 20), False), ("5.0.0", (2, 20), True), ("dev", (2, 20), False), ("", (2, 20), False),
    ],
)  # fmt: skip
def test_versions_are_compared_as_numbers(version: str, least: tuple[int, int], is_it: bool) -> None:
    """A distribution's suffix is passed over, 2.3 is older than 2.20, and what is no version is not new enough."""
    assert at_least(version, least) is is_it


def test_an_engine_and_a_compose_that_are_too_old_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What is there but too old is no more ok than what is missing, and says what it must be."""
    monkeypatch.setattr(compose, "version", lambda: "2.3.3")
    found = by_name(machine.findings(tmp_path))["Docker Compose"]
    assert (found.ok, found.found, "2.20 or newer" in found.cost) == (False, "2.3.3", True)
    old = by_name(engine.findings(Api("19.03.15")))["Docker engine"]  # type: ignore[arg-type]
    assert (old.ok, old.needed, "20.10 and newer" in old.cost) == (False, True, True)


def test_which_engine_is_spoken_to_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The engine says where it is and who chose it; a context that is not there is no fault of Compose, and has a cure."""
    monkeypatch.setenv("DOCKER_HOST", "tcp://far:1")
    told = by_name(engine.findings(Api()))["Docker engine"]  # type: ignore[arg-type]
    assert told.found.endswith(" on kernel 6.18.0, at tcp://far:1 (DOCKER_HOST)")
    monkeypatch.delenv("DOCKER_HOST")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("DOCKER_CONTEXT", "nope")
    (tmp_path / "docker").write_text("#!/bin/sh\necho 2.26.1\n", encoding="utf-8")
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    found = by_name(doctor.examine(tmp_path))
    assert found["Docker Compose"].ok
    assert "no Docker context nope" in found["Docker engine"].found
    assert (found["Docker engine"].ok, found["Docker engine"].cure) == (False, "docker context ls")


def test_permissions_have_findings_of_their_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, features: dict[str, str | None]
) -> None:
    """A socket that refuses, a folder that cannot be written, a capability that containers do not get: each with its cure."""
    (denied,) = engine.refused(DaemonRefuses("the Docker socket refuses this user; join the group"))
    assert (denied.what, denied.ok, "usermod -aG docker" in denied.cure) == ("permission to use Docker", False, True)
    (absent,) = engine.refused(MissingError("no Docker daemon answers"))
    assert (absent.what, absent.cure) == ("Docker engine", "./script/bootstrap")
    monkeypatch.setattr("os.access", lambda *_: False)
    place = by_name(machine.findings(tmp_path / "not/there/yet"))["permission to write"]
    assert (place.ok, place.found, "--out" in place.cure) == (False, f"{tmp_path} is not yours to write in", True)
    features["NET_ADMIN"] = "Docker does not give it to containers"
    capability = by_name(kernel.findings(Api()))["permission: NET_ADMIN"]  # type: ignore[arg-type]
    assert (capability.ok, capability.needed) == (False, True)
    assert set(_permissions()) == {"NET_ADMIN", "NET_RAW"}


def test_addresses_disk_images_and_leftovers_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Free blocks are counted, a full pool is needed and not there; little space and unbuilt images cost time, not the run."""
    api = Api(root=str(tmp_path))
    api.taken = ["198.18.0.0/24", "198.18.7.0/26", "172.17.0.0/16"]
    found = by_name(engine.findings(api))  # type: ignore[arg-type]
    assert found["addresses"].found == "510 of 512 blocks of 198.18.0.0/15 are free; a run takes one"
    assert found["image labctl/agent"].ok
    assert (found["image labctl/powerpc"].ok, found["image labctl/powerpc"].needed) == (False, False)
    assert found["leftovers"].found == "none"
    assert found["disk for images"].found.endswith(f" MiB free at {tmp_path}")
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=2**20))
    small = by_name(engine.findings(api))["disk for images"]  # type: ignore[arg-type]
    assert (small.ok, small.needed, small.found) == (False, False, f"1 MiB free at {tmp_path}")
    api.taken = ["198.18.0.0/15"]
    full = by_name(engine.findings(api))["addresses"]  # type: ignore[arg-type]
    assert (full.ok, full.needed, full.cure) == (False, True, "labctl gc")


def test_each_feature_says_what_it_is_for_or_what_is_missing(features: dict[str, str | None]) -> None:
    """All that the agent tries is told, with the kernel's own words where it refused; no backend, no link faults."""
    assert kernel.FEATURES.keys() == features.keys()
    features["netem"] = "Specified qdisc kind is unknown."
    found = by_name(kernel.findings(Api()))  # type: ignore[arg-type]
    assert (found["kernel: netem"].found, found["kernel: netem"].needed) == ("Specified qdisc kind is unknown.", False)
    assert found["link faults"].found == "by nfqueue, our emulator"
    features["nfqueue"] = "this kernel has no NFQUEUE"
    assert not by_name(kernel.findings(Api()))["link faults"].ok  # type: ignore[arg-type]
    assert by_name(kernel.findings(Api(images=())))["kernel"].cure == "labctl images agent"  # type: ignore[arg-type]


def test_whatever_is_missing_has_a_cost_and_a_cure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, features: dict[str, str | None]
) -> None:
    """On a machine where nothing is as it should be every finding says what it costs and how to get it."""
    features |= dict.fromkeys(features, "no")
    monkeypatch.setattr(doctor, "connect", lambda: Api("1.0", images=(agentimage.REPOSITORY,), root=str(tmp_path)))
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=0))
    monkeypatch.setattr("os.access", lambda *_: False)
    monkeypatch.setattr(engine, "dead_runs", lambda _: {"a": "", "b": ""})
    monkeypatch.setattr(compose, "version", lambda: (_ for _ in ()).throw(LabError("docker is missing")))
    missing = [f for f in doctor.examine(tmp_path) if not f.ok]
    assert len(missing) > 25
    assert [f.what for f in missing if not (f.cost and f.cure)] == []
    assert "leftovers" in {f.what for f in missing}


def test_the_summary_tells_what_stops_a_run_from_what_only_costs() -> None:
    """Nothing missing, something that only some runs need, something that every run needs."""
    good, small, bad = Finding("a", True, ""), Finding("b", False, "", needed=False), Finding("c", False, "")
    assert doctor.summary([good]) == "everything is here"
    assert doctor.summary([good, small]).startswith("runs can be made here; ")
    assert doctor.summary([good, small, bad]) == "no run can be made here before these are mended: c"


def test_every_match_and_target_that_a_fault_uses_is_tried() -> None:
    """What faults and agents ask of iptables-extensions(8) by -m and -j is in the doctor's rules: it cannot be forgotten."""
    sources = [*(ROOT / "labctl/faults").glob("*.py"), *(ROOT / "labctl/agent").glob("*.py")]
    used = set()
    for path in sources:
        if path.name not in ("features.py", "probes.py"):
            used |= set(re.findall(r'"-[mj]", "(\w+)"', path.read_text(encoding="utf-8")))
    tried = {word for argv in RULES.values() for word in argv} | {"NFQUEUE"}  # that one by binding a queue
    assert {"hashlimit", "statistic", "REJECT"} <= used
    assert used - tried - {"DROP", "RETURN"} - {"agent", "compileall"} - {"link", "qdisc"} == set()  # Python's, iproute2's
