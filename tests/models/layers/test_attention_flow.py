"""AM flow against loops, and every invariant that its definition promises."""

import itertools

import numpy as np
import pytest
import torch

from amflow_mm.models.layers import (
    attention_map_flow,
    normalize_difference,
    per_head_flow,
    repeat_last,
)
from amflow_mm.models.layers.correspondence import affine_taps
from amflow_mm.testing import fixed_tensor
from tests.reference import attention_flow as oracle
from tests.reference.correspondence import permutation

B, T, H, P, D = 2, 3, 5, 7, 11
SOURCES = ("post", "pre")
NORMALIZATIONS = ("softmax", "row", "column")


def make_qk(
    num_clips=B, num_frames=T, num_heads=H, num_tokens=P + 1, head_dim=D, dtype=torch.float64
):
    """Queries and keys with logits of a few units: maps that are neither flat nor one-hot."""
    shape = (num_clips, num_frames, num_heads, num_tokens, head_dim)
    return (
        fixed_tensor(shape, tag="q", scale=1.3, dtype=dtype),
        fixed_tensor(shape, tag="k", scale=1.3, dtype=dtype),
    )


def make_correspondence(num_clips=B, num_frames=T, num_patches=P, dtype=torch.float64):
    shape = (num_clips, num_frames - 1, num_patches, num_patches)
    return fixed_tensor(shape, tag="correspondence", scale=2.0, dtype=dtype).softmax(dim=-1)


def still(x):
    """Repeat the first frame."""
    return x[:, :1].expand_as(x).contiguous()


def assert_close(found, expected, tolerance):
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=tolerance, atol=tolerance)


# ---------------------------------------------------------------- parity


@pytest.mark.parametrize("moving", [False, True], ids=["static", "moving"])
@pytest.mark.parametrize("temperature", ["auto", 1.0, 0.05])
@pytest.mark.parametrize("normalize", NORMALIZATIONS)
@pytest.mark.parametrize("source", SOURCES)
def test_equals_the_loops(source, normalize, temperature, moving):
    q, k = make_qk()
    options = {
        "source": source,
        "normalize": normalize,
        "temperature": temperature,
        "correspondence": make_correspondence() if moving else None,
    }
    assert_close(
        attention_map_flow(q, k, **options), oracle.attention_map_flow(q, k, **options), 1e-9
    )


@pytest.mark.parametrize("normalize", NORMALIZATIONS)
@pytest.mark.parametrize("source", SOURCES)
def test_single_precision_equals_the_loops(source, normalize):
    q, k = make_qk(dtype=torch.float32)
    w = attention_map_flow(q, k, source=source, normalize=normalize)
    assert w.dtype == torch.float32
    assert_close(w, oracle.attention_map_flow(q, k, source=source, normalize=normalize), 1e-5)


@pytest.mark.parametrize("num_prefix_tokens", [0, 1, 5])
@pytest.mark.parametrize("num_heads", [1, 2, 3])
@pytest.mark.parametrize("num_patches", [1, 3, 13])
def test_heads_prefixes_and_odd_sizes(num_patches, num_heads, num_prefix_tokens):
    q, k = make_qk(
        num_frames=2, num_heads=num_heads, num_tokens=num_patches + num_prefix_tokens, head_dim=3
    )
    w = attention_map_flow(q, k, num_prefix_tokens)
    assert w.shape == (B, 2, num_patches)
    expected = oracle.attention_map_flow(q, k, num_prefix_tokens=num_prefix_tokens)
    assert_close(w, expected, 1e-9)


@pytest.mark.parametrize("average_heads", ["before", "after"])
@pytest.mark.parametrize("moving", [False, True], ids=["static", "moving"])
def test_heads_may_be_averaged_before_or_after_the_difference(average_heads, moving):
    q, k = make_qk()
    options = {
        "num_prefix_tokens": 1,
        "temperature": "auto",
        "source": "post",
        "normalize": "softmax",
        "correspondence": make_correspondence() if moving else None,
        "average_heads": average_heads,
    }
    assert_close(per_head_flow(q, k, **options), oracle.attention_map_flow(q, k, **options), 1e-9)


