import pytest

from amflow_mm.datasets.preparation import plan_diving48, write_dataset
from amflow_mm.datasets.preparation.plan import PreparationError
from tests.datasets.preparation.owners_files import read_list, touch, write_json

VOCABULARY = [["Back", "15som", "05Twis", "FREE"], ["Inward", "Dive", "NoTwis", "PIKE"]]


def item(name, label):
    return {"vid_name": name, "label": label, "start_frame": 0, "end_frame": 9}


@pytest.fixture
def annotations(tmp_path):
    folder = tmp_path / "annotations"
    write_json(folder / "Diving48_vocab.json", VOCABULARY)
    write_json(folder / "Diving48_V2_train.json", [item("_8Vy3dlHg2w_00000", 1)])
    write_json(folder / "Diving48_V2_test.json", [item("2x00lRzlTVQ_00001", 0)])
    return folder


def test_lists(tmp_path, annotations):
    videos = touch(tmp_path / "rgb", "_8Vy3dlHg2w_00000.mp4", "2x00lRzlTVQ_00001.mp4")
    report = write_dataset(plan_diving48(videos, annotations), tmp_path)
    train, val = (
        read_list(tmp_path / f"diving48_{name}_list_videos.txt") for name in ("train", "val")
    )
    assert train == [("_8Vy3dlHg2w_00000.mp4", 1)]
    assert val == [("2x00lRzlTVQ_00001.mp4", 0)]
    assert (tmp_path / "classes.txt").read_text().startswith("Back 15som 05Twis FREE\n")
    assert (tmp_path / "videos").resolve() == videos.resolve()
    assert report.to_record()["splits"]["val"]["published"] == 1970


def test_first_version_is_refused(tmp_path, annotations):
    file = annotations / "Diving48_V2_train.json"
    file.rename(annotations / "Diving48_train.json")
    with pytest.raises(PreparationError, match="is of version 1, whose labels were revised"):
        plan_diving48(touch(tmp_path / "rgb"), annotations)


@pytest.mark.parametrize("label", [2, -1, "1", None])
def test_label_outside_the_vocabulary(tmp_path, annotations, label):
    write_json(annotations / "Diving48_V2_test.json", [item("2x00lRzlTVQ_00001", label)])
    with pytest.raises(PreparationError, match=r"item 1: label .* must be a number from 0 to 1"):
        plan_diving48(touch(tmp_path / "rgb"), annotations)


def test_vocabulary_of_another_form(tmp_path, annotations):
    write_json(annotations / "Diving48_vocab.json", ["Back"])
    with pytest.raises(PreparationError, match="'Back' must be a list of the four parts"):
        plan_diving48(touch(tmp_path / "rgb"), annotations)
