"""The image with the agent's code: named by what is in it, and gone when nobody needs its version."""

from __future__ import annotations

from typing import Any

import docker.errors
import pytest

from labctl.engines import agentimage
from labctl.engines.images import remove_untagged


class Images:
    """An engine's images; what runs from one keeps it."""

    def __init__(self, tools: str, tags: tuple[str, ...], in_use: tuple[str, ...] = ()) -> None:
        self.tools, self.tags, self.in_use = tools, list(tags), in_use

    def inspect_image(self, _: str) -> dict[str, str]:
        return {"Id": self.tools}

    def images(self, **_: Any) -> list[dict[str, list[str]]]:
        return [{"RepoTags": [tag]} for tag in self.tags]

    def remove_image(self, tag: str) -> None:
        if tag in self.in_use:
            raise docker.errors.APIError("conflict: image is being used by a container")
        self.tags.remove(tag)


def test_its_name_changes_with_the_tools_and_with_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same tools and code give the same name; other tools another; other code another."""
    name = agentimage._name(Images("sha256:a", ()))  # type: ignore[arg-type]
    assert name == agentimage._name(Images("sha256:a", ()))  # type: ignore[arg-type]
    assert name != agentimage._name(Images("sha256:b", ()))  # type: ignore[arg-type]
    sources = agentimage._sources()
    monkeypatch.setattr(agentimage, "_sources", lambda: sources[1:])
    assert name != agentimage._name(Images("sha256:a", ()))  # type: ignore[arg-type]


def test_images_of_other_versions_go_unless_something_runs_from_them() -> None:
    """gc removes the code of other versions, keeps this driver's own, and leaves what is in use."""
    mine = agentimage._name(Images("sha256:a", ()))  # type: ignore[arg-type]
    old, used = "labctl/agent:code-old", "labctl/agent:code-used"
    engine = Images("sha256:a", (mine, old, used), in_use=(used,))
    assert agentimage.remove_stale(engine) == 1  # type: ignore[arg-type]
    assert engine.tags == [mine, used]


def test_images_that_were_built_anew_go_unless_something_runs_from_them() -> None:
    """What a build of ours was before its name went to another is removed; what is in use, or is not ours, is not asked for."""

    class Untagged:
        def __init__(self) -> None:
            self.left = ["sha256:old", "sha256:used"]
            self.asked: list[object] = []

        def images(self, **arguments: object) -> list[dict[str, str]]:
            self.asked.append(arguments)
            return [{"Id": image} for image in self.left]

        def remove_image(self, image: str) -> None:
            if image == "sha256:used":
                raise docker.errors.APIError("conflict: image is being used by a container")
            self.left.remove(image)

    engine = Untagged()
    assert remove_untagged(engine) == 1  # type: ignore[arg-type]
    assert engine.left == ["sha256:used"]
    assert engine.asked == [{"filters": {"label": "labctl.inputs", "dangling": True}}]
