"""Samples of a data set to look at: contact sheets, and a page that shows the motion.

The page is one file without scripts: images stand inside it, and it loads nothing.
"""

import base64
import html
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

from amflow_mm.datasets.atomic_file import atomic_path
from amflow_mm.visualization.contact_sheet import SheetRow, contact_sheet
from amflow_mm.visualization.text import text_strip

ROWS_PER_SHEET = 24
"""About 6,000 pixels of height; taller pictures strain viewers."""

MIN_TILE_WIDTH = 112
"""Pixels; smaller frames are enlarged by a whole factor, so that there is room for words."""

FRAME_MILLISECONDS = 250
"""Of the animation. Sampled frames stand for more time than they took, so slow motion serves."""

WEBP_QUALITY = 85
"""Of the page. Its images are to be looked at; the sheets hold every pixel as it is."""

STYLE = """
body { background: #111; color: #ddd; font: 15px/1.45 sans-serif; margin: 2em }
h1 { font-size: 1.4em } h2 { font-size: 1.1em; margin: 0 0 .3em }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1em 1em; margin: 0 0 .6em }
dt { color: #999 } dd { margin: 0; overflow-wrap: anywhere; white-space: pre-line }
article { border-top: 1px solid #444; padding: 1em 0 }
figure { display: flex; flex-wrap: wrap; gap: 8px; margin: .8em 0 }
figcaption { flex-basis: 100%; color: #bbb } img { max-width: 100% }
.bad { color: #f88 }
"""


@dataclass(frozen=True)
class DrawnClip:
    """What the pipeline has made of a sample in one draw.

    Attributes:
        views: Frames of each view, RGB.
        frame_numbers: Which frames of the video they are, from 0; None where nothing tells.
        note: What else there is to know.
    """

    views: UInt8[np.ndarray, "V T height width 3"]
    frame_numbers: Int[np.ndarray, "V T"] | None = None
    note: str = ""


@dataclass(frozen=True)
class BrowsedSample:
    """A sample and its draws.

    Attributes:
        index: Place in the data set.
        path: Of its video.
        label: Name and number of its class, or of its classes.
        original_size: Height and width of the video; None where nothing tells.
        draws: One for each time that the pipeline was run.
        error: Why there are none.
    """

    index: int
    path: str
    label: str
    original_size: tuple[int, int] | None = None
    draws: tuple[DrawnClip, ...] = ()
    error: str | None = None

    @property
    def size_text(self) -> str:
        """Width and height of the video as people write them."""
        if self.original_size is None:
            return "unknown size"
        height, width = self.original_size
        return f"{width} x {height}"


class SheetWriter:
    """Writes contact sheets: a row for each view of each draw, a column for each frame.

    Frames are not resampled: each pixel of a frame is one of the sheet, or a square of them.

    Args:
        stem: Path of the sheets without number and suffix.
        title: Stands above each sheet.
    """

    def __init__(self, stem: Path, *, title: str) -> None:
        self.stem = stem
        self.title = title
        self.paths: list[Path] = []
        self._rows: list[SheetRow] = []
        self._errors: list[str] = []

    def add(self, sample: BrowsedSample) -> None:
        """Add the rows of a sample; full sheets are written at once."""
        if sample.error is not None:
            self._errors.append(f"#{sample.index} {sample.path}: {sample.error}")
        for row in _sheet_rows(sample):
            if self._rows and not _fits(row, self._rows):
                self._write()
            self._rows.append(row)

    def finish(self) -> list[Path]:
        """Write what is left and return the paths of all sheets."""
        if self._rows:
            self._write()
        return self.paths

    def _write(self) -> None:
        path = self.stem.with_name(f"{self.stem.name}_{len(self.paths) + 1}.png")
        width = self._rows[0].images[0].shape[1]
        sheet = contact_sheet(
            self._rows,
            title=self.title,
            footer=self._footer(len(self._rows[0].images) * width),
            tile_width=width,
        )
        with atomic_path(path) as partial:
            Image.fromarray(sheet).save(partial, format="PNG")
        self.paths.append(path)
        self._rows, self._errors = [], []

    def _footer(self, width: int) -> UInt8[np.ndarray, "_ _ 3"] | None:
        """List the samples that could not be drawn."""
        strips = [text_strip(error, width=width, size=12) for error in self._errors]
        return np.concatenate(strips) if strips else None


