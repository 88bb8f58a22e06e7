"""The count against fvcore's, which takes fused attention for zero until it is told."""

import jaxtyping
import numpy as np
import pytest
import torch
from fvcore.nn import FlopCountAnalysis
from torch import nn

from amflow_mm.apis.complexity import build_on_meta, measure_complexity
from amflow_mm.models import AMFlow
from amflow_mm.models.layers import AligningEncoder
from amflow_mm.registry import MODELS
from tests.apis.tiny_models import SHAPE, C, L, N, P, T, in_block


class _Scores(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        return self.model(clips, stage="head")


def _attention_macs(inputs, outputs) -> int:
    """fvcore's handle for the operator that it takes for zero: q k^T and its product with v."""
    *batch, num_queries, width = inputs[0].type().sizes()
    num_keys = inputs[1].type().sizes()[-2]
    return 2 * int(np.prod(batch)) * num_queries * num_keys * width


def _batched_product_macs(inputs, outputs) -> int:
    """fvcore's handle for ``baddbmm``, which it does not know."""
    batch, num_rows, width = inputs[1].type().sizes()
    return batch * num_rows * width * inputs[2].type().sizes()[-1]


@pytest.fixture
def no_shape_checks():
    """Tracing turns sizes into tensors, which the signature checks of the test run refuse."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@torch.no_grad()  # with a gradient the last block would make the CLS token alone
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_fvcore_agrees_once_it_is_told_about_attention(no_shape_checks):
    aligner = dict(type=AligningEncoder, embed_dim=C, bottleneck_dim=8, num_heads=2, warp="window")
    cfg = in_block(dict(type=AMFlow, aligner=aligner))
    model = MODELS.build(cfg.model).eval()

    def ask_fvcore(**handles) -> int:
        analysis = FlopCountAnalysis(_Scores(model), torch.zeros(1, 1, 3, *SHAPE))
        # It also counts five operations for each element of a norm, which is no product.
        analysis.set_op_handle("aten::layer_norm", lambda inputs, outputs: 0)
        analysis.set_op_handle("aten::baddbmm", _batched_product_macs)
        for name, handle in handles.items():
            analysis.set_op_handle(f"aten::{name}", handle)
        return analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).total()

    ours = measure_complexity(build_on_meta(cfg), SHAPE).total.macs
    assert ask_fvcore(scaled_dot_product_attention=_attention_macs) == pytest.approx(ours, rel=1e-3)
    hidden = L * (T * 2 * N * N * C + (T - 1) * 2 * (2 * P) ** 2 * 8)
    assert ours - ask_fvcore() == pytest.approx(hidden, rel=1e-3)
