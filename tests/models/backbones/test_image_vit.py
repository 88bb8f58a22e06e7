"""The frozen image transformer: sizes, layouts, resolutions, drop path, checkpointing, errors."""

import re
from typing import get_args

import pytest
import torch
import torch.nn.functional as F

from amflow_mm.models.backbones import ImageViT
from amflow_mm.models.backbones.vit_layouts import FAMILIES as LAYOUTS
from amflow_mm.models.backbones.vit_layouts import FamilyName, check_layers
from amflow_mm.testing import fixed_tensor
from tests.models.tiny import (
    DEPTH,
    FAMILIES,
    HEADS,
    PATCH,
    SIZE,
    VIT,
    B,
    C,
    T,
    clips_of,
    fixed,
    static_clips,
)

PUBLISHED = {
    # Counts of the released models, without classifier, CLIP's projection and DINOv2's mask token.
    ("clip", "b16"): 86_192_640 - 768 * 512,
    ("clip", "b32"): 87_849_216 - 768 * 512,
    ("clip", "l14"): 303_966_208 - 1024 * 768,
    ("dinov2", "s14"): 22_056_576 - 384,
    ("dinov2", "b14"): 86_580_480 - 768,
    ("dinov2", "l14"): 304_368_640 - 1024,
    ("dinov2", "g14"): 1_136_480_768 - 1536,
    ("timm", "ti16"): 5_717_416 - 193_000,
    ("timm", "s16"): 22_050_664 - 385_000,
    ("timm", "b16"): 86_567_656 - 769_000,
    ("timm", "l16"): 304_326_632 - 1_025_000,
}


def make(**options):
    return fixed(ImageViT(**{**VIT, **options})).eval()


@pytest.mark.parametrize(("family", "variant"), PUBLISHED)
def test_sizes_have_the_published_numbers_of_parameters(family, variant):
    with torch.device("meta"):
        vit = ImageViT(variant, family=family)
    assert sum(p.numel() for p in vit.parameters()) == PUBLISHED[family, variant]


def test_registers_add_four_tokens():
    with torch.device("meta"):
        vit = ImageViT("s14", family="dinov2", num_registers=4)
    assert sum(p.numel() for p in vit.parameters()) == 22_056_576 - 384 + 4 * 384


def test_a_larger_image_adds_positions():
    with torch.device("meta"):
        vit = ImageViT("l14", family="clip", image_size=336)
    assert vit.embedding.patch_position.shape == (1, 24 * 24, 1024)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("grid", [(1, 1), (2, 2), (3, 3), (5, 2), (1, 4)])
def test_clips_of_any_grid_pass(family, grid):
    clips = clips_of(rows=grid[0], columns=grid[1])
    output = make(family=family)(clips)
    assert output.features.shape == (B, T, C)
    assert output.features.std() > 0.1
    assert output.flow is None


def positions_of(vit, rows, columns):
    """Positions that a frame of that grid gets: what is left of the tokens without patches."""
    vit.embedding.patch_embed.proj.weight.data.zero_()
    vit.embedding.patch_embed.proj.bias.data.zero_()
    x, _ = vit.embed(clips_of(rows=rows, columns=columns))
    return x[0, 0, 1:]


@pytest.mark.parametrize(("rows", "columns"), [(2, 2), (2, 5), (7, 4)])
def test_hugging_faces_positions_are_resampled_to_a_size_and_metas_by_a_scale(rows, columns):
    vits = {family: make(family=family) for family in ("dinov2", "dinov2_hf")}
    stored = vits["dinov2"].embedding.patch_position.detach()
    image = stored.reshape(1, 3, 3, C).permute(0, 3, 1, 2)
    to_size = F.interpolate(image, size=(rows, columns), mode="bicubic", align_corners=False)
    scale = ((rows + 0.1) / 3, (columns + 0.1) / 3)
    by_scale = F.interpolate(image, scale_factor=scale, mode="bicubic", align_corners=False)
    assert (to_size - by_scale).abs().max() > 0.01
    for family, expected in {"dinov2_hf": to_size, "dinov2": by_scale}.items():
        found = positions_of(vits[family], rows, columns)
        torch.testing.assert_close(found, expected[0].flatten(1).T)


