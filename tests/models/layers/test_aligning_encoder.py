"""Aligning encoders: the identity at the start, known warps afterwards."""

import math

import numpy as np
import pytest
import torch

from amflow_mm.models.layers import (
    AffineAligner,
    AligningEncoder,
    attention_map_flow,
    patch_centres,
    window_mask,
)
from amflow_mm.models.layers.correspondence import Taps, dense
from amflow_mm.testing import fixed_init_, fixed_tensor
from tests.reference import correspondence as oracle
from tests.reference.basics import (
    layer_norm_of,
    linear_of,
    sub_weights,
    to_numpy,
    weights_of,
)
from tests.reference.temporal_units import transformer_layer

B, T, C, R, GRID = 2, 3, 7, 6, (3, 5)
P = GRID[0] * GRID[1]
WARPS = ("dense", "window", "affine")
CPU = torch.device("cpu")


def make(warp, **options):
    return AligningEncoder(C, R, warp=warp, num_heads=3, **{"window_radius": 1, **options})


def tokens(num_frames=T, grid=GRID):
    return fixed_tensor((B, num_frames, grid[0] * grid[1], C), tag="tokens")


# ---------------------------------------------------------------- AligningEncoder


@pytest.mark.parametrize("warp", WARPS)
@pytest.mark.parametrize("grid", [GRID, (4, 4), (7, 2)])
def test_a_fresh_encoder_is_the_identity(warp, grid):
    num_patches = grid[0] * grid[1]
    found = dense(make(warp)(tokens(grid=grid), grid))
    assert found.shape == (B, T - 1, num_patches, num_patches)
    tolerance = 1e-6 if warp == "affine" else 5e-3
    identity = torch.eye(num_patches).expand_as(found)
    torch.testing.assert_close(found, identity, rtol=0, atol=tolerance)


def test_the_diagonal_of_a_fresh_free_correspondence_does_not_depend_on_the_grid():
    diagonals = [
        make("dense")(tokens(grid=grid), grid).diagonal(dim1=-2, dim2=-1) for grid in (GRID, (7, 9))
    ]
    for diagonal in diagonals:
        expected = torch.full_like(diagonal, 1 / (1 + math.exp(-6.0)))
        torch.testing.assert_close(diagonal, expected, rtol=0, atol=5e-4)


@pytest.mark.parametrize("warp", WARPS)
def test_the_moving_camera_model_starts_as_the_static_one(warp):
    shape = (B, T, 3, 1 + P, 5)
    q, k = fixed_tensor(shape, tag="q"), fixed_tensor(shape, tag="k")
    static = attention_map_flow(q, k)
    moving = attention_map_flow(q, k, correspondence=make(warp)(tokens(), GRID))
    torch.testing.assert_close(moving, static, rtol=0, atol=1e-5 if warp == "affine" else 0.03)


@pytest.mark.parametrize("warp", WARPS)
def test_which_weight_is_zero_at_the_start(warp):
    zero = {name for name, value in make(warp).named_parameters() if not value.any()}
    zero = {name for name in zero if not name.startswith(("layers.", "norm."))}
    expected = {"affine.weight", "affine.bias"} if warp == "affine" else {"query.weight"}
    assert zero == expected


def encode_by_loops(weights, first, second):
    """Both frames of a pair through ``down``, frame embedding, one encoder layer and norm."""
    rows = []
    for which, frame in enumerate((first, second)):
        for token in frame:
            rows.append(linear_of(token, weights, "down") + weights["frame_embedding"][which])
    inner = sub_weights(weights, "layers.0.")
    inner = {key.replace("attn.", "").replace("mlp.", ""): inner[key] for key in inner}
    rows = transformer_layer(np.array(rows), inner, num_heads=3)
    return np.array([layer_norm_of(row, weights, "norm", 1e-5) for row in rows])


def correspondence_by_loops(module, first, second):
    weights = weights_of(module)
    encoded = encode_by_loops(weights, first, second)
    if module.warp == "affine":
        mean = np.array([sum(row[r] for row in encoded) / len(encoded) for r in range(R)])
        change = linear_of(mean, weights, "affine").reshape(2, 3)
        return oracle.affine(np.eye(2, 3) + change, GRID, normalised=False)
    queries = np.array([linear_of(row, weights, "query") for row in encoded[:P]])
    keys = np.array([linear_of(row, weights, "key") for row in encoded[P:]])
    logits = oracle.match_features(queries, keys, R**-0.5)
    for i in range(P):
        logits[i, i] += float(weights["identity_logit"]) + math.log(P)
    if module.warp == "window":
        return oracle.window(logits, GRID, module.window_radius)
    return oracle.dense(logits)


