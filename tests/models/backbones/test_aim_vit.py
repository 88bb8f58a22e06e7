"""AIM: initialisation, the attention that is used twice, temporal position, stochastic depth."""

import re

import pytest
import torch

from amflow_mm.models.backbones import ImageViT
from tests.models.backbones.peers import aim, training
from tests.models.tiny import (
    DEPTH,
    HEADS,
    VIT,
    B,
    C,
    P,
    T,
    clips_of,
    fixed,
    names_with_gradient,
    with_image_weights,
)  # fmt: skip


def test_what_is_zero_at_the_start_and_what_is_not():
    torch.manual_seed(0)
    model = aim(num_temporal_adapters=2, variant="ti16", image_size=224)
    places = r"over_time\.before|over_time\.after|after_attention|beside_mlp"
    seen = set()
    for name, value in model.named_parameters():
        match = re.search(rf"\.({places})\.(down|up)\.(weight|bias)$", name)
        if match is None:
            continue
        place, *kind = match.groups()
        seen.add((place, *kind))
        if kind == ["down", "weight"]:  # truncated normal of deviation 0.02, as published
            assert value.std().item() == pytest.approx(0.02, rel=0.05)
            assert value.mean().abs() < 1e-3
        else:
            assert not value.any(), name
    assert len(seen) == 16
    assert not model.temporal_position.position.any()


def test_the_attention_is_the_blocks_own_and_is_not_registered_again():
    image, model = ImageViT(**VIT).state_dict(), aim().state_dict()
    added = {name.split(".")[2] for name in model.keys() - image.keys() if "blocks." in name}
    assert added == {"over_time", "after_attention", "beside_mlp"}
    assert not [name for name in model if "over_time" in name and "attn" in name]


def test_the_attention_runs_over_frames_and_over_tokens_on_the_fused_kernel(monkeypatch):
    shapes = []
    fused = torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(
        torch.nn.functional,
        "scaled_dot_product_attention",
        lambda q, k, v: shapes.append(tuple(q.shape)) or fused(q, k, v),
    )
    aim()(clips_of())
    over_time, over_space = (B * (1 + P), HEADS, T, C // HEADS), (B * T, HEADS, 1 + P, C // HEADS)
    assert shapes == DEPTH * [over_time, over_space]


def test_frames_meet_in_the_temporal_attention_alone():
    model, clips = fixed(aim()).eval(), clips_of()
    changed = clips.clone()
    changed[0, :, 2] += 0.5

    def moved():
        return (model(changed).features - model(clips).features).abs().amax(dim=-1)

    together = moved()
    assert (together[0] > 1e-3).all()
    assert together[1].max() < 1e-5
    for block in model.blocks:
        block.over_time = None
    apart = moved()
    assert apart[0, 2] > 1e-3
    apart[0, 2] = 0
    assert apart.max() < 1e-5


def test_without_a_temporal_position_the_order_of_the_frames_means_nothing():
    model, clips = fixed(aim()).eval(), clips_of()
    order = torch.tensor([3, 0, 4, 1, 2])

    def difference():
        return (model(clips[:, :, order]).features - model(clips).features[:, order]).abs().max()

    assert difference() > 1e-2
    torch.nn.init.zeros_(model.temporal_position.position)
    assert difference() < 1e-5


def test_the_position_of_a_frame_is_added_before_the_first_norm():
    model = aim(family="clip")
    fixed(model)
    clips = clips_of()
    tokens = model.embedding(clips.transpose(1, 2).flatten(0, 1)).unflatten(0, (B, T))
    expected = model.norm_pre(tokens + model.temporal_position.position[:T, None])
    torch.testing.assert_close(model.embed(clips)[0], expected)


def test_fewer_frames_than_positions_pass_and_more_raise():
    model = fixed(aim(num_frames=T)).eval()
    assert model(clips_of(num_frames=1)).features.shape == (B, 1, C)
    with pytest.raises(ValueError, match=r"T=5 exceeds num_frames=4 .* raise num_frames"):
        aim(num_frames=4)(clips_of())


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0])
def test_the_scale_is_the_mlp_adapters_alone(scale):
    model, reference = fixed(aim(scale=scale)).eval(), fixed(aim(scale=1.0)).eval()
    with torch.no_grad():
        for block in reference.blocks:
            block.beside_mlp.up.weight *= scale
            block.beside_mlp.up.bias *= scale
    torch.testing.assert_close(model(clips_of()).features, reference(clips_of()).features)


def test_stochastic_depth_drops_adapters_of_whole_clips_and_never_the_frozen_branches():
    frozen = fixed(ImageViT(**VIT)).eval()
    clips = clips_of()[:1].expand(12, -1, -1, -1, -1)
    model = with_image_weights(fixed(aim(drop_path_rate=0.5)), frozen).train()
    features = model(clips).features
    assert 2 < len({tuple(clip) for clip in features.flatten(1).round(decimals=3).tolist()}) < 12
    probabilities = [block.beside_mlp.drop_path.drop_prob for block in model.blocks]
    assert probabilities == pytest.approx([0.0, 0.25, 0.5])
    for block, probability in zip(model.blocks, probabilities, strict=True):
        assert block.over_time.after.drop_path.drop_prob == probability
        assert block.after_attention.drop_path.drop_prob == block.drop_path.drop_prob == 0
    # Silent adapters leave nothing to drop.
    silent = with_image_weights(aim(drop_path_rate=0.9), frozen).train()
    assert torch.equal(silent(clips).features, frozen(clips).features)


def test_the_first_step_moves_what_leads_out():
    model = with_image_weights(aim(num_temporal_adapters=2), fixed(ImageViT(**VIT))).eval()
    places = {
        name.split(".", 2)[-1] for name in names_with_gradient(training(model)) if "blo" in name
    }
    assert places == {
        f"{place}.up.{kind}"
        for place in ("over_time.after", "after_attention", "beside_mlp")
        for kind in ("weight", "bias")
    }


def test_more_than_two_temporal_adapters_raise(own_checks_only):
    with pytest.raises(ValueError, match=r"num_adapters=3 must be 1, .* or 2, before it as well"):
        aim(num_temporal_adapters=3)


def test_a_wrong_drop_path_rate_raises():
    with pytest.raises(ValueError, match=r"drop_prob=1.0 must lie in \[0, 1\)"):
        aim(drop_path_rate=1.0)
