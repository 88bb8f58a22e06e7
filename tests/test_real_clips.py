"""A short run on real video, where the clips are present: train, then test, by the tools."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CLIPS = ROOT.parent / "shared" / "data" / "arid6"
CLASSES = (CLIPS / "classes.txt").read_text().split() if CLIPS.is_dir() else []

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CLASSES, reason=f"{CLIPS} is not here: real clips for research only"),
]


def run(*arguments):
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def shorten(name, folder, per_class):
    """Write the first lines of each class of a list of the first fold."""
    lines = (CLIPS / "pooled5fold" / name).read_text().splitlines()
    kept = [
        line
        for label in range(len(CLASSES))
        for line in [line for line in lines if line.split()[1] == str(label)][:per_class]
    ]
    (folder / name).write_text("\n".join(kept) + "\n")
    return folder / name


@pytest.mark.parametrize("config", ["amflow_side_vits_custom", "amflow_vits_custom"])
def test_a_custom_config_trains_and_tests_on_real_clips(config, tmp_path):
    train = shorten("fold0_train.txt", tmp_path, per_class=2)
    val = shorten("fold0_val.txt", tmp_path, per_class=1)
    inner = "dataset.dataset" if "side" in config else "dataset"
    options = ["train_cfg.max_epochs=1", f"classes_file={CLIPS / 'classes.txt'}"]
    for loader, lines in (("train", train), ("val", val), ("test", val)):
        options += [
            f"{loader}_dataloader.{inner}.ann_file={lines}",
            f"{loader}_dataloader.{inner}.data_prefix.video={CLIPS / 'videos'}",
        ]
        if "side" in config:
            options.append(f"{loader}_dataloader.dataset.cache_dir={tmp_path / 'cache'}")
    arguments = ["--work-dir", tmp_path / "run", "--cfg-options", *options]
    config_file = Path("configs") / f"{config}.py"
    run("tools/train.py", config_file, "--seed", 0, *arguments)
    stdout = run("tools/test.py", config_file, tmp_path / "run" / "epoch_1.pth", *arguments)
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert [row["clips"] for row in result["classes"]] == [1] * len(CLASSES)
    assert 0 <= result["metrics"]["top1"] <= 1
    assert all(name in stdout for name in CLASSES)
    assert (tmp_path / "run" / "confusion_matrix.png").stat().st_size > 1000
