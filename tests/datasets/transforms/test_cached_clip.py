"""CachedClip: what it returns is the same whatever is in the cache, and changes with its source."""

import os
import random

import numpy as np
import pytest
import torch
from mmcv.transforms import BaseTransform
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import init_default_scope
from torch.utils.data import DataLoader

from amflow_mm.datasets.transforms import decode  # noqa: F401  (registers VideoInit)
from amflow_mm.datasets.transforms.cached_clip import CachedClip
from amflow_mm.datasets.video_writer import write_video
from amflow_mm.registry import DATASETS, TRANSFORMS
from tests.datasets.clip_cache.cache_parts import (
    CLIP_LEN,
    num_visits,
    results_of,
    steps_of,
    write_video_arrays,
)

NUM = 4
ENCODINGS = ("raw", "jpeg")


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope("amflow_mm")


@pytest.fixture
def videos(tmp_path):
    return write_video_arrays(tmp_path / "videos", NUM)


@pytest.fixture
def make(tmp_path):
    def build(steps=None, folder="cache", **options):
        folder = None if folder is None else str(tmp_path / folder)
        return CachedClip(steps_of() if steps is None else steps, folder=folder, **options)

    return build


def assert_equal(found, expected):
    """Equal to the bit and of equal types, whatever is inside."""
    assert type(found) is type(expected)
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected:
            assert_equal(found[key], expected[key])
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_equal(one, other)
    elif isinstance(expected, np.ndarray):
        assert found.dtype == expected.dtype
        assert np.array_equal(found, expected)
    else:
        assert found == expected


def test_raw_is_what_the_steps_alone_make_cold_and_warm(make, videos):
    none, cached = make(folder=None), make()
    for path in videos * 2:
        assert_equal(cached(results_of(path)), none(results_of(path)))
    assert [num_visits(path) for path in videos] == [3] * NUM
    assert cached.counts == {"damaged": 0, "misses": NUM, "stored": NUM, "hits": NUM}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("num_draws", [1, 3])
def test_cold_and_warm_are_equal(make, videos, encoding, num_draws):
    options = {"encoding": encoding, "num_draws": num_draws, "steps": steps_of(is_random=True)}

    def visit(cached):
        np.random.seed(5)
        return [cached(results_of(path)) for path in videos * 2]

    cold, warm = visit(make(**options)), visit(make(**options))
    unlimited_by_nothing = visit(make(folder="full", max_gigabytes=1e-9, **options))
    assert_equal(warm, cold)
    assert_equal(unlimited_by_nothing, cold)
    assert make(**options).counts == {}


@pytest.mark.parametrize("decoder", [("VideoInit", "VideoDecode"), ("DecordInit", "DecordDecode")])
def test_real_videos_are_not_opened_again(make, tmp_path, decoder):
    rng = np.random.default_rng(0)
    path = tmp_path / "video.mp4"
    write_video(path, rng.integers(0, 256, (20, 32, 64, 3), dtype=np.uint8), 10)
    sample = {"type": "SampleFrames", "clip_len": 3, "frame_interval": 4, "test_mode": True}
    resize = {"type": "Resize", "scale": (-1, 24)}
    steps = [{"type": decoder[0]}, sample, {"type": decoder[1]}, resize]
    none, cold = (make(steps, folder=f)(results_of(path)) for f in (None, "cache"))
    status = path.stat()
    path.write_bytes(bytes(status.st_size))  # no video any more, but size and time tell nothing
    os.utime(path, ns=(status.st_mtime_ns, status.st_mtime_ns))
    warm = make(steps)(results_of(path))
    assert_equal(cold, none)
    assert_equal(warm, none)
    assert warm["imgs"][0].shape == (24, 48, 3)


def test_jpeg_comes_close(make, videos):
    exact, close = make(folder=None), make(encoding="jpeg", quality=98)
    for path in videos:
        frames = np.array(close(results_of(path))["imgs"]).astype(float)
        error = frames - np.array(exact(results_of(path))["imgs"])
        assert 0 < np.abs(error).mean() < 4  # of noise, the hardest there is
        assert frames.std() > 20


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_frames_may_be_changed_in_place(make, videos, encoding):
    cached = make(encoding=encoding)
    first = cached(results_of(videos[0]))
    expected = np.array(first["imgs"])
    for visit in range(3):
        frames = cached(results_of(videos[0]))["imgs"]
        assert np.array_equal(frames, expected)
        for frame in frames:
            assert frame.flags.writeable
            frame[:] = visit