def test_hugging_faces_layout_is_metas_at_the_stored_size():
    clips = clips_of(rows=3, columns=3)
    found, expected = (make(family=family)(clips).features for family in ("dinov2_hf", "dinov2"))
    assert torch.equal(found, expected)
    with torch.device("meta"):
        vits = [ImageViT("s14", family=family) for family in ("dinov2_hf", "dinov2")]
    shapes = [{name: p.shape for name, p in vit.state_dict().items()} for vit in vits]
    assert shapes[0] == shapes[1]


def test_every_family_has_a_layout():
    assert set(get_args(FamilyName)) == set(LAYOUTS)


@pytest.mark.parametrize(("height", "width"), [(14, 20), (13, 21)])
def test_a_frame_that_the_patches_do_not_divide_raises(height, width):
    clips = torch.zeros(B, 3, T, height, width)
    with pytest.raises(ValueError, match=rf"frame size {height}x{width} .* patch_size=7"):
        make()(clips)


@pytest.mark.parametrize("family", FAMILIES)
def test_frames_and_clips_do_not_see_each_other(family):
    vit, clips = make(family=family), clips_of()
    before = vit(clips).features
    changed = clips.clone()
    changed[1, :, 3] += 1
    moved = (vit(changed).features - before).abs().amax(dim=-1)
    assert moved[1, 3] > 0.01
    moved[1, 3] = 0
    assert moved.max() < 1e-5


@pytest.mark.parametrize("num_registers", [0, 2])
@pytest.mark.parametrize("readout", ["cls", "patch"])
def test_registers_and_readout(readout, num_registers):
    vit = make(readout=readout, num_registers=num_registers)
    x, grid = vit.embed(clips_of())
    assert vit.num_prefix_tokens == 1 + num_registers
    assert x.shape == (B, T, 1 + num_registers + 6, C)
    for layer in range(DEPTH):
        x, _ = vit.run_block(layer, x, grid, None)
    first = 0 if readout == "cls" else 1 + num_registers
    normed = vit.norm(x)[:, :, first:]
    expected = normed[:, :, 0] if readout == "cls" else normed.mean(dim=2)
    torch.testing.assert_close(vit(clips_of()).features, expected)


def test_registers_are_seen_by_the_patches():
    vit, clips = make(num_registers=2, readout="patch"), clips_of()
    before = vit(clips).features
    with torch.no_grad():
        vit.embedding.registers.copy_(fixed_tensor((1, 2, C), tag="other"))
    assert (vit(clips).features - before).abs().max() > 0.01


def test_clip_alone_normalises_the_embedding():
    kinds = {family: type(make(family=family).norm_pre).__name__ for family in FAMILIES}
    assert kinds == {"clip": "LayerNorm", "dinov2": "Identity", "timm": "Identity"}


def test_the_activation_of_the_family_can_be_replaced():
    clips = clips_of()
    usual = make(family="clip")(clips).features
    assert torch.equal(make(family="clip", activation="quick_gelu")(clips).features, usual)
    assert not torch.allclose(make(family="clip", activation="gelu")(clips).features, usual)


def test_drop_path_grows_linearly_and_needs_training_mode():
    vit, clips = make(drop_path_rate=0.5), clips_of()
    assert [block.drop_path.drop_prob for block in vit.blocks] == [0.0, 0.25, 0.5]
    assert torch.equal(vit(clips).features, make()(clips).features)


def test_drop_path_drops_whole_clips():
    vit = make(drop_path_rate=0.5).train()
    clips = static_clips()[:1].expand(12, -1, -1, -1, -1)
    features = vit(clips).features
    torch.testing.assert_close(features, features[:, :1].expand_as(features))
    assert len({tuple(row) for row in features[:, 0].round(decimals=3).tolist()}) > 2


@pytest.mark.parametrize("train_norm", [False, True])
def test_only_the_final_norm_may_be_declared(train_norm):
    declared = make(train_norm=train_norm).adapter_params()
    assert declared == (["norm.weight", "norm.bias"] if train_norm else [])


def test_checkpointed_blocks_give_the_same_gradients():
    clips, results = clips_of(), []
    for use_checkpoint in (False, True):
        vit = make(use_checkpoint=use_checkpoint, family="clip")
        features = vit(clips).features
        features.square().sum().backward()
        results.append([features, *(p.grad for p in vit.parameters())])
    for plain, checkpointed in zip(*results, strict=True):
        torch.testing.assert_close(checkpointed, plain)


