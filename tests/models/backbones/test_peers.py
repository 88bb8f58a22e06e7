"""What holds for every peer: equations, identity at the start, gradients, counts, recomputation."""

import copy

import numpy as np
import pytest
import torch
from mmaction.structures import ActionDataSample

from amflow_mm.engine.frozen_identity import frozen_tensors
from amflow_mm.models.backbones import AdaptFormerViT, AIMViT, ImageViT, STAdapterViT
from amflow_mm.models.peft import freeze_except
from amflow_mm.models.weights import load_image_weights
from amflow_mm.models.weights.own_format import LoadedWeights, save_image_weights
from tests.models.backbones.peers import (
    ADAPTED,
    BOTH,
    LAYOUTS,
    OPTIONS,
    PEERS,
    blocks_by_loops,
    step,
    training,
)
from tests.models.tiny import (
    DEPTH,
    FAMILIES,
    GRID,
    VIT,
    B,
    C,
    K,
    P,
    T,
    clips_of,
    fixed,
    names_with_gradient,
    recognizer,
    trainable_names,
    videos_of,
    with_image_weights,
)
from tests.reference.basics import to_numpy

# ---------------------------------------------------------------- equations


@pytest.mark.parametrize("family", LAYOUTS)
@pytest.mark.parametrize("name", ADAPTED)
def test_the_blocks_equal_the_loops(name, family):
    model = fixed(PEERS[name](family=family, **OPTIONS[name])).double().eval()
    tokens, grid = model.embed(clips_of(num=1, num_frames=3).double())
    found = tokens
    for layer in range(DEPTH):
        found, w = model.run_block(layer, found, grid, None)
        assert w is None
    assert (grid, found.shape) == (GRID, (1, 3, 1 + P, C))
    np.testing.assert_allclose(
        to_numpy(found), blocks_by_loops(name, model, tokens), rtol=1e-9, atol=1e-9
    )


# ---------------------------------------------------------------- identity at the start


