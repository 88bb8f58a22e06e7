"""Which parameters are optimised, and which decay."""

import pytest
import torch
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import init_default_scope
from torch import nn

from amflow_mm.engine.optim import AutocastOptimWrapper, TrainableOptimWrapperConstructor
from amflow_mm.engine.optim.trainable_constructor import split_by_decay


class Model(nn.Module):
    """One of each kind; everything named ``frozen`` is."""

    def __init__(self):
        super().__init__()
        self.frozen_linear = nn.Linear(3, 5)
        self.linear = nn.Linear(3, 5)
        self.conv = nn.Conv3d(3, 3, 3, groups=3)
        self.lstm = nn.LSTM(3, 5)
        self.attention = nn.MultiheadAttention(6, 2)
        self.norm = nn.LayerNorm(5)
        self.embedding = nn.Embedding(7, 5)
        self.position = nn.Parameter(torch.zeros(1, 11, 5))
        self.scale = nn.Parameter(torch.ones(5))
        self.frozen_linear.requires_grad_(False)


def names_of(model, parameters):
    names = {id(p): name for name, p in model.named_parameters()}
    return {names[id(p)] for p in parameters}


def test_only_matrices_of_layers_decay_and_nothing_frozen_is_there():
    model = Model()
    decayed, plain = split_by_decay(model)
    assert names_of(model, decayed) == {
        "linear.weight",
        "conv.weight",
        "lstm.weight_ih_l0",
        "lstm.weight_hh_l0",
        "attention.in_proj_weight",
        "attention.out_proj.weight",
    }
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    assert names_of(model, plain) == trainable - names_of(model, decayed)
    assert not trainable & {"frozen_linear.weight", "frozen_linear.bias"}
    assert len(decayed) + len(plain) == len(trainable)


def test_shared_parameter_appears_once_and_as_an_embedding():
    model = nn.ModuleDict({"embedding": nn.Embedding(7, 5), "head": nn.Linear(5, 7, bias=False)})
    model["head"].weight = model["embedding"].weight
    decayed, plain = split_by_decay(model)
    assert decayed == []
    assert names_of(model, plain) == {"embedding.weight"}
    assert len(plain) == 1


def build(model, **options):
    init_default_scope("amflow_mm")
    return build_optim_wrapper(
        model,
        {
            "constructor": "TrainableOptimWrapperConstructor",
            "optimizer": {"type": "AdamW", "lr": 0.1, "weight_decay": 0.5},
            **options,
        },
    )


def test_built_optimiser_decays_as_declared():
    model = Model()
    wrapper = build(model)
    assert type(wrapper) is OptimWrapper
    assert [group["weight_decay"] for group in wrapper.optimizer.param_groups] == [0.5, 0.0]
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    wrapper.optimizer.step()
    after = dict(model.named_parameters())
    torch.testing.assert_close(after["linear.weight"], before["linear.weight"] * 0.95)
    for name in ("linear.bias", "norm.weight", "position", "scale", "frozen_linear.weight"):
        assert torch.equal(after[name], before[name])


def test_model_of_matrices_alone_has_one_group():
    wrapper = build(nn.Linear(3, 5, bias=False))
    assert len(wrapper.optimizer.param_groups) == 1


def test_wrapper_of_the_config_is_used():
    wrapper = build(Model(), type=AutocastOptimWrapper, clip_grad={"max_norm": 1.0})
    assert isinstance(wrapper, AutocastOptimWrapper)
    assert wrapper.clip_grad_kwargs == {"max_norm": 1.0}


def test_all_frozen_raises():
    with pytest.raises(ValueError, match=r"Linear has no trainable parameter; .*adapter_params"):
        build(nn.Linear(3, 5).requires_grad_(False))


def test_paramwise_cfg_is_refused():
    with pytest.raises(ValueError, match=r"paramwise_cfg=.* is not offered"):
        TrainableOptimWrapperConstructor({"optimizer": {}}, {"norm_decay_mult": 0})


def test_config_is_not_changed():
    cfg = {"optimizer": {"type": "AdamW", "lr": 0.1}}
    TrainableOptimWrapperConstructor(cfg)(nn.Linear(3, 5))
    assert cfg == {"optimizer": {"type": "AdamW", "lr": 0.1}}
