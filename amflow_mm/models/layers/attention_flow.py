"""AM flow: which patches move, read off the change of attention maps between frames.

Agrawal et al., "AM Flow: Adapters for Temporal Processing in Action Recognition",
arXiv:2411.02065: ``w_t = softmax(|A_t - A_{t+1}|)^T 1``.

Axes: B clips, T frames, H heads, N tokens, P patches (``N = prefix + P``), D head width.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from amflow_mm.models.layers.correspondence import warp_map
from amflow_mm.models.layers.precision import full_precision

Source = Literal["post", "pre"]
Normalize = Literal["softmax", "row", "column"]
AverageHeads = Literal["before", "after"]


def attention_map_flow(
    q: Float[Tensor, "B T H N D"],
    k: Float[Tensor, "B T H N D"],
    num_prefix_tokens: int = 1,
    temperature: float | Literal["auto"] = "auto",
    source: Source = "post",
    normalize: Normalize = "softmax",
    correspondence: Float[Tensor, "B T-1 P P"] | None = None,
) -> Float[Tensor, "B T P"]:
    """Return the relevance to motion of every patch of every frame (arXiv:2411.02065).

    No map leaves this call and none outlives its frame pair. Without ``correspondence``
    the result carries no gradient; with it, gradient enters through it alone.

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
        correspondence: Row-stochastic matrices from frame t to t+1 that undo the motion of
            the camera; ``None`` for a static camera.

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
    )


def per_head_flow(
    q: Float[Tensor, "B T H N D"],
    k: Float[Tensor, "B T H N D"],
    *,
    num_prefix_tokens: int,
    temperature: float | Literal["auto"],
    source: Source,
    normalize: Normalize,
    correspondence: Float[Tensor, "B T-1 P P"] | None,
    average_heads: AverageHeads,
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

    Raises:
        ValueError: See :func:`attention_map_flow`.
    """
    _check(q, k, num_prefix_tokens, correspondence)
    dtype = torch.promote_types(q.dtype, torch.float32)
    with full_precision(q.device):
        steps = []
        previous = None
        for t in range(q.shape[1]):
            with torch.no_grad():
                frame_map = _attention_map(
                    q[:, t].to(dtype), k[:, t].to(dtype), num_prefix_tokens, source, average_heads
                )
            if previous is not None:
                registered = frame_map
                if correspondence is not None:
                    registered = warp_map(frame_map, correspondence[:, t - 1, None].to(dtype))
                difference = _difference(previous, registered).mean(dim=1)
                steps.append(normalize_difference(difference, temperature, normalize))
            previous = frame_map
        return repeat_last(torch.stack(steps, dim=1))


def normalize_difference(
    difference: Float[Tensor, "B P P"],
    temperature: float | Literal["auto"],
    normalize: Normalize,
) -> Float[Tensor, "B P"]:
    """Turn the absolute difference of two maps into weights with mean 1, per key patch.

    ``"softmax"`` is the paper's formula: softmax over keys, then the sum over queries.
    ``"row"`` divides rows by their sums instead; a zero row (two identical frames occur in
    real video) counts as uniform. ``"column"`` compares plain column sums: the ranking that
    the formula has to first order, with a usable range and no temperature.

    Raises:
        ValueError: An unknown ``normalize`` or a temperature that is not positive.
    """
    num_patches = difference.shape[-1]
    if normalize == "softmax":
        scale = 1.0 / num_patches if temperature == "auto" else temperature
        if isinstance(scale, str) or not scale > 0:
            raise ValueError(f"temperature={temperature!r} must be 'auto' or a number > 0")
        return (difference / scale).softmax(dim=-1).sum(dim=-2)
    if normalize == "row":
        return _share(difference).sum(dim=-2)
    if normalize == "column":
        return _share(difference.sum(dim=-2)) * num_patches
    raise ValueError(f"normalize={normalize!r} must be one of 'softmax', 'row', 'column'")


def repeat_last(step: Float[Tensor, "B S P"]) -> Float[Tensor, "B T P"]:
    """Append the last step once more, so that S = T - 1 differences line up with T frames.

    The flow of frame t looks ahead to t + 1; the last frame has no successor and takes
    its predecessor's value.
    """
    return torch.cat([step, step[:, -1:]], dim=1)


def _difference(
    first: Float[Tensor, "B G P P"], second: Float[Tensor, "B G P P"]
) -> Float[Tensor, "B G P P"]:
    """Absolute difference of two maps; what rounding alone can make counts as zero.

    A map that its correspondence restores differs from the original in the last bits, because
    sums run in another order. ``"row"`` and ``"column"`` divide by the size of the difference
    and would turn those bits into motion.
    """
    difference = (first - second).abs()
    largest = first.abs().amax(dim=(-1, -2), keepdim=True)
    return difference.masked_fill(difference <= 16 * torch.finfo(first.dtype).eps * largest, 0)


def _share(amount: Float[Tensor, "*batch P"]) -> Float[Tensor, "*batch P"]:
    """Divide by the total over the last axis; where that is zero, share equally."""
    total = amount.sum(dim=-1, keepdim=True)
    is_zero = total == 0
    uniform = torch.ones_like(amount) / amount.shape[-1]
    return torch.where(is_zero, uniform, amount / total.masked_fill(is_zero, 1.0))


def _attention_map(
    q: Float[Tensor, "B H N D"],
    k: Float[Tensor, "B H N D"],
    num_prefix_tokens: int,
    source: Source,
    average_heads: AverageHeads,
) -> Float[Tensor, "B G P P"]:
    """Patch-to-patch map of one frame; G is 1 or, for ``average_heads="after"``, H."""
    logits = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    if source == "post":
        logits = logits.softmax(dim=-1)
    elif source != "pre":
        raise ValueError(f"source={source!r} must be one of 'post', 'pre'")
    patches = logits[..., num_prefix_tokens:, num_prefix_tokens:]
    if average_heads == "before":
        return patches.mean(dim=1, keepdim=True)
    if average_heads == "after":
        return patches
    raise ValueError(f"average_heads={average_heads!r} must be one of 'before', 'after'")


def _check(q: Tensor, k: Tensor, num_prefix_tokens: int, correspondence: Tensor | None) -> None:
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
    expected = (num_clips, num_frames - 1, num_patches, num_patches)
    if correspondence is not None and tuple(correspondence.shape) != expected:
        raise ValueError(
            f"correspondence has shape {tuple(correspondence.shape)}, expected (B, T-1, P, P) "
            f"= {expected}"
        )
