import pytest

from amflow_mm.datasets.preparation import plan_kinetics400, write_dataset
from amflow_mm.datasets.preparation.plan import PreparationError
from tests.datasets.preparation.owners_files import findings, read_list, touch, write_csv

HEADER = "label,youtube_id,time_start,time_end,split"
TRAIN = [
    ("zumba", "0347ZoDXyP0", 95, 105, "train"),
    ("air drumming", "gXxmbHzRUzU", 0, 10, "train"),
    ("air drumming", "a_b-c_d-e_f", 7, 17, "train"),
    ("petting animal (not cat)", "LostForEver", 1, 11, "train"),
]
VAL = [("zumba", "valvalval01", 3, 13, "val")]
NAMES = {
    "zumba": "0347ZoDXyP0_000095_000105",
    "drums": "gXxmbHzRUzU_000000_000010",
    "under_score": "a_b-c_d-e_f_000007_000017",
    "val": "valvalval01_000003_000013",
}


@pytest.fixture
def out(tmp_path):
    write_csv(tmp_path / "annotations/train.csv", HEADER, TRAIN)
    write_csv(tmp_path / "annotations/validate.csv", HEADER, VAL)
    return tmp_path


def prepare(out, videos=None):
    return write_dataset(plan_kinetics400(videos or out, out / "annotations"), out)


def test_class_folders_with_blanks_and_underscores(out):
    touch(
        out,
        f"videos_train/zumba/{NAMES['zumba']}.mp4",
        f"videos_train/air drumming/{NAMES['drums']}.mkv",
        f"videos_train/air_drumming/{NAMES['under_score']}.mp4.webm",
        f"videos_val/zumba/{NAMES['val']}.mp4",
    )
    report = prepare(out)
    assert read_list(out / "kinetics400_train_list_videos.txt") == [
        (f"zumba/{NAMES['zumba']}.mp4", 2),
        (f"air drumming/{NAMES['drums']}.mkv", 0),
        (f"air_drumming/{NAMES['under_score']}.mp4.webm", 0),
    ]
    assert read_list(out / "kinetics400_val_list_videos.txt") == [(f"zumba/{NAMES['val']}.mp4", 2)]
    assert (out / "classes.txt").read_text().splitlines() == [
        "air drumming",
        "petting animal (not cat)",
        "zumba",
    ]
    assert (out / "missing_train.txt").read_text() == "LostForEver_000001_000011\n"
    assert not (out / "missing_val.txt").exists()
    train = report.to_record()["splits"]["train"]
    assert (train["listed"], train["found"], train["missing"]) == (4, 3, 1)
    assert train["published"] == 246_534
    assert train["classes_without_videos"] == ["petting animal (not cat)"]


def test_one_flat_folder_serves_all_splits(out):
    videos = touch(out / "disk", *(f"{name}.mp4" for name in NAMES.values()), "notes.txt")
    report = prepare(out, videos)
    assert len(read_list(out / "kinetics400_train_list_videos.txt")) == 3
    assert len(read_list(out / "kinetics400_val_list_videos.txt")) == 1
    assert "videos in no list (extra_files.txt)" not in findings(report)
    for place in ("videos_train", "videos_val"):
        assert (out / place).is_symlink()
        assert (out / place).resolve() == videos.resolve()


def test_folders_of_the_hosted_archives_are_found_and_linked(out):
    disk = out / "disk"
    touch(disk, f"train/{NAMES['zumba']}.mp4", f"val/{NAMES['val']}.mp4")
    prepare(out, disk)
    assert (out / "videos_train").resolve() == (disk / "train").resolve()
    assert (out / "videos_val" / f"{NAMES['val']}.mp4").exists()


def test_split_that_was_not_downloaded_is_missing_not_looked_for_elsewhere(out):
    touch(out, f"videos_train/{NAMES['zumba']}.mp4", f"videos_train/{NAMES['val']}.mp4")
    report = prepare(out)
    assert read_list(out / "kinetics400_val_list_videos.txt") == []
    assert report.to_record()["splits"]["val"]["missing"] == 1
    assert not (out / "videos_val").exists()


def test_files_may_be_named_after_the_id_alone(out):
    touch(out, "videos_train/0347ZoDXyP0.mp4")
    prepare(out)
    assert read_list(out / "kinetics400_train_list_videos.txt") == [("0347ZoDXyP0.mp4", 2)]