def test_crops_and_flips_behind_it_vary(make, videos):
    np.random.seed(0)
    random.seed(0)
    flip = {"type": "Flip", "flip_ratio": 0.5}
    crop = {"type": "RandomResizedCrop"}
    resize = {"type": "Resize", "scale": (13, 13), "keep_ratio": False}
    for steps in ([crop, resize, flip], [flip]):
        pipeline = Compose([make(), *map(TRANSFORMS.build, steps)])
        seen = {np.array(pipeline(results_of(videos[0]))["imgs"]).tobytes() for _ in range(20)}
        assert len(seen) == (2 if steps == [flip] else 20)
    assert num_visits(videos[0]) == 1


def generators():
    return random.random(), np.random.rand(), torch.rand(()).item()


@pytest.mark.parametrize("num_draws", [1, 2])
def test_random_numbers_go_on_alike_after_hit_and_miss(make, videos, num_draws):
    def run(cached):
        for seed in (random.seed, np.random.seed, torch.manual_seed):
            seed(3)
        visited = [cached(results_of(path))["frame_inds"].tolist() for path in videos]
        return visited, generators()

    cached = make(steps_of(is_random=True), num_draws=num_draws)
    assert run(cached) == run(cached)
    assert cached.counts["stored"] == NUM


def test_as_many_draws_as_were_asked_for(make, videos):
    cached = make(steps_of(is_random=True), num_draws=3)
    np.random.seed(0)
    draws = {tuple(cached(results_of(videos[0]))["frame_inds"]) for _ in range(60)}
    assert len(draws) == num_visits(videos[0]) == 3
    other = {tuple(cached(results_of(videos[1]))["frame_inds"]) for _ in range(60)}
    assert other != draws


def test_draws_depend_on_the_file_and_not_on_where_it_is(make, videos, tmp_path):
    copy = tmp_path / "elsewhere" / videos[0].name
    copy.parent.mkdir()
    copy.write_bytes(videos[0].read_bytes())
    cached = make(steps_of(is_random=True))
    np.random.seed(0)
    here = cached(results_of(videos[0]))["frame_inds"]
    np.random.seed(1)
    assert np.array_equal(cached(results_of(copy))["frame_inds"], here)
    assert num_visits(copy) == 1


def test_without_a_folder_the_steps_draw_from_the_sample(make, videos):
    cached = make(steps_of(is_random=True), folder=None)
    np.random.seed(0)
    assert len({tuple(cached(results_of(videos[0]))["frame_inds"]) for _ in range(30)}) > 10
    assert cached.counts == {}


def test_a_changed_video_is_read_again(make, videos):
    cached = make()
    before = cached(results_of(videos[0]))["imgs"]
    video = np.load(videos[0])
    np.save(videos[0], 255 - video)
    os.utime(videos[0], ns=(1, 1))
    after = cached(results_of(videos[0]))["imgs"]
    assert not np.array_equal(before, after)
    assert num_visits(videos[0]) == 2


@pytest.mark.parametrize(
    ("change", "visits"),
    [
        ({}, 1),
        ({"steps": steps_of(gain=0.5)}, 2),
        ({"steps": [*steps_of()[:2], {**steps_of()[2], "scale": (31, 19)}]}, 2),
        ({"steps": steps_of()[:2]}, 2),
        ({"encoding": "jpeg"}, 2),
        ({"steps": [*steps_of()[:2], {**steps_of()[2], "interpolation": "bilinear"}]}, 1),
        ({"steps": [*steps_of()[:2], {**steps_of()[2], "interpolation": "nearest"}]}, 2),
        ({"verify": "always"}, 1),
        ({"max_gigabytes": 1.0}, 1),
        ({"quality": 80}, 1),
        ({"num_draws": 1}, 1),
    ],
)
def test_what_makes_another_clip(make, videos, change, visits):
    make()(results_of(videos[0]))
    make(**change)(results_of(videos[0]))
    assert num_visits(videos[0]) == visits


