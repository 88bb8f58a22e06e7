"""AM flow: which patches move, read off the change of attention maps between frames.

Agrawal et al., "AM Flow: Adapters for Temporal Processing in Action Recognition",
arXiv:2411.02065: ``w_t = softmax(|A_t - A_{t+1}|)^T 1``.

Axes: B clips, T frames, H heads, N tokens, P patches (``N = prefix + P``), D head width.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from amflow_mm.models.layers.correspondence import Correspondence, Taps, warp_map
from amflow_mm.models.layers.flow_backend import Backend, runs_on_triton
from amflow_mm.models.layers.flow_maps import AverageHeads, Source, frame_maps
from amflow_mm.models.layers.precision import full_precision

Normalize = Literal["softmax", "row", "column"]


def attention_map_flow(
    q: Float[Tensor, "B T H N D"],
    k: Float[Tensor, "B T H N D"],
    num_prefix_tokens: int = 1,
    temperature: float | Literal["auto"] = "auto",
    source: Source = "post",
    normalize: Normalize = "softmax",
    correspondence: Correspondence | None = None,
    backend: Backend = "auto",
) -> Float[Tensor, "B T P"]:
    """Return the relevance to motion of every patch of every frame (arXiv:2411.02065).

    No map leaves this call and none outlives its frame pair; those of single heads are made in
    tiles. Without ``correspondence`` the result carries no gradient; with it, gradient enters
    through it alone.

    Args:
        q: Queries before the ``1/sqrt(D)`` scale; detached here.
        k: Keys; detached here.
        num_prefix_tokens: CLS and register tokens, which come first. They take part in the
            attention softmax, then their rows and columns are dropped.
        temperature: Divides the difference before the softmax; ``"auto"`` is ``1/P``, the
            size of a map's entries, and 1.0 is the formula to the letter. Read by
            ``normalize="softmax"`` alone.
        source: Maps after (``"post"``) or before (``"pre"``) the attention softmax.
        normalize: How a difference becomes weights, see :func:`normalize_difference`.
        correspondence: Row-stochastic matrices (B, T-1, P, P) from frame t to t+1, or their
            taps, that undo the motion of the camera; ``None`` for a static camera.
        backend: What computes; equal to rounding, see :mod:`.flow_backend`.

    Returns:
        Non-negative weights with mean 1 over the patches of a frame. The flow of frame t
        compares it with frame t+1; the last frame repeats its predecessor's value.

    Raises:
        ValueError: T < 2, shapes that do not fit, or an option that does not exist.
    """
    return per_head_flow(
        q,
        k,
        num_prefix_tokens=num_prefix_tokens,
        temperature=temperature,
        source=source,
        normalize=normalize,
        correspondence=correspondence,
        average_heads="before",
        backend=backend,
    )


def per_head_flow(
    q: Float[Tensor, "B T H N D"],
    k: Float[Tensor, "B T H N D"],
    *,
    num_prefix_tokens: int,
    temperature: float | Literal["auto"],
    source: Source,
    normalize: Normalize,
    correspondence: Correspondence | None,
    average_heads: AverageHeads,
    backend: Backend = "auto",
) -> Float[Tensor, "B T P"]:
    """Compute :func:`attention_map_flow` with a choice of when heads are averaged.

    Args:
        q: Queries before the scale.
        k: Keys.
        num_prefix_tokens: See :func:`attention_map_flow`.
        temperature: See :func:`attention_map_flow`.
        source: See :func:`attention_map_flow`.
        normalize: See :func:`attention_map_flow`.
        correspondence: See :func:`attention_map_flow`.
        average_heads: ``"before"`` averages the maps, ``"after"`` the absolute differences,
            so that changes of opposite sign in two heads do not cancel.
        backend: See :func:`attention_map_flow`.

    Raises:
        ValueError: See :func:`attention_map_flow`.
    """
    check_inputs(q, k, num_prefix_tokens, correspondence)
    if runs_on_triton(backend, q, k, correspondence=correspondence, average_heads=average_heads):
        from amflow_mm.models.layers.flow_triton import column_sums  # needs Triton

        scale = 1.0
        if normalize == "softmax":
            scale = softmax_temperature(temperature, q.shape[3] - num_prefix_tokens)
        sums = column_sums(q, k, num_prefix_tokens, scale, source=source, normalize=normalize)
        return repeat_last(_mean_one(sums) if normalize == "column" else sums)
    with full_precision(q.device):
        steps = []
        previous = None
        maps = frame_maps(q, k, num_prefix_tokens, source=source, average_heads=average_heads)
        for t, frame_map in enumerate(maps):
            if previous is not None:
                registered = frame_map
                if correspondence is not None:
                    registered = warp_map(frame_map, _of_pair(correspondence, t - 1, frame_map))
                difference = map_difference(previous, registered).mean(dim=1)
                steps.append(normalize_difference(difference, temperature, normalize))
            previous = frame_map
        return repeat_last(torch.stack(steps, dim=1))


def normalize_difference(
    difference: Float[Tensor, "*batch P P"],
    temperature: float | Literal["auto"],
    normalize: Normalize,
) -> Float[Tensor, "*batch P"]:
    """Turn the absolute difference of two maps into weights with mean 1, per key patch.

    ``"softmax"`` is the paper's formula: softmax over keys, then the sum over queries.
    ``"row"`` divides rows by their sums instead; a zero row (two identical frames occur in
    real video) counts as uniform. ``"column"`` compares plain column sums: the ranking that
    the formula has to first order, with a usable range and no temperature.

    Raises:
        ValueError: An unknown ``normalize`` or a temperature that is not positive.
    """
    if normalize == "softmax":
        scale = softmax_temperature(temperature, difference.shape[-1])
        return (difference / scale).softmax(dim=-1).sum(dim=-2)
    if normalize == "row":
        return _share(difference).sum(dim=-2)
    if normalize == "column":
        return _mean_one(difference.sum(dim=-2))
    raise ValueError(f"normalize={normalize!r} must be one of 'softmax', 'row', 'column'")


def softmax_temperature(temperature: float | Literal["auto"], num_patches: int) -> float:
    """Return the temperature as a number.

    Raises:
        ValueError: It is not positive.
    """
    scale = 1.0 / num_patches if temperature == "auto" else temperature
    if isinstance(scale, str) or not scale > 0:
        raise ValueError(f"temperature={temperature!r} must be 'auto' or a number > 0")
    return scale


def repeat_last(step: Float[Tensor, "B S P"]) -> Float[Tensor, "B T P"]:
    """Append the last step once more, so that S = T - 1 differences line up with T frames.

    The flow of frame t looks ahead to t + 1; the last frame has no successor and takes
    its predecessor's value.
    """
    return torch.cat([step, step[:, -1:]], dim=1)


def map_difference(
    first: Float[Tensor, "*batch P P"], second: Float[Tensor, "*batch P P"]
) -> Float[Tensor, "*batch P P"]:
    """Absolute difference of two maps; what rounding alone can make counts as zero.

    A map that its correspondence restores differs from the original in the last bits, because
    sums run in another order. ``"row"`` and ``"column"`` divide by the size of the difference
    and would turn those bits into motion.
    """
    difference = (first - second).abs()
    largest = first.abs().amax(dim=(-1, -2), keepdim=True)
    noise = 16 * torch.finfo(first.dtype).eps * largest
    return torch.where(difference <= noise, 0.0, difference)


def _share(amount: Float[Tensor, "*batch P"]) -> Float[Tensor, "*batch P"]:
    """Divide by the total over the last axis; where that is zero, share equally."""
    total = amount.sum(dim=-1, keepdim=True)
    is_zero = total == 0
    uniform = torch.ones_like(amount) / amount.shape[-1]
    return torch.where(is_zero, uniform, amount / total.masked_fill(is_zero, 1.0))


def _mean_one(amount: Float[Tensor, "*batch P"]) -> Float[Tensor, "*batch P"]:
    return _share(amount) * amount.shape[-1]


def _of_pair(correspondence: Correspondence, pair: int, like: Tensor) -> Correspondence:
    """Correspondence of one frame pair, with an axis for heads, in the dtype of the maps."""
    if isinstance(correspondence, Taps):
        index, weight = correspondence
        return Taps(index[:, pair, None], weight[:, pair, None].to(like.dtype))
    return correspondence[:, pair, None].to(like.dtype)


def check_inputs(
    q: Tensor, k: Tensor, num_prefix_tokens: int, correspondence: Correspondence | None
) -> None:
    """Reject shapes that do not fit.

    Raises:
        ValueError: See :func:`attention_map_flow`.
    """
    if q.ndim != 5 or q.shape != k.shape:
        raise ValueError(
            f"q and k must both be (B, T, H, N, D), got {tuple(q.shape)} and {tuple(k.shape)}"
        )
    num_clips, num_frames, _, num_tokens, _ = q.shape
    if num_frames < 2:
        raise ValueError(
            f"num_frames={num_frames} must be >= 2: AM flow compares consecutive frames; "
            "raise clip_len"
        )
    num_patches = num_tokens - num_prefix_tokens
    if num_prefix_tokens < 0 or num_patches < 1:
        raise ValueError(
            f"num_prefix_tokens={num_prefix_tokens} must leave at least one of the "
            f"{num_tokens} tokens as a patch"
        )
    if isinstance(correspondence, Taps):
        expected = (num_clips, num_frames - 1, num_patches, correspondence.index.shape[-1])
        shapes = {tuple(part.shape) for part in correspondence}
    else:
        expected = (num_clips, num_frames - 1, num_patches, num_patches)
        shapes = set() if correspondence is None else {tuple(correspondence.shape)}
    for shape in shapes:
        if shape != expected:
            raise ValueError(
                f"correspondence has shape {shape}, expected (B, T-1, P, P) or, of taps, "
                f"(B, T-1, P, K) = {expected}"
            )