def test_changes_that_cancel_between_heads_are_seen_only_when_averaged_after():
    q, k = make_qk(num_clips=1, num_frames=2, num_heads=2)
    q[:, 1], k[:, 1] = q[:, 0].flip(1), k[:, 0].flip(1)  # the two heads swap their maps
    options = {
        "num_prefix_tokens": 1,
        "temperature": "auto",
        "source": "post",
        "normalize": "softmax",
        "correspondence": None,
    }
    before = per_head_flow(q, k, average_heads="before", **options)
    after = per_head_flow(q, k, average_heads="after", **options)
    torch.testing.assert_close(before, torch.ones_like(before))
    assert after.std(dim=-1).min() > 0.05


def test_defaults_are_the_formula_with_one_prefix_token_and_automatic_temperature():
    q, k = make_qk()
    expected = attention_map_flow(
        q,
        k,
        num_prefix_tokens=1,
        temperature=1 / P,
        source="post",
        normalize="softmax",
        correspondence=None,
    )
    torch.testing.assert_close(attention_map_flow(q, k), expected)


# ---------------------------------------------------------------- invariants


@pytest.mark.parametrize("normalize", NORMALIZATIONS)
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_static_clip_has_flow_one(source, normalize, dtype):
    q, k = (still(x) for x in make_qk(dtype=dtype))
    w = attention_map_flow(q, k, source=source, normalize=normalize)
    torch.testing.assert_close(w, torch.ones_like(w), rtol=0, atol=1e-6)


@pytest.mark.parametrize("moving", [False, True], ids=["static", "moving"])
@pytest.mark.parametrize("normalize", NORMALIZATIONS)
@pytest.mark.parametrize("source", SOURCES)
def test_weights_are_not_negative_and_sum_to_the_number_of_patches(source, normalize, moving):
    q, k = make_qk()
    correspondence = make_correspondence() if moving else None
    w = attention_map_flow(q, k, source=source, normalize=normalize, correspondence=correspondence)
    assert w.min() >= 0
    torch.testing.assert_close(w.sum(dim=-1), torch.full((B, T), float(P), dtype=w.dtype))


@pytest.mark.parametrize("normalize", NORMALIZATIONS)
def test_weights_differ_between_patches_when_something_moves(normalize):
    # Softmax over queries and then the sum over queries would be the constant 1.
    w = attention_map_flow(*make_qk(), normalize=normalize)
    assert w.std(dim=-1).min() > 0.05


def test_the_moving_patch_has_the_largest_weight():
    q, k = (still(x) for x in make_qk(num_frames=2))
    mover = 4
    k[:, 1, :, 1 + mover] += 3 * q[:, 1].mean(dim=-2)  # everybody now looks at this patch
    for normalize, source in itertools.product(NORMALIZATIONS, SOURCES):
        w = attention_map_flow(q, k, normalize=normalize, source=source)
        assert (w.argmax(dim=-1) == mover).all(), (normalize, source)


def test_a_higher_temperature_flattens_the_softmax_form_and_no_other():
    q, k = make_qk()
    spreads = [
        attention_map_flow(q, k, temperature=tau).std().item() for tau in (0.01, "auto", 1.0, 9.0)
    ]
    assert spreads == sorted(spreads, reverse=True)
    assert spreads[0] > 10 * spreads[-1]
    for normalize in ("row", "column"):
        cold, hot = (
            attention_map_flow(q, k, temperature=tau, normalize=normalize) for tau in (0.01, 9.0)
        )
        assert torch.equal(cold, hot)