def test_quality_counts_for_jpeg(make, videos):
    make(encoding="jpeg")(results_of(videos[0]))
    make(encoding="jpeg", quality=80)(results_of(videos[0]))
    assert num_visits(videos[0]) == 2


def test_classes_and_their_names_make_one_recipe(make, videos):
    steps = [{**step, "type": TRANSFORMS.get(step["type"])} for step in steps_of()]
    assert make(steps).recipe == make().recipe


def test_annotations_tell_clips_of_a_video_apart_but_labels_do_not(make, videos):
    cached = make()
    cached(results_of(videos[0]))
    cached(results_of(videos[0], label=7, sample_idx=3, num_classes=9))
    assert num_visits(videos[0]) == 1
    assert cached(results_of(videos[0], label=7))["label"] == 7
    cached(results_of(videos[0], start_index=1))
    cached(results_of(videos[0], segment=np.array([0.5, 1.5])))
    cached(results_of(videos[0], segment=np.array([0.5, 2.5])))
    assert num_visits(videos[0]) == 4


def test_a_damaged_clip_is_made_anew(make, videos, tmp_path):
    expected = make()(results_of(videos[0]))
    (data,) = (tmp_path / "cache").glob("*.clips")
    content = bytearray(data.read_bytes())
    content[-7] ^= 1
    data.write_bytes(content)
    cached = make()
    assert_equal(cached(results_of(videos[0])), expected)
    assert cached.counts == {"damaged": 1, "misses": 1, "stored": 1}
    assert_equal(make()(results_of(videos[0])), expected)
    assert num_visits(videos[0]) == 2


def test_a_full_cache_goes_on_decoding(make, videos):
    cached = make(max_gigabytes=1e-6 * 12)
    expected = [make(folder=None)(results_of(path)) for path in videos]
    for _ in range(2):
        assert_equal([cached(results_of(path)) for path in videos], expected)
    assert 0 < cached.counts["stored"] < NUM


def dataset_of(videos, folder):
    listed = videos[0].parent / "list.txt"
    listed.write_text("".join(f"{path.name} {index}\n" for index, path in enumerate(videos)))
    cached = {"type": "CachedClip", "steps": steps_of(), "folder": folder}
    tail = [{"type": "FormatShape", "input_format": "NCTHW"}, {"type": "PackActionInputs"}]
    return {
        "type": "VideoDataset",
        "ann_file": str(listed),
        "data_prefix": {"video": str(videos[0].parent)},
        "pipeline": [cached, *tail],
    }


def epoch(dataset, context):
    loader = DataLoader(
        dataset,
        batch_size=1,
        shuffle=True,
        num_workers=2,
        multiprocessing_context=context,
        collate_fn=pseudo_collate,
    )
    samples = [(b["data_samples"][0].gt_label.item(), b["inputs"][0]) for b in loader]
    return dict(samples)


@pytest.mark.slow
@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_data_workers_share_a_cache(videos, tmp_path, context):
    dataset = DATASETS.build(dataset_of(videos, str(tmp_path / "cache")))
    plain = DATASETS.build(dataset_of(videos, None))
    expected = {index: plain[index]["inputs"] for index in range(NUM)}
    for _ in range(3):
        found = epoch(dataset, context)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[index], expected[index]) for index in found)
    assert [num_visits(path) for path in videos] == [2] * NUM
    assert len(list((tmp_path / "cache").glob("*.clips"))) <= 2


@TRANSFORMS.register_module()
class GiveUp(BaseTransform):
    def transform(self, results):
        return None


@TRANSFORMS.register_module()
class ChangeLabel(BaseTransform):
    def transform(self, results):
        return {**results, "label": results["label"] + 1}


@TRANSFORMS.register_module()
class Replace(BaseTransform):
    """Set or remove keys as a test wants it."""

    def __init__(self, key, value):
        self.key, self.value = key, value

    def transform(self, results):
        results[self.key] = VALUES[self.value]
        return results


