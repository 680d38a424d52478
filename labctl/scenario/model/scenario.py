"""The whole file: what stands above the steps, and the steps."""

from __future__ import annotations

from typing import Annotated

from pydantic import (
    BeforeValidator,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    ValidationInfo,
    create_model,
    model_validator,
)

from labctl.scenario.model.parts import Strict
from labctl.scenario.model.steps import AnyStep
from labctl.units import Duration, Size


class Capture(Strict):
    """How packets are recorded."""

    enabled: StrictBool = Field(default=True, description="Whether packets are recorded at all.")
    max: Size = Field(
        default=100 * 2**20,
        ge=2**16,
        description="A capture that grows beyond this ends, and the run says so.",
    )
    snaplen: Size = Field(default=2**18, ge=64, le=2**18, description="Bytes kept of each packet.")
    filter: str | None = Field(
        default=None, min_length=1, description="Only such packets are kept: a filter of pcap-filter(7), like tcp port 80."
    )


def _capture(value: object) -> object:
    if value in ("on", "off"):
        return {"enabled": value == "on"}
    if not isinstance(value, bool | dict | Capture):
        raise ValueError("capture: is on or off, or a mapping (enabled, max, snaplen, filter)")
    return {"enabled": value} if isinstance(value, bool) else value


Value = str | StrictBool | StrictInt | StrictFloat | None


class Scenario(Strict):
    """One YAML file: what to start, what to break, what must be seen."""

    scenario: str = Field(
        pattern=r"^[a-z0-9][a-z0-9-]{0,39}$", description="Its name: lower case, digits and dashes."
    )
    include: str | None = Field(
        default=None,
        min_length=1,
        description="A file, relative to this one, with what several scenarios share: any of these keys but scenario and "
        "include. What is given here wins; its steps come before the steps here.",
    )
    lab: str | None = Field(
        default=None, description="A compose file, relative to this file; labctl's own lab when not given."
    )
    tags: tuple[str, ...] = Field(default=(), description="Words to find it by.")
    params: dict[str, Value] = Field(
        default={}, description="Values that ${name} stands for in the rest of the file; --set changes them."
    )
    cases: dict[str, dict[str, Value]] = Field(
        default={},
        description="Names, each with values for parameters: the scenario is run once for each, called scenario[case].",
    )
    timeout: Duration = Field(default=30.0, gt=0, le=3600, description="For steps that say none.")
    capture: Annotated[Capture, BeforeValidator(_capture)] = Field(
        default=Capture(), description="How packets are recorded; off for not at all."
    )
    sample: Duration = Field(default=0.1, ge=0.01, le=60, description="How often sockets are sampled.")
    steps: tuple[AnyStep, ...] = Field(min_length=1, description="What happens, in this order.")

    @model_validator(mode="after")
    def _expects_something(self, info: ValidationInfo) -> Scenario:
        live = bool(info.context and info.context.get("live"))
        if not live and not any(getattr(step, "expect", None) for step in self.steps):
            raise ValueError(
                "no step expects anything, so this scenario could never fail; give a run step an expect"
            )
        return self


# A file that scenarios include: the same keys, and none of them has to be there.
Included: type[Strict] = create_model(
    "Included",
    __base__=Strict,
    steps=(tuple[AnyStep, ...], Field(default=())),
    **{
        name: (field.annotation, field)
        for name, field in Scenario.model_fields.items()
        if name not in ("scenario", "include", "steps")
    },
)  # type: ignore[call-overload]
