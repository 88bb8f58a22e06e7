import pytest

from amflow_mm.datasets.video_files.listing import (
    VideoListError,
    read_lists_of_config,
    read_source,
    write_lines,
)


def names(videos):
    return [video.name for video in videos.videos]


@pytest.fixture
def folder(tmp_path):
    for name in ("b/2.mp4", "b/1.AVI", "a/3.webm", "notes.txt", ".hidden.mp4", ".git/4.mp4"):
        (tmp_path / "videos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "videos" / name).touch()
    return tmp_path / "videos"


def test_a_folder_is_searched_in_order_for_videos(folder):
    videos = read_source(folder)
    assert names(videos) == ["a/3.webm", "b/1.AVI", "b/2.mp4"]
    assert [video.path for video in videos.videos] == [folder / name for name in names(videos)]
    assert videos.is_folder


def test_links_in_circles_end(folder):
    (folder / "b" / "round").symlink_to(folder)
    assert len(names(read_source(folder))) == 3


def test_lines_stay_as_they_are(tmp_path, folder):
    content = "\ufeffb/2.mp4 0\r\n\nß/x y.mp4 2\na/3.webm  7".encode()
    (tmp_path / "list.txt").write_bytes(content)
    videos = read_source(tmp_path / "list.txt", root=folder)
    assert names(videos) == ["b/2.mp4", "ß/x y.mp4", "a/3.webm"]
    assert videos.videos[0].path == folder / "b/2.mp4"
    assert not videos.is_folder
    write_lines(tmp_path / "out.txt", [video.line for video in videos.videos])
    assert (tmp_path / "out.txt").read_bytes() == content.replace(b"\n\n", b"\n")


@pytest.mark.parametrize(
    ("line", "options", "name"),
    [
        ("x  y.mp4 \t 1", {}, "x  y.mp4"),
        ("x y.mp4,1", {"delimiter": ","}, "x y.mp4"),
        ("x, y.mp4 , 1", {"delimiter": ","}, "x, y.mp4"),
        ("x y.mp4", {}, "x y.mp4"),  # without a label
        ("x, 1.mp4", {"delimiter": ","}, "x, 1.mp4"),
        ("x.mp4 1 20", {"has_many_labels": True}, "x.mp4"),
        ("x.mp4", {"has_many_labels": True}, "x.mp4"),
        ("x y.mp4,1,20", {"has_many_labels": True, "delimiter": ","}, "x y.mp4"),
    ],
)
def test_a_path_may_hold_delimiters_and_lack_a_label(tmp_path, line, options, name):
    (tmp_path / "list.txt").write_text(f"{line}\n")
    assert names(read_source(tmp_path / "list.txt", **options)) == [name]


def test_paths_are_relative_to_the_list_by_default_and_absolute_ones_stand(tmp_path):
    (tmp_path / "list.txt").write_text("a.mp4 0\n/elsewhere/b.mp4 1\n")
    videos = read_source(tmp_path / "list.txt")
    assert [str(video.path) for video in videos.videos] == [
        str(tmp_path / "a.mp4"),
        "/elsewhere/b.mp4",
    ]


@pytest.mark.parametrize(
    ("source", "root", "message"),
    [
        ("nowhere.txt", None, "nowhere.txt does not exist"),
        ("empty.txt", None, "empty.txt names no videos"),
        ("folder", None, "folder names no videos"),
        ("list.txt", "nowhere", "nowhere does not exist; give the folder of"),
        ("latin.txt", None, "latin.txt, line 2: not UTF-8"),
    ],
)
def test_what_cannot_be_used_is_refused(tmp_path, source, root, message):
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty.txt").write_text("\n \n")
    (tmp_path / "list.txt").write_text("a.mp4 0\n")
    (tmp_path / "latin.txt").write_bytes(b"a.mp4 0\n\xe4.mp4 0\n")
    with pytest.raises(VideoListError, match=message):
        read_source(tmp_path / source, root=root and tmp_path / root)


def test_lists_of_a_config_are_read_once_each(tmp_path, folder):
    for name in ("train", "val"):
        (tmp_path / f"{name}.txt").write_text(f"{name}.mp4|0|2\n")
    train = dict(
        ann_file="train.txt",
        data_root=str(tmp_path),
        data_prefix=dict(video="videos"),
        delimiter="|",
        multi_class=True,
    )
    val = train | dict(ann_file=str(tmp_path / "val.txt"))
    cfg = dict(
        train_dataloader=dict(dataset=dict(type="RepeatDataset", dataset=train)),
        val_dataloader=dict(dataset=dict(datasets=[val])),
        test_dataloader=dict(dataset=val),
    )
    lists = read_lists_of_config(cfg)
    assert [names(videos) for videos in lists] == [["train.mp4"], ["val.mp4"]]
    assert lists[0].videos[0].path == folder / "train.mp4"


@pytest.mark.parametrize(
    "cfg",
    [
        {},
        {"train_dataloader": None},
        {"train_dataloader": {"dataset": {"ann_file": "a.txt", "data_prefix": {"img": "frames"}}}},
    ],
)
def test_a_config_without_videos_is_refused(cfg):
    with pytest.raises(VideoListError, match="name no list of videos"):
        read_lists_of_config(cfg)