VALUES = {
    "object": object(),
    "float": [np.zeros((5, 5, 3), np.float32)],
    "stacked": np.zeros((2, 5, 5, 3), np.uint8),
    "grey": [np.zeros((5, 5), np.uint8)],
    "sizes": [np.zeros((5, 5, 3), np.uint8), np.zeros((5, 6, 3), np.uint8)],
    "nested": {"a": (np.float32(0.1), [True, None]), 3: np.array([[1, 2]], np.int16), "n": -np.inf},
}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_results_of_all_kinds_come_back(make, videos, encoding):
    steps = [*steps_of(), {"type": "Replace", "key": "extra", "value": "nested"}]
    cold = make(steps, encoding=encoding)(results_of(videos[0], video="listed", extra=0))
    warm = make(steps, encoding=encoding)(results_of(videos[0], video="listed", extra=0))
    assert_equal(warm, cold)
    assert_equal(warm["extra"], VALUES["nested"])
    assert "video" not in warm  # a step has removed it
    assert len(warm["imgs"]) == CLIP_LEN
    assert num_visits(videos[0]) == 1


def test_a_sample_that_a_step_gives_up_is_given_up(make, videos):
    cached = make([*steps_of(), {"type": "GiveUp"}])
    assert cached(results_of(videos[0])) is None
    assert make([{"type": "GiveUp"}], folder=None)(results_of(videos[0])) is None
    assert cached.counts == {"misses": 1, "damaged": 0}


def test_an_error_of_a_step_is_not_kept(make, tmp_path):
    cached, state = make(), np.random.get_state()[1].tolist()
    for _ in range(2):
        with pytest.raises(FileNotFoundError, match="missing"):
            cached(results_of(tmp_path / "missing.npy"))
    assert np.random.get_state()[1].tolist() == state


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("reader", "object", r"results\['reader'\] is a object, which a clip cache cannot keep"),
        ("imgs", "float", r"results\['imgs'\]\[0\] is float32 of shape \(5, 5, 3\).*keeps uint8"),
        ("imgs", "grey", r"results\['imgs'\]\[0\] is uint8 of shape \(5, 5\)"),
        ("imgs", "stacked", "is ndarray where CachedClip needs a list of frames"),
        ("imgs", "sizes", r"\[1\] has shape \(5, 6, 3\) and the first \(5, 5, 3\)"),
    ],
)
def test_what_cannot_be_kept_raises(make, videos, key, value, message):
    cached = make([*steps_of(), {"type": "Replace", "key": key, "value": value}])
    with pytest.raises(ValueError, match=message):
        cached(results_of(videos[0]))


def test_no_frames_raises(make, videos):
    with pytest.raises(ValueError, match="is NoneType where CachedClip needs a list of frames"):
        make(steps_of()[:1])({**results_of(videos[0])})


def test_a_step_that_changes_the_label_raises(make, videos):
    cached = make([*steps_of(), {"type": "ChangeLabel"}])
    with pytest.raises(ValueError, match=r"changes results\['label'\].*put it behind CachedClip"):
        cached(results_of(videos[0]))


def test_a_sample_without_a_source_raises(make):
    with pytest.raises(ValueError, match="none of the keys filename, frame_dir"):
        make()({"label": 0})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": []}, r"steps=\[\] must be configs of transforms, at least one"),
        ({"steps": [print]}, "must be configs of transforms"),
        ({"num_draws": 0}, "num_draws=0 must be >= 1"),
        ({"encoding": "png"}, "encoding='png' must be 'jpeg' or 'raw'"),
        ({"quality": 101}, "quality=101 must be 1 to 100"),
        ({"max_gigabytes": 0}, "max_gigabytes=0 must be > 0"),
        ({"max_gigabytes": float("nan")}, "max_gigabytes=nan must be > 0"),
        ({"verify": "never"}, "verify='never' must be 'once' or 'always'"),
    ],
)
def test_misuse_raises(make, options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


def test_a_folder_must_be_on_a_disk(tmp_path):
    with pytest.raises(ValueError, match="must be on a disk or a mounted file system"):
        CachedClip(steps_of(), folder="s3://bucket/cache")
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is a file; name a folder"):
        CachedClip(steps_of(), folder=str(tmp_path / "file"))


def test_shows_its_steps(make):
    text = repr(make(folder=None))
    assert text.startswith("CachedClip(steps=[")
    assert "Resize(scale=(29, 19)" in text
