"""Maps in tiles: the same flow as with all maps written out, and nothing near their size."""

import itertools

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from amflow_mm.models.layers import affine_correspondence, attention_map_flow, per_head_flow
from amflow_mm.models.layers import flow_maps as module
from amflow_mm.models.layers.correspondence import affine_taps
from amflow_mm.models.layers.flow_written_out import written_out_flow
from amflow_mm.testing import fixed_tensor

GRID = (3, 5)
P = GRID[0] * GRID[1]
OPTIONS = [
    {"source": source, "normalize": normalize, "average_heads": average_heads}
    for source, normalize, average_heads in itertools.product(
        ("post", "pre"), ("softmax", "row", "column"), ("before", "after")
    )
]


def make_qk(num_clips=2, num_frames=3, num_heads=5, num_tokens=P + 1, *, dtype=torch.float32):
    """Queries and keys as the model has them: views of one projection, heads inside tokens."""
    shape = (num_clips, num_frames, num_tokens, 3, num_heads, 11)
    q, k, _ = fixed_tensor(shape, tag="qkv", scale=1.3, dtype=dtype).permute(3, 0, 1, 4, 2, 5)
    assert not q.is_contiguous()
    return q, k


def flow(q, k, num_prefix_tokens=1, correspondence=None, **options):
    options = {"temperature": "auto", "source": "post", "normalize": "softmax", **options}
    options.setdefault("average_heads", "before")
    return per_head_flow(
        q, k, num_prefix_tokens=num_prefix_tokens, correspondence=correspondence, **options
    )


def make_theta(num_clips, num_frames, dtype=torch.float32):
    shape = (num_clips, num_frames - 1, 2, 3)
    return (torch.eye(2, 3) + fixed_tensor(shape, tag="theta", scale=0.2)).to(dtype)


@pytest.fixture(params=[1, 83, 500, 2**20], ids=lambda size: f"tile {size}")
def tile(request, monkeypatch):
    """One row, a few rows, several clips in part, all at once."""
    monkeypatch.setitem(module.TILE, "cpu", request.param)


@pytest.mark.usefixtures("tile")
@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: " ".join(options.values()))
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_tiles_equal_the_maps_written_out(dtype, options):
    q, k = make_qk(dtype=dtype)
    found, expected = flow(q, k, **options), written_out_flow(q, k, **options)
    assert found.dtype == torch.promote_types(dtype, torch.float32)
    tolerance = 1e-10 if dtype == torch.float64 else 2e-5
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.usefixtures("tile")
@pytest.mark.parametrize("num_prefix_tokens", [0, 1, 5])
@pytest.mark.parametrize("num_heads", [1, 3])
@pytest.mark.parametrize(("num_clips", "num_frames"), [(1, 2), (1, 9), (5, 2), (7, 4)])
def test_heads_prefixes_clips_and_frames(num_clips, num_frames, num_heads, num_prefix_tokens):
    for num_patches in (1, 2, 13):
        num_tokens = num_patches + num_prefix_tokens
        q, k = make_qk(num_clips, num_frames, num_heads, num_tokens, dtype=torch.float64)
        found = flow(q, k, num_prefix_tokens)
        assert found.shape == (num_clips, num_frames, num_patches)
        expected = written_out_flow(q, k, num_prefix_tokens=num_prefix_tokens)
        torch.testing.assert_close(found, expected)


@pytest.mark.usefixtures("tile")
@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: " ".join(options.values()))
@pytest.mark.parametrize("form", [affine_correspondence, affine_taps])
def test_a_moving_camera_and_its_gradient(form, options):
    q, k = make_qk(dtype=torch.float64)
    weight = fixed_tensor((2, 3, P), tag="loss", dtype=torch.float64)
    results = []
    for compute, make in ((flow, form), (written_out_flow, affine_correspondence)):
        theta = make_theta(2, 3, torch.float64).requires_grad_()
        w = compute(q, k, correspondence=make(theta, GRID), **options)
        (w * weight).sum().backward()
        results.append((w, theta.grad))
    assert results[1][1].abs().min() > 0
    torch.testing.assert_close(*results)


@pytest.mark.usefixtures("tile")
def test_a_static_clip_has_flow_one_to_the_bit():
    q, k = (x[:, :1].expand_as(x) for x in make_qk())
    for normalize in ("row", "column"):
        w = flow(q, k, normalize=normalize)
        torch.testing.assert_close(w, torch.ones_like(w), rtol=0, atol=1e-6)


def test_what_is_not_a_number_is_not_hidden():
    q, k = (x.clone() for x in make_qk())
    q[0, 1, 0, 3, 0] = torch.nan
    for normalize in ("softmax", "row", "column"):
        w = flow(q, k, normalize=normalize)
        assert w[0].isnan().all(), normalize
        assert w[1].isfinite().all(), normalize


def test_queries_and_keys_stay_as_they_are():
    q, k = make_qk()
    before = q.clone(), k.clone()
    attention_map_flow(q, k)
    assert torch.equal(q, before[0])
    assert torch.equal(k, before[1])


class LargestTensor(TorchDispatchMode):
    """Notes the size of the largest tensor that any operation returns, but views of ``inputs``."""

    def __init__(self, *inputs):
        super().__init__()
        self.num_elements = 0
        self.given = {x.untyped_storage().data_ptr() for x in inputs}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor):
                is_made = leaf.untyped_storage().data_ptr() not in self.given
                self.num_elements = max(self.num_elements, is_made * leaf.numel())
        return out


def largest_made(compute, q, k, **options):
    with LargestTensor(q, k) as mode:
        compute(q, k, **options)
    return mode.num_elements


@pytest.mark.parametrize("form", [None, affine_correspondence, affine_taps])
@pytest.mark.parametrize("average_heads", ["before", "after"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_tensor_is_as_large_as_the_maps(dtype, average_heads, form):
    q, k = make_qk(num_clips=3, num_frames=6, dtype=dtype)
    num_clips, num_frames, num_heads, num_tokens, _ = q.shape
    one_frame = num_clips * num_heads * num_tokens**2
    options = {"average_heads": average_heads}
    if form is not None:
        options["correspondence"] = form(make_theta(num_clips, num_frames), GRID)
    assert largest_made(flow, q, k, **options) <= one_frame
    assert largest_made(written_out_flow, q, k, **options) == one_frame * num_frames


@pytest.mark.parametrize("num_frames", [2, 8])
@pytest.mark.parametrize("num_clips", [1, 4])
def test_the_weights_of_single_heads_stay_in_one_tile(num_clips, num_frames, monkeypatch):
    monkeypatch.setitem(module.TILE, "cpu", 2000)
    q, k = (x[..., :1] for x in make_qk(num_clips=num_clips, num_frames=num_frames))
    assert largest_made(flow, q, k) <= 2000


@pytest.mark.parametrize(
    ("num_elements", "expected"),
    [(1, (1, 1)), (160, (1, 2)), (1199, (1, 14)), (1200, (1, P)), (9600, (2, P)), (10**9, (7, P))],
)
def test_tiles_take_rows_first_and_small_clips_together(num_elements, expected, monkeypatch):
    """A row of weights has 5 x 16 elements, a clip 15 rows."""
    monkeypatch.setitem(module.TILE, "cpu", num_elements)
    assert module._tile_size(make_qk(num_clips=7)[0], P) == expected
