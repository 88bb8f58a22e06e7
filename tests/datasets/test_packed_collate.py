"""A packed batch holds what MMEngine's collation makes, in one block."""

import pickle

import numpy as np
import pytest
import torch
from mmaction.structures import ActionDataSample
from mmengine.dataset import pseudo_collate
from torch.utils.data import DataLoader, Dataset

from amflow_mm.datasets.packed_collate import packed_collate
from amflow_mm.datasets.planned_clip import ClipView, PlannedClip

TENSORS = {
    "frames": torch.arange(2 * 3 * 5 * 7, dtype=torch.uint8).reshape(2, 5, 7, 3).movedim(3, 0),
    "view": torch.arange(24.0).reshape(4, 6)[1:3, ::2],
    "empty": torch.empty(0, 3, dtype=torch.int16),
    "number": torch.tensor(7),
    "flags": torch.tensor([True, False, True]),
    "half": torch.tensor([1.5, -2.0, 0.25], dtype=torch.bfloat16),
    "trained": torch.tensor([1.0, 2.0], requires_grad=True),
}


class Samples(Dataset):
    def __init__(self, make) -> None:
        self.make = make

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int):
        return self.make(index)


def through_worker(make):
    loader = DataLoader(Samples(make), batch_size=2, num_workers=1, collate_fn=packed_collate)
    return next(iter(loader))


def clip_sample(index: int) -> dict:
    clip = torch.full((1, 3, 2, 4, 5), index, dtype=torch.uint8)
    return {"inputs": clip, "data_samples": ActionDataSample().set_gt_label(index)}


@pytest.mark.parametrize("name", TENSORS)
def test_tensor_arrives_as_it_was(name):
    def make(index):
        return {"value": TENSORS[name], "index": index}

    received = through_worker(make)
    expected = pseudo_collate([make(0), make(1)])
    assert received["index"] == expected["index"]
    for tensor, original in zip(received["value"], expected["value"], strict=True):
        assert tensor.dtype == original.dtype
        assert tensor.shape == original.shape
        assert torch.equal(tensor, original)


def test_order_of_the_axes_in_memory_is_kept():
    """As FormatShape leaves it: transposed, not copied."""
    original = TENSORS["frames"]
    (tensor, _) = through_worker(lambda index: {"value": original})["value"]
    assert tensor.stride() == original.stride()
    assert not tensor.is_contiguous()


def test_clips_and_samples_arrive_as_mmengine_collates_them():
    received = through_worker(clip_sample)
    assert [int(clip.max()) for clip in received["inputs"]] == [0, 1]
    assert [sample.gt_label.item() for sample in received["data_samples"]] == [0, 1]
    assert isinstance(received["data_samples"][0], ActionDataSample)


def test_all_tensors_of_a_batch_lie_in_one_block():
    received = through_worker(clip_sample)
    tensors = [*received["inputs"], *(sample.gt_label for sample in received["data_samples"])]
    assert len({tensor.untyped_storage().data_ptr() for tensor in tensors}) == 1
    assert received["inputs"][0].is_shared()
    assert all(tensor.data_ptr() % 64 == 0 for tensor in tensors)


def test_tensors_do_not_overlap():
    received = through_worker(clip_sample)
    received["inputs"][0].fill_(99)
    assert received["inputs"][1].eq(1).all()
    assert [sample.gt_label.item() for sample in received["data_samples"]] == [0, 1]


def test_planned_clips_pass():
    def make(index):
        view = ClipView((0, 0, 4, 3), (3, 4), flip_horizontal=bool(index))
        clips = torch.full((1, 3, 2, 5, 6), index, dtype=torch.uint8)
        return {"inputs": PlannedClip(clips=clips, metainfo={"views": (view,)})}

    first, second = through_worker(make)["inputs"]
    assert not first.views[0].flip_horizontal
    assert second.views[0].flip_horizontal
    assert torch.equal(second.render(), torch.ones(1, 3, 2, 3, 4, dtype=torch.uint8))


def test_arrays_and_other_values_pass():
    def make(index):
        return {"array": np.arange(3) + index, "text": "a b", "nothing": None}

    received = through_worker(make)
    assert np.array_equal(received["array"][1], [1, 2, 3])
    assert received["text"] == ["a b", "a b"]
    assert received["nothing"] == [None, None]


def test_without_workers_nothing_is_packed():
    samples = [clip_sample(0), clip_sample(1)]
    batch = packed_collate(samples)
    assert batch["inputs"][0] is samples[0]["inputs"]


def test_a_batch_without_tensors_can_be_sent():
    assert through_worker(lambda index: {"index": index}) == {"index": [0, 1]}


def test_a_packed_batch_is_pickled_as_the_batch_itself():
    """Whatever else pickles it gets the batch, never the wrapper."""
    from amflow_mm.datasets.packed_collate import _PackedBatch

    batch = pickle.loads(pickle.dumps(_PackedBatch({"inputs": [torch.ones(3)]})))
    assert torch.equal(batch["inputs"][0], torch.ones(3))
