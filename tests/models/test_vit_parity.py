"""Our image transformer against mmpretrain's and against loops, through the key conversion."""

import numpy as np
import pytest
import torch

from amflow_mm.models.backbones.image_vit import ImageViT
from amflow_mm.models.weights import mmpretrain as conversion
from amflow_mm.testing import fixed_init_, fixed_tensor
from tests.reference.basics import to_numpy, weights_of
from tests.reference.vit import vit as vit_by_loops

C, DEPTH, HEADS, HIDDEN, PATCH, SIDE = 20, 3, 5, 28, 4, 12
B, T = 2, 3
SIZE = {
    "embed_dim": C,
    "depth": DEPTH,
    "num_heads": HEADS,
    "mlp_dim": HIDDEN,
    "patch_size": PATCH,
}
THEIR_LAYOUTS = {
    "clip": {
        "pre_norm": True,
        "norm_cfg": {"type": "LN", "eps": 1e-5},
        "layer_cfgs": {"act_cfg": {"type": "mmpretrain.QuickGELU"}},
    },
    "dinov2": {"layer_scale_init_value": 1e-5},
    "timm": {},
}


def make_ours(family, **options):
    variant = SIZE | options.pop("variant", {})
    return ImageViT(variant, family=family, image_size=SIDE, **options).eval()


def make_theirs(family, feedforward=HIDDEN, **options):
    from mmpretrain.models import VisionTransformer

    arch = {
        "embed_dims": C,
        "num_layers": DEPTH,
        "num_heads": HEADS,
        "feedforward_channels": feedforward,
    }
    theirs = VisionTransformer(
        arch, img_size=SIDE, patch_size=PATCH, out_type="raw", **THEIR_LAYOUTS[family], **options
    )
    theirs.eval()  # does not return the module
    return fixed_init_(theirs)


def clips_of(height=SIDE, width=SIDE):
    return fixed_tensor((B, 3, T, height, width), tag="clips")


def tokens_of(vit, clips):
    """All tokens after the final norm, frame by frame."""
    x, grid = vit.embed(clips)
    for block in vit.blocks:
        x, _ = block(x, grid)
    return vit.norm(x)


def frames_of(clips):
    return clips.transpose(1, 2).flatten(0, 1)


def converted(ours, theirs):
    ours.load_state_dict(conversion.convert(theirs.state_dict()), strict=True)
    return ours


# ---------------------------------------------------------------- mmpretrain


@pytest.mark.parametrize("family", THEIR_LAYOUTS)
def test_all_tokens_equal_mmpretrains(family):
    theirs = make_theirs(family)
    ours = converted(make_ours(family), theirs)
    clips = clips_of()
    (expected,) = theirs(frames_of(clips))
    found = tokens_of(ours, clips).flatten(0, 1)
    assert expected.std() > 0.3
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", THEIR_LAYOUTS)
def test_the_backbone_returns_mmpretrains_cls_token_of_each_frame(family):
    theirs = make_theirs(family)
    ours = converted(make_ours(family), theirs)
    clips = clips_of()
    (expected,) = theirs(frames_of(clips))
    found = ours(clips)
    assert found.flow is None
    torch.testing.assert_close(
        found.features, expected[:, 0].unflatten(0, (B, T)), rtol=1e-4, atol=1e-5
    )


def test_resampled_positions_equal_mmpretrains():
    theirs = make_theirs("clip")
    ours = converted(make_ours("clip"), theirs)
    clips = clips_of(height=20, width=8)
    (expected,) = theirs(frames_of(clips))
    found = tokens_of(ours, clips).flatten(0, 1)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_gated_dinov2_equals_mmpretrains():
    theirs = make_theirs("dinov2", 33, layer_cfgs={"ffn_type": "swiglu_fused"})
    hidden = theirs.layers[0].ffn.w3.in_features
    ours = make_ours("dinov2", variant={"gated_mlp": True, "mlp_dim": hidden})
    converted(ours, theirs)
    clips = clips_of()
    (expected,) = theirs(frames_of(clips))
    torch.testing.assert_close(tokens_of(ours, clips).flatten(0, 1), expected, rtol=1e-4, atol=1e-5)


