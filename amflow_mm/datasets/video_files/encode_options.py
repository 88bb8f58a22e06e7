"""How videos are re-encoded: settings of the encoder, and the size of the result.

What a reader of eight scattered frames pays for is decoding from the key frame before each. The
settings were chosen by measuring that: processor time of 8 uniform frames of a clip of 10 s at
340 x 256 (many people dancing, CRF 23), opening included, one thread. Speeds are multiples of
MMAction2's Decord pipeline on the same clip at GOP 250 with x264's defaults, sizes likewise; they
vary by a tenth from run to run.

| setting                                    | VideoDecode | DecordDecode | size |
|--------------------------------------------|-------------|--------------|------|
| GOP 250, x264's defaults                   |         1.7 |          1.0 | 1.00 |
| GOP 12, two B-frames                       |         5.0 |          2.6 | 1.06 |
| GOP 12, no B-frames                        |         4.8 |          3.1 | 1.18 |
| and without CABAC                          |         6.9 |          3.7 | 1.28 |
| and without deblocking: the default        |         8.3 |          4.7 | 1.34 |
| the default with two B-frames              |         8.8 |          3.7 | 1.19 |
| the default at GOP 8                       |        10.0 |          5.2 | 1.41 |
| the default at GOP 16                      |         7.4 |          3.7 | 1.31 |
| the default at CRF 20                      |         7.2 |          4.0 | 1.92 |
| the default with the preset ``medium``     |         8.2 |          4.4 | 1.42 |

On calmer clips, which are cheaper to decode at GOP 250 already, the default came to 6.8 and 4.6.
Without B-frames every reader finds the frame that it asks for in the packet that it reads first.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal


@dataclass(frozen=True)
class EncodeOptions:
    """How videos are re-encoded.

    Attributes:
        short_side: Pixels of the shorter side.
        gop_size: Frames from a key frame to the next, at most.
        crf: Quality of x264, 0 (lossless) to 51; 6 more halve the size.
        preset: Of x264: how much time goes into quality for the size. Decoding takes the same.
        pixels: ``square`` stretches videos whose pixels are not, so that things have their true
            shape; ``stored`` leaves them as the file has them, which is what readers show that
            ignore the shape of pixels, MMAction2's among them.
        upscale: Whether smaller videos are made larger.
        keep_damaged: Whether of a damaged video is kept what decodes.
        min_psnr: Decibels that frames of the result must reach against those of the source.
    """

    short_side: int = 256
    gop_size: int = 12
    crf: int = 23
    preset: str = "veryfast"
    pixels: Literal["square", "stored"] = "square"
    upscale: bool = False
    keep_damaged: bool = False
    min_psnr: float = 20.0

    def __post_init__(self) -> None:
        """Refuse what cannot be encoded."""
        if self.short_side < 16 or self.short_side % 2:
            raise ValueError(f"short_side={self.short_side} must be even and >= 16 pixels")
        if self.gop_size < 1:
            raise ValueError(f"gop_size={self.gop_size} must be >= 1 frames")
        if not 0 <= self.crf <= 51:
            raise ValueError(f"crf={self.crf} must be within 0 ... 51, x264's range")
        if self.pixels not in ("square", "stored"):
            raise ValueError(f"pixels={self.pixels!r} must be 'square' or 'stored'")

    def encoder_options(self) -> dict[str, str]:
        """Return the options of libx264; the head of this file says why these."""
        return {
            "crf": str(self.crf),
            "preset": self.preset,
            "tune": "fastdecode",
            "bf": "0",
            "refs": "1",
            "threads": "1",
        }


def choose_size(
    width: int, height: int, pixel_aspect: Fraction, options: EncodeOptions
) -> tuple[int, int]:
    """Return width and height of the result: even, the shorter as asked for or as it is.

    Args:
        width: Of the upright source, pixels.
        height: Likewise.
        pixel_aspect: Width of a pixel over its height, upright.
        options: Of the encoding.
    """
    sides = [Fraction(width), Fraction(height)]
    if options.pixels == "square":
        # The larger side of a pixel stays, so that nothing is lost before the scaling.
        sides[0] *= max(pixel_aspect, 1)
        sides[1] /= min(pixel_aspect, 1)
    scale = Fraction(options.short_side) / min(sides)
    if scale > 1 and not options.upscale:
        scale = Fraction(1)
    return tuple(_to_even(side * scale) for side in sides)


def _to_even(side: Fraction) -> int:
    """Round to an even number, and whole sides down, so that what is not scaled does not grow."""
    return max(2, 2 * int(side // 2) if side.denominator == 1 else 2 * round(side / 2))