@pytest.mark.parametrize("warp", WARPS)
def test_the_encoder_equals_the_loops(warp):
    module = fixed_init_(make(warp))
    x = tokens()
    found = dense(module(x, GRID))
    for b in range(B):
        for t in range(T - 1):
            expected = correspondence_by_loops(module, to_numpy(x[b, t]), to_numpy(x[b, t + 1]))
            np.testing.assert_allclose(to_numpy(found[b, t]), expected, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("warp", WARPS)
def test_rows_are_distributions(warp):
    found = dense(fixed_init_(make(warp), scale=3.0)(tokens(), GRID))
    assert found.min() >= 0
    torch.testing.assert_close(found.sum(dim=-1), torch.ones(B, T - 1, P))
    assert not torch.allclose(found, torch.eye(P).expand_as(found), atol=0.1)


@pytest.mark.parametrize("radius", [1, 2])
def test_the_window_keeps_far_patches_out(radius):
    found = fixed_init_(make("window", window_radius=radius), scale=3.0)(tokens(), GRID)
    outside = ~window_mask(GRID, radius, CPU)
    assert outside.any()
    assert torch.equal(found[..., outside], torch.zeros_like(found[..., outside]))
    assert (found[..., ~outside] > 0).all()


@pytest.mark.parametrize("warp", WARPS)
def test_every_parameter_has_moved_after_two_steps(warp):
    module = make(warp)
    start = {name: value.detach().clone() for name, value in module.named_parameters()}
    optimizer = torch.optim.SGD(module.parameters(), lr=0.5)
    for _ in range(2):
        optimizer.zero_grad()
        found = dense(module(tokens(), GRID))
        (found * fixed_tensor(found.shape, tag="loss")).sum().backward()
        optimizer.step()
    still = {name for name, value in module.named_parameters() if torch.equal(value, start[name])}
    assert still == set()
    assert set(module.adapter_params()) == set(start)


@pytest.mark.parametrize("warp", WARPS)
def test_gradient_of_the_flow_reaches_the_encoder(warp):
    module = fixed_init_(make(warp))
    shape = (B, T, 3, 1 + P, 5)
    q, k = fixed_tensor(shape, tag="q"), fixed_tensor(shape, tag="k")
    w = attention_map_flow(q, k, correspondence=module(tokens(), GRID))
    (w * fixed_tensor(w.shape, tag="loss")).sum().backward()
    without = {name for name, value in module.named_parameters() if value.grad is None}
    assert without == set()
    assert all(value.grad.abs().max() > 0 for _, value in module.named_parameters())


@pytest.mark.parametrize("warp", WARPS)
def test_a_correspondence_depends_on_its_two_frames_only(warp):
    module = fixed_init_(make(warp))
    x = tokens(num_frames=5)
    before = dense(module(x, GRID))
    x[0, 2] = -x[0, 2]
    after = dense(module(x, GRID))
    changed = {
        (b, t) for b in range(B) for t in range(4) if not torch.allclose(before[b, t], after[b, t])
    }
    assert changed == {(0, 1), (0, 2)}


@pytest.mark.parametrize("trained", [False, True])
def test_an_affine_correspondence_is_four_taps_and_nine_where_it_is_trained(trained):
    with torch.set_grad_enabled(trained):
        found = fixed_init_(make("affine"))(tokens(), GRID)
    assert isinstance(found, Taps)
    assert found.index.shape == found.weight.shape == (B, T - 1, P, 9 if trained else 4)
    assert AffineAligner()(tokens(), GRID).index.shape == (B, T - 1, P, 4)


@pytest.mark.parametrize("warp", WARPS)
def test_the_order_of_the_frames_matters(warp):
    module = fixed_init_(make(warp))
    x = tokens(num_frames=2)
    assert not torch.allclose(dense(module(x, GRID)), dense(module(x.flip(1), GRID)), atol=1e-3)


@pytest.mark.parametrize("warp", WARPS)
def test_autocast_keeps_rows_distributions_in_single_precision(warp):
    module = fixed_init_(make(warp))
    with torch.autocast("cpu", torch.bfloat16):
        found = dense(module(tokens(), GRID))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.sum(dim=-1), torch.ones(B, T - 1, P))


@pytest.mark.parametrize("warp", WARPS)
def test_the_encoder_can_learn_a_pan(warp):
    """Sixty steps on one pair bring it closer to a known pan than the identity is."""
    module = make(warp)
    pan = oracle.affine([[1, 0, 1], [0, 1, 0]], GRID, normalised=False)
    truth = torch.from_numpy(pan).float()
    x = tokens(num_frames=2)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.03)
    errors = []
    for _ in range(60):
        optimizer.zero_grad()
        found = dense(module(x, GRID))
        if warp == "affine":
            error = (found - truth).square().sum(dim=-1).mean()
        else:
            error = -(found * truth).sum(dim=-1).clamp_min(1e-9).log().mean()
        error.backward()
        optimizer.step()
        errors.append(error.item())
    assert errors[-1] < 0.5 * errors[0]


@pytest.mark.usefixtures("own_checks_only")
def test_an_unknown_warp_raises():
    with pytest.raises(ValueError, match="warp='rigid' must be one of 'dense', 'window', 'affine'"):
        make("rigid")


def test_a_window_without_reach_raises():
    with pytest.raises(ValueError, match="window_radius=0 must be >= 1"):
        make("window", window_radius=0)


# ---------------------------------------------------------------- AffineAligner

VIEW = (10, 12)