def _fits(row: SheetRow, rows: Sequence[SheetRow]) -> bool:
    """Tell whether a row belongs on the sheet of others: room, columns and width of the frames."""
    first = rows[0].images
    same_shape = len(row.images) == len(first) and row.images[0].shape[1] == first[0].shape[1]
    return same_shape and len(rows) < ROWS_PER_SHEET


def _sheet_rows(sample: BrowsedSample) -> Iterable[SheetRow]:
    for number, draw in enumerate(sample.draws, start=1):
        for view, frames in enumerate(draw.views):
            facts = [
                f"#{sample.index} {sample.label}", f"draw {number}, view {view + 1}",
                "/".join(Path(sample.path).parts[-2:]), sample.size_text, draw.note,
            ]  # fmt: skip
            label = "   ".join(fact for fact in facts if fact)
            numbers = () if draw.frame_numbers is None else draw.frame_numbers[view]
            factor = math.ceil(MIN_TILE_WIDTH / frames.shape[2])
            images = frames.repeat(factor, axis=1).repeat(factor, axis=2)
            yield SheetRow(label, list(images), [f"frame {n}" for n in numbers])


class PageWriter:
    """Writes a page: a card for each sample with its animated views and their frames.

    Args:
        path: Of the page.
        title: Its heading.
        facts: What is said at the top, name by name.
    """

    def __init__(self, path: Path, *, title: str, facts: Mapping[str, str]) -> None:
        self.path = path
        self._parts = [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
            "img-src data:; style-src 'unsafe-inline'\">",
            f"<title>{html.escape(title)}</title><style>{STYLE}</style></head><body>",
            f"<h1>{html.escape(title)}</h1>",
            _facts(facts),
        ]

    def add(self, sample: BrowsedSample) -> None:
        """Add the card of a sample."""
        self._parts += [
            f'<article id="sample-{sample.index}">',
            f"<h2>#{sample.index} {html.escape(sample.label)}</h2>",
            _facts({"video": sample.path, "original size": sample.size_text}),
        ]
        if sample.error is not None:
            self._parts.append(f'<p class="bad">{html.escape(sample.error)}</p>')
        for number, draw in enumerate(sample.draws, start=1):
            self._parts += _figures(draw, number)
        self._parts.append("</article>")

    def finish(self) -> list[Path]:
        """Write the page and return its path, the only one."""
        text = "\n".join([*self._parts, "</body></html>", ""])
        with atomic_path(self.path) as partial:
            # Names of files may be no Unicode.
            partial.write_text(text, encoding="utf-8", errors="backslashreplace")
        return [self.path]


def _facts(facts: Mapping[str, str]) -> str:
    rows = (
        f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>"
        for name, value in facts.items()
    )
    return f"<dl>{''.join(rows)}</dl>"


def _figures(draw: DrawnClip, number: int) -> Iterable[str]:
    """Show each view twice: in motion, and its frames side by side."""
    for view, frames in enumerate(draw.views):
        name = f"draw {number}, view {view + 1}"
        facts = [name, draw.note]
        if draw.frame_numbers is not None:
            facts.append("frames " + " ".join(map(str, draw.frame_numbers[view])))
        caption = html.escape(" · ".join(fact for fact in facts if fact))
        strip = np.concatenate(frames, axis=1)
        yield (
            f'<figure><img class="clip" src="{_data_url(frames)}" alt="{name}, in motion">'
            f'<img class="strip" src="{_data_url(strip[None])}" alt="{name}, frame by frame">'
            f"<figcaption>{caption}</figcaption></figure>"
        )


def _data_url(frames: UInt8[np.ndarray, "T height width 3"]) -> str:
    """Encode frames as an image that stands inside the page, animated if there are several."""
    first, *others = map(Image.fromarray, frames)
    buffer = io.BytesIO()
    first.save(
        buffer, format="WEBP", quality=WEBP_QUALITY, method=2, save_all=True,
        append_images=others, duration=FRAME_MILLISECONDS, loop=0,
    )  # fmt: skip
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
