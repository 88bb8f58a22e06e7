import av
import pytest

from amflow_mm.datasets.decoding.droppable import find_droppable
from tests.datasets.decoding.numbered_videos import write_numbered


def dropped(path):
    """Return the share of packets that may be left out."""
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        is_droppable = find_droppable(context.codec.canonical_name, context.extradata)
        packets = [p for p in container.demux(video=0) if p.size]
        return sum(map(is_droppable, packets)), len(packets)


@pytest.mark.parametrize(
    ("name", "encoding", "expected"),
    [
        ("a.mp4", {"options": {"x264-params": "bframes=1:b-adapt=0:keyint=20"}}, 18),
        ("a.ts", {"options": {"x264-params": "bframes=1:b-adapt=0:keyint=20"}}, 18),
        ("b.mp4", {"options": {"bf": "0"}}, 0),
        ("c.mp4", {"codec": "mpeg4", "options": {"bf": "2", "g": "13"}}, 26),
        ("d.mpg", {"codec": "mpeg2video", "options": {"bf": "2", "g": "13"}}, 26),
    ],
)
def test_b_frames_that_nobody_refers_to(tmp_path, name, encoding, expected):
    count, total = dropped(write_numbered(tmp_path / name, **encoding))
    assert total == 40
    assert abs(count - expected) <= 2


def test_hevc_with_one_temporal_layer(tmp_path):
    parameters = "bframes=1:b-adapt=0:keyint=20:log-level=none:pools=1"
    options = {"x265-params": parameters}
    path = write_numbered(tmp_path / "a.mp4", codec="libx265", options=options)
    assert abs(dropped(path)[0] - 18) <= 2


def test_hevc_with_more_layers_keeps_all():
    header = bytearray(23)
    header[0], header[21] = 1, 3 << 3
    assert find_droppable("hevc", bytes(header)) is None
    assert find_droppable("hevc", None) is None


def test_formats_without_a_mark():
    assert find_droppable("av1", b"") is None


def test_damaged_lengths_end_the_search():
    is_droppable = find_droppable("h264", b"\1\0\0\0\3")
    assert not is_droppable(av.Packet(b"\xff" * 9))
    assert not is_droppable(av.Packet(b"\0\0"))
    assert is_droppable(av.Packet(b"\0\0\0\2\x01\x9a"))
    assert not is_droppable(av.Packet(b"\0\0\0\2\x41\x9a"))
