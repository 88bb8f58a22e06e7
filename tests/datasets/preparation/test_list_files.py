import pytest

from amflow_mm.datasets.preparation.list_files import check_path, write_list, write_names
from amflow_mm.datasets.preparation.plan import PreparationError
from amflow_mm.datasets.video_list_dataset import VideoListDataset
from tests.datasets.preparation.owners_files import read_list


def test_paths_with_blanks_come_back(tmp_path):
    videos = [("air drumming/a b.mp4", 0), ("tai chi/ü.mp4", 399)]
    write_list(tmp_path / "list.txt", videos)
    assert read_list(tmp_path / "list.txt") == videos


def test_paths_with_blanks_reach_the_data_set(tmp_path):
    videos = [("air drumming/a b.mp4", 0), ("tai chi/c.mp4", 399)]
    write_list(tmp_path / "list.txt", videos)
    dataset = VideoListDataset(
        ann_file=str(tmp_path / "list.txt"),
        data_prefix={"video": "videos"},
        pipeline=[],
        on_error="raise",
    )
    read = [dataset.get_data_info(index) for index in range(len(dataset))]
    assert [(info["filename"], info["label"]) for info in read] == [
        (f"videos/{name}", label) for name, label in videos
    ]


@pytest.mark.parametrize("path", [" a.mp4", "a.mp4 ", "a\nb.mp4", "a\rb.mp4", ""])
def test_paths_that_no_list_can_hold(path):
    with pytest.raises(PreparationError, match="which no list can hold; rename it"):
        check_path(path)


def test_path_that_is_no_text(tmp_path):
    with pytest.raises(PreparationError, match="is no text in UTF-8"):
        write_list(tmp_path / "list.txt", [(b"\xff.mp4".decode("utf-8", "surrogateescape"), 0)])
    assert list(tmp_path.iterdir()) == []


def test_names_of_an_earlier_run_do_not_stay(tmp_path):
    write_names(tmp_path / "missing.txt", ["b", "a"])
    assert (tmp_path / "missing.txt").read_text() == "a\nb\n"
    write_names(tmp_path / "missing.txt", [])
    assert not (tmp_path / "missing.txt").exists()
