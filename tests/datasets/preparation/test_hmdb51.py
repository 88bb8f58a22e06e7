import pytest

from amflow_mm.datasets.preparation import plan_hmdb51, write_dataset
from amflow_mm.datasets.preparation.plan import PreparationError
from tests.datasets.preparation.owners_files import findings, read_list, touch, write_lines


@pytest.fixture
def annotations(tmp_path):
    folder = tmp_path / "annotations"
    for split, flags in ((1, "120"), (2, "012"), (3, "201")):
        for name in ("wave", "brush_hair"):
            # The owners' lines end in a blank; one file name is in two classes here.
            lines = [f"{name}_{i}.avi {flag} " for i, flag in enumerate(flags)]
            write_lines(folder / f"{name}_test_split{split}.txt", *lines, f"same.avi {flags[0]} ")
    return folder


def test_flags_and_class_folders(tmp_path, annotations):
    files = [f"{c}/{n}.avi" for c in ("wave", "brush_hair") for n in (f"{c}_0", f"{c}_1", "same")]
    videos = touch(tmp_path / "videos", *files)
    report = write_dataset(plan_hmdb51(videos, annotations), tmp_path)
    assert read_list(tmp_path / "hmdb51_train_split_1_videos.txt") == [
        ("brush_hair/brush_hair_0.avi", 0),
        ("brush_hair/same.avi", 0),
        ("wave/wave_0.avi", 1),
        ("wave/same.avi", 1),
    ]
    assert [name for name, _ in read_list(tmp_path / "hmdb51_val_split_1_videos.txt")] == [
        "brush_hair/brush_hair_1.avi",
        "wave/wave_1.avi",
    ]
    # Flag 0 leaves a video out: of split 2 only the second and third remain, the third not found.
    assert len(read_list(tmp_path / "hmdb51_train_split_2_videos.txt")) == 2
    assert (tmp_path / "missing_val_split_2.txt").read_text() == "brush_hair_2\nwave_2\n"
    assert (tmp_path / "classes.txt").read_text() == "brush_hair\nwave\n"
    assert report.to_record()["splits"]["train_split_1"]["published"] == 3570
    assert "videos in no list (extra_files.txt)" not in findings(report)


def test_bad_flag_and_missing_split(tmp_path, annotations):
    videos = touch(tmp_path / "videos")
    write_lines(annotations / "wave_test_split2.txt", "wave_0.avi 3")
    with pytest.raises(PreparationError, match=r"split2\.txt, line 1: 'wave_0\.avi 3' must be"):
        plan_hmdb51(videos, annotations)
    (annotations / "wave_test_split2.txt").unlink()
    with pytest.raises(PreparationError, match=r"no wave_test_split2\.txt in"):
        plan_hmdb51(videos, annotations)
