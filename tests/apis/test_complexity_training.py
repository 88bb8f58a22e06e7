"""MACs of a training step against hand formulas: the backward pass is counted as it runs."""

import pytest
import torch
from torch import nn

from amflow_mm.apis.complexity import (
    build_on_meta,
    count_macs,
    count_view_macs,
    measure_complexity,
)
from amflow_mm.models import ImageViT
from tests.apis.tiny_models import HIDDEN, SHAPE, VIT, C, K, P, T, in_block, make_config, side


def counts(cfg) -> tuple[int, int]:
    """Forward pass, and what a training step adds to it."""
    model = build_on_meta(cfg)
    forward = count_view_macs(model, SHAPE)
    return forward, count_view_macs(model, SHAPE, training=True) - forward


def plain(readout="patch", **options):
    backbone = dict(
        type=ImageViT, variant=VIT, family="timm", image_size=14, readout=readout, **options
    )
    return make_config(backbone, None)


@pytest.mark.parametrize("make", [in_block, side, plain])
def test_forward_is_that_of_the_parts(make):
    model = build_on_meta(make())
    assert count_view_macs(model, SHAPE) == measure_complexity(model, SHAPE).total.macs


def test_probe_goes_back_through_its_head_alone():
    _, backward = counts(plain())
    assert backward == C * K


def test_a_step_that_reads_cls_spares_the_last_feed_forward_layer_of_the_patches():
    steps = {
        readout: count_view_macs(build_on_meta(plain(readout)), SHAPE, training=True)
        for readout in ("cls", "patch")
    }
    assert steps["patch"] - steps["cls"] == T * P * 2 * C * HIDDEN


def test_full_fine_tuning_costs_two_forwards_more():
    forward, backward = counts(plain(train_all=True))
    pixels = T * P * 3 * 7 * 7 * C  # need no gradient
    assert backward == 2 * forward - pixels


def test_adapters_go_back_through_frozen_weights_without_gradients_for_them():
    forward, backward = counts(in_block(readout="patch"))
    frozen = (
        measure_complexity(build_on_meta(in_block(readout="patch")), SHAPE).parts["frozen_vit"].macs
    )
    assert frozen / 2 < backward < 2 * forward


def test_side_ladder_spares_the_frozen_model_the_way_back():
    parts = measure_complexity(build_on_meta(side()), SHAPE).parts
    _, backward = counts(side())
    assert 0 < backward <= 2 * (parts["adapters"].macs + parts["head"].macs)


def test_gradients_of_a_depthwise_convolution_cost_as_much_as_itself():
    conv = nn.Conv1d(C, C, 3, padding=1, groups=C, device="meta")
    x = torch.empty(2, C, T, device="meta", requires_grad=True)
    forward = count_macs(lambda: conv(x))
    assert forward == 2 * T * C * 3
    assert count_macs(lambda: conv(x).sum().backward()) == 3 * forward
    assert count_macs(lambda: conv(x.detach()).sum().backward()) == 2 * forward
    wide = nn.ConvTranspose1d(C, 2 * C, 3, device="meta")
    assert count_macs(lambda: wide(x).sum().backward()) == 3 * 2 * T * C * 2 * C * 3


def test_features_that_are_given_cost_nothing():
    model = build_on_meta(side())
    parts = measure_complexity(model, SHAPE).parts
    for training in (False, True):
        whole = count_view_macs(model, SHAPE, training=training)
        rest = count_view_macs(model, SHAPE, training=training, from_features=True)
        assert whole - rest == parts["frozen_vit"].macs + parts["am_flow"].macs


def test_counting_leaves_mode_and_gradients_as_they_were():
    model = build_on_meta(in_block())
    count_view_macs(model, SHAPE, training=True)
    assert not model.training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_any_function_can_be_counted():
    model = build_on_meta(plain())
    norm, head = model.backbone.norm, model.cls_head.fc_cls
    assert count_macs(lambda: head(norm(head.weight))) == K * C * K
