"""Labs that stay, as far as it needs no Docker: what becomes of walking over all of them while one is taken down."""

from __future__ import annotations

from typing import Any

import pytest

from labctl import standing
from labctl.engines.labels import HOST, STANDING
from labctl.errors import LabError


class Api:
    """A Docker daemon with labs that stand; `gone` is taken down between the first and the second time somebody asks."""

    def __init__(self, *labs: str, gone: str = "") -> None:
        self.labs, self.gone, self.asked = labs, gone, 0

    def containers(self, **_: object) -> list[dict[str, Any]]:
        self.asked += 1
        there = [lab for lab in self.labs if lab != self.gone or self.asked == 1]
        return [{"Labels": {STANDING: lab, HOST: "server"}} for lab in there]

    def volumes(self, **_: object) -> dict[str, Any]:
        return {"Volumes": None}


def swept(monkeypatch: pytest.MonkeyPatch, api: Api, error: Exception) -> dict[str, list[list[str]]]:
    """What sweeping every lab says where that of lab `b` fails."""

    def sweep(_: object, name: str) -> dict[str, list[list[str]]]:
        if name == "b":
            raise error
        return {f"{name}/server": [["tc"]]}

    monkeypatch.setattr(standing, "connect", lambda: api)
    monkeypatch.setattr(standing, "_sweep", sweep)
    monkeypatch.setattr(standing, "GOING_S", 0.3)
    return standing.sweep_standing()


@pytest.mark.parametrize("error", [LabError("no container"), KeyError("server")])
def test_a_lab_that_is_taken_down_meanwhile_is_no_failure(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """The others are seen to, whatever came of the one that went."""
    api = Api("a", "b", "c", gone="b")
    assert swept(monkeypatch, api, error) == {"a/server": [["tc"]], "c/server": [["tc"]]}


def test_a_lab_that_fails_and_stays_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was waited for a while: what is being taken down fails first and is gone then."""
    api = Api("a", "b", "c")
    with pytest.raises(LabError, match="no container"):
        swept(monkeypatch, api, LabError("no container"))
    assert api.asked > 2
