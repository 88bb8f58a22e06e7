"""Videos of the user's list."""

import pytest

from amflow_mm.apis.pipeline_benchmark.generated_videos import VideoShape, generate_videos
from amflow_mm.apis.pipeline_benchmark.video_set import VideoSet, read_video_list
from amflow_mm.errors import UserError


@pytest.fixture
def listed(tmp_path):
    """Six files and a list with labels, one path with a blank, one video with two labels."""
    names = ["a.mp4", "b/c d.mp4", "e.mp4", "f.mp4", "g.mp4", "100.mp4"]
    (tmp_path / "b").mkdir()
    for name in names:
        (tmp_path / name).touch()
    path = tmp_path / "train.txt"
    path.write_text("a.mp4 0\nb/c d.mp4 12\ne.mp4 1 2\n\nf.mp4\ng.mp4 3\n100.mp4 5\n")
    return path


def test_paths_are_read_without_their_labels(listed):
    videos = read_video_list(listed, root=listed.parent, count=99)
    names = sorted(path.relative_to(listed.parent).as_posix() for path in videos.paths)
    assert names == ["100.mp4", "a.mp4", "b/c d.mp4", "e.mp4", "f.mp4", "g.mp4"]
    assert videos.name == "train"


def test_the_choice_depends_on_the_seed_alone(listed):
    choose = [
        read_video_list(listed, root=listed.parent, count=3, seed=seed).paths for seed in (1, 1, 2)
    ]
    assert len(set(choose[0])) == 3
    assert choose[0] == choose[1] != choose[2]


def test_written_list_has_absolute_paths_and_no_blank_between(tmp_path):
    video = tmp_path / "c d.mp4"
    path = VideoSet("mine", (video,)).write_list(tmp_path / "lists" / "all.txt")
    assert path.read_text() == f"{video.resolve()}\t0\n"


def test_description_tells_what_decoding_costs(tmp_path):
    shape = VideoShape(gop_size=5, seconds=0.4, fps=30, height=48, width=64)
    paths = generate_videos(tmp_path, shape, count=2)
    facts = VideoSet("tiny", tuple(paths)).describe()
    sizes = [path.stat().st_size for path in paths]
    assert facts == {
        "videos": 2,
        "bytes": sum(sizes),
        "frames": 12,
        "fps": 30.0,
        "width": 64,
        "height": 48,
        "codec": "h264",
        "gop_size": 5,
        "kbit_per_second": round(sizes[0] * 8 / 0.4 / 1000),
    }


def test_missing_list_and_videos_are_told(listed):
    with pytest.raises(UserError, match=r"none\.txt: there is no such annotation list"):
        read_video_list(listed.parent / "none.txt", count=1)
    (listed.parent / "a.mp4").unlink()
    with pytest.raises(UserError, match=r"a\.mp4: listed in .* \(1 of 6 are missing\); --root"):
        read_video_list(listed, root=listed.parent, count=6)
    listed.write_text("\n")
    with pytest.raises(UserError, match="is empty"):
        read_video_list(listed, count=1)
