"""The mathematics, in plain PyTorch: usable without a registry, a config or a runner."""

from amflow_mm.models.layers.adapter import Adapter, MotionBottleneck, TemporalAdapter, zero_linear
from amflow_mm.models.layers.aim_adapters import (
    SpatialAdapter,
    TemporalAttentionAdapter,
    TemporalPosition,
)
from amflow_mm.models.layers.aligning_encoder import AffineAligner, AligningEncoder
from amflow_mm.models.layers.attention import Attention
from amflow_mm.models.layers.attention_flow import (
    attention_map_flow,
    normalize_difference,
    per_head_flow,
    repeat_last,
)
from amflow_mm.models.layers.correspondence import (
    Grid,
    affine_correspondence,
    patch_centres,
    warp_map,
    window_mask,
)
from amflow_mm.models.layers.drop_path import DropPath
from amflow_mm.models.layers.embeddings import PatchEmbed, TokenEmbedding, resample_position_grid
from amflow_mm.models.layers.layer_scale import LayerScale
from amflow_mm.models.layers.mlp import Mlp, QuickGELU, SwiGLU, build_activation
from amflow_mm.models.layers.precision import full_precision
from amflow_mm.models.layers.quantization import dequantize_channels, quantize_channels
from amflow_mm.models.layers.side_ladder import FrameRung, TokenRung
from amflow_mm.models.layers.spatio_temporal_adapter import SpatioTemporalAdapter
from amflow_mm.models.layers.temporal_units import (
    EncoderLayer,
    LSTMUnit,
    TCNUnit,
    TemporalUnit,
    TransformerUnit,
)
from amflow_mm.models.layers.transformer_block import FlowModule, TransformerBlock

__all__ = [
    "Adapter",
    "AffineAligner",
    "AligningEncoder",
    "Attention",
    "DropPath",
    "EncoderLayer",
    "FlowModule",
    "FrameRung",
    "Grid",
    "LSTMUnit",
    "LayerScale",
    "Mlp",
    "MotionBottleneck",
    "PatchEmbed",
    "QuickGELU",
    "SpatialAdapter",
    "SpatioTemporalAdapter",
    "SwiGLU",
    "TCNUnit",
    "TemporalAdapter",
    "TemporalAttentionAdapter",
    "TemporalPosition",
    "TemporalUnit",
    "TokenEmbedding",
    "TokenRung",
    "TransformerBlock",
    "TransformerUnit",
    "affine_correspondence",
    "attention_map_flow",
    "build_activation",
    "dequantize_channels",
    "full_precision",
    "normalize_difference",
    "patch_centres",
    "per_head_flow",
    "quantize_channels",
    "repeat_last",
    "resample_position_grid",
    "warp_map",
    "window_mask",
    "zero_linear",
]
