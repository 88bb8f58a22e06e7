import pytest

from amflow_mm.datasets.video_files.mp4_boxes import lacks_index
from amflow_mm.datasets.video_writer import write_video
from tests.datasets.video_files.sample_videos import cut, soft_frames


def box(name, content=b"", *, size=None):
    size = 8 + len(content) if size is None else size
    return size.to_bytes(4, "big") + name + content


LONG = box(b"mdat", (20).to_bytes(8, "big") + b"1234", size=1)


def test_a_whole_file_has_its_index_and_a_cut_one_has_not(tmp_path):
    path = tmp_path / "a.mp4"
    write_video(path, soft_frames(3), 25)
    assert not lacks_index(path)
    cut(path, 0.6)
    assert lacks_index(path)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", False),
        (b"a text of some length", False),
        (box(b"ftyp"), True),
        (box(b"ftyp") + box(b"mdat", b"12345") + box(b"moov"), False),
        # A size of 64 bits; a box to the end of the file; nonsense; a cut index.
        (
            box(b"ftyp") + box(b"mdat", (20).to_bytes(8, "big") + b"1234", size=1) + box(b"moov"),
            False,
        ),
        (box(b"ftyp") + box(b"mdat", b"moov" * 9, size=0), True),
        (box(b"ftyp") + box(b"mdat", b"123", size=2), True),
        (box(b"ftyp") + box(b"moov", b"123", size=12), True),
        (box(b"free") + box(b"mdat"), False),
    ],
)
def test_boxes_are_walked_by_their_sizes(tmp_path, content, expected):
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    assert lacks_index(path) is expected
