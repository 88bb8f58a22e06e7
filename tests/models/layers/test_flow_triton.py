"""The Triton kernel equals the maps written out: interpreted on a CPU, compiled on a GPU."""

import itertools
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from amflow_mm.models.layers import attention_map_flow
from amflow_mm.models.layers.flow_backend import runs_on_triton
from amflow_mm.models.layers.flow_written_out import written_out_flow
from amflow_mm.testing import fixed_tensor

needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="needs the package triton")
ROOT = Path(__file__).parents[3]
# clips, frames, heads, tokens, head width, prefix tokens
SHAPES = [(2, 3, 2, 17, 16, 1), (1, 2, 3, 50, 32, 5), (1, 2, 1, 257, 16, 0)]
OPTIONS = list(itertools.product(("post", "pre"), ("softmax", "row", "column")))


def make_qk(shape, dtype, device="cpu"):
    num_clips, num_frames, num_heads, num_tokens, head_dim, _ = shape
    qkv = fixed_tensor(
        (num_clips, num_frames, num_tokens, 3, num_heads, head_dim), tag="qkv", scale=2.0
    )
    q, k, _ = qkv.to(device, dtype).permute(3, 0, 1, 4, 2, 5)
    return q, k


def check_interpreted():
    """Compare kernel and reference on the CPU; run by a process of its own."""
    from amflow_mm.models.layers.flow_triton import column_sums

    # The interpreter is numpy, which has no bfloat16.
    for shape, dtype in itertools.product(SHAPES, (torch.float32, torch.float16)):
        q, k = make_qk(shape, dtype)
        num_prefix, num_patches = shape[5], shape[3] - shape[5]
        for source, normalize in OPTIONS:
            options = {"source": source, "normalize": normalize}
            found = column_sums(q, k, num_prefix, 1 / num_patches, **options)
            if normalize == "column":
                found = found / found.mean(dim=-1, keepdim=True)
            expected = written_out_flow(q, k, num_prefix_tokens=num_prefix, **options)[:, :-1]
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
            still = [x[:, :1].expand_as(x) for x in (q, k)]
            found = column_sums(*still, num_prefix, 1 / num_patches, **options)
            one = 0.0 if normalize == "column" else 1.0
            torch.testing.assert_close(found, torch.full_like(found, one), rtol=0, atol=1e-5)


@needs_triton
@pytest.mark.slow
def test_the_interpreted_kernel_equals_the_maps_written_out():
    """Triton asks on import whether it is to interpret, so another process does."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        **os.environ,
        "TRITON_INTERPRET": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": os.pathsep.join(paths),
    }
    code = "from tests.models.layers.test_flow_triton import check_interpreted as c; c()"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@needs_triton
@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [*SHAPES, (2, 8, 12, 197, 64, 1), (1, 3, 4, 500, 64, 5)])
@pytest.mark.parametrize(("source", "normalize"), OPTIONS)
def test_on_a_gpu_kernel_and_tiles_equal_the_maps_written_out(source, normalize, shape, dtype):
    q, k = make_qk(shape, dtype, "cuda")
    options = {"num_prefix_tokens": shape[5], "source": source, "normalize": normalize}
    expected = written_out_flow(q.double(), k.double(), **options).float()
    for backend in ("triton", "torch"):
        found = attention_map_flow(q, k, backend=backend, **options)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    found = attention_map_flow(q, k, **options)
    assert torch.equal(found, attention_map_flow(q, k, backend="triton", **options))


@needs_triton
@pytest.mark.gpu
def test_on_a_gpu_the_kernel_is_repeatable_and_makes_no_maps():
    shape = (4, 8, 12, 197, 64, 1)
    q, k = make_qk(shape, torch.bfloat16, "cuda")
    assert runs_on_triton("auto", q, k, correspondence=None, average_heads="before")
    first = attention_map_flow(q, k, normalize="column")
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    second = attention_map_flow(q, k, normalize="column")
    assert torch.cuda.max_memory_allocated() - before < 4 * 4 * 8 * 197 * 196
    assert torch.equal(first, second)
