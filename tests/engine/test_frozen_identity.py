"""The frozen part is what `pretrained` fills, is identified by its bytes, and hashed once."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from amflow_mm.engine import frozen_identity as module
from amflow_mm.engine.errors import CheckpointError
from amflow_mm.engine.frozen_identity import (
    FrozenPart,
    describe,
    digest_tensors,
    frozen_identity,
    frozen_tensors,
    pretrained_source,
)
from amflow_mm.models import ImageViT
from tests.models import tiny

IMAGE_MODEL = {"variant": tiny.SIZE, "family": "dinov2", "image_size": 21}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "image.safetensors"
    save_file(ImageViT(**IMAGE_MODEL).state_dict(), path)
    return path


BACKBONES = [
    tiny.in_block(),
    tiny.in_block(train_norm=False),
    tiny.in_block(adapter_layers=[1], mlp_adapter={"type": "Adapter"}),
    tiny.side(),
    tiny.side(output="frozen"),
]


@pytest.mark.parametrize("backbone", BACKBONES)
def test_frozen_part_is_what_pretrained_weights_fill_but_for_the_trained(weights, backbone):
    """Whatever is left out of a checkpoint, initialisation must bring back."""
    neck = {"type": "AMFlow", "aligner": tiny.ENCODER}
    model = tiny.recognizer({**backbone, "pretrained": str(weights)}, neck)
    names = set(frozen_tensors(model))
    filled = {f"backbone.{name}" for name in load_file(weights)}
    assert names == filled - tiny.trainable_names(model)
    assert set(model.state_dict()) - names == tiny.trainable_names(model)
    with torch.no_grad():
        for value in model.state_dict().values():
            value.fill_(0.5)
    model.init_weights()
    for name, value in load_file(weights).items():
        if f"backbone.{name}" in names:
            assert torch.equal(model.state_dict()[f"backbone.{name}"], value), name


class Normed(nn.Module):
    """A backbone with a trained norm that counts, a frozen one that counts, and half a layer."""

    def __init__(self):
        super().__init__()
        self.trained = nn.BatchNorm1d(3)
        self.frozen = nn.BatchNorm1d(3).requires_grad_(False)
        self.linear = nn.Linear(3, 5)
        self.linear.weight.requires_grad_(False)
        self.again = self.linear


def test_statistics_beside_trained_parameters_are_not_frozen():
    model = nn.ModuleDict({"backbone": Normed(), "head": nn.Linear(5, 2).requires_grad_(False)})
    assert set(frozen_tensors(nn.Sequential(model.backbone)[0])) == {
        "frozen.weight", "frozen.bias", "frozen.running_mean", "frozen.running_var",
        "frozen.num_batches_tracked", "linear.weight", "again.weight",
    }  # fmt: skip
    recognizer = nn.Module()
    recognizer.backbone, recognizer.head = model.backbone, model.head
    assert all(name.startswith("backbone.") for name in frozen_tensors(recognizer))


def test_source_is_the_one_that_fills_the_whole_image_model(weights):
    assert pretrained_source(tiny.recognizer(tiny.side(), {"type": "AMFlow"})) is None
    config = tiny.side(pretrained=str(weights))
    assert pretrained_source(tiny.recognizer(config, {"type": "AMFlow"})) == str(weights)
    foreign = nn.Module()
    foreign.init_cfg = {"type": "Pretrained", "checkpoint": "x.pth"}  # may fill a part
    assert pretrained_source(foreign) is None


SAME = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor(3)}


def test_digest_does_not_depend_on_order_or_layout():
    spread = torch.tensor([[1.0, 9.0], [2.0, 9.0]])[:, 0]
    assert digest_tensors({"b": torch.tensor(3), "a": spread}) == digest_tensors(SAME)


@pytest.mark.parametrize(
    "other",
    [
        {"a": torch.tensor([1.0, 2.5]), "b": torch.tensor(3)},
        {"a": torch.tensor([1.0, 2.0]), "c": torch.tensor(3)},
        {"a": torch.tensor([[1.0, 2.0]]), "b": torch.tensor(3)},
        {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor(3, dtype=torch.int32)},
        {"a": torch.tensor([1.0, 2.0])},
        {**SAME, "c": torch.zeros(0)},
        {**SAME, "c": torch.tensor([True])},
        {**SAME, "c": torch.zeros(2, dtype=torch.bfloat16)},
    ],
)
def test_digest_depends_on_every_name_type_shape_and_byte(other):
    assert digest_tensors(other) != digest_tensors(SAME)


@pytest.fixture
def count_digests(monkeypatch):
    digested = []

    def digest(tensors):
        digested.append(len(tensors))
        return digest_tensors(tensors)

    monkeypatch.setattr(module, "digest_tensors", digest)
    return digested


@pytest.fixture
def model(weights):
    model = tiny.recognizer(tiny.in_block(pretrained=str(weights)), {"type": "AMFlow"})
    model.init_weights()
    return model


def test_frozen_part_is_hashed_once(model, count_digests):
    part = FrozenPart(model)
    part.note_initialized()
    for _ in range(3):
        assert part.why_not_restorable() is None
        record = part.record({})
        part.require(record, record["left_out"], "x.pth")
        with torch.no_grad():
            model.cls_head.fc_cls.weight.add_(1)  # training goes on
    assert len(count_digests) == 1


@pytest.mark.parametrize("change", ["written", "replaced", "thawed"])
def test_changed_frozen_part_is_noticed(model, count_digests, change):
    part = FrozenPart(model)
    part.note_initialized()
    layer = model.backbone.blocks[0].attn.proj
    if change == "written":
        with torch.no_grad():
            layer.weight[0, 0] += 1
    elif change == "replaced":
        layer.weight = nn.Parameter(torch.zeros_like(layer.weight), requires_grad=False)
    else:
        layer.weight.requires_grad_(True)
    assert "are no longer those of model.backbone.pretrained='" in part.why_not_restorable()
    assert len(count_digests) == 2


def test_values_written_again_are_the_same(model):
    part = FrozenPart(model)
    part.note_initialized()
    model.load_state_dict({k: v.clone() for k, v in model.state_dict().items()})
    assert part.why_not_restorable() is None


def test_random_backbone_cannot_be_restored():
    part = FrozenPart(tiny.recognizer(tiny.in_block(), {"type": "AMFlow"}))
    part.note_initialized()
    assert part.why_not_restorable().startswith("model.backbone.pretrained names no source")


def test_identity_tells_name_kind_and_digest(model, weights):
    identity = frozen_identity(model)
    digest = digest_tensors(frozen_tensors(model))
    assert identity == {
        "name": str(weights),
        "backbone": {
            "type": "AMFlowViT", "family": "dinov2", "embed_dim": 24, "depth": 3, "patch_size": 7,
        },
        "sha256": digest,
    }  # fmt: skip
    assert describe(identity) == (
        f"{weights} (AMFlowViT, dinov2, 24 wide, 3 deep, patch 7; sha256 {digest[:12]})"
    )


def test_record_names_what_is_left_out(model):
    part = FrozenPart(model)
    frozen = frozen_tensors(model)
    assert part.record({})["left_out"] == list(frozen)
    assert part.record(model.state_dict())["left_out"] == []


def test_backbone_with_other_weights_or_another_form_is_refused(model):
    record = FrozenPart(model).record({})
    other = tiny.recognizer(tiny.in_block(), {"type": "AMFlow"})
    with pytest.raises(CheckpointError, match=r"^x\.pth was trained beside the frozen") as caught:
        FrozenPart(other).require(record, record["left_out"], "x.pth")
    for identity in (record, frozen_identity(other)):
        assert describe(identity) in str(caught.value)
    assert "random (AMFlowViT" in str(caught.value)
    assert "set model.backbone.pretrained" in str(caught.value)

    shallow = {**tiny.SIZE, "depth": 2}
    other = tiny.recognizer(tiny.in_block(variant=shallow), {"type": "AMFlow"})
    with pytest.raises(CheckpointError, match=r"3 deep.*does not hold it.*2 deep"):
        FrozenPart(other).require(record, record["left_out"], "x.pth")
