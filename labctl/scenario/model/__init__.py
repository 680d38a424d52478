"""A scenario as a value: what to start, what to break, what must be seen. Pure; knows no lab and no Docker.

The models are the language: their field names are the keys of the YAML, their docstrings and descriptions
become the JSON Schema (hover text in editors) and the reference page. `labctl.scenario.loader` makes them
from YAML.
"""

from labctl.scenario.model.captured import (
    IcmpExpectation,
    PacketExpectation,
    RetransmissionExpectation,
    SameExpectation,
)
from labctl.scenario.model.expectation import OUTCOME_KEYS, Expectation
from labctl.scenario.model.ranges import (
    CountRange,
    DurationRange,
    RateRange,
    SizeRange,
    TextMatch,
    may_be_none,
)
from labctl.scenario.model.scenario import Capture, Included, Scenario
from labctl.scenario.model.sockets import QueueOf, QueueSum, SocketExpectation
from labctl.scenario.model.steps import (
    PROGRAMS,
    STEPS,
    AnyStep,
    FaultStep,
    FinishStep,
    HealStep,
    Ready,
    RunStep,
    StartStep,
    Step,
    StopStep,
    UntilStep,
    WaitStep,
)

__all__ = [
    "OUTCOME_KEYS", "PROGRAMS", "STEPS", "AnyStep", "Capture", "CountRange", "DurationRange", "Expectation", "FaultStep",
    "FinishStep", "HealStep", "IcmpExpectation", "Included", "PacketExpectation", "QueueOf", "QueueSum", "RateRange", "Ready",
    "RetransmissionExpectation", "RunStep", "SameExpectation", "Scenario", "SizeRange", "SocketExpectation", "StartStep",
    "Step", "StopStep", "TextMatch", "UntilStep", "WaitStep", "may_be_none",
]  # fmt: skip
