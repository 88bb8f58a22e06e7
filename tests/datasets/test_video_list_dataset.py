"""Broken videos end the run or are replaced: by whom, how often they are opened, what is told."""

import errno
import random
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope

from amflow_mm.datasets.annotation_list import AnnotationError
from amflow_mm.datasets.decoding.errors import UnreadableVideoError
from amflow_mm.datasets.randomness import isolated_randomness
from amflow_mm.datasets.skip_ledger import SKIPPED
from amflow_mm.datasets.transforms.decode import VideoDecode, VideoInit
from amflow_mm.datasets.video_list_dataset import MAX_FAILURES, NothingReadableError
from amflow_mm.engine.runner import AMFlowRunner
from amflow_mm.errors import UserError
from amflow_mm.registry import DATASETS, TRANSFORMS
from tests.datasets.broken_videos import dataset_config, opened, write_list

MIXED = {
    "a0.mp4": 0, "bad0.mp4": 0, "b0.mp4": 0, "a1.mp4": 1, "bad1.mp4": 1, "c 0.mp4": 0,
}  # fmt: skip
BAD = 1, 4


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope("amflow_mm")


@pytest.fixture
def mixed(tmp_path):
    write_list(tmp_path, MIXED)
    return tmp_path


def build(folder, **options):
    return DATASETS.build(dataset_config(folder, **options))


def skip(folder, **options):
    return build(folder, on_error="skip", **options)


def name_of(sample):
    return Path(sample["data_samples"].metainfo["filename"]).name


def skipped_in(sample):
    found = sample["data_samples"].metainfo.get(SKIPPED, {})
    return {Path(path).name: reason for path, reason in found.items()}


def test_readable_videos_are_what_the_list_says(mixed):
    for dataset in (build(mixed), skip(mixed)):
        for index in (0, 2, 3, 5):
            sample = dataset[index]
            assert name_of(sample) == list(MIXED)[index]
            assert sample["data_samples"].gt_label.item() == list(MIXED.values())[index]
            grey = sample["inputs"].mean().item() * 255
            assert grey == pytest.approx(16 * (index + 1), abs=4)
            assert skipped_in(sample) == {}


def test_raise_names_the_file(mixed):
    with pytest.raises(UnreadableVideoError, match=r"/bad0\.mp4: .*") as caught:
        build(mixed)[1]
    assert caught.value.path == str(mixed / "bad0.mp4")


def test_raise_names_the_file_from_a_worker_too(mixed):
    loader = make_loader(mixed, num_workers=1, on_error="raise")
    with pytest.raises(UnreadableVideoError, match=r"/bad[01]\.mp4: "):
        list(loader)


def test_stand_in_is_of_the_same_class(mixed):
    dataset = skip(mixed)
    drawn = set()
    for seed in range(20):
        with isolated_randomness(seed):
            sample = dataset[1]
        assert sample["data_samples"].gt_label.item() == 0
        assert list(skipped_in(sample)) == ["bad0.mp4"]
        drawn.add(name_of(sample))
    assert drawn == {"a0.mp4", "b0.mp4", "c 0.mp4"}
    assert name_of(dataset[4]) == "a1.mp4"


def test_broken_video_is_opened_once(mixed):
    dataset = skip(mixed)
    for _ in range(5):
        for index in range(len(dataset)):
            dataset[index]
    counts = opened(mixed)
    assert [counts[name] for name in ("bad0.mp4", "bad1.mp4")] == [1, 1]
    assert sum(counts.values()) == 5 * 6 + 2


def test_first_time_tells_what_is_wrong_and_later_ones_the_word(mixed):
    dataset = skip(mixed)
    assert skipped_in(dataset[1]) == {"bad0.mp4": "it is cut off in the middle"}
    assert skipped_in(dataset[1]) == {"bad0.mp4": "corrupt"}


def test_stand_in_and_its_draws_do_not_depend_on_what_was_tried_before(mixed):
    dataset = skip(mixed)
    for seed in range(8):
        samples = []
        for tried in (skip(mixed), dataset):
            with isolated_randomness(seed):
                sample = tried[1]
            samples.append((name_of(sample), sample["data_samples"].metainfo["draw"]))
        assert samples[0] == samples[1]


def test_generators_go_on_differently_for_each_sample(mixed):
    dataset = skip(mixed)
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    draws = {dataset[0]["data_samples"].metainfo["draw"] for _ in range(3)}
    assert len(draws) == 3


