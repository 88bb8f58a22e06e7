import av
import numpy as np
import pytest

from amflow_mm.datasets.video_writer import write_video
from amflow_mm.visualization.long_video import write_long_video


@pytest.fixture
def frames():
    """Plain grey frames, each of a level of its own."""
    levels = np.arange(11, dtype=np.uint8) * 20
    return np.broadcast_to(levels[:, None, None, None], (11, 32, 48, 3)).copy()


def read(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        decoded = list(container.decode(stream))
        levels = [frame.to_ndarray(format="rgb24").mean() for frame in decoded]
        return [float(frame.time) for frame in decoded], np.array(levels), stream.average_rate


@pytest.mark.parametrize("fps", [16.0, 30000 / 1001])
def test_pieces_give_the_frames_and_times_of_the_whole(tmp_path, frames, fps):
    write_video(tmp_path / "whole.mp4", frames, fps)
    pieces = (piece for piece in (frames[:5], frames[5:10], frames[10:]))
    write_long_video(tmp_path / "new" / "pieces.mp4", pieces, fps)
    times, levels, rate = read(tmp_path / "new" / "pieces.mp4")
    whole_times, whole_levels, whole_rate = read(tmp_path / "whole.mp4")
    np.testing.assert_allclose(times, whole_times, atol=1e-4)
    np.testing.assert_allclose(levels, whole_levels, atol=2)
    assert rate == whole_rate
    np.testing.assert_allclose(levels, np.arange(11) * 20, atol=3)


def test_only_one_piece_is_asked_for_at_a_time(tmp_path, frames, monkeypatch):
    import amflow_mm.visualization.long_video as module

    events = []

    def pieces():
        for index in range(3):
            events.append(f"make {index}")
            yield frames[index : index + 1]

    monkeypatch.setattr(
        module,
        "write_video",
        lambda path, *rest: events.append(f"write {path.stem}") or write_video(path, *rest),
    )
    write_long_video(tmp_path / "a.mp4", pieces(), 8.0)
    assert events == ["make 0", "write 0", "make 1", "write 1", "make 2", "write 2"]


def test_a_failure_leaves_no_file(tmp_path, frames):
    def pieces():
        yield frames
        raise RuntimeError("the disk is on fire")

    with pytest.raises(RuntimeError, match="on fire"):
        write_long_video(tmp_path / "a.mp4", pieces(), 8.0)
    assert not list(tmp_path.iterdir())


def test_no_pieces_raise(tmp_path):
    with pytest.raises(ValueError, match="pieces is empty"):
        write_long_video(tmp_path / "a.mp4", [], 8.0)
