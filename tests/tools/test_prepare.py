"""prepare.py: from a command line to lists, and from bad input to one line."""

import functools
import json

import pytest

from tests.datasets.preparation.owners_files import (
    read_list,
    touch,
    write_csv,
    write_json,
    write_lines,
    write_ucf101,
)
from tests.engine.tiny_experiment import ROOT

TOOL = ROOT / "tools/data/prepare.py"
CLIP = "0347ZoDXyP0_000095_000105"


@pytest.fixture
def call(call_tool):
    return functools.partial(call_tool, TOOL)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Work where data/ is empty."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def lay_out_kinetics400(out):
    header = "label,youtube_id,time_start,time_end,split"
    for split in ("train", "val"):
        rows = [("tai chi", "0347ZoDXyP0", 95, 105, split)]
        write_csv(out / f"annotations/{split}.csv", header, rows)
        touch(out, f"videos_{split}/tai chi/{CLIP}.mp4")
    return f"tai chi/{CLIP}.mp4", 0


def lay_out_ssv2(out):
    item = {"id": "7", "template": "Closing [something]"}
    write_json(out / "annotations/labels.json", {"Closing something": "0"})
    for split in ("train", "validation"):
        write_json(out / f"annotations/{split}.json", [item])
    touch(out, "videos/7.webm")
    return "7.webm", 0


def lay_out_smarthome(out):
    touch(out, "mp4/Walk_p03_r00_v02_c01.mp4")
    return "Walk_p03_r00_v02_c01.mp4", 29


def lay_out_ucf101(out):
    video = "Archery/v_Archery_g01_c02.avi"
    for split in (1, 2, 3):
        write_ucf101(out / "annotations", split, [video], [])
    touch(out, f"videos/{video}")
    return video, 1


def lay_out_hmdb51(out):
    for split in (1, 2, 3):
        write_lines(out / f"annotations/wave_test_split{split}.txt", "a_wave_0.avi 1 ")
    touch(out, "videos/wave/a_wave_0.avi")
    return "wave/a_wave_0.avi", 0


def lay_out_diving48(out):
    write_json(out / "annotations/Diving48_vocab.json", [["Back", "15som", "05Twis", "FREE"]])
    for split in ("train", "test"):
        items = [{"vid_name": "x_00001", "label": 0}]
        write_json(out / f"annotations/Diving48_V2_{split}.json", items)
    touch(out, "videos/x_00001.mp4")
    return "x_00001.mp4", 0


def lay_out_custom(out):
    touch(out, "videos/walk/a.mp4")
    return "walk/a.mp4", 0


# The lists that the configs read; the first is checked.
LISTS = {
    "kinetics400": ("data/kinetics400", "kinetics400_train_list_videos.txt", lay_out_kinetics400),
    "ssv2": ("data/sthv2", "sthv2_train_list_videos.txt", lay_out_ssv2),
    "smarthome": ("data/smarthome", "cs_train.txt", lay_out_smarthome),
    "ucf101": ("data/ucf101", "ucf101_train_split_1_videos.txt", lay_out_ucf101),
    "hmdb51": ("data/hmdb51", "hmdb51_train_split_1_videos.txt", lay_out_hmdb51),
    "diving48": ("data/diving48", "diving48_train_list_videos.txt", lay_out_diving48),
    "custom": ("data/custom", "train.txt", lay_out_custom),
}


@pytest.mark.parametrize("dataset", LISTS)
def test_default_places(call, home, dataset):
    folder, list_file, lay_out = LISTS[dataset]
    expected = lay_out(home / folder)
    code, out, err = call(dataset, "--no-manifest")
    assert (code, err) == (0, "")
    assert read_list(home / folder / list_file) == [expected]
    assert list_file in out
    assert json.loads((home / folder / "report.json").read_text())["dataset"] == dataset


def test_other_places_and_options_of_custom(call, home):
    touch(home / "disk", *(f"walk/p{person}_{i}.mp4" for person in range(4) for i in range(5)))
    arguments = ("--videos", "disk", "--out", "mine", "--no-manifest", "--group-regex", "p[0-9]")
    code, _, err = call("custom", *arguments, "--val", 0.25, "--test", 0.25, "--seed", 3)
    assert (code, err) == (0, "")
    sizes = [len(read_list(home / f"mine/{name}.txt")) for name in ("train", "val", "test")]
    assert sizes == [10, 5, 5]
    assert (home / "mine/videos/walk/p0_0.mp4").exists()


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("smarthome",), ("data/smarthome/mp4 does not exist", "--videos")),
        (("smarthome", "--videos", "s3://bucket/mp4"), ("s3://bucket/mp4 is not on a disk",)),
        (("custom", "--workers", 0), ("--workers 0 must be greater than 0",)),
        (("custom", "--timeout", -1), ("--timeout -1 must be greater than 0",)),
        (("custom", "--val", 1.5), ("--val 1.5 and --test 0 must be fractions",)),
        (("ucf101", "--videos", "."), ("no classInd.txt in data/ucf101/annotations",)),
    ],
)
def test_errors_are_one_line(call, arguments, parts):
    code, out, err = call(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1
    assert all(part in err for part in parts)


def test_configs_and_lists_agree(call):
    """Every list that a config reads is one that is written."""
    text = "".join(
        path.read_text() for path in (ROOT / "configs/_base_/datasets").glob("*.py")
    ) + "".join(path.read_text() for path in (ROOT / "configs").glob("*smarthome*.py"))
    for dataset in ("kinetics400", "ssv2", "smarthome", "custom"):
        folder, list_file, _ = LISTS[dataset]
        assert f'"{folder}/{list_file}"' in text