def test_another_part_of_the_same_video_is_another_clip(out):
    touch(
        out / "videos_train",
        "0347ZoDXyP0_000200_000210.mp4",
        f"{NAMES['drums']}.mp4",
        # Ids differ in case.
        f"{NAMES['under_score'].upper()}.mp4",
    )
    report = prepare(out)
    assert len(read_list(out / "kinetics400_train_list_videos.txt")) == 1
    assert (out / "extra_files.txt").read_text().splitlines() == [
        "videos_train/0347ZoDXyP0_000200_000210.mp4",
        f"videos_train/{NAMES['under_score'].upper()}.mp4",
    ]
    assert len(findings(report)["videos in no list (extra_files.txt)"]) == 2


def test_two_files_of_one_clip_are_told(out):
    name = NAMES["zumba"]
    touch(out / "videos_train", f"other/{name}.mp4", f"zumba/{name}.mkv", f"zumba/{name}.mp4")
    report = prepare(out)
    assert read_list(out / "kinetics400_train_list_videos.txt") == [(f"zumba/{name}.mp4", 2)]
    passed_over = findings(report)["files passed over for another of the same name"]
    assert passed_over == (f"other/{name}.mp4", f"zumba/{name}.mkv")
    assert not (out / "extra_files.txt").exists()


def test_test_list_is_written_where_it_has_labels(out):
    touch(out, f"videos_train/{NAMES['zumba']}.mp4", "videos_test/testtest001_000000_000010.mp4")
    rows = [("zumba", "testtest001", 0.0, 10.0, "test")]
    test = write_csv(out / "annotations/test.csv", HEADER, rows)
    prepare(out)
    assert read_list(out / "kinetics400_test_list_videos.txt") == [
        ("testtest001_000000_000010.mp4", 2)
    ]
    write_csv(test, "youtube_id,time_start,time_end,split", [("testtest001", 0, 10, "test")])
    report = prepare(out)
    assert findings(report)["test videos without a label, not listed"] == (
        "testtest001_000000_000010",
    )


def test_nothing_found_says_what_was_looked_for_and_seen(out):
    touch(out, "videos_train/abc.mp4")
    with pytest.raises(PreparationError, match="0347ZoDXyP0_000095_000105") as caught:
        prepare(out)
    assert "1 videos such as abc.mp4" in str(caught.value)
    assert not (out / "kinetics400_train_list_videos.txt").exists()


def test_wrong_header_names_file_and_columns(out):
    write_csv(out / "annotations/train.csv", "class,url", [("zumba", "x")])
    with pytest.raises(PreparationError, match=r"train\.csv: the header is class,url, but .*label"):
        plan_kinetics400(out, out / "annotations")


def test_bad_rows_name_their_line(out):
    write_csv(out / "annotations/train.csv", HEADER, [*TRAIN, ("zumba", "x", "soon", 3, "train")])
    with pytest.raises(PreparationError, match=r"train\.csv, line 6: time_start='soon'"):
        plan_kinetics400(out, out / "annotations")
    write_csv(out / "annotations/train.csv", HEADER, [("zumba", "x")])
    with pytest.raises(PreparationError, match=r"train\.csv, line 2: fewer than 5 fields"):
        plan_kinetics400(out, out / "annotations")


def test_unknown_class_and_two_classes_for_one_clip(out):
    write_csv(out / "annotations/validate.csv", HEADER, [("napping", "valvalval01", 3, 13, "val")])
    with pytest.raises(PreparationError, match=r"validate\.csv, line 2: class 'napping'"):
        plan_kinetics400(out, out / "annotations")
    rows = [*TRAIN, ("air drumming", "0347ZoDXyP0", 95, 105, "train")]
    write_csv(out / "annotations/train.csv", HEADER, rows)
    write_csv(out / "annotations/validate.csv", HEADER, VAL)
    with pytest.raises(PreparationError, match=r"line 2 with class 2 and in .*line 6 with class 0"):
        plan_kinetics400(out, out / "annotations")


def test_repeated_line_counts_once(out):
    write_csv(out / "annotations/train.csv", HEADER, [TRAIN[0], *TRAIN])
    touch(out, f"videos_train/{NAMES['zumba']}.mp4")
    report = prepare(out)
    assert len(read_list(out / "kinetics400_train_list_videos.txt")) == 1
    assert findings(report)["lines that repeat another one"] == (NAMES["zumba"],)


def test_missing_list_tells_what_is_there(out):
    (out / "annotations/validate.csv").unlink()
    with pytest.raises(PreparationError, match=r"no val\.csv or .* which holds train\.csv"):
        plan_kinetics400(out, out / "annotations")
    with pytest.raises(PreparationError, match="nowhere, which does not exist"):
        plan_kinetics400(out, out / "nowhere")
