"""Weights that do not fit: the likely cause, and the arguments that would fit."""

import pytest
import torch

from amflow_mm.errors import WeightsError
from amflow_mm.models.backbones import ImageViT
from amflow_mm.models.weights import load_image_weights
from amflow_mm.models.weights.mismatch import explain, measure


def state_of(variant="s14", **options):
    with torch.device("meta"):
        return ImageViT(variant, **{"family": "dinov2"} | options).state_dict()


def test_the_shapes_tell_the_geometry():
    found = measure(state_of("b16", family="clip", num_registers=2))
    assert (found.embed_dim, found.depth, found.mlp_dim, found.patch_size) == (768, 12, 3072, 16)
    assert (found.grid_side, found.num_registers) == (14, 2)
    assert found.is_normed_first
    assert not found.is_scaled
    assert measure(state_of("g14")).mlp_dim == 4096


@pytest.mark.parametrize(
    ("weights", "backbone", "cause"),
    [
        ({"variant": "l14"}, {"variant": "b16", "image_size": 224},
         "wrong size: set variant='l14', the backbone has variant='b16'"),
        ({"variant": "b14"}, {"variant": "b16", "image_size": 224}, "set variant='b14'"),
        ({"variant": "g14"}, {"variant": "s14"}, "set variant='g14'"),
        (
            {"variant": {"embed_dim": 8, "depth": 3, "num_heads": 2, "mlp_dim": 5,
                         "patch_size": 14}},
            {},
            "embed_dim=8, depth=3, num_heads=?, mlp_dim=5, patch_size=14",
        ),
        ({"image_size": 224}, {}, "positions of images of 224 pixels: set image_size=224"),
        ({"num_registers": 4}, {}, "set num_registers=4"),
        ({}, {"num_registers": 4}, "set num_registers=0"),
        ({}, {"family": "timm", "image_size": 518}, "set family='dinov2' or 'dinov2_hf'"),
        ({"family": "timm", "image_size": 518}, {}, "set family='timm'"),
        ({"family": "clip", "image_size": 518}, {"family": "timm", "image_size": 518},
         "set family='clip'"),
        ({"family": "timm", "image_size": 518}, {"family": "clip", "image_size": 518},
         "not family='clip'"),
    ],
)  # fmt: skip
def test_the_cause_and_the_remedy_are_named(weights, backbone, cause):
    assert cause in explain(state_of(**weights), state_of(**backbone))


def test_lacking_parts_are_named():
    weights = state_of()
    for name in ("norm.weight", "norm.bias", "embedding.cls_token"):
        del weights[name]
    assert "no norm behind the last block" in explain(weights, state_of())
    assert "no class token" in explain(weights, state_of())
    del weights["embedding.patch_position"]
    assert "wrong layout" in explain(weights, state_of())


def test_loading_raises_with_entries_cause_and_remedy(tmp_path):
    torch.save(
        {"mask_token": torch.zeros(1)}
        | {
            "cls_token": torch.zeros(1, 1, 8),
            "pos_embed": torch.zeros(1, 5, 8),
            "patch_embed.proj.weight": torch.zeros(8, 3, 4, 4),
            "blocks.0.mlp.fc2.weight": torch.zeros(8, 9),
        },
        tmp_path / "x.pth",
    )
    size = {"embed_dim": 8, "depth": 2, "num_heads": 2, "mlp_dim": 9, "patch_size": 4}
    vit = ImageViT(size, family="dinov2", image_size=8)
    with pytest.raises(WeightsError, match=r"missing \['blocks.0.attn.*variant=dict\(.*depth=1"):
        load_image_weights(vit, str(tmp_path / "x.pth"))
