"""`labctl doctor` on a machine where everything is there."""

from __future__ import annotations

from labs import containers, labctl

from labctl.doctor.kernel import FEATURES


def test_doctor_asks_the_kernel_for_each_feature_and_leaves_nothing() -> None:
    """Every feature that faults need is tried for real; what our own scenarios use works here; nothing is left behind."""
    done = labctl("doctor", "--json")
    assert done.code == 0, done.out + done.err
    found = {finding["what"]: finding for finding in done.json}
    names = {name: f"{'permission' if name.startswith('NET_') else 'kernel'}: {name}" for name in FEATURES}
    assert set(names.values()) <= found.keys()
    working = set(FEATURES) - {"netem", "seed"}  # those two are missing on many kernels, and nothing else may be
    assert {name: found[names[name]]["found"] for name in working if not found[names[name]]["ok"]} == {}
    assert found["link faults"]["ok"]
    assert all(f["ok"] or (f["cost"] and f["cure"]) for f in done.json)
    assert containers("labctl.run=doctor") == []