def theta_of(a=1.0, b=0.0, tx=0.0, c=0.0, d=1.0, ty=0.0):
    return torch.tensor([[a, b, tx], [c, d, ty]])


def roll_of(degrees):
    turn = math.radians(degrees)
    return theta_of(a=math.cos(turn), b=-math.sin(turn), c=math.sin(turn), d=math.cos(turn))


CAMERAS = {
    "pan 1": theta_of(tx=1.0),
    "pan 2, -1": theta_of(tx=2.0, ty=-1.0),
    "zoom in": theta_of(a=1.1, d=1.1),
    "zoom out": theta_of(a=0.9, d=0.9),
    "roll": roll_of(8.0),
    "roll and pan": torch.cat([roll_of(5.0)[:, :2], torch.tensor([[0.8], [-0.5]])], dim=1),
}


def scene(theta, num_frames=8, noise=0.05, num_channels=48):
    """Features of a random textured plane that a camera crosses: theta from frame to frame."""
    wave = fixed_tensor((2, num_channels), tag="wave", dtype=torch.float64)
    phase = fixed_tensor((num_channels,), tag="phase", scale=3.0, dtype=torch.float64)
    step = torch.cat([theta.double(), torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64)])
    points = torch.nn.functional.pad(patch_centres(VIEW, dtype=torch.float64), (0, 1), value=1.0)
    frames = []
    for t in range(num_frames):
        origin = torch.linalg.inv(torch.linalg.matrix_power(step, t))
        frames.append(torch.cos((points @ origin.T)[:, :2] @ wave + phase))
    x = torch.stack(frames)[None].float()
    return x + fixed_tensor(x.shape, tag="noise", scale=noise)


def mean_error(found, truth):
    """Mean distance in patches between where two warps send the patches."""
    points = torch.nn.functional.pad(patch_centres(VIEW), (0, 1), value=1.0)
    return (points @ (found - truth).transpose(-1, -2)).norm(dim=-1).mean().item()


@pytest.mark.parametrize("camera", CAMERAS)
def test_the_affine_aligner_recovers_a_known_camera(camera):
    truth = CAMERAS[camera]
    found = AffineAligner().estimate(scene(truth), VIEW)
    assert found.shape == (1, 7, 2, 3)
    error, before = mean_error(found, truth), mean_error(torch.eye(2, 3), truth)
    assert error < 0.3
    assert error < 0.65 * before


@pytest.mark.parametrize("num_frames", [2, 3, 8])
@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_the_affine_aligner_leaves_a_static_camera_alone(num_frames, noise):
    x = scene(torch.eye(2, 3), num_frames=num_frames, noise=noise)
    assert mean_error(AffineAligner().estimate(x, VIEW), torch.eye(2, 3)) < 0.05


def test_the_affine_aligner_follows_the_camera_and_not_the_object():
    truth = CAMERAS["pan 1"]
    x = scene(truth)
    block = (torch.arange(3)[:, None] + 4) * VIEW[1] + torch.arange(3) + 3
    x[:, :, block.flatten()] = fixed_tensor((1, 1, 9, x.shape[-1]), tag="object")  # it stands still
    found = AffineAligner().estimate(x, VIEW)
    assert mean_error(found, truth) < 0.3


def test_the_affine_aligner_yields_the_correspondence_of_its_estimate():
    x = scene(CAMERAS["roll"], num_frames=3)
    aligner = AffineAligner()
    found = aligner(x, VIEW).dense()
    theta = aligner.estimate(x, VIEW)
    for t in range(2):
        expected = oracle.affine(theta[0, t], VIEW, normalised=False)
        np.testing.assert_allclose(to_numpy(found[0, t]), expected, atol=1e-5)
    torch.testing.assert_close(found.sum(dim=-1), torch.ones(found.shape[:-1]))


def test_the_affine_aligner_has_no_parameters_and_is_differentiable():
    aligner = AffineAligner()
    assert not list(aligner.parameters())
    x = scene(CAMERAS["pan 1"], num_frames=3).requires_grad_()
    found = aligner(x, VIEW).dense()
    (found * fixed_tensor(found.shape, tag="loss")).sum().backward()
    assert x.grad.isfinite().all()
    assert x.grad.abs().max() > 0


def test_the_affine_aligner_keeps_single_precision_under_autocast():
    x = scene(CAMERAS["roll"], num_frames=3)
    expected = AffineAligner()(x, VIEW).dense()
    with torch.autocast("cpu", torch.bfloat16):
        found = AffineAligner()(x, VIEW).dense()
    assert torch.equal(found, expected)


def test_clips_do_not_see_each_other_in_the_affine_aligner():
    one, other = scene(CAMERAS["roll"], 4), scene(CAMERAS["pan 1"], 4)
    together = AffineAligner().estimate(torch.cat([one, other]), VIEW)
    torch.testing.assert_close(
        together[:1], AffineAligner().estimate(one, VIEW), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("option", ["temperature", "inlier_distance"])
def test_scales_of_the_affine_aligner_must_be_positive(option):
    with pytest.raises(ValueError, match=f"{option}=0.* must be > 0"):
        AffineAligner(**{option: 0.0})
