"""What `tc -j qdisc show` says of a netem, held against what was asked (tc/q_netem.c, netem_print_opt). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .linkspec import DEFAULT_LIMIT, Spec

TIME_TOLERANCE_S = 2e-6  # a tick of the packet scheduler is 64 ns; tc rounds to microseconds
SHARE_TOLERANCE = 1e-6


def differences(spec: Spec, options: Mapping[str, Any], rate: bool = True) -> list[str]:
    """Where the kernel's netem is not what was asked, each as a sentence; empty when it is. Shares are 0 to 1, as tc prints."""
    found = []
    for name, asked, got, tolerance in _pairs(spec, options, rate):
        if abs(asked - got) > tolerance:
            found.append(f"{name} was asked as {asked:g} and the kernel holds {got:g}")
    return found


def _pairs(spec: Spec, options: Mapping[str, Any], rate: bool) -> list[tuple[str, float, float, float]]:
    delay, random, slot = options.get("delay") or {}, options.get("loss-random") or {}, options.get("slot") or {}
    speed = options.get("rate") or {}
    rows: list[tuple[str, float, Any, float]] = [
        ("limit", spec.limit or DEFAULT_LIMIT, options.get("limit", 0), 0),
        ("gap", (spec.gap or 1) if spec.reorder else 0, options.get("gap", 0), 0),
        ("delay", spec.delay_s, delay.get("delay", 0), TIME_TOLERANCE_S),
        ("loss", spec.loss / 100, random.get("loss", 0), SHARE_TOLERANCE),
        ("rate", spec.rate_bps / 8 if rate else 0, speed.get("rate", 0), 1),
    ]
    if spec.delay_s:
        rows.append(("jitter", spec.jitter_s, delay.get("jitter", 0), TIME_TOLERANCE_S))
    if spec.delay_s and spec.jitter_s:
        rows.append(("delay_correlation", spec.delay_correlation / 100, delay.get("correlation", 0), SHARE_TOLERANCE))
    if spec.loss:
        rows.append(("loss_correlation", spec.loss_correlation / 100, random.get("correlation", 0), SHARE_TOLERANCE))
    for word in ("duplicate", "corrupt", "reorder"):
        chance = options.get(word) or {}
        rows.append((word, getattr(spec, word) / 100, chance.get(word, 0), SHARE_TOLERANCE))
        if getattr(spec, word):
            asked = getattr(spec, f"{word}_correlation") / 100
            rows.append((f"{word}_correlation", asked, chance.get("correlation", 0), SHARE_TOLERANCE))
    for key, words, asked_model in (
        ("loss-gemodel", ("p", "r", "1-h", "1-k"), spec.loss_gemodel),
        ("loss-state", ("p13", "p31", "p32", "p23", "p14"), spec.loss_state),
    ):
        model = options.get(key) or {}
        rows += [(f"{key} {w}", a / 100, model.get(w, -1), SHARE_TOLERANCE) for w, a in zip(words, asked_model, strict=False)]
    if spec.rate_bps and rate:
        rows += [
            ("overhead", spec.overhead_bytes, speed.get("packetoverhead", 0), 0),
            ("cell", spec.cell_bytes, speed.get("cellsize", 0), 0),
            ("cell_overhead", spec.cell_overhead_bytes, speed.get("celloverhead", 0), 0),
        ]
    if spec.slot is not None:
        asked_slot = spec.slot
        if asked_slot.distribution:
            times = (("distribution", asked_slot.delay_s), ("jitter", asked_slot.jitter_s))
        else:
            times = (("min-delay", asked_slot.min_s), ("max-delay", asked_slot.max_s))
        rows += [(f"slot {word}", asked, slot.get(word, 0), TIME_TOLERANCE_S) for word, asked in times]
        rows.append(("slot packets", asked_slot.packets, slot.get("packets", 0), 0))
        rows.append(("slot bytes", asked_slot.size_bytes, slot.get("bytes", 0), 0))
    if spec.seed is not None:
        rows.append(("seed", spec.seed, options.get("seed", -1), 0))
    return [(name, float(asked), float(got), float(tolerance)) for name, asked, got, tolerance in rows]
