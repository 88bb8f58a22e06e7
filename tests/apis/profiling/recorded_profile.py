"""A profile as it is recorded, with times that are easy to reckon with."""

from typing import Any


def recorded_profile(**changes: Any) -> dict[str, Any]:
    return {
        "kind": "profile",
        "is_preliminary": False,
        "time": "2025-01-01T00:00:00+0000",
        "git_commit": "abc",
        "machine": {"processor": "Some CPU", "cpus": 2, "threads": 2, "load": 0.25, "gpus": []},
        "versions": {"python": "3.11"},
        "config": "tiny.py",
        "device": "cpu",
        "options": {"steps": 3, "data": "random"},
        "batch_size": 2,
        "parts": [
            {"part": "attention", "forward": 2.0, "backward": 4.0},
            {"part": "rest", "forward": 3.0, "backward": 1.0},
        ],
        "operators": [{"operator": "aten::mm", "calls": 12.0, "self": 5.0}],
    } | changes
