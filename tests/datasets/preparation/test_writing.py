import json

import pytest

from amflow_mm.datasets.preparation import SplitRule, make_shares, plan_custom, write_dataset
from amflow_mm.datasets.preparation.plan import PreparationError
from tests.datasets.preparation.owners_files import findings, touch

RULE = SplitRule(make_shares(0.5, 0.0))


def test_videos_elsewhere_are_linked_and_a_folder_that_is_there_is_left_alone(tmp_path):
    videos = touch(tmp_path / "disk", "walk/a.mp4", "walk/b.mp4", "sit/c.mp4", "sit/d.mp4")
    out = tmp_path / "out"
    report = write_dataset(plan_custom(videos, RULE), out)
    assert (out / "videos").is_symlink()
    assert (out / "videos/walk/a.mp4").exists()
    assert report.findings == []
    # The second run finds the link of the first one.
    assert write_dataset(plan_custom(videos, RULE), out).findings == []
    other = touch(tmp_path / "other", "walk/c.mp4", "sit/d.mp4")
    odd = findings(write_dataset(plan_custom(other, RULE), out))
    what = "folders that configs read and that are not where the videos were found"
    assert odd[what] == (f"{out / 'videos'} is not {other}",)
    assert (out / "videos").resolve() == videos.resolve()


def test_nothing_is_written_where_a_name_cannot_be_listed(tmp_path):
    videos = touch(tmp_path / "videos", "walk/a.mp4", "walk/b\nc.mp4")
    with pytest.raises(PreparationError, match="holds a line break"):
        write_dataset(plan_custom(videos, RULE), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_report_is_json_with_all_names(tmp_path):
    videos = touch(tmp_path / "videos", *(f"walk/{i}.mp4" for i in range(9)), "x.mp4", "y.mp4")
    report = write_dataset(plan_custom(videos, RULE), tmp_path)
    record = json.loads((tmp_path / "report.json").read_text())
    assert record == report.to_record()
    assert record["manifest"] is None
    assert record["splits"]["train"]["found"] + record["splits"]["val"]["found"] == 9
    outside = {"what": "videos outside of class folders", "count": 2, "names": ["x.mp4", "y.mp4"]}
    assert outside in record["findings"]
    assert "videos outside of class folders: 2 (x.mp4, y.mp4)" in str(report)


def test_lists_go_to_a_disk(tmp_path):
    videos = touch(tmp_path / "videos", "walk/a.mp4")
    with pytest.raises(PreparationError, match="--out s3://bucket/x must be a folder on a disk"):
        write_dataset(plan_custom(videos, RULE), "s3://bucket/x")