@pytest.mark.parametrize("is_training", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", PEERS)
def test_fresh_it_is_the_image_model_to_the_bit(name, family, is_training):
    model = PEERS[name](family=family, num_registers=2, image_size=21)
    image = fixed(ImageViT(**{**VIT, "family": family, "num_registers": 2}))
    image.readout = model.readout
    with_image_weights(model, image).train(is_training)
    image.train(is_training)
    assert torch.equal(model(clips_of()).features, image(clips_of()).features)


@pytest.mark.parametrize("name", ADAPTED)
def test_then_it_speaks(name):
    image = fixed(ImageViT(**VIT)).eval()
    model = with_image_weights(PEERS[name](), image).eval()
    image.readout = model.readout
    step(training(model))
    assert (model(clips_of()).features - image(clips_of()).features).abs().max() > 0.01


@pytest.mark.parametrize("name", PEERS)
def test_image_weights_load_and_leave_the_adapters_alone(name, tmp_path):
    image, model = fixed(ImageViT(**VIT)), PEERS[name]()
    before = copy.deepcopy(model.state_dict())
    path = tmp_path / "image.safetensors"
    save_image_weights(LoadedWeights(image.state_dict(), None, None), path, source="tiny")
    load_image_weights(model, str(path))
    for key, value in model.state_dict().items():
        assert torch.equal(value, image.state_dict().get(key, before[key])), key


# ---------------------------------------------------------------- gradients


@pytest.mark.parametrize("readout", ["cls", "patch"])
@pytest.mark.parametrize("name", PEERS)
def test_exactly_what_is_declared_gets_a_gradient(name, readout):
    model = training(fixed(PEERS[name](readout=readout)).eval())
    silent = set()
    if readout == "cls" and name == "st_adapter":
        silent = {n for n in trainable_names(model) if n.startswith(f"blocks.{DEPTH - 1}.before_m")}
        assert len(silent) == 6
    if name == "full fine-tuning":
        assert trainable_names(model) == {n for n, _ in model.named_parameters()}
    assert trainable_names(model) - names_with_gradient(model) == silent
    assert all(p.grad is None for p in model.parameters() if not p.requires_grad)


@pytest.mark.parametrize("name", PEERS)
def test_after_three_steps_every_trained_weight_has_moved(name):
    """The first moves what starts at zero; what stands before it waits for that."""
    torch.manual_seed(3)
    model = with_image_weights(PEERS[name](), fixed(ImageViT(**VIT))).eval()
    before = copy.deepcopy(model.state_dict())
    for _ in range(3):
        step(training(model))
    moved = {
        key for key, value in model.state_dict().items() if not torch.equal(value, before[key])
    }
    assert moved == trainable_names(model)


@pytest.mark.parametrize("name", PEERS)
def test_checkpointed_blocks_give_the_same_gradients(name):
    results = []
    for use_checkpoint in (False, True):
        torch.manual_seed(3)
        model = fixed(PEERS[name](use_checkpoint=use_checkpoint, drop_path_rate=0.3)).train()
        training(model)
        results.append({n: p.grad for n, p in model.named_parameters() if p.requires_grad})
    assert results[0].keys() == results[1].keys()
    for key, expected in results[0].items():
        torch.testing.assert_close(results[1][key], expected, msg=key)


@pytest.mark.parametrize("name", PEERS)
def test_half_precision_agrees_and_trains_the_same_set(name):
    model = fixed(PEERS[name]()).eval()
    expected = model(clips_of()).features
    with torch.autocast("cpu", torch.bfloat16):
        found = model(clips_of()).features
        training(model)
    assert (found.float() - expected).abs().mean() < 0.05 * expected.std()
    # A bias of the keys shifts a whole row of logits, which softmax ignores.
    silent = trainable_names(model) - names_with_gradient(model)
    assert not {key for key in silent if not key.endswith("qkv.bias")}


# ---------------------------------------------------------------- in a recognizer


RECOGNIZED = [
    {"type": "AIMViT", "num_frames": T},
    {"type": "STAdapterViT", "positions": list(BOTH), "readout": "patch"},
    {"type": "AdaptFormerViT", "bottleneck_dim": 10},
    {"type": "ImageViT", "train_all": True},
    {"type": "ImageViT"},
]


@pytest.mark.parametrize("options", RECOGNIZED)
def test_a_recognizer_trains_it_by_name_and_without_a_neck(options):
    model = fixed(recognizer({**VIT, **options})).train()
    heads = {key for key in trainable_names(model) if key.startswith("cls_head.")}
    is_probe = options == {"type": "ImageViT"}
    assert (trainable_names(model) == heads) == is_probe
    assert model.backbone.training != is_probe
    samples = [ActionDataSample().set_gt_label(index % K) for index in range(B)]
    data = {"inputs": videos_of(), "data_samples": samples}
    losses = model(**model.data_preprocessor(data, training=True), mode="loss")
    losses["loss_cls"].backward()
    assert names_with_gradient(model) == trainable_names(model)


@pytest.mark.parametrize("options", RECOGNIZED)
def test_what_a_checkpoint_leaves_out_is_what_image_weights_bring_back(options, tmp_path):
    """Adapters and temporal position are saved; of full fine-tuning everything is."""
    path = tmp_path / "image.safetensors"
    image = fixed(ImageViT(**VIT)).state_dict()
    save_image_weights(LoadedWeights(image, None, None), path, source="tiny")
    model = recognizer({**VIT, **options, "pretrained": str(path)})
    model.init_weights()
    left_out, filled = set(frozen_tensors(model)), {f"backbone.{name}" for name in image}
    assert left_out == filled - trainable_names(model)
    assert set(model.state_dict()) - left_out == trainable_names(model)
    for name, value in image.items():
        assert torch.equal(model.state_dict()[f"backbone.{name}"], value), name


@pytest.mark.parametrize("name", PEERS)
def test_who_can_tell_a_clip_from_the_same_played_backwards(name):
    """Without anything over time the mean over the frames is the same for both."""
    model = fixed(PEERS[name]()).eval()
    forwards, backwards = clips_of(), clips_of().flip(2)
    means = [model(clips).features.mean(dim=1) for clips in (forwards, backwards)]
    difference = (means[0] - means[1]).abs().max()
    if name in ("adaptformer", "full fine-tuning"):
        assert difference < 1e-5
    else:
        assert difference > 1e-3


# ---------------------------------------------------------------- published sizes

IMAGE = 86_192_640 - 768 * 512  # CLIP's ViT-B/16 without its projection
POSITION, NORM = 8 * 768, 2 * 768
AIM, ST, ADAPTFORMER = 295_872, 592_512, 99_136  # an adapter of each, R = 192, 384, 64
CASES = {
    # Published, with the head of each data set: 11 M and 14 M (AIM), 7 M and 14 M (ST-Adapter).
    "AIM, K400": (AIMViT, {}, 36 * AIM + POSITION, NORM, 10_659_072),
    "AIM, SSv2": (AIMViT, {"num_temporal_adapters": 2}, 48 * AIM + POSITION, NORM, 14_209_536),
    "ST-Adapter, K400": (STAdapterViT, {}, 12 * ST, 0, 7_110_144),
    "ST-Adapter, SSv2": (STAdapterViT, {"positions": BOTH}, 24 * ST, 0, 14_220_288),
    "AdaptFormer": (AdaptFormerViT, {}, 12 * ADAPTFORMER, NORM, 1_191_168),
    "full fine-tuning": (ImageViT, {"train_all": True}, 0, IMAGE, 85_799_424),
    "frozen probe": (ImageViT, {}, 0, 0, 0),
}


@pytest.mark.parametrize("name", CASES)
def test_counts_on_vit_b16(name):
    build, options, added, thawed, trainable = CASES[name]
    with torch.device("meta"):
        report = freeze_except(build(**options))
    assert report.trainable == added + thawed == trainable
    assert report.total == IMAGE + added


# ---------------------------------------------------------------- wrong arguments


@pytest.mark.parametrize("make", [AIMViT, STAdapterViT, AdaptFormerViT])
def test_a_misspelt_argument_raises(make):
    with pytest.raises(TypeError, match="unexpected keyword argument 'bottleneck'"):
        make(bottleneck=8, **VIT)


@pytest.mark.parametrize("name", ["st_adapter", "adaptformer"])
def test_a_block_that_does_not_exist_raises(name):
    with pytest.raises(ValueError, match=r"adapter_layers=\[3\] must be .* blocks from 0 to 2"):
        PEERS[name](adapter_layers=[3])


@pytest.mark.parametrize("name", ["st_adapter", "adaptformer"])
def test_adapters_stand_in_the_chosen_blocks(name):
    model = PEERS[name](adapter_layers=[2, 0])
    slot = "before_mlp" if name == "st_adapter" else "beside_mlp"
    assert [getattr(block, slot) is not None for block in model.blocks] == [True, False, True]
    assert training(fixed(model).eval()).blocks[0].norm1.weight.grad is None


@pytest.mark.parametrize("name", PEERS)
def test_other_resolutions_and_batches(name):
    model = fixed(PEERS[name](num_registers=2)).eval()
    clips = clips_of(rows=4, columns=2)
    features = model(clips).features
    assert features.shape == (B, T, C)
    torch.testing.assert_close(model(clips[1:]).features, features[1:], rtol=1e-4, atol=1e-5)
