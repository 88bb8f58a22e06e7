import os

import pytest

from amflow_mm.datasets.preparation.video_index import (
    VideoFolderError,
    index_videos,
    video_stem,
)
from tests.datasets.preparation.owners_files import touch


def test_hidden_files_are_no_videos_and_links_are_followed_once(tmp_path):
    touch(tmp_path / "disk", "a/x.MP4", "a/.x.mp4", ".trash/y.mp4", "a/notes.txt")
    touch(tmp_path / "other", "z.webm")
    os.symlink(tmp_path / "other", tmp_path / "disk/linked")
    # Circles: upwards, and between two folders.
    os.symlink(tmp_path / "disk", tmp_path / "disk/a/upwards")
    os.symlink(tmp_path / "disk/a", tmp_path / "other/back")
    os.symlink(tmp_path / "gone.mp4", tmp_path / "disk/gone.mp4")
    assert index_videos(tmp_path / "disk").paths == ("a/x.MP4", "linked/z.webm")


def test_find_prefers_path_then_class_folder_then_mp4(tmp_path):
    touch(tmp_path, "a b/x.avi", "a b/x.mp4", "c/x.mp4", "x")
    index = index_videos(tmp_path)
    assert index.find("c/x.mp4") == ["c/x.mp4"]
    assert index.find("x", folder="A_b") == ["a b/x.mp4", "a b/x.avi", "c/x.mp4"]
    assert index.find("x", folder="c")[0] == "c/x.mp4"
    assert index.find("X") == []
    assert index_videos(tmp_path, ignore_case=True).find("X")[0] == "a b/x.mp4"


@pytest.mark.parametrize(
    ("path", "stem"),
    [
        ("a/b.mp4", "b"),
        ("b.mp4.mkv", "b"),
        ("v.1.2.webm", "v.1.2"),
        ("Cook.Cut_p02.mp4", "Cook.Cut_p02"),
    ],
)
def test_stem(path, stem):
    assert video_stem(path) == stem


def test_folders_that_cannot_be_looked_through(tmp_path):
    with pytest.raises(VideoFolderError, match="nowhere does not exist; give the right one"):
        index_videos(tmp_path / "nowhere")
    with pytest.raises(VideoFolderError, match=r"s3://bucket/videos is not on a disk"):
        index_videos("s3://bucket/videos")
