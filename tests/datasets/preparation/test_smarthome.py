import itertools
from collections import Counter
from pathlib import Path

import pytest

from amflow_mm.datasets.preparation import plan_smarthome, write_dataset
from amflow_mm.datasets.preparation.plan import PreparationError
from amflow_mm.datasets.preparation.smarthome import ClipName, parse_name
from tests.datasets.preparation.owners_files import findings, read_list, touch

SUBJECTS = (2, 3, 4, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 25)
CAMERAS = (1, 2, 3, 4, 5, 6, 7)
# Written out here again, from the paper, so that a slip in the package cannot confirm itself.
CS_ONLY = {
    "Cook.Cleandishes",
    "Cook.Cleanup",
    "Cook.Cut",
    "Cook.Stir",
    "Cook.Usestove",
    "Laydown",
    "Makecoffee.Pourgrains",
    "Makecoffee.Pourwater",
    "Maketea.Boilwater",
    "Maketea.Insertteabag",
    "Pour.Fromkettle",
    "WatchTV",
}
CV_TOO = {
    "Cutbread",
    "Drink.Frombottle",
    "Drink.Fromcan",
    "Drink.Fromcup",
    "Drink.Fromglass",
    "Eat.Attable",
    "Eat.Snack",
    "Enter",
    "Getup",
    "Leave",
    "Pour.Frombottle",
    "Pour.Fromcan",
    "Readbook",
    "Sitdown",
    "Takepills",
    "Uselaptop",
    "Usetablet",
    "Usetelephone",
    "Walk",
}
SPLITS = ("cs_train", "cs_val", "cs_test", "cv1_train", "cv2_train", "cv_val", "cv_test")


def clip(activity: str, subject: int, camera: int) -> str:
    return f"{activity}_p{subject:02d}_r00_v02_c{camera:02d}.mp4"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Each activity of each subject from each camera, once."""
    out = tmp_path_factory.mktemp("smarthome")
    names = itertools.starmap(clip, itertools.product(CS_ONLY | CV_TOO, SUBJECTS, CAMERAS))
    touch(out / "mp4", *names)
    report = write_dataset(plan_smarthome(out / "mp4"), out)
    return out, report


def read_clips(folder: Path, split: str) -> list[ClipName]:
    return [parse_name(Path(name).stem) for name, _ in read_list(folder / f"{split}.txt")]


def test_protocols_take_their_subjects_and_cameras(prepared):
    out, _ = prepared
    clips = {split: read_clips(out, split) for split in SPLITS}
    subjects = {split: {c.subject for c in clips[split]} for split in SPLITS}
    cameras = {split: {c.camera for c in clips[split]} for split in SPLITS}
    assert subjects["cs_train"] == {3, 4, 6, 7, 9, 12, 13, 15, 17}
    assert subjects["cs_val"] == {19, 25}
    assert subjects["cs_test"] == {2, 10, 11, 14, 16, 18, 20}
    assert cameras["cs_train"] == cameras["cs_val"] == cameras["cs_test"] == set(CAMERAS)
    assert cameras["cv1_train"] == {1}
    assert cameras["cv2_train"] == {1, 3, 4, 6, 7}
    assert cameras["cv_val"] == {5}
    assert cameras["cv_test"] == {2}
    assert all(subjects[split] == set(SUBJECTS) for split in SPLITS if split.startswith("cv"))


def test_counts_are_those_of_the_grid(prepared):
    out, _ = prepared
    counts = {split: len(read_clips(out, split)) for split in SPLITS}
    assert counts == {
        "cs_train": 31 * 9 * 7,
        "cs_val": 31 * 2 * 7,
        "cs_test": 31 * 7 * 7,
        "cv1_train": 19 * 18,
        "cv2_train": 19 * 18 * 5,
        "cv_val": 19 * 18,
        "cv_test": 19 * 18,
    }


def test_cross_view_asks_for_cameras_where_a_circulating_generator_asks_for_subjects(prepared):
    out, _ = prepared
    clips = read_clips(out, "cv2_train")
    # That generator would take subjects 1, 3, 4, 6, 7 and with them cameras 2 and 5 of the test.
    assert {c.camera for c in clips}.isdisjoint({2, 5})
    assert {c.subject for c in clips} - {1, 3, 4, 6, 7}


def test_classes_are_31_and_19_numbered_alphabetically(prepared):
    out, _ = prepared
    cs = (out / "classes_cs.txt").read_text().splitlines()
    cv = (out / "classes_cv.txt").read_text().splitlines()
    assert cs == sorted(CS_ONLY | CV_TOO)
    assert cv == sorted(CV_TOO)
    assert (len(cs), len(cv)) == (31, 19)
    for split in SPLITS:
        classes = cs if split.startswith("cs") else cv
        pairs = read_list(out / f"{split}.txt")
        assert all(name.startswith(f"{classes[label]}_p") for name, label in pairs)
        assert len(Counter(label for _, label in pairs)) == len(classes)


def test_no_protocol_has_a_clip_twice(prepared):
    _, report = prepared
    # Clips of the 12 other activities are in no list of CV but in those of CS: nothing is left.
    assert report.findings == []


def test_counts_stand_beside_the_published_ones(prepared):
    _, report = prepared
    record = report.to_record()["splits"]
    assert record["cs_train"]["published"] == 8831
    assert [record[split]["published"] for split in ("cv1_train", "cv_val", "cv_test")] == [
        1877,
        3539,
        1901,
    ]
    assert "8,831" in str(report)


def test_odd_names_are_listed_and_counted(tmp_path):
    touch(
        tmp_path / "mp4",
        clip("Walk", 3, 1),
        "Walk_p03_r00_v02.mp4",
        "holiday.mp4",
        clip("Juggle", 3, 1),
        clip("Walk", 8, 1),
        clip("Walk", 3, 9),
    )
    report = write_dataset(plan_smarthome(tmp_path / "mp4"), tmp_path)
    odd = findings(report)
    assert odd["names that do not follow the scheme"] == ("Walk_p03_r00_v02.mp4", "holiday.mp4")
    assert odd["activities that are none of the 31"] == (clip("Juggle", 3, 1),)
    assert odd["subjects that are in no protocol"] == (clip("Walk", 8, 1),)
    assert odd["cameras that are in no protocol"] == (clip("Walk", 3, 9),)
    # Each protocol asks for one of the two: the other may be unknown.
    names = {split: [name for name, _ in read_list(tmp_path / f"{split}.txt")] for split in SPLITS}
    assert names["cs_train"] == [clip("Walk", 3, 1), clip("Walk", 3, 9)]
    assert names["cv1_train"] == [clip("Walk", 3, 1), clip("Walk", 8, 1)]


def test_wrong_folder_is_said_to_be_wrong(tmp_path):
    touch(tmp_path, "a.mp4", "b.mp4")
    with pytest.raises(PreparationError, match=r"holds 2 videos such as a\.mp4"):
        plan_smarthome(tmp_path)