@pytest.mark.parametrize("normalize", NORMALIZATIONS)
def test_batch_mates_do_not_matter(normalize):
    q, k = make_qk(num_clips=3)
    w = attention_map_flow(q, k, normalize=normalize)
    order = torch.tensor([2, 0, 1])
    assert torch.equal(attention_map_flow(q[order], k[order], normalize=normalize), w[order])
    q[1:], k[1:] = 7 * q[1:], -k[1:]
    assert torch.equal(attention_map_flow(q, k, normalize=normalize)[0], w[0])


@pytest.mark.parametrize("moving", [False, True], ids=["static", "moving"])
@pytest.mark.parametrize("frame", range(5))
def test_a_frame_touches_the_flow_of_its_predecessor_and_its_own(frame, moving):
    q, k = make_qk(num_frames=5)
    correspondence = make_correspondence(num_frames=5) if moving else None
    before = attention_map_flow(q, k, correspondence=correspondence)
    q[:, frame] = q[:, frame].roll(1, dims=-2)
    after = attention_map_flow(q, k, correspondence=correspondence)
    changed = {t for t in range(5) if not torch.equal(before[:, t], after[:, t])}
    expected = {pair for pair in (frame - 1, frame) if 0 <= pair <= 3}
    if 3 in expected:
        expected.add(4)  # the last frame repeats the last pair
    assert changed == expected


def test_the_last_step_is_repeated():
    w = attention_map_flow(*make_qk(num_frames=5))
    assert torch.equal(w[:, -1], w[:, -2])
    assert not torch.equal(w[:, -2], w[:, -3])
    steps = fixed_tensor((2, 3, 5))
    assert torch.equal(repeat_last(steps), torch.cat([steps, steps[:, 2:]], dim=1))


@pytest.mark.parametrize("normalize", NORMALIZATIONS)
@pytest.mark.parametrize("moving", [False, True], ids=["static", "moving"])
def test_permuting_the_patches_of_all_frames_permutes_the_flow(normalize, moving):
    q, k = make_qk()
    correspondence = make_correspondence() if moving else None
    order = torch.tensor([3, 0, 6, 1, 5, 2, 4])
    tokens = torch.cat([torch.tensor([0]), order + 1])
    w = attention_map_flow(q, k, normalize=normalize, correspondence=correspondence)
    if moving:
        correspondence = correspondence[:, :, order][:, :, :, order]
    permuted = attention_map_flow(
        q[:, :, :, tokens], k[:, :, :, tokens], normalize=normalize, correspondence=correspondence
    )
    torch.testing.assert_close(permuted, w[:, :, order])
    assert not torch.allclose(permuted, w)