def test_stand_ins_that_are_broken_are_told_too(tmp_path):
    write_list(tmp_path, {"bad0.mp4": 0, "bad1.mp4": 0, "bad2.mp4": 0, "a.mp4": 0})
    found = set()
    for seed in range(10):
        with isolated_randomness(seed):
            sample = skip(tmp_path)[0]
        assert name_of(sample) == "a.mp4"
        names = list(skipped_in(sample))
        assert names[0] == "bad0.mp4"
        found |= set(names)
    assert found == {"bad0.mp4", "bad1.mp4", "bad2.mp4"}


def test_class_without_a_readable_video_is_named(tmp_path):
    write_list(tmp_path, {"bad0.mp4": 3, "bad1.mp4": 3, "a.mp4": 0})
    dataset = skip(tmp_path)
    for _ in range(2):
        with pytest.raises(
            NothingReadableError,
            match=r"no video of class 3 in .*list\.txt can be read.*bad0\.mp4; repair the videos",
        ):
            dataset[0]
    assert set(opened(tmp_path).values()) == {1}


def test_dead_disk_is_not_searched_to_the_end(tmp_path):
    labels = {f"bad{i}.mp4": 0 for i in range(MAX_FAILURES + 5)}
    write_list(tmp_path, labels)
    with pytest.raises(
        NothingReadableError, match=rf"^{MAX_FAILURES} videos in a row cannot be read, the last"
    ):
        skip(tmp_path)[0]
    assert sum(opened(tmp_path).values()) == MAX_FAILURES


def test_in_a_test_another_class_may_stand_in(tmp_path):
    write_list(tmp_path, {"bad0.mp4": 3, "bad1.mp4": 3, "a.mp4": 0})
    sample = skip(tmp_path, test_mode=True)[0]
    assert name_of(sample) == "a.mp4"
    assert set(skipped_in(sample)) == {"bad0.mp4", "bad1.mp4"}


def test_missing_file_is_skipped_by_its_os_error(mixed):
    (mixed / "a1.mp4").unlink()
    (mixed / "b1.mp4").write_bytes((mixed / "a0.mp4").read_bytes())
    (mixed / "list.txt").write_text("a1.mp4 1\nb1.mp4 1\n")
    sample = skip(mixed)[0]
    assert skipped_in(sample) == {"a1.mp4": "there is no such file"}


class Raising:
    """A step of a pipeline that fails for one file."""

    def __init__(self, error):
        self.error = error

    def __call__(self, results):
        if results["filename"].endswith("a0.mp4"):
            if self.error is None:
                return None
            raise self.error
        return results


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (KeyError("imgs"), "imgs"),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left"),
        (None, r"the pipeline returned None for .*a0\.mp4; a transform must return"),
    ],
)
def test_faults_of_the_program_are_not_skipped(mixed, error, message):
    dataset = skip(mixed)
    dataset.pipeline.transforms.insert(1, Raising(error))
    with pytest.raises(ValueError if error is None else type(error), match=message):
        dataset[0]
    assert name_of(dataset[2]) == "b0.mp4"


def test_os_error_of_the_file_is_skipped(mixed):
    dataset = skip(mixed)
    dataset.pipeline.transforms.insert(1, Raising(OSError(errno.EIO, "Input/output error")))
    assert skipped_in(dataset[0])["a0.mp4"] == "[Errno 5] Input/output error"


def test_subset_keeps_its_own_classes(mixed):
    subset = skip(mixed).get_subset([1, 3, 5])
    assert name_of(subset[0]) == "c 0.mp4"
    dataset = skip(mixed)
    dataset[1]
    dataset.get_subset_(3)
    assert name_of(dataset[1]) in {"a0.mp4", "b0.mp4"}
    assert len(dataset) == 3


def test_several_labels(tmp_path):
    write_list(tmp_path, {"bad0.mp4": 0, "a.mp4": 0, "b.mp4": 0})
    (tmp_path / "list.txt").write_text("bad0.mp4 2 0\na.mp4 0 1\nb.mp4 2\n")
    dataset = skip(tmp_path, multi_class=True, num_classes=3)
    assert dataset[1]["data_samples"].gt_label.tolist() == [1, 1, 0]
    sample = dataset[0]
    assert name_of(sample) == "b.mp4"
    assert sample["data_samples"].gt_label.tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on_error": "ignore"}, "on_error='ignore' must be 'raise' or 'skip'"),
        ({"max_skip_fraction": 1.5}, r"max_skip_fraction=1\.5 must be within 0 \.\.\. 1"),
        ({"multi_class": True}, "multi_class=True needs num_classes"),
    ],
)
def test_options_that_cannot_be(mixed, options, message):
    with pytest.raises(ValueError, match=message):
        build(mixed, **options)


def test_list_is_checked(mixed):
    with pytest.raises(AnnotationError, match=r"3 problems|label 1 is not within 0 \.\.\. 0"):
        build(mixed, num_classes=1)


