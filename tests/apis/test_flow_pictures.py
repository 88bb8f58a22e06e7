import av
import cv2
import numpy as np
import pytest

import amflow_mm.apis.flow_pictures as module
from amflow_mm.apis import VideoFlow, write_flow_pictures
from amflow_mm.apis.flow_pictures import block_ranges, drawn_size
from amflow_mm.datasets.video_writer import write_video
from tests.apis.square_video import FPS, GRID, NUM_FRAMES, PATCH


@pytest.fixture
def measured():
    """Only the last patch of the first row moves."""
    flow = np.full((6, 35), 0.9)
    flow[:, 6] = 4.0
    return VideoFlow(flow, GRID, stride=2, layers=(0, 1), num_frames=NUM_FRAMES, fps=FPS)


def read(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        images = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        return np.stack(images), stream.average_rate, float(stream.duration * stream.time_base)


def test_overlay_has_the_rate_and_length_of_the_video_and_marks_the_patch(
    video, measured, tmp_path, frames
):
    pictures = write_flow_pictures(video, measured, tmp_path / "new" / "out")
    images, rate, duration = read(pictures.video)
    assert pictures.video == tmp_path / "new" / "out" / "square_amflow.mp4"
    assert len(images) == NUM_FRAMES
    assert rate == FPS
    assert duration == pytest.approx(NUM_FRAMES / FPS)
    height, width = drawn_size(*frames.shape[1:3])
    scale = width / frames.shape[2]
    drawn = images[:, :height].astype(float)
    plain = np.stack([cv2.resize(frame, (width, height)) for frame in frames]) * 0.55
    change = np.abs(drawn - plain).mean(axis=(0, 3))
    row, column = np.unravel_index(change.argmax(), change.shape)
    assert row < PATCH * scale
    assert column > 6 * PATCH * scale
    assert change[:, : width // 2].mean() < 5  # coding noise
    assert images.shape[1] > height  # the colour bar is below
    assert images.shape[1] % 2 == 0
    assert images[:, height:].max() > 150


def test_contact_sheet_shows_frames_above_their_overlays(video, measured, tmp_path):
    pictures = write_flow_pictures(video, measured, tmp_path)
    sheet = cv2.imread(str(pictures.contact_sheet)).astype(int)
    assert pictures.contact_sheet == tmp_path / "square_amflow.png"
    assert sheet.shape[1] > 6 * 320
    white = np.argwhere((sheet > 240).all(axis=-1))  # the square, undimmed; text is darker
    hot = np.argwhere(sheet[..., 2] - sheet[..., 0] > 120)
    assert white[:, 0].max() < hot[:, 0].min()
    assert len(np.unique(white[:, 1] // 328)) == 6


def test_times_of_the_sheet_are_spread_over_the_video(video, measured, tmp_path, monkeypatch):
    sheets = []
    contact_sheet = module.contact_sheet
    monkeypatch.setattr(
        module,
        "contact_sheet",
        lambda rows, **how: sheets.append((rows, how)) or contact_sheet(rows, **how),
    )
    write_flow_pictures(video, measured, tmp_path)
    rows, how = sheets[0]
    times = [float(caption.removeprefix("t = ").removesuffix(" s")) for caption in rows[1].captions]
    assert times == pytest.approx([0.2, 0.3, 0.5, 0.7, 0.9, 1.0])
    assert how["title"] == ("square.mp4   AM flow of frames 2 apart (0.20 s), mean of blocks 0-1")


def test_two_frames_are_enough_for_a_sheet(video, tmp_path):
    flow = VideoFlow(np.ones((1, 35)), GRID, stride=1, layers=(0,), num_frames=2, fps=FPS)
    pictures = write_flow_pictures(video, flow, tmp_path)
    assert len(read(pictures.video)[0]) == 2
    assert cv2.imread(str(pictures.contact_sheet)) is not None


def test_odd_sizes_are_made_even(tmp_path, measured, monkeypatch):
    written = []
    monkeypatch.setattr(module, "write_video", lambda path, frames, fps: written.extend(frames))
    write_video(tmp_path / "clip.mp4", np.zeros((2, 250, 322, 3), np.uint8), 5.0)
    flow = VideoFlow(np.ones((1, 35)), GRID, stride=1, layers=(0,), num_frames=2, fps=5.0)
    write_flow_pictures(tmp_path / "clip.mp4", flow, tmp_path)
    assert [side % 2 for side in written[0].shape[:2]] == [0, 0]


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((240, 320), (240, 320)),
        ((241, 321), (240, 320)),
        ((112, 112), (240, 240)),
        ((720, 1280), (720, 1280)),
        ((2160, 3840), (720, 1280)),
        ((3840, 2160), (1280, 720)),
        ((10, 4000), (4, 1280)),
    ],
)
def test_drawn_size_is_even_and_of_a_size_to_look_at(size, expected):
    assert drawn_size(*size) == expected


@pytest.mark.parametrize(
    ("layers", "text"),
    [((0,), "0"), ((1, 2, 3), "1-3"), ((2, 5, 8, 11), "2, 5, 8, 11"), ((0, 1, 7), "0-1, 7")],
)
def test_blocks_are_written_in_short(layers, text):
    assert block_ranges(layers) == text