def test_checkpointing_computes_blocks_again_in_the_backward_pass(monkeypatch):
    calls = []
    fused = torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(
        torch.nn.functional,
        "scaled_dot_product_attention",
        lambda q, k, v: calls.append(q.shape) or fused(q, k, v),
    )
    vit = make(use_checkpoint=True)
    with torch.no_grad():
        vit(clips_of())
    assert len(calls) == DEPTH
    vit(clips_of()).features.sum().backward()
    assert len(calls) == 3 * DEPTH


@pytest.mark.parametrize("family", FAMILIES)
def test_half_precision_agrees(family):
    vit, clips = make(family=family), clips_of()
    expected = vit(clips).features
    with torch.autocast("cpu", torch.bfloat16):
        found = vit(clips).features
    assert not torch.equal(found, expected)
    error = (found.float() - expected).abs()
    assert error.mean() < 0.02
    assert error.max() < 0.15


def test_a_variant_in_words_equals_one_in_numbers():
    fields = {"embed_dim": 192, "depth": 12, "num_heads": 3, "mlp_dim": 768, "patch_size": 16}
    with torch.device("meta"):
        named, spelt = ImageViT("ti16", family="timm"), ImageViT(fields, family="timm")
    shapes = [{n: p.shape for n, p in vit.named_parameters()} for vit in (named, spelt)]
    assert shapes[0] == shapes[1]
    assert named.blocks[0].attn.num_heads == spelt.blocks[0].attn.num_heads == 3


def test_the_given_variant_is_not_changed():
    before = dict(SIZE)
    make(variant=SIZE)
    assert before == SIZE
    assert make().patch_size == PATCH
    assert make().blocks[0].attn.num_heads == HEADS


@pytest.mark.parametrize("variant", ["x16", "b", "16", "b0", "b16 ", "B16", "vit-b16", ""])
def test_an_unknown_variant_raises(variant):
    with pytest.raises(ValueError, match=rf"variant='{variant}' must be one of ti, s, b, l, g"):
        ImageViT(variant)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"patch_size": None}, "add ['patch_size'], remove or rename []"),
        ({"depth": None, "layers": 3}, "add ['depth'], remove or rename ['layers']"),
        ({"head_dim": 8}, "add [], remove or rename ['head_dim']"),
    ],
)
def test_a_variant_of_other_fields_raises(change, told):
    variant = {name: value for name, value in (SIZE | change).items() if value is not None}
    rule = "must have the fields embed_dim, depth, num_heads, mlp_dim and patch_size"
    with pytest.raises(ValueError, match=rf"variant=.* {rule}, .*; {re.escape(told)}"):
        ImageViT(variant)


@pytest.mark.parametrize("image_size", [20, 22, 6, 0])
def test_an_image_that_the_patches_do_not_divide_raises(image_size):
    message = rf"image_size={image_size} must be a multiple of the patch side 7; pass the size at"
    with pytest.raises(ValueError, match=message):
        make(image_size=image_size)


def test_a_usual_image_that_the_patches_do_not_divide_raises():
    with pytest.raises(ValueError, match=r"image_size=518, the usual one of family='dinov2', must"):
        ImageViT("b16", family="dinov2")


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [
        ("family", "swin", "clip, open_clip, dinov2, dinov2_hf, timm, mae"),
        ("readout", "mean", "'cls', 'patch'"),
    ],
)
def test_unknown_options_raise(option, value, allowed, own_checks_only):
    with pytest.raises(ValueError, match=f"{option}='{value}' must be one of {allowed}"):
        ImageViT(SIZE, **{option: value})


def test_chosen_blocks_come_in_order():
    assert check_layers("layers", [2, 0], 3) == (0, 2)
    assert check_layers("layers", None, 3) == (0, 1, 2)
    assert check_layers("layers", [], 3) == ()


@pytest.mark.parametrize("layers", [[0, 3], [-1], [1, 1]])
def test_blocks_that_do_not_exist_raise(layers):
    with pytest.raises(ValueError, match=r"layers=\[.*\] must be different blocks from 0 to 2"):
        check_layers("layers", layers, 3)
