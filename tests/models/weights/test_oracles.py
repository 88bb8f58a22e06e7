"""Whole outputs against the families' own code, from the files that this code writes.

Weights are random, in the family's own naming; sizes are tiny. A library that is not installed is
skipped and named.
"""

import warnings

import pytest
import torch
from safetensors.torch import save_file

from amflow_mm.models.backbones import ImageViT
from amflow_mm.models.weights import load_image_weights
from amflow_mm.models.weights.loading import LAYOUTS
from amflow_mm.testing import fixed_init_, fixed_tensor

C, DEPTH, HEADS, HIDDEN, SIDE = 24, 3, 3, 40, 4
PATCHES = (14, 16)


def import_oracle(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of other projects' modules, not of ours
        return pytest.importorskip(
            name, reason=f"{name} is not installed (requirements/tests.txt): no parity with it"
        )


def make_ours(patch_size, **options):
    variant = {
        "embed_dim": C,
        "depth": DEPTH,
        "num_heads": HEADS,
        "mlp_dim": HIDDEN,
        "patch_size": patch_size,
        "gated_mlp": options.pop("gated_mlp", False),
    } | options.pop("variant", {})
    return ImageViT(variant, image_size=SIDE * patch_size, **options).eval()


def tokens_of(vit, frames):
    x, grid = vit.embed(frames.unsqueeze(2))
    for block in vit.blocks:
        x, _ = block(x, grid)
    return vit.norm(x)[:, 0]


def frames_of(patch_size, rows=SIDE, columns=SIDE):
    return fixed_tensor((2, 3, rows * patch_size, columns * patch_size), tag="frames")


def write(model, path):
    """Save as the family does, with nothing else in the file."""
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(state, path)
    return str(path)


def assert_equal_outputs(found, expected):
    assert expected.std() > 0.3
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=2e-5)


def layout_of(model):
    return next(name for name, x in LAYOUTS.items() if x.KEYS.matches(model.state_dict()))


# ---------------------------------------------------------------- timm

TIMM_CASES = {
    "AugReg": ({}, {}),
    "with registers": ({"reg_tokens": 4}, {"num_registers": 4}),
    "DeiT III": ({"init_values": 1e-6, "no_embed_class": True}, {}),
    "DINOv2 with registers": (
        {"init_values": 1e-5, "reg_tokens": 4, "no_embed_class": True},
        {"num_registers": 4},
    ),
    "pooled head": ({"global_pool": "avg", "fc_norm": False}, {}),
}


def make_timm(patch_size, **options):
    timm = import_oracle("timm")
    arguments = {
        "img_size": SIDE * patch_size,
        "patch_size": patch_size,
        "embed_dim": C,
        "depth": DEPTH,
        "num_heads": HEADS,
        "mlp_ratio": HIDDEN / C,
        "num_classes": 5,
        "dynamic_img_size": True,
    }
    kind = options.pop("kind", timm.models.vision_transformer.VisionTransformer)
    return fixed_init_(kind(**arguments | options)).eval()


@pytest.mark.parametrize("patch_size", PATCHES)
@pytest.mark.parametrize("case", TIMM_CASES)
@pytest.mark.parametrize("grid", [(SIDE, SIDE), (3, 6), (7, 5)])
def test_timm(tmp_path, patch_size, case, grid):
    options, our_options = TIMM_CASES[case]
    theirs = make_timm(patch_size, **options)
    ours = make_ours(patch_size, family="timm", **our_options)
    assert layout_of(theirs) == "timm"
    load_image_weights(ours, write(theirs, tmp_path / "model.safetensors"))
    frames = frames_of(patch_size, *grid)
    assert_equal_outputs(tokens_of(ours, frames), theirs.forward_features(frames))


def test_timm_gated(tmp_path):
    timm = import_oracle("timm")
    theirs = make_timm(
        14,
        init_values=1e-5,
        mlp_ratio=2 * HIDDEN / C,
        mlp_layer=timm.layers.SwiGLUPacked,
        act_layer="silu",
    )
    ours = make_ours(14, family="timm", gated_mlp=True)
    load_image_weights(ours, write(theirs, tmp_path / "model.safetensors"))
    frames = frames_of(14, 3, 6)
    assert_equal_outputs(tokens_of(ours, frames), theirs.forward_features(frames))


