"""What a training step keeps and computes: as little as its results allow."""

import pytest
import torch
from mmengine.registry import init_default_scope
from torch import nn
from torch.autograd.graph import saved_tensors_hooks

from amflow_mm.models.backbones import AIMViT, AMFlowSideViT, AMFlowViT, ImageViT
from amflow_mm.models.necks import AMFlow
from amflow_mm.models.peft import freeze_except
from amflow_mm.testing import fixed_tensor
from tests.models.backbones.peers import PEERS
from tests.models.tiny import (
    DEPTH,
    ENCODER,
    VIT,
    adapter,
    clips_of,
    fixed,
    in_block,
    names_with_gradient,
    side,
    trainable_names,
)

# The proportions of a published ViT, where weights and prefix tokens hardly count.
SLIM = {"embed_dim": 96, "depth": 4, "num_heads": 4, "mlp_dim": 384, "patch_size": 8}


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope("amflow_mm")


def make(kind=AMFlowViT, **options):
    options = {**(in_block() if kind is AMFlowViT else side()), **options}
    options.pop("type")
    model = nn.ModuleDict({"backbone": fixed(kind(**options)), "neck": AMFlow()})
    freeze_except(model)
    return model


class Kept:
    """The tensors that the backward pass is kept for, each memory once, weights aside."""

    def __init__(self, model):
        self.weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
        self.storages = {}

    def hooks(self):
        return saved_tensors_hooks(self.keep, lambda tensor: tensor)

    def keep(self, tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self.weights:
            self.storages[storage.data_ptr()] = storage  # alive, so that no address comes twice
        return tensor

    @property
    def num_bytes(self):
        return sum(storage.nbytes() for storage in self.storages.values())


def gradients(model, clips=None):
    """Features and every gradient of a loss that sees every feature."""
    torch.manual_seed(0)  # whole clips are dropped at random
    model.zero_grad()
    flow = dict(model.named_children()).get("neck")
    features = model["backbone"](clips_of() if clips is None else clips, flow).features
    (features * fixed_tensor(features.shape, tag="loss")).sum().backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return features.detach(), found


# ---------------------------------------------------------------- below the first adapter


@pytest.mark.parametrize("first", range(DEPTH))
def test_nothing_is_kept_below_the_first_adapter(first, monkeypatch):
    model = make(adapter_layers=range(first, DEPTH))
    kept, seen = Kept(model), []
    run_block = model["backbone"].run_block

    def watched(*args, **kwargs):
        seen.append((torch.is_grad_enabled(), kept.num_bytes))
        return run_block(*args, **kwargs)

    monkeypatch.setattr(model["backbone"], "run_block", watched)
    with kept.hooks():
        model["backbone"](clips_of(), model["neck"])
    assert [is_recorded for is_recorded, _ in seen] == [n >= first for n in range(DEPTH)]
    assert [num_bytes > 0 for _, num_bytes in seen] == [n > first for n in range(DEPTH)]


def test_checkpointing_recomputes_no_block_below_the_first_adapter(monkeypatch):
    calls = []
    fused = torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(
        torch.nn.functional,
        "scaled_dot_product_attention",
        lambda q, k, v: calls.append(q.shape) or fused(q, k, v),
    )
    gradients(make(adapter_layers=[DEPTH - 1], use_checkpoint=True))
    assert len(calls) == DEPTH + 1


def test_a_gradient_that_clips_ask_for_passes_through_and_changes_no_other():
    model, clips = make(adapter_layers=[DEPTH - 1]), clips_of().requires_grad_()
    features, found = gradients(model)
    assert model["backbone"].num_frozen_stages() == DEPTH
    asked_features, asked = gradients(model, clips)
    assert torch.equal(asked_features, features)
    assert asked.keys() == found.keys()
    assert all(torch.equal(asked[name], found[name]) for name in found)
    assert clips.grad.abs().sum() > 0


def test_the_flow_of_frozen_blocks_trains_its_aligner_all_the_same():
    neck = AMFlow(aligner=ENCODER)
    model = nn.ModuleDict({"backbone": fixed(ImageViT(**VIT)), "neck": fixed(neck)})
    freeze_except(model)
    model["backbone"](clips_of(), neck, return_flow=True).flow.square().sum().backward()
    assert names_with_gradient(model) == trainable_names(model)


@pytest.mark.parametrize(
    ("options", "stages"),
    [({}, 1 + DEPTH), ({"train_norm": True}, 1 + DEPTH), ({"train_all": True}, 0)],
)
def test_stages_below_what_is_trained(options, stages):
    model = ImageViT(**VIT, **options)
    freeze_except(model)
    assert model.num_frozen_stages() == stages
    assert model(clips_of()).features.requires_grad == bool(options)


def test_what_is_trained_in_the_embedding_counts():
    aim = PEERS["aim"]()
    freeze_except(aim)
    assert aim.num_frozen_stages() == 0


# ---------------------------------------------------------------- frozen weights


@pytest.mark.parametrize("kind", [AMFlowViT, AMFlowSideViT])
def test_no_frozen_weight_gets_a_gradient(kind):
    model = make(kind)
    _, found = gradients(model)
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen.isdisjoint(found)
    assert len(found) == len(list(model.parameters())) - len(frozen)


def test_no_input_is_kept_for_the_gradient_of_a_frozen_matrix():
    model = make()
    kept, inputs = Kept(model), {}
    for name, module in model.named_modules():
        # What the second attention matrix reads is kept by the attention itself.
        if isinstance(module, nn.Linear) and name.endswith((".qkv", ".fc1", ".fc2")):
            module.register_forward_pre_hook(
                lambda _, args, name=name: inputs.update({name: args[0].untyped_storage()})
            )
    with kept.hooks():
        model["backbone"](clips_of(), model["neck"])
    assert len(inputs) == 3 * DEPTH
    assert [name for name, storage in inputs.items() if storage.data_ptr() in kept.storages] == []


def kept_bytes(backbone):
    model = nn.ModuleDict({"backbone": backbone})
    freeze_except(model)
    kept = Kept(model)
    with kept.hooks():
        backbone(fixed_tensor((1, 3, 4, 48, 48)), AMFlow())
    return kept.num_bytes


@pytest.mark.parametrize("family", ["clip", "timm"])
def test_adapters_in_blocks_keep_little_and_a_ladder_next_to_nothing(family):
    vit = {"variant": SLIM, "family": family, "image_size": 48}
    unit = {"type": "TCNUnit"}
    aim = kept_bytes(AIMViT(4, **vit))
    full = kept_bytes(ImageViT(train_all=True, **vit))
    assert kept_bytes(AMFlowViT(adapter(bottleneck_dim=24), **vit)) < 0.65 * min(aim, full)
    ladder = AMFlowSideViT(unit, layers=(1, 3), side_dim=8, pooling="global", **vit)
    assert kept_bytes(ladder) < 0.05 * aim


# ---------------------------------------------------------------- what the read-out reads


def every_kind():
    return {
        "in block": lambda **options: make(**options),
        "in block, MLP too": lambda **options: make(
            mlp_adapter={"type": "Adapter", "bottleneck_dim": 10}, **options
        ),
        **{
            name: lambda make_peer=make_peer, **options: nn.ModuleDict(
                {"backbone": fixed(make_peer(**options))}
            )
            for name, make_peer in PEERS.items()
        },
    }


@pytest.mark.parametrize("kind", every_kind())
@pytest.mark.parametrize("readout", ["cls", "patch"])
def test_training_gives_what_all_tokens_of_the_last_block_give(kind, readout, monkeypatch):
    model = every_kind()[kind](readout=readout)
    freeze_except(model)
    features, found = gradients(model)
    run_block, left_out = model["backbone"].run_block, []

    def all_tokens(layer, x, grid, flow, num_read=None):
        left_out.append(num_read is not None)
        return run_block(layer, x, grid, flow)

    monkeypatch.setattr(model["backbone"], "run_block", all_tokens)
    expected, wanted = gradients(model)
    assert left_out == [False] * (DEPTH - 1) + [readout == "cls"]
    torch.testing.assert_close(features, expected)
    assert found.keys() == wanted.keys()
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, wanted[name], msg=lambda m, n=name: f"{n}: {m}")
