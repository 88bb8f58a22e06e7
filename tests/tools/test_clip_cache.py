"""clip_cache.py: fill ahead of a training, look, check, prune."""

import os
from pathlib import Path

import numpy as np
import pytest
from mmengine.registry import init_default_scope

from amflow_mm.datasets.clip_cache import filling
from amflow_mm.engine.launch import load_config
from amflow_mm.registry import DATASETS
from tests.datasets.clip_cache.cache_parts import num_visits, write_video_arrays

ROOT = Path(__file__).parents[2]
TOOL = ROOT / "tools/data/clip_cache.py"
NUM = 7

CONFIG = """
default_scope = "amflow_mm"
custom_imports = dict(
    imports=[
        "amflow_mm.datasets.transforms.cached_clip",
        "tests.datasets.clip_cache.cache_parts",
    ],
    allow_failed_imports=False,
)
steps = [
    dict(type="LoadFrames"),
    dict(type="TakeFrames", is_random={is_random}),
    dict(type="Resize", scale=(29, {height}), keep_ratio=False),
]
pipeline = [
    dict(type="CachedClip", steps=steps, folder={folder!r}, num_draws={num_draws}),
    dict(type="FormatShape", input_format="NCTHW"),
    dict(type="PackActionInputs"),
]
train_dataloader = dict(
    dataset=dict(
        type="RepeatDataset",
        times=2,
        dataset=dict(
            type="VideoDataset",
            ann_file="{data}/train.txt",
            data_prefix=dict(video="{data}"),
            pipeline=pipeline,
        ),
    ),
)
val_dataloader = dict(
    dataset=dict(
        type="VideoDataset",
        ann_file="{data}/val.txt",
        data_prefix=dict(video="{data}"),
        pipeline=pipeline,
    ),
)
"""


@pytest.fixture
def data(tmp_path):
    paths = write_video_arrays(tmp_path / "data", NUM)
    for name, part in (("train", paths[:5]), ("val", paths[5:])):
        (tmp_path / "data" / f"{name}.txt").write_text("".join(f"{p.name} 0\n" for p in part))
    return tmp_path / "data"


@pytest.fixture
def write_config(data, tmp_path):
    def write(name="tiny", *, folder=None, height=19, is_random=False, num_draws=1):
        path = tmp_path / f"{name}.py"
        text = CONFIG.format(
            data=data, folder=folder, height=height, is_random=is_random, num_draws=num_draws
        )
        path.write_text(text)
        return path

    return write


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def fill(call_tool, cache, monkeypatch):
    # The package's parent is not in the path of a tool that is run from elsewhere.
    monkeypatch.setenv("PYTHONPATH", str(ROOT))

    def run(config, *options):
        return call_tool(TOOL, "fill", config, "--folder", cache, "--workers", 2, *options)

    return run


def visits(data):
    return [num_visits(data / f"{index}.npy") for index in range(NUM)]


@pytest.mark.slow
def test_fill_stores_what_training_asks_for(write_config, fill, cache, data, call_tool):
    config = write_config(is_random=True, num_draws=2)
    code, out, err = fill(config)
    assert (code, visits(data)) == (0, [2] * 5 + [0] * 2), err
    assert out.startswith("10 clips stored, 0 were there, 0 failed; 0.00 GB")
    code, out, _ = fill(config, "--loader", "train_dataloader", "val_dataloader")
    assert (code, visits(data)) == (0, [2] * NUM)
    assert out.startswith("4 clips stored, 10 were there, 0 failed")

    init_default_scope("amflow_mm")
    cfg = load_config(str(config))
    dataset = DATASETS.build(filling.with_folder(cfg.train_dataloader.dataset, str(cache)))
    for _ in range(3):
        assert [dataset[index]["inputs"].shape for index in range(10)] == [(1, 3, 3, 19, 29)] * 10
    assert visits(data) == [2] * NUM

    code, out, _ = call_tool(TOOL, "info", cache)
    assert code == 0
    assert "14 clips" in out
    assert "0 duplicates, not in use" in out
    assert "LoadFrames, TakeFrames, Resize; raw" in out


