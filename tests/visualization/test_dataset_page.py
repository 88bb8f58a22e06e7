"""Sheets hold the frames as they are; the page holds everything inside itself, and no markup."""

import base64
import io
import re
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest
from PIL import Image

from amflow_mm.visualization.contact_sheet import MARGIN
from amflow_mm.visualization.dataset_page import (
    FRAME_MILLISECONDS,
    ROWS_PER_SHEET,
    BrowsedSample,
    DrawnClip,
    PageWriter,
    SheetWriter,
)

HEIGHT, WIDTH, NUM_FRAMES, NUM_VIEWS = 70, 113, 3, 2


def clip_of(seed=0, *, num_views=NUM_VIEWS, num_frames=NUM_FRAMES, width=WIDTH, **facts):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (num_views, num_frames, 3, 4, 3), dtype=np.uint8)
    views = [[cv2.resize(frame, (width, HEIGHT)) for frame in view] for view in coarse]
    return DrawnClip(np.array(views), **facts)


def sample_of(*draws, index=5, path="videos/run.mp4", label="run (1)", **facts):
    return BrowsedSample(index, path, label, draws=draws, **facts)


def write_sheets(folder, *samples):
    writer = SheetWriter(folder / "sheet", title="data")
    for sample in samples:
        writer.add(sample)
    return [np.asarray(Image.open(path)) for path in writer.finish()]


def find_rows(sheet, frames):
    """Tops of the places where all frames stand side by side, pixel by pixel."""
    height, width = frames.shape[1:3]
    lefts = [MARGIN + column * (width + MARGIN) for column in range(len(frames))]
    return [
        top
        for top in range(len(sheet) - height + 1)
        if all(
            np.array_equal(sheet[top : top + height, left : left + width], frame)
            for left, frame in zip(lefts, frames, strict=True)
        )
    ]


def test_sheet_holds_every_view_of_every_draw_in_order(tmp_path):
    draws = [clip_of(seed) for seed in range(2)]
    (sheet,) = write_sheets(tmp_path, sample_of(*draws))
    tops = [find_rows(sheet, frames) for draw in draws for frames in draw.views]
    assert all(len(found) == 1 for found in tops)
    assert tops == sorted(tops)


def test_small_frames_are_enlarged_by_a_whole_factor(tmp_path):
    draw = clip_of(num_views=1, width=50)
    (sheet,) = write_sheets(tmp_path, sample_of(draw))
    assert len(find_rows(sheet, draw.views[0].repeat(3, axis=1).repeat(3, axis=2))) == 1


def test_what_is_known_leaves_ink_and_frame_numbers_stand_below(tmp_path):
    plain = write_sheets(tmp_path, sample_of(clip_of(num_views=1)))[0].astype(int)
    numbers = np.arange(NUM_FRAMES)[None]
    known = clip_of(num_views=1, frame_numbers=numbers, note="label now jump (2)")
    sheet = write_sheets(tmp_path, sample_of(known, original_size=(240, 320)))[0].astype(int)
    (top,) = find_rows(plain, known.views[0])
    assert find_rows(sheet, known.views[0]) == [top]
    assert (sheet[:top] != plain[:top]).any()
    assert sheet.shape[0] > plain.shape[0]
    assert (sheet[top + HEIGHT : -MARGIN] == 235).any()


def test_sheets_end_when_they_are_full_or_when_clips_are_longer(tmp_path):
    short = sample_of(clip_of(num_views=ROWS_PER_SHEET - 1))
    two = sample_of(clip_of(seed=1))
    longer = sample_of(clip_of(seed=2, num_frames=4))
    sheets = write_sheets(tmp_path, short, two, longer)
    assert len(sheets) == 3
    assert find_rows(sheets[0], two.draws[0].views[0])
    assert find_rows(sheets[1], two.draws[0].views[1])
    assert find_rows(sheets[2], longer.draws[0].views[1])


def test_samples_that_cannot_be_drawn_are_told_at_the_foot(tmp_path):
    good = sample_of(clip_of())
    bad = sample_of(path="torn.mp4", error="no frame")
    without = write_sheets(tmp_path, good)[0]
    (sheet,) = write_sheets(tmp_path, bad, good)
    foot = sheet[len(without) - MARGIN : -MARGIN]
    assert np.array_equal(sheet[: len(without) - MARGIN], without[:-MARGIN])
    assert (foot == 235).any()


