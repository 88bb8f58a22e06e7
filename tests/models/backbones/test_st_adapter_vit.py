"""ST-Adapter: initialisation, positions, what frames and patches see, the part that CLS ignores."""

import pytest
import torch

from amflow_mm.models.backbones import ImageViT
from tests.models.backbones.peers import BOTH, st_adapter, training
from tests.models.tiny import (
    DEPTH,
    VIT,
    C,
    T,
    clips_of,
    fixed,
    names_with_gradient,
    trainable_names,
    with_image_weights,
)  # fmt: skip


def test_what_is_zero_at_the_start_and_what_is_not():
    adapter = st_adapter().blocks[0].before_attention
    zero = {name for name, value in adapter.named_parameters() if not value.any()}
    assert zero == {"conv.weight", "conv.bias", "down.bias", "up.bias"}
    assert adapter.conv.groups == adapter.conv.in_channels == C // 2
    assert adapter.conv.kernel_size == (3, 1, 1)


def test_the_first_step_moves_what_follows_the_convolution():
    image = fixed(ImageViT(**VIT))
    model = with_image_weights(st_adapter(("before_attention",)), image).eval()
    places = {name.split(".")[-2:][0] for name in names_with_gradient(training(model))}
    assert places == {"conv", "up"}
    up = model.blocks[0].before_attention.up
    assert not up.weight.grad.any()
    assert up.bias.grad.any()


@pytest.mark.parametrize("positions", [("before_attention",), ("before_mlp",), BOTH])
def test_adapters_stand_at_the_chosen_positions(positions):
    for block in st_adapter(positions).blocks:
        assert {slot for slot in BOTH if getattr(block, slot) is not None} == set(positions)


@pytest.mark.parametrize(("kernel_size", "reach"), [((3, 1, 1), 1), ((5, 1, 1), 2), ((1, 3, 3), 0)])
def test_frames_reach_as_far_as_the_kernel(kernel_size, reach):
    model = st_adapter(("before_attention",), adapter_layers=[0], kernel_size=kernel_size)
    fixed(model).eval()
    clips = clips_of()
    changed = clips.clone()
    changed[0, :, 2] += 0.5
    moved = (model(changed).features - model(clips).features).abs().amax(dim=-1)
    for t in range(T):
        assert (moved[0, t] > 1e-3) == (abs(t - 2) <= reach)
    assert moved[1].max() < 1e-5


def test_as_published_the_last_adapter_before_an_mlp_does_not_reach_cls():
    model = fixed(st_adapter(("before_mlp",))).eval()
    before = model(clips_of()).features
    training(model)
    last = f"blocks.{DEPTH - 1}.before_mlp."
    assert trainable_names(model) - names_with_gradient(model) == {
        name for name in trainable_names(model) if name.startswith(last)
    }
    torch.nn.init.ones_(model.blocks[-1].before_mlp.up.weight)
    assert torch.equal(model(clips_of()).features, before)
    torch.nn.init.ones_(model.blocks[-2].before_mlp.up.weight)
    assert not torch.equal(model(clips_of()).features, before)


@pytest.mark.parametrize("positions", [(), ("after_mlp",), ("before_mlp", "before_norm")])
def test_an_unknown_position_raises(positions, own_checks_only):
    with pytest.raises(ValueError, match=r"positions=.* must be 'before_attention', 'before_mlp'"):
        st_adapter(positions)


@pytest.mark.parametrize("kernel_size", [(2, 1, 1), (3, 1, 0), (3, 1, -1)])
def test_an_even_kernel_raises(kernel_size):
    with pytest.raises(ValueError, match=r"kernel_size=\(.*\) must be three odd numbers"):
        st_adapter(kernel_size=kernel_size)