@pytest.mark.slow
def test_machines_share_the_work(write_config, fill, data):
    outputs = [fill(write_config(), "--rank", rank, "--world-size", 2)[1] for rank in (0, 1)]
    assert [out[:14] for out in outputs] == ["3 clips stored", "2 clips stored"]
    assert visits(data)[:5] == [1] * 5


@pytest.mark.slow
def test_a_video_that_cannot_be_read_is_named_and_the_others_stored(write_config, fill, data):
    (data / "2.npy").write_bytes(b"no array")
    code, out, _ = fill(write_config())
    assert code == 1
    assert out.startswith("4 clips stored, 0 were there, 1 failed")
    assert f"{data / '2.npy'}: ValueError: " in out


@pytest.mark.slow
def test_fill_stops_where_the_cache_takes_no_more(write_config, fill, cache, monkeypatch):
    config = write_config(folder=str(cache))
    text = config.read_text().replace("num_draws=1", "num_draws=1, max_gigabytes=1.3e-5")
    config.write_text(text)
    code, out, _ = fill(config)
    assert code == 1
    assert "the cache takes no more" in out
    assert sum(p.stat().st_size for p in cache.rglob("*") if p.is_file()) <= 13_000


@pytest.mark.slow
def test_the_final_size_is_estimated(write_config, fill, monkeypatch):
    monkeypatch.setattr(filling, "ESTIMATE_AFTER", 2)
    assert "kB a clip: 5 clips will take about 0.0 GB" in fill(write_config())[2]


@pytest.mark.slow
def test_prune_removes_what_no_config_asks_for(write_config, fill, cache, data, call_tool):
    old, new = write_config("old"), write_config("new", height=21)
    for config in (old, new):
        assert fill(config)[0] == 0
    code, out, err = call_tool(TOOL, "prune", cache, old, new)
    assert (code, out[:42]) == (0, "10 clips kept; removed: 0 stale, 0 damaged"), err
    code, out, _ = call_tool(TOOL, "prune", cache, new)
    assert (code, out[:31]) == (0, "5 clips kept; removed: 5 stale,")
    np.save(data / "0.npy", np.zeros((11, 17, 23, 3), np.uint8))
    os.utime(data / "0.npy", ns=(1, 1))
    code, out, _ = call_tool(TOOL, "prune", cache, new)
    assert (code, out[:31]) == (0, "4 clips kept; removed: 1 stale,")
    assert call_tool(TOOL, "verify", cache)[:2] == (0, "4 clips are sound, 0 damaged\n")


@pytest.mark.slow
def test_verify_tells_damage(write_config, fill, cache, call_tool):
    fill(write_config())
    path = max(cache.glob("*.clips"), key=lambda path: path.stat().st_size)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    code, out, _ = call_tool(TOOL, "verify", cache)
    assert code == 1
    assert out.splitlines()[0] == "4 clips are sound, 1 damaged"


def test_without_a_folder_it_asks_for_one(write_config, call_tool):
    code, _, err = call_tool(TOOL, "fill", write_config())
    assert code == 2
    assert err.endswith("names no folder for its CachedClip; give --folder\n")


def test_a_config_without_a_cached_clip_is_refused(write_config, fill, cache, call_tool):
    config = write_config()
    config.write_text(config.read_text().replace("pipeline=pipeline", "pipeline=pipeline[1:]"))
    code, _, err = fill(config)
    assert code == 2
    assert "no pipeline of train_dataloader has a CachedClip" in err


def test_a_rank_outside_the_world_is_refused(write_config, fill):
    code, _, err = fill(write_config(), "--rank", 2, "--world-size", 2)
    assert code == 2
    assert "--rank 2 must be 0 to 1" in err


@pytest.mark.parametrize("command", ["info", "verify", "prune"])
def test_a_folder_that_is_no_cache_is_refused(command, call_tool, tmp_path):
    more = ["config.py"] if command == "prune" else []
    code, _, err = call_tool(TOOL, command, tmp_path / "none", *more)
    assert code == 2
    assert "holds no clip cache" in err
