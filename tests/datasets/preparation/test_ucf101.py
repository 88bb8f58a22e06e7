import pytest

from amflow_mm.datasets.preparation import plan_ucf101, write_dataset
from amflow_mm.datasets.preparation.plan import PreparationError
from tests.datasets.preparation.owners_files import (
    findings,
    read_list,
    touch,
    write_lines,
    write_ucf101,
)

EYES = "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi"
BOW = "Archery/v_Archery_g01_c02.avi"
HANDS = "HandstandPushups/v_HandStandPushups_g01_c03.avi"


@pytest.fixture
def annotations(tmp_path):
    folder = tmp_path / "annotations"
    write_ucf101(folder, 1, [EYES, HANDS], [BOW])
    write_ucf101(folder, 2, [BOW], [EYES, HANDS])
    write_ucf101(folder, 3, [EYES, BOW], [HANDS])
    return folder


def test_three_splits(tmp_path, annotations):
    videos = touch(tmp_path / "videos", EYES, BOW, HANDS)
    report = write_dataset(plan_ucf101(videos, annotations), tmp_path)
    assert read_list(tmp_path / "ucf101_train_split_1_videos.txt") == [(EYES, 0), (HANDS, 2)]
    assert read_list(tmp_path / "ucf101_val_split_1_videos.txt") == [(BOW, 1)]
    assert read_list(tmp_path / "ucf101_val_split_2_videos.txt") == [(EYES, 0), (HANDS, 2)]
    assert read_list(tmp_path / "ucf101_val_split_3_videos.txt") == [(HANDS, 2)]
    assert (tmp_path / "classes.txt").read_text().splitlines()[2] == "HandstandPushups"
    # A video is in a list of each split, which is no leak.
    assert not [what for what in findings(report) if what.startswith("videos in several")]
    assert report.to_record()["splits"]["val_split_3"]["published"] == 3_696


def test_spelling_of_the_handstand(tmp_path, annotations):
    other = "HandStandPushups/v_HandstandPushups_g01_c03.mp4"
    videos = touch(tmp_path / "videos", EYES, other)
    write_dataset(plan_ucf101(videos, annotations), tmp_path)
    assert read_list(tmp_path / "ucf101_train_split_1_videos.txt") == [(EYES, 0), (other, 2)]


def test_video_in_train_and_test_is_told(tmp_path, annotations):
    write_ucf101(annotations, 1, [EYES, BOW], [BOW])
    videos = touch(tmp_path / "videos", EYES, BOW, HANDS)
    report = write_dataset(plan_ucf101(videos, annotations), tmp_path)
    assert findings(report)["videos in several splits of split 1"] == ("v_Archery_g01_c02.avi",)


@pytest.mark.parametrize(
    ("file", "line", "message"),
    [
        ("trainlist01.txt", f"{BOW} 3", r"Archery is class 2 in classInd\.txt, not 3"),
        ("testlist02.txt", "v_Archery_g01_c02.avi", r"is no class; lists name videos as"),
        ("classInd.txt", "Archery", r"line 1: 'Archery' must be 1, a blank and the name"),
    ],
)
def test_bad_lines(tmp_path, annotations, file, line, message):
    write_lines(annotations / file, line)
    with pytest.raises(PreparationError, match=message):
        plan_ucf101(touch(tmp_path / "videos"), annotations)