def permuted_scene(dtype):
    """A still scene whose patches change places twice, with the correspondences."""
    orders = [[3, 0, 6, 1, 5, 2, 4], [1, 2, 3, 4, 5, 6, 0]]
    q, k = (still(x) for x in make_qk(dtype=dtype))
    for x in (q, k):
        for t, order in enumerate(orders):
            tokens = torch.tensor([0, *[1 + patch for patch in order]])
            x[:, t + 1, :, tokens] = x[:, t]  # patch i of frame t lies at order[i] in frame t + 1
    matrices = torch.from_numpy(np.stack([permutation(order) for order in orders]))
    return q, k, matrices.to(dtype).expand(B, -1, -1, -1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("normalize", NORMALIZATIONS)
@pytest.mark.parametrize("source", SOURCES)
def test_a_permuted_scene_is_restored_by_its_correspondence(source, normalize, dtype):
    q, k, correspondence = permuted_scene(dtype)
    options = {"source": source, "normalize": normalize}
    w = attention_map_flow(q, k, correspondence=correspondence, **options)
    torch.testing.assert_close(w, torch.ones_like(w), rtol=0, atol=1e-4)
    assert attention_map_flow(q, k, **options).std(dim=-1).min() > 0.05


def test_the_transposed_correspondence_does_not_restore_a_permuted_scene():
    q, k, correspondence = permuted_scene(torch.float64)
    w = attention_map_flow(q, k, correspondence=correspondence.transpose(-1, -2))
    assert w.std(dim=-1).min() > 0.05


def test_the_identity_correspondence_is_the_static_camera():
    q, k = make_qk()
    identity = torch.eye(P, dtype=q.dtype).expand(B, T - 1, P, P)
    moving = attention_map_flow(q, k, correspondence=identity)
    torch.testing.assert_close(moving, attention_map_flow(q, k))


# ---------------------------------------------------------------- gradients


def test_the_static_flow_carries_no_gradient():
    q, k = (x.requires_grad_() for x in make_qk())
    assert not attention_map_flow(q, k).requires_grad


@pytest.mark.parametrize("normalize", NORMALIZATIONS)
def test_with_a_moving_camera_gradient_reaches_the_correspondence_only(normalize):
    q, k = (x.requires_grad_() for x in make_qk())
    correspondence = make_correspondence().requires_grad_()
    w = attention_map_flow(q, k, normalize=normalize, correspondence=correspondence)
    (w * fixed_tensor(w.shape, tag="loss", dtype=w.dtype)).sum().backward()
    assert q.grad is None
    assert k.grad is None
    assert (correspondence.grad.abs().amax(dim=(-1, -2)) > 0).all(), "a pair got no gradient"


@pytest.mark.parametrize("normalize", NORMALIZATIONS)
def test_the_gradient_of_the_correspondence_is_that_of_finite_differences(normalize):
    q, k = make_qk(num_clips=1, num_frames=3, num_heads=2, num_tokens=4, head_dim=3)
    correspondence = make_correspondence(1, 3, 3).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda c: attention_map_flow(q, k, normalize=normalize, correspondence=c), correspondence
    )


def test_a_zero_row_gives_finite_gradients():
    q, k = (still(x) for x in make_qk())
    correspondence = torch.eye(P, dtype=q.dtype).repeat(B, T - 1, 1, 1).requires_grad_()
    for normalize in NORMALIZATIONS:
        w = attention_map_flow(q, k, normalize=normalize, correspondence=correspondence)
        (w * fixed_tensor(w.shape, tag="loss", dtype=w.dtype)).sum().backward()
        assert correspondence.grad.isfinite().all(), normalize


# ---------------------------------------------------------------- numerics


def test_half_precision_inputs_are_computed_in_single_precision():
    q, k = make_qk(dtype=torch.bfloat16)
    w = attention_map_flow(q, k)
    assert w.dtype == torch.float32
    # Products in half precision would be off by about 1e-2 here.
    expected = attention_map_flow(q.float(), k.float())
    torch.testing.assert_close(w, expected, rtol=1e-5, atol=1e-5)


def test_autocast_does_not_reach_the_maps():
    q, k = make_qk(dtype=torch.float32)
    correspondence = make_correspondence(dtype=torch.float32)
    expected = attention_map_flow(q, k, correspondence=correspondence)
    with torch.autocast("cpu", torch.bfloat16):
        found = attention_map_flow(q, k, correspondence=correspondence)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("normalize", NORMALIZATIONS)
@pytest.mark.parametrize("source", SOURCES)
def test_huge_logits_give_no_nan(source, normalize):
    q, k = (1e4 * x for x in make_qk(dtype=torch.float32))
    w = attention_map_flow(q, k, source=source, normalize=normalize)
    assert w.isfinite().all()
    torch.testing.assert_close(w.sum(dim=-1), torch.full((B, T), float(P)))


def test_a_zero_row_counts_as_uniform_beside_rows_that_are_not_zero():
    difference = torch.zeros(1, 3, 3)
    difference[0, 1] = torch.tensor([0.0, 1.0, 3.0])
    row = normalize_difference(difference, "auto", "row")
    torch.testing.assert_close(row, torch.tensor([[2 / 3, 2 / 3 + 0.25, 2 / 3 + 0.75]]))
    column = normalize_difference(difference, "auto", "column")
    torch.testing.assert_close(column, torch.tensor([[0.0, 0.75, 2.25]]))