class Page(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.images, self.text = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag == "img":
            self.images.append(dict(attributes))

    def handle_data(self, data):
        self.text.append(data)


def write_page(folder, *samples, title="data", facts=None):
    writer = PageWriter(folder / "page.html", title=title, facts=facts or {})
    for sample in samples:
        writer.add(sample)
    (path,) = writer.finish()
    return Page(path.read_text(encoding="utf-8"))


def open_image(url):
    kind, _, encoded = url.partition(",")
    assert kind == "data:image/webp;base64"
    return Image.open(io.BytesIO(base64.b64decode(encoded)))


def frames_of(image):
    frames = []
    for number in range(image.n_frames):
        image.seek(number)
        frames.append(np.asarray(image.convert("RGB")).astype(int))
    return np.array(frames)


def test_page_shows_each_view_in_motion_and_frame_by_frame(tmp_path):
    draw = clip_of(frame_numbers=np.array([[0, 4, 8], [1, 5, 9]]))
    page = write_page(tmp_path, sample_of(draw))
    assert len(page.images) == 2 * NUM_VIEWS
    for view, frames in enumerate(draw.views):
        moving, strip = (open_image(image["src"]) for image in page.images[2 * view :][:2])
        assert moving.info["loop"] == 0
        shown = frames_of(moving)
        assert moving.info["duration"] == FRAME_MILLISECONDS
        assert np.abs(shown - frames).mean() < 8  # lossy, but of the right frame and colours
        assert np.abs(shown - np.roll(frames, 1, axis=0)).mean() > 20
        assert np.abs(shown - frames[..., ::-1]).mean() > 20
        assert np.abs(frames_of(strip)[0] - np.concatenate(frames, axis=1)).mean() < 8
    assert "draw 1, view 2 · frames 1 5 9" in page.text


NASTY = """<script>alert("1")</script> & 'x' <img src=//x>"""


def test_names_are_text_and_never_markup(tmp_path):
    sample = sample_of(clip_of(note=NASTY), path=NASTY, label=NASTY)
    bad = sample_of(index=6, path=NASTY, label=NASTY, error=NASTY)
    page = write_page(tmp_path, sample, bad, title=NASTY, facts={NASTY: NASTY})
    assert {tag for tag, _ in page.tags} == {
        "html", "head", "meta", "title", "style", "body", "h1", "dl", "dt", "dd", "article", "h2",
        "figure", "img", "figcaption", "p",
    }  # fmt: skip
    # Title and heading, a fact's name and value, a label and a path twice, and the error.
    assert sum(NASTY in text for text in page.text) == 9 + NUM_VIEWS
    assert page.text.count(f"#6 {NASTY}") == 1


def test_page_loads_nothing_and_forbids_it(tmp_path):
    page = write_page(tmp_path, sample_of(clip_of()))
    attributes = [(name, value) for _, given in page.tags for name, value in given.items()]
    assert all(v.startswith("data:image/webp;base64,") for name, v in attributes if name == "src")
    assert not any(name == "href" or name.startswith("on") for name, _ in attributes)
    policy = next(v for name, v in attributes if name == "content")
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert not re.search(r"url\(|@import", "".join(page.text))


def test_facts_of_a_sample_are_told(tmp_path):
    page = write_page(tmp_path, sample_of(clip_of(), original_size=(240, 320)))
    for text in ("#5 run (1)", "videos/run.mp4", "320 x 240"):
        assert text in page.text


def test_a_path_that_is_no_unicode_is_written_all_the_same(tmp_path):
    path = b"caf\xe9.mp4".decode(errors="surrogateescape")
    page = write_page(tmp_path, sample_of(clip_of(), path=path))
    assert "caf\\udce9.mp4" in page.text
    (sheet,) = write_sheets(tmp_path, sample_of(clip_of(), path=path))
    assert find_rows(sheet, clip_of().views[0])


@pytest.mark.parametrize(("size", "text"), [((3, 7), "7 x 3"), (None, "unknown size")])
def test_size_is_written_as_width_by_height(size, text):
    assert sample_of(original_size=size).size_text == text
