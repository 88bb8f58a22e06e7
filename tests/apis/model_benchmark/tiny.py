"""Sizes at which every model is built and stepped in a moment, and a run as it is recorded."""

from typing import Any

import torch

from amflow_mm.apis.model_benchmark.case import Case
from amflow_mm.apis.model_benchmark.components import OURS, WRITTEN_OUT
from amflow_mm.apis.model_benchmark.recipes import AIM, FROZEN, IN_BLOCK, SIDE, SIDE_CACHED

VARIANT = dict(embed_dim=48, depth=4, num_heads=3, mlp_dim=64, patch_size=8)
CASE = Case(frames=3, resolution=16, batch_size=2, dtype="fp32")
CPU = torch.device("cpu")

MIB = 2**20
SECONDS = {FROZEN: 1.0, IN_BLOCK: 1.5, SIDE: 0.75, SIDE_CACHED: 0.0625, AIM: 3.0}
"""Of a step; a forward pass takes half of it."""


def recorded_run(**changes: Any) -> dict[str, Any]:
    """Three repetitions of which the second took twice and the third three times as long."""
    cases = [dict(frames=8, resolution=224, batch_size=2, dtype="fp32")]
    cases += [cases[0] | {"frames": 16}, cases[0] | {"batch_size": 4}]
    subjects, measurements, memory = [], [], []
    for case, factor in enumerate((1, 2, 4)):
        both = [(name, "model", {"forward": s / 2, "step": s}) for name, s in SECONDS.items()]
        if case == 0:
            both.append((OURS, "component", {"forward": 0.25}))
            both.append((WRITTEN_OUT, "component", {"forward": 1.0}))
        both.append(("product of 64 x 64", "machine", {"forward": 1e-3}))
        for name, group, times in both:
            place = {"case": case, "subject": name}
            scale = 1 if group == "machine" else factor
            macs = {mode: round(1e9 * seconds) for mode, seconds in times.items()}
            facts = {"group": group, "macs": macs, "parameters": 1000, "trainable": 100}
            subjects.append(place | facts)
            for mode, seconds in times.items():
                memory.append(
                    place
                    | {
                        "mode": mode,
                        "held_bytes": 100 * MIB,
                        "grown_bytes": int(seconds * 400) * MIB,
                    }
                )
                measurements += [
                    place | {"mode": mode, "repetition": r, "runs": 2}
                    | {"seconds": 2 * seconds * scale * (1 + r)}
                    for r in range(3)
                ]  # fmt: skip
    return {
        "kind": "benchmark",
        "is_preliminary": False,
        "time": "2025-01-01T00:00:00+0000",
        "git_commit": "abc",
        "machine": {"processor": "Some CPU", "cpus": 2, "threads": 2, "load": 0.25, "gpus": []},
        "versions": {"python": "3.11", "torch": "2.13"},
        "options": {"variant": "b16", "device": "cpu", "repetitions": 3, "is_compiled": False},
        "cases": cases,
        "agreement": 1e-6,
        "subjects": subjects,
        "measurements": measurements,
        "memory": memory,
    } | changes
