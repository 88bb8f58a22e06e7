"""Patch tokens in eight bits: a byte a value, and for each channel what the bytes stand for.

A frozen transformer has a few channels a hundred times as large as the others, most of them far
from zero and nearly constant. So each channel of each layer has its own range, from its least to
its greatest value over frames and patches of a clip, and bytes divide that range evenly.
"""

import torch
from jaxtyping import Float, Float16, Int8
from torch import Tensor

LAST_CODE = 127
"""Codes lie between its negative and itself."""

ChannelRange = Float[Tensor, "*views L 1 1 1 C"]


def quantize_channels(
    tokens: Float[Tensor, "*views L T rows columns C"],
) -> tuple[Int8[Tensor, "*views L T rows columns C"], ChannelRange, ChannelRange]:
    """Return codes, and scale and middle of each channel: tokens are near middle + scale * code.

    They are off by half a scale at most. A channel that is constant has scale 0 and no error. One
    that is not finite has a scale or middle that is not finite either.
    """
    tokens = tokens.float()
    axes = (-4, -3, -2)
    least, greatest = tokens.amin(axes, keepdim=True), tokens.amax(axes, keepdim=True)
    middle = (least + greatest) / 2
    scale = (greatest - least) / (2 * LAST_CODE)
    steps = (tokens - middle) / scale.masked_fill(scale == 0, 1)
    return steps.round().clamp(-LAST_CODE, LAST_CODE).to(torch.int8), scale, middle


def dequantize_channels(
    codes: Int8[Tensor, "*views L T rows columns C"], scale: ChannelRange, middle: ChannelRange
) -> Float16[Tensor, "*views L T rows columns C"]:
    """Return tokens in half precision, which rounds them once more, to 11 binary digits."""
    tokens = torch.empty(codes.shape, dtype=torch.float16, device=codes.device)
    layers = (part.flatten(0, -5) for part in (tokens, codes, scale, middle))
    # One at a time: in single precision the whole batch would take four times its bytes.
    for into, code, step, centre in zip(*layers, strict=True):
        into.copy_(torch.addcmul(centre, code.float(), step))
    return tokens
