"""A run as it is recorded, with times that are easy to reckon with."""

from typing import Any

BASELINE = "MMAction2, decord"
STAGES = {
    BASELINE: {"DecordInit": 0.2, "DecordDecode": 0.6, "Pack": 0.2},
    "ours, auto": {"VideoInit": 0.1, "VideoDecode": 0.2, "Flip": 0.1, "Pack": 0.1},
}


def recorded_run(**changes: Any) -> dict[str, Any]:
    """Two subjects; ours is 2, 4 and 3 times as fast; 10 clips in each measurement."""
    measurements = []
    for repetition, factor in enumerate((2, 4, 3)):
        for subject, seconds in ((BASELINE, 1.0), ("ours, auto", 1.0 / factor)):
            place = {"subject": subject, "videos": "GOP 12", "repetition": repetition, "clips": 10}
            measurements += [
                place | {"mode": "process", "seconds": seconds, "cpu_seconds": 2 * seconds}
                | {"stages": STAGES[subject]},
                place | {"mode": "loader", "seconds": seconds / 2, "cpu_seconds": None}
                | {"stages": {}},
                place | {"mode": "transport", "seconds": 0.02, "cpu_seconds": None}
                | {"stages": {"to the main process": 0.015, "into a batch": 0.005}},
            ]  # fmt: skip
    facts = {"videos": 4, "bytes": 9, "frames": 300, "fps": 30.0, "width": 340, "height": 256}
    facts |= {"codec": "h264", "gop_size": 12, "kbit_per_second": 540}
    return {
        "baseline": BASELINE,
        "machine": {"processor": "Some CPU", "cpus": 2, "load": 0.25},
        "versions": {"python": "3.11", "av": "18"},
        "options": {"num_workers": 2, "batch_size": 8, "repetitions": 3, "seconds": 1.0},
        "videos": {"GOP 12": facts},
        "agreement": {"GOP 12": {BASELINE: 0.0, "ours, auto": 0.5}},
        "measurements": measurements,
    } | changes