def test_timm_distilled(tmp_path):
    """The distillation token is a register whose position is added to it."""
    timm = import_oracle("timm")
    theirs = make_timm(16, kind=timm.models.deit.VisionTransformerDistilled, dynamic_img_size=False)
    ours = make_ours(16, family="timm", num_registers=1)
    torch.save({"model": theirs.state_dict()}, tmp_path / "deit.pth")
    load_image_weights(ours, str(tmp_path / "deit.pth"))
    frames = frames_of(16)
    assert_equal_outputs(tokens_of(ours, frames), theirs.forward_features(frames))


@pytest.mark.parametrize("activation", ["gelu", "quick_gelu"])
def test_timm_clip(tmp_path, activation):
    """At the stored size; for others timm filters positions, and CLIP's family here does not."""
    timm = import_oracle("timm")
    act_layer = {"gelu": "gelu", "quick_gelu": "quick_gelu"}[activation]
    theirs = make_timm(
        16, pre_norm=True, act_layer=act_layer, norm_layer=timm.layers.LayerNorm, num_classes=0
    )
    for module in theirs.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = 1e-5
    ours = make_ours(16, family="clip", activation=activation)
    load_image_weights(ours, write(theirs, tmp_path / "model.safetensors"))
    assert_equal_outputs(tokens_of(ours, frames_of(16)), theirs.forward_features(frames_of(16)))


def test_mae_encoder_beside_its_decoder(tmp_path):
    theirs = make_timm(16, num_classes=0)
    decoder = {"mask_token": torch.zeros(1, 1, 8), "decoder_embed.weight": torch.zeros(8, C)}
    decoder |= {"decoder_pos_embed": torch.zeros(1, 17, 8), "decoder_blocks.0.x": torch.zeros(1)}
    torch.save({"model": dict(theirs.state_dict()) | decoder}, tmp_path / "mae.pth")
    ours = make_ours(16, family="timm")
    load_image_weights(ours, str(tmp_path / "mae.pth"))
    assert_equal_outputs(tokens_of(ours, frames_of(16)), theirs.forward_features(frames_of(16)))


# ---------------------------------------------------------------- Hugging Face


def hf_vision_options(patch_size):
    return {
        "hidden_size": C,
        "num_hidden_layers": DEPTH,
        "num_attention_heads": HEADS,
        "image_size": SIDE * patch_size,
        "patch_size": patch_size,
    }


def save_pretrained(model, folder):
    """Write the file that Hugging Face's own code publishes."""
    model.save_pretrained(folder, safe_serialization=True)
    return str(folder / "model.safetensors")


@pytest.mark.parametrize("patch_size", PATCHES)
@pytest.mark.parametrize("activation", ["gelu", "quick_gelu"])
@pytest.mark.parametrize("grid", [(SIDE, SIDE), (3, 6), (7, 5)])
def test_hugging_face_clip(tmp_path, patch_size, activation, grid):
    transformers = import_oracle("transformers")
    vision = hf_vision_options(patch_size) | {"intermediate_size": HIDDEN, "hidden_act": activation}
    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
            "intermediate_size": 20, "vocab_size": 11, "max_position_embeddings": 5}  # fmt: skip
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)
    model = fixed_init_(transformers.CLIPModel(config)).eval()
    ours = make_ours(patch_size, family="clip", activation=activation)
    load_image_weights(ours, save_pretrained(model, tmp_path))
    frames = frames_of(patch_size, *grid)
    tower = model.vision_model
    expected = tower(frames, interpolate_pos_encoding=True).last_hidden_state
    assert_equal_outputs(tokens_of(ours, frames), tower.post_layernorm(expected))


@pytest.mark.parametrize("kind", ["CLIPVisionModel", "CLIPVisionModelWithProjection"])
def test_hugging_face_clip_towers_alone(tmp_path, kind):
    transformers = import_oracle("transformers")
    config = transformers.CLIPVisionConfig(
        **hf_vision_options(16), intermediate_size=HIDDEN, projection_dim=8
    )
    model = fixed_init_(getattr(transformers, kind)(config)).eval()
    ours = make_ours(16, family="clip")
    load_image_weights(ours, save_pretrained(model, tmp_path))
    captured = model.vision_model(frames_of(16)) if hasattr(model, "vision_model") else model(
        frames_of(16)
    )  # fmt: skip
    found = ours(frames_of(16).unsqueeze(2)).features[:, 0]
    assert_equal_outputs(found, captured.pooler_output)