def test_the_layouts_differ_where_they_should():
    clips = clips_of()
    outputs = [fixed_init_(make_ours(family))(clips).features for family in THEIR_LAYOUTS]
    exact = fixed_init_(make_ours("clip", activation="gelu"))(clips).features
    assert not torch.allclose(outputs[0], exact, atol=1e-3)
    assert not torch.allclose(outputs[1], outputs[2], atol=1e-3)


@pytest.mark.parametrize("prefix", ["", "backbone."])
def test_heads_are_left_out_and_prefixes_do_not_matter(prefix):
    theirs = make_theirs("timm")
    state = {prefix + key: value for key, value in theirs.state_dict().items()}
    assert conversion.KEYS.matches(state)
    with_head = state | {"head.layers.head.weight": torch.zeros(2, C)}
    found, expected = conversion.convert(with_head), conversion.convert(theirs.state_dict())
    assert found.keys() == expected.keys() == make_ours("timm").state_dict().keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_another_layout_is_refused():
    assert not conversion.KEYS.matches({"visual.class_embedding": torch.zeros(1)})
    with pytest.raises(
        ValueError, match=r"1 entries of the checkpoint fit no rule.*'layers\.0\.x'"
    ):
        conversion.convert(make_theirs("timm").state_dict() | {"layers.0.x": torch.zeros(1)})


# ---------------------------------------------------------------- loops

OUR_LAYOUTS = {
    "clip": ("clip", {}, {"activation": "quick_gelu", "eps": 1e-5}),
    "dinov2": ("dinov2", {}, {"activation": "gelu", "eps": 1e-6}),
    "dinov2 with registers": (
        "dinov2",
        {"num_registers": 4},
        {"activation": "gelu", "eps": 1e-6},
    ),
    "dinov2 gated": (
        "dinov2",
        {"variant": {"gated_mlp": True}},
        {"activation": "unused", "eps": 1e-6},
    ),
    "timm": ("timm", {}, {"activation": "gelu", "eps": 1e-6}),
}


def neutral_names(vit):
    """Weights under the names of the oracle."""
    renames = {
        "embedding.patch_embed.proj.": "patch.",
        "embedding.cls_token": "cls",
        "embedding.registers": "registers",
        ".attn.": ".",
        ".mlp.": ".",
        ".gamma": "",
    }
    weights = weights_of(vit)
    cls, patches = (weights.pop(f"embedding.{part}_position") for part in ("cls", "patch"))
    out = {"position": np.concatenate([cls, patches], axis=1)}
    for key, value in weights.items():
        for ours, theirs in renames.items():
            key = key.replace(ours, theirs)
        out[key] = value
    return out


@pytest.mark.parametrize("layout", OUR_LAYOUTS)
def test_all_tokens_equal_the_loops(layout):
    family, options, arithmetic = OUR_LAYOUTS[layout]
    ours = fixed_init_(make_ours(family, **options))
    clips = clips_of()
    found = tokens_of(ours, clips)[1, 2]
    expected = vit_by_loops(
        to_numpy(clips[1, :, 2]),
        neutral_names(ours),
        depth=DEPTH,
        num_heads=HEADS,
        **arithmetic,
    )
    assert expected.std() > 0.3
    np.testing.assert_allclose(to_numpy(found), expected, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("layout", OUR_LAYOUTS)
def test_the_patch_readout_is_the_mean_of_the_normed_patches(layout):
    family, options, _ = OUR_LAYOUTS[layout]
    ours = fixed_init_(make_ours(family, readout="patch", **options))
    clips = clips_of()
    num_prefix = 1 + options.get("num_registers", 0)
    expected = tokens_of(ours, clips)[:, :, num_prefix:].mean(dim=2)
    torch.testing.assert_close(ours(clips).features, expected)