def test_a_repeated_frame_beside_moving_ones_gives_ones_at_that_step_only():
    q, k = make_qk()
    q[:, 1], k[:, 1] = q[:, 0], k[:, 0]
    for normalize in NORMALIZATIONS:
        w = attention_map_flow(q, k, normalize=normalize)
        torch.testing.assert_close(w[:, 0], torch.ones_like(w[:, 0]))
        assert w[:, 1].std(dim=-1).min() > 0.05


def test_inputs_are_left_alone():
    q, k = make_qk()
    copies = q.clone(), k.clone()
    attention_map_flow(q, k)
    assert torch.equal(q, copies[0])
    assert torch.equal(k, copies[1])


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize("moving", [False, True])
def test_one_frame_raises(moving):
    q, k = make_qk(num_frames=1)
    correspondence = make_correspondence(num_frames=1) if moving else None
    with pytest.raises(ValueError, match=r"num_frames=1 must be >= 2"):
        attention_map_flow(q, k, correspondence=correspondence)


@pytest.mark.parametrize(
    ("option", "value", "match"),
    [
        ("source", "middle", r"source='middle' must be one of 'post', 'pre'"),
        ("normalize", "max", r"normalize='max' must be one of 'softmax', 'row', 'column'"),
        ("temperature", 0.0, r"temperature=0\.0 must be 'auto' or a number > 0"),
        ("temperature", -1.0, r"temperature=-1\.0 must be"),
        ("temperature", float("nan"), r"temperature=nan must be"),
        ("temperature", "cold", r"temperature='cold' must be"),
        ("num_prefix_tokens", -1, r"num_prefix_tokens=-1 must leave"),
        ("num_prefix_tokens", P + 1, r"num_prefix_tokens=8 must leave"),
    ],
)
@pytest.mark.usefixtures("own_checks_only")
def test_an_invalid_option_raises(option, value, match):
    with pytest.raises(ValueError, match=match):
        attention_map_flow(*make_qk(), **{option: value})


@pytest.mark.usefixtures("own_checks_only")
def test_an_unknown_order_of_averaging_raises():
    with pytest.raises(ValueError, match="average_heads='never' must be one of"):
        per_head_flow(
            *make_qk(),
            num_prefix_tokens=1,
            temperature="auto",
            source="post",
            normalize="softmax",
            correspondence=None,
            average_heads="never",
        )


@pytest.mark.usefixtures("own_checks_only")
def test_queries_and_keys_of_other_shapes_raise():
    q, k = make_qk()
    with pytest.raises(ValueError, match=r"q and k must both be \(B, T, H, N, D\)"):
        attention_map_flow(q[0], k[0])
    with pytest.raises(ValueError, match=r"got \(2, 3, 5, 8, 11\) and \(2, 3, 5, 7, 11\)"):
        attention_map_flow(q, k[:, :, :, 1:])


@pytest.mark.parametrize(
    "shape", [(B, T, P, P), (B, T - 1, P + 1, P + 1), (B, T - 1, P), (1, T - 1, P, P)]
)
@pytest.mark.usefixtures("own_checks_only")
def test_a_correspondence_of_another_shape_raises(shape):
    with pytest.raises(ValueError, match=r"correspondence has shape .* expected .* \(2, 2, 7, 7\)"):
        attention_map_flow(*make_qk(), correspondence=torch.ones(shape, dtype=torch.float64))


def test_taps_of_another_shape_raise():
    taps = affine_taps(torch.eye(2, 3).expand(B, T, 2, 3), (1, P))
    with pytest.raises(ValueError, match=r"has shape \(2, 3, 7, 4\), expected .* \(2, 2, 7, 4\)"):
        attention_map_flow(*make_qk(), correspondence=taps)