@pytest.mark.parametrize("patch_size", PATCHES)
@pytest.mark.parametrize("kind", ["Dinov2", "Dinov2WithRegisters"])
@pytest.mark.parametrize("is_gated", [False, True])
@pytest.mark.parametrize("grid", [(SIDE, SIDE), (3, 6), (7, 5)])
def test_hugging_face_dinov2(tmp_path, patch_size, kind, is_gated, grid):
    transformers = import_oracle("transformers")
    options = hf_vision_options(patch_size) | {"mlp_ratio": 2, "use_swiglu_ffn": is_gated}
    if kind == "Dinov2WithRegisters":
        options["num_register_tokens"] = 4
    config = getattr(transformers, f"{kind}Config")(**options)
    model = fixed_init_(getattr(transformers, f"{kind}Model")(config)).eval()
    hidden = (int(2 * C * 2 / 3) + 7) // 8 * 8 if is_gated else 2 * C
    ours = make_ours(
        patch_size,
        family="dinov2_hf",
        gated_mlp=is_gated,
        num_registers=options.get("num_register_tokens", 0),
        variant={"mlp_dim": hidden},
    )
    load_image_weights(ours, save_pretrained(model, tmp_path))
    frames = frames_of(patch_size, *grid)
    assert_equal_outputs(tokens_of(ours, frames), model(frames).last_hidden_state)


def test_hugging_face_dinov2_below_a_classifier(tmp_path):
    transformers = import_oracle("transformers")
    config = transformers.Dinov2Config(**hf_vision_options(14), mlp_ratio=2, num_labels=3)
    model = fixed_init_(transformers.Dinov2ForImageClassification(config)).eval()
    ours = make_ours(14, family="dinov2_hf", variant={"mlp_dim": 2 * C})
    load_image_weights(ours, save_pretrained(model, tmp_path))
    expected = model.dinov2(frames_of(14)).last_hidden_state
    assert_equal_outputs(tokens_of(ours, frames_of(14)), expected)


# ---------------------------------------------------------------- OpenCLIP


@pytest.mark.parametrize("patch_size", PATCHES)
@pytest.mark.parametrize("has_quick_gelu", [False, True])
@pytest.mark.parametrize("is_custom_text", [False, True])
@pytest.mark.parametrize("side", [SIDE, 3, 7])
def test_open_clip(tmp_path, patch_size, has_quick_gelu, is_custom_text, side):
    import_oracle("open_clip")
    from open_clip.model import CLIP, CustomTextCLIP, resize_pos_embed

    vision = {"image_size": SIDE * patch_size, "layers": DEPTH, "width": C,
              "head_width": C // HEADS, "patch_size": patch_size, "mlp_ratio": 2}  # fmt: skip
    text = {"context_length": 5, "vocab_size": 11, "width": 16, "heads": 2, "layers": 1}
    options = {"init_logit_bias": -10} if is_custom_text else {}
    build = CustomTextCLIP if is_custom_text else CLIP
    model = fixed_init_(build(8, vision, text, quick_gelu=has_quick_gelu, **options))
    state = {f"module.{name}": value for name, value in model.state_dict().items()}
    torch.save({"epoch": 3, "name": "run", "state_dict": state}, tmp_path / "epoch_3.pt")
    activation = "quick_gelu" if has_quick_gelu else "gelu"
    ours = make_ours(
        patch_size, family="open_clip", activation=activation, variant={"mlp_dim": 2 * C}
    )
    load_image_weights(ours, str(tmp_path / "epoch_3.pt"))
    resized = build(
        8, vision | {"image_size": side * patch_size}, text, quick_gelu=has_quick_gelu, **options
    ).eval()
    state = dict(model.state_dict())
    resize_pos_embed(state, resized)
    resized.load_state_dict(state)
    resized.visual.proj = None
    frames = frames_of(patch_size, side, side)
    found = ours(frames.unsqueeze(2)).features[:, 0]
    assert_equal_outputs(found, resized.visual(frames))