@TRANSFORMS.register_module()
class Container:
    """A step that holds steps."""

    def __init__(self, steps):
        self.steps = steps


@pytest.mark.parametrize("is_inside", [False, True])
@pytest.mark.parametrize("reader", ["DecordInit", "PyAVInit", "mmaction.OpenCVInit"])
def test_readers_that_hide_what_is_wrong_are_refused(mixed, reader, is_inside):
    steps = [{"type": reader}, {"type": "PackActionInputs"}]
    pipeline = [{"type": Container, "steps": steps}] if is_inside else steps
    build(mixed, pipeline=steps)
    with pytest.raises(UserError, match=r"on_error='skip' needs VideoInit .* in place of \w+Init"):
        skip(mixed, pipeline=pipeline)


def test_sample_must_be_able_to_tell(mixed):
    dataset = skip(mixed)
    dataset.pipeline.transforms.pop()
    with pytest.raises(ValueError, match="needs a pipeline that ends with PackActionInputs"):
        dataset[1]


def test_lists_and_videos_behind_urls(tmp_path):
    fsspec.filesystem("memory").pipe("/set/lists/a.txt", b"x y.mp4 1\n")
    dataset = build(
        tmp_path,
        ann_file="lists/a.txt",
        data_root="memory://set",
        data_prefix={"video": "videos"},
    )
    assert dataset.get_data_info(0)["filename"] == "memory://set/videos/x y.mp4"


DECODING = [
    {"type": VideoInit},
    {"type": "UniformSample", "clip_len": 3},
    {"type": VideoDecode},
    {"type": "FormatShape", "input_format": "NCTHW"},
    {"type": "PackActionInputs"},
]


def test_real_decoder_tells_what_is_wrong_with_each_file(mixed):
    whole = (mixed / "a0.mp4").read_bytes()
    (mixed / "empty.mp4").touch()
    (mixed / "zeros.mp4").write_bytes(bytes(2000))
    (mixed / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    names = ["empty", "zeros", "cut", "gone"]
    (mixed / "list.txt").write_text("".join(f"{name}.mp4 0\n" for name in [*names, "a0"]))
    dataset = skip(mixed, pipeline=DECODING)
    found = {}
    for index in range(5):
        sample = dataset[index]
        assert sample["inputs"].shape == (1, 3, 3, 16, 16)
        assert sample["inputs"].float().mean().item() == pytest.approx(16, abs=4)
        found |= {name: found.get(name, why) for name, why in skipped_in(sample).items()}
    assert set(found) == {f"{name}.mp4" for name in names}
    assert all(len(why.split()) > 1 and str(mixed) not in why for why in found.values()), found
    with pytest.raises(UnreadableVideoError, match=r"/cut\.mp4: "):
        build(mixed, pipeline=DECODING)[2]


# ---------------------------------------------------------------- with workers


def make_loader(folder, **options):
    loader = {key: options.pop(key) for key in list(options) if key in LOADER_KEYS}
    config = {
        "batch_size": 2,
        "sampler": {"type": "DefaultSampler", "shuffle": True},
        "dataset": dataset_config(folder, **{"on_error": "skip", **options}),
        **loader,
    }
    return AMFlowRunner.build_dataloader(config, seed=5)


LOADER_KEYS = ("num_workers", "persistent_workers", "multiprocessing_context")
LAYOUTS = [
    {"num_workers": 0},
    {"num_workers": 2},
    {"num_workers": 2, "persistent_workers": True},
    pytest.param(
        {"num_workers": 1, "persistent_workers": True, "multiprocessing_context": "spawn"},
        marks=pytest.mark.slow,
    ),
]


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_epochs_repeat_and_open_a_broken_video_once_whatever_the_workers(mixed, layout):
    expected = epochs(make_loader(mixed, num_workers=0))
    (mixed / "opened.txt").unlink()
    assert epochs(make_loader(mixed, **layout)) == expected
    counts = opened(mixed)
    assert [counts[name] for name in ("bad0.mp4", "bad1.mp4")] == [1, 1]


def epochs(loader):
    """Return what three epochs show: by sample, which video, which draw, what is skipped."""
    found = []
    for epoch in range(3):
        loader.sampler.set_epoch(epoch)
        samples = [sample for batch in loader for sample in batch["data_samples"]]
        wrapped = [{"data_samples": sample} for sample in samples]
        found.append(
            {
                s["data_samples"].metainfo["sample_index"]: (
                    name_of(s),
                    s["data_samples"].metainfo["draw"],
                    sorted(skipped_in(s)),
                )
                for s in wrapped
            }
        )
        assert sum(SKIPPED in sample.metainfo for sample in samples) == len(BAD)
    return found
