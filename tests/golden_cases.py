"""What the golden files hold, and how they are made: ``python -m tests.golden_cases``.

Weights and inputs come from ``amflow_mm.testing.fixed_init``, without a generator, so the
numbers move only when the arithmetic does. The command prints the largest change of every
file; the CHANGELOG's *Numerics* says why it moved.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import amflow_mm
from amflow_mm.models.backbones import (
    AdaptFormerViT,
    AIMViT,
    AMFlowSideViT,
    AMFlowViT,
    ImageViT,
    STAdapterViT,
)
from amflow_mm.models.layers import (
    AligningEncoder,
    LSTMUnit,
    TCNUnit,
    TemporalAdapter,
    TransformerUnit,
    attention_map_flow,
)
from amflow_mm.models.layers.correspondence import dense
from amflow_mm.models.necks import AMFlow
from amflow_mm.testing import fixed_init_, fixed_tensor, regenerate

FOLDER = Path(__file__).parent / "golden"
PROVENANCE = (
    f"amflow_mm {amflow_mm.__version__}, torch {torch.__version__}, CPU, single precision; "
    "weights and inputs of amflow_mm.testing.fixed_init; tests/golden_cases.py"
)
TINY = {"embed_dim": 20, "depth": 3, "num_heads": 5, "mlp_dim": 28, "patch_size": 4}
Arrays = dict[str, np.ndarray]


def _arrays(**tensors: torch.Tensor) -> Arrays:
    return {name: tensor.detach().numpy() for name, tensor in tensors.items()}


def _clips() -> torch.Tensor:
    return fixed_tensor((2, 3, 5, 12, 12), tag="clips")


def _flow() -> Arrays:
    shape = (2, 3, 5, 8, 11)
    q, k = fixed_tensor(shape, tag="q"), fixed_tensor(shape, tag="k")
    warp = fixed_tensor((2, 2, 7, 7), tag="correspondence", scale=2.0).softmax(dim=-1)
    out = {"q": q, "k": k, "correspondence": warp}
    for source in ("post", "pre"):
        for normalize in ("softmax", "row", "column"):
            name = f"{source}_{normalize}"
            out[name] = attention_map_flow(q, k, source=source, normalize=normalize)
            out[f"{name}_moving"] = attention_map_flow(
                q, k, source=source, normalize=normalize, correspondence=warp
            )
    return _arrays(**out)


def _adapters() -> Arrays:
    a = fixed_tensor((2, 5, 7, 10), tag="a")
    w = 6 * fixed_tensor((2, 5, 6), tag="w").softmax(dim=-1)
    out = {"a": a, "w": w}
    units = {
        "transformer": lambda: TransformerUnit(8, num_heads=2),
        "tcn": lambda: TCNUnit(8, dilations=(1, 2)),
        "lstm": lambda: LSTMUnit(8),
    }
    for name, make_unit in units.items():
        for pooling in ("global", "token"):
            for flow_as in ("gain", "feature", "both"):
                adapter = TemporalAdapter(10, 8, make_unit(), pooling=pooling, flow_as=flow_as)
                out[f"{name}_{pooling}_{flow_as}"] = fixed_init_(adapter)(a, w, (3, 2))
    return _arrays(**out)


def _aligning_encoders() -> Arrays:
    x = fixed_tensor((2, 3, 15, 7), tag="x")
    out = {"x": x}
    for warp in ("dense", "window", "affine"):
        encoder = fixed_init_(AligningEncoder(7, 6, warp=warp, num_heads=3))
        out[warp] = dense(encoder(x, (3, 5)))
    return _arrays(**out)


def _image_vits() -> Arrays:
    clips = _clips()
    out = {"clips": clips}
    for family, num_registers in (("clip", 0), ("dinov2", 0), ("dinov2", 4), ("timm", 0)):
        vit = ImageViT(TINY, family=family, image_size=16, num_registers=num_registers).eval()
        out[f"{family}_{num_registers}"] = fixed_init_(vit)(clips).features
    return _arrays(**out)


def _amflow_vits() -> Arrays:
    clips, flow = _clips(), AMFlow()
    unit = {"type": "TCNUnit"}
    adapter = {"type": "TemporalAdapter", "bottleneck_dim": 8, "unit": unit}
    options = {"variant": TINY, "family": "dinov2", "image_size": 12}
    in_block = fixed_init_(AMFlowViT(adapter, **options)).eval()(clips, flow, return_flow=True)
    side = AMFlowSideViT(unit, layers=(0, 2), side_dim=8, **options)
    beside = fixed_init_(side).eval()(clips, flow, return_flow=True)
    return _arrays(
        clips=clips,
        in_block=in_block.features,
        in_block_flow=in_block.flow,
        side=beside.features,
        side_flow=beside.flow,
    )


def _peers() -> Arrays:
    clips, out = _clips(), {}
    options = {"variant": TINY, "family": "clip", "image_size": 12, "readout": "patch"}
    both = ("before_attention", "before_mlp")
    peers = {
        "aim": AIMViT(**options),
        "aim_two_temporal": AIMViT(num_temporal_adapters=2, scale=1.0, **options),
        "st_adapter": STAdapterViT(both, kernel_size=(3, 3, 1), **options),
        "adaptformer": AdaptFormerViT(bottleneck_dim=8, **options),
    }
    for name, peer in peers.items():
        out[name] = fixed_init_(peer).eval()(clips).features
    return _arrays(clips=clips, **out)


CASES: dict[str, Callable[[], Arrays]] = {
    "attention_map_flow": _flow,
    "temporal_adapter": _adapters,
    "aligning_encoder": _aligning_encoders,
    "image_vit": _image_vits,
    "amflow_vit": _amflow_vits,
    "peers": _peers,
}


def main() -> None:
    """Write every file that changed and print by how much."""
    for name, change in regenerate(CASES, FOLDER, provenance=PROVENANCE).items():
        sys.stdout.write(f"{name:24} largest change {change:.3g}\n")


if __name__ == "__main__":
    main()
