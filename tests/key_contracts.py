"""Names and shapes of the weights of every part: ``python -m tests.key_contracts`` rewrites them.

A checkpoint lives as long as these names do, so a rename must be visible as a diff.
"""

from collections.abc import Callable
from pathlib import Path

from mmengine.registry import init_default_scope
from torch import nn

from amflow_mm.models import (
    AdaptFormerViT,
    AIMViT,
    AMFlow,
    AMFlowRecognizer,
    AMFlowSideViT,
    AMFlowViT,
    ImageViT,
    STAdapterViT,
    TemporalMeanHead,
)
from amflow_mm.models.peft import trainable_state_dict

FOLDER = Path(__file__).parent / "golden" / "keys"
C = 8
SIZE = {"embed_dim": C, "depth": 2, "num_heads": 2, "mlp_dim": 12, "patch_size": 4}
VIT = {"variant": SIZE, "family": "dinov2", "image_size": 12}
DINOV2 = {"family": "dinov2", "image_size": 516}  # these patches do not divide the usual 518
UNITS = ("TransformerUnit", "TCNUnit", "LSTMUnit")
ENCODER = {"type": "AligningEncoder", "embed_dim": C, "bottleneck_dim": 4, "num_heads": 2}


def _adapter(unit: str, **options: object) -> dict:
    return {"type": "TemporalAdapter", "bottleneck_dim": 6, "unit": {"type": unit}, **options}


def _in_block(unit: str) -> nn.Module:
    adapter = _adapter(unit, flow_as="both", num_frames=3)
    return AMFlowViT(adapter, adapter_layers=[1], mlp_adapter={"type": "Adapter"}, **VIT)


def _side(pooling: str) -> nn.Module:
    unit = {"type": "TCNUnit"}
    options = {"pooling": pooling, "flow_as": "both", "num_frames": 3, "side_dim": 6}
    return AMFlowSideViT(unit, layers=(0, 1), **options, **VIT)


def _recognizer() -> AMFlowRecognizer:
    return AMFlowRecognizer(
        {"type": "AMFlowViT", "adapter": _adapter("TCNUnit"), **VIT},
        {"type": "TemporalMeanHead", "num_classes": 5, "in_channels": C},
        {"type": "ActionDataPreprocessor", "format_shape": "NCTHW"},
        neck={"type": "AMFlow", "aligner": ENCODER},
    )


CASES: dict[str, Callable[[], nn.Module]] = {
    "image_vit_clip": lambda: ImageViT(SIZE, family="clip"),
    "image_vit_dinov2_registers": lambda: ImageViT(SIZE, **DINOV2, num_registers=4),
    "image_vit_dinov2_gated": lambda: ImageViT(SIZE | {"gated_mlp": True}, **DINOV2),
    "image_vit_timm": lambda: ImageViT(SIZE, family="timm"),
    **{f"amflow_vit_{unit}": lambda unit=unit: _in_block(unit) for unit in UNITS},
    "side_vit_token": lambda: _side("token"),
    "side_vit_global": lambda: _side("global"),
    "aim_vit": lambda: AIMViT(num_frames=3, num_temporal_adapters=2, **VIT),
    "st_adapter_vit": lambda: STAdapterViT(("before_attention", "before_mlp"), **VIT),
    "adaptformer_vit": lambda: AdaptFormerViT(bottleneck_dim=6, **VIT),
    "neck_static": AMFlow,
    "neck_affine": lambda: AMFlow(aligner=ENCODER),
    "neck_dense_per_block": lambda: AMFlow(aligner=ENCODER | {"warp": "dense"}, aligner_layers=[1]),
    "head": lambda: TemporalMeanHead(5, C),
    "recognizer": _recognizer,
}


def contract_of(model: nn.Module) -> str:
    """Return one line for each weight, those that train marked: what an adapters file holds."""
    trained = trainable_state_dict(model) if isinstance(model, AMFlowRecognizer) else {}
    lines = [
        f"{name} {'x'.join(map(str, value.shape)) or 'scalar'}{' trained' * (name in trained)}\n"
        for name, value in model.state_dict().items()
    ]
    return "".join(sorted(lines))


def main() -> None:
    """Write every file."""
    init_default_scope("amflow_mm")
    FOLDER.mkdir(exist_ok=True)
    for name, build in CASES.items():
        (FOLDER / f"{name}.txt").write_text(contract_of(build()))


if __name__ == "__main__":
    main()
