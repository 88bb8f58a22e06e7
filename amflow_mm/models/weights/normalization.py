"""Which mean and deviation of the pixels belong to image weights, and a warning if others are set.

A frozen model that sees pixels on another scale than in its training works, only worse, and
nothing else would tell.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

TOLERANCE = 0.5
"""Of 255: roundings of one normalisation differ by less, CLIP's and ImageNet's by more."""


@dataclass(frozen=True)
class Normalization:
    """Mean and standard deviation of each channel, RGB, 0 to 255.

    Args:
        name: Whose it is.
        mean: Mean.
        std: Standard deviation.
    """

    name: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def is_close(self, mean: Sequence[float], std: Sequence[float]) -> bool:
        """Tell whether these are the same but for rounding."""
        pairs = [*zip(self.mean, mean, strict=True), *zip(self.std, std, strict=True)]
        return all(abs(ours - theirs) <= TOLERANCE for ours, theirs in pairs)

    def __str__(self) -> str:
        return f"{self.name}'s (mean={self.mean}, std={self.std})"


CLIP = Normalization("CLIP", (122.771, 116.746, 104.094), (68.501, 66.632, 70.323))
IMAGENET = Normalization("ImageNet", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
INCEPTION = Normalization("Inception", (127.5, 127.5, 127.5), (127.5, 127.5, 127.5))
NONE = Normalization("nobody", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
KNOWN = (CLIP, IMAGENET, INCEPTION, NONE)


def identify(mean: Sequence[float], std: Sequence[float]) -> Normalization:
    """Return the known normalisation with these values, or an unnamed one."""
    for known in KNOWN:
        if known.is_close(mean, std):
            return known
    return Normalization("the config", tuple(mean), tuple(std))


def warn_of_mismatch(
    source: str, expected: Normalization, mean: Sequence[float], std: Sequence[float]
) -> None:
    """Warn if frames are normalised otherwise than in the training of the weights.

    Args:
        source: What the config calls the weights.
        expected: What they were trained with.
        mean: Mean of each channel that the config sets.
        std: Standard deviation of each channel that the config sets.
    """
    if not expected.is_close(mean, std):
        warnings.warn(
            f"pretrained={source!r} was trained with {expected} normalisation of the pixels, but "
            f"model.data_preprocessor has {identify(mean, std)}; set mean={expected.mean} and "
            f"std={expected.std} there",
            stacklevel=2,
        )
