import pytest

from amflow_mm.datasets.preparation import plan_ssv2, write_dataset
from amflow_mm.datasets.preparation.plan import PreparationError
from amflow_mm.datasets.preparation.ssv2 import remove_brackets
from tests.datasets.preparation.owners_files import (
    findings,
    read_list,
    touch,
    write_json,
    write_lines,
)

LABELS = {
    # As in the publisher's file the numbers are text, and their order is not that of the file.
    "Holding something next to something": "1",
    "Approaching something with your camera": "0",
}
TRAIN = [
    {
        "id": "78687",
        "label": "holding potato next to vicks vaporub bottle",
        "template": "Holding [something] next to [something]",
        "placeholders": ["potato", "vicks vaporub bottle"],
    },
    {"id": "7", "template": "Approaching [something] with your camera"},
]
VAL = [{"id": "9", "template": "Approaching [something] with your camera"}]
NAMES = {
    "old": ("something-something-v2-{}.json", "something-something-v2-test-answers.csv"),
    "new": ("{}.json", "test-answers.csv"),
}


def write_annotations(folder, pattern="{}.json", *, train=TRAIN, val=VAL, labels=LABELS):
    write_json(folder / pattern.format("labels"), labels)
    write_json(folder / pattern.format("train"), train)
    write_json(folder / pattern.format("validation"), val)
    write_json(folder / pattern.format("test"), [{"id": "11"}, {"id": "12"}])
    return folder


@pytest.mark.parametrize("names", ["old", "new"])
def test_templates_become_labels(tmp_path, names):
    pattern, answers = NAMES[names]
    annotations = write_annotations(tmp_path / "annotations", pattern)
    write_lines(annotations / answers, "11;Holding something next to something")
    videos = touch(tmp_path / "videos", "78687.webm", "7.webm", "9.mp4", "11.webm", "5.webm")
    report = write_dataset(plan_ssv2(videos, annotations), tmp_path)
    assert read_list(tmp_path / "sthv2_train_list_videos.txt") == [("78687.webm", 1), ("7.webm", 0)]
    assert read_list(tmp_path / "sthv2_val_list_videos.txt") == [("9.mp4", 0)]
    assert read_list(tmp_path / "sthv2_test_list_videos.txt") == [("11.webm", 1)]
    assert (tmp_path / "classes.txt").read_text().splitlines() == [
        "Approaching something with your camera",
        "Holding something next to something",
    ]
    assert (tmp_path / "templates.txt").read_text().splitlines() == [
        "Approaching [something] with your camera",
        "Holding [something] next to [something]",
    ]
    odd = findings(report)
    assert odd["videos in no list (extra_files.txt)"] == ("videos/5.webm",)
    assert len(odd["classes in classes.txt, where 174 are published"]) == 2


def test_without_answers_the_test_videos_are_not_listed(tmp_path):
    annotations = write_annotations(tmp_path / "annotations")
    videos = touch(tmp_path / "videos", "78687.webm")
    report = write_dataset(plan_ssv2(videos, annotations), tmp_path)
    assert not (tmp_path / "sthv2_test_list_videos.txt").exists()
    assert findings(report)["test videos without a label, not listed"] == ("11", "12")
    assert (tmp_path / "missing_val.txt").read_text() == "9\n"


@pytest.mark.parametrize(
    ("template", "label"),
    [
        ("Putting [something] onto [something]", "Putting something onto something"),
        ("Showing [number of] [something]", "Showing number of something"),
        ("Turning the camera left", "Turning the camera left"),
    ],
)
def test_brackets(template, label):
    assert remove_brackets(template) == label


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": {"78687": "x"}}, r"train\.json holds a dict where a list is expected"),
        ({"labels": ["Holding something"]}, r"labels\.json holds a list where a dict"),
        ({"train": [{"id": "1", "label": "x"}]}, r"item 1 has no 'template' but id, label"),
        ({"val": [{"id": "1", "template": "Juggling"}]}, r"item 1: label 'Juggling' is none of"),
        ({"labels": {"Juggling": "1"}}, r"numbers of its 1 labels must be 0 to 0"),
        ({"labels": {"Juggling": "x"}}, r"map each label to its number"),
    ],
)
def test_another_version_is_told_apart(tmp_path, changes, message):
    annotations = write_annotations(tmp_path / "annotations", **changes)
    with pytest.raises(PreparationError, match=message):
        plan_ssv2(touch(tmp_path / "videos"), annotations)


def test_broken_json_and_answers(tmp_path):
    annotations = write_annotations(tmp_path / "annotations")
    videos = touch(tmp_path / "videos")
    write_lines(annotations / "test-answers.csv", "11,Juggling")
    with pytest.raises(PreparationError, match=r"line 1: '11,Juggling' must be an id, a semicolon"):
        plan_ssv2(videos, annotations)
    write_lines(annotations / "train.json", "[{")
    with pytest.raises(PreparationError, match=r"train\.json is not JSON"):
        plan_ssv2(videos, annotations)
