import re
from collections import Counter

import pytest

from amflow_mm.datasets.preparation import SplitRule, make_shares, plan_custom, write_dataset
from amflow_mm.datasets.preparation.plan import PreparationError
from tests.datasets.preparation.owners_files import findings, read_list, touch, write_csv

RULE = SplitRule(make_shares(0.2, 0.0))
FOLDERS = [
    f"{name}/person{person}_{clip}.mp4"
    for name in ("sit down", "walk")
    for person in range(5)
    for clip in range(4)
]


@pytest.fixture
def videos(tmp_path):
    return touch(tmp_path / "videos", *FOLDERS)


def prepare(tmp_path, videos, rule=RULE, **options):
    return write_dataset(plan_custom(videos, rule, **options), tmp_path)


def read_all(folder):
    parts = {name: folder / f"{name}.txt" for name in ("train", "val", "test")}
    return {name: read_list(path) for name, path in parts.items() if path.exists()}


def test_class_folders_stratified(tmp_path, videos):
    touch(videos, "stray.mp4", "notes.txt")
    report = prepare(tmp_path, videos)
    lists = read_all(tmp_path)
    assert set(lists) == {"train", "val"}
    assert Counter(label for _, label in lists["val"]) == {0: 4, 1: 4}
    assert sorted(name for part in lists.values() for name, _ in part) == sorted(FOLDERS)
    assert all(name.startswith(("sit down", "walk")[n]) for name, n in lists["train"])
    assert (tmp_path / "classes.txt").read_text() == "sit down\nwalk\n"
    assert findings(report)["videos outside of class folders"] == ("stray.mp4",)


def test_groups_by_a_regular_expression(tmp_path, videos):
    rule = SplitRule(make_shares(0.2, 0.2), seed=1, group_pattern=r"person(\d+)")
    prepare(tmp_path, videos, rule)
    lists = read_all(tmp_path)
    people = {
        name: {re.search(r"person\d+", path).group() for path, _ in part}
        for name, part in lists.items()
    }
    assert {name: len(group) for name, group in people.items()} == {"train": 3, "val": 1, "test": 1}
    assert len(set().union(*people.values())) == 5


def test_folders_of_splits(tmp_path):
    names = ("train/walk/a.mp4", "train/sit/b.mp4", "validate/walk/c.mp4", "validate/d.mp4")
    videos = touch(tmp_path / "videos", *names)
    report = prepare(tmp_path, videos)
    assert read_all(tmp_path) == {
        "train": [("train/sit/b.mp4", 0), ("train/walk/a.mp4", 1)],
        "val": [("validate/walk/c.mp4", 1)],
    }
    odd = findings(report)
    assert odd["videos outside of class folders"] == ("validate/d.mp4",)
    assert report.to_record()["splits"]["val"]["classes_without_videos"] == ["sit"]
    rule = SplitRule(make_shares(0.3, 0.0), is_asked_for=True)
    with pytest.raises(PreparationError, match="or by folders named train and val"):
        plan_custom(videos, rule)


def test_one_folder_on_top_is_suspicious(tmp_path):
    videos = touch(tmp_path / "videos", "train/walk/a.mp4", "train/sit/b.mp4")
    report = prepare(tmp_path, videos)
    assert findings(report)[f"only one class folder in {videos}; are they one level below?"] == (
        "train",
    )


def test_table_with_groups(tmp_path, videos):
    rows = [(path, path.partition("/")[0], path.split("/")[1][:7]) for path in FOLDERS]
    table = write_csv(tmp_path / "videos.csv", "path,label,group", rows)
    prepare(tmp_path, videos, table=table)
    lists = read_all(tmp_path)
    assert len({path.split("/")[1][:7] for path, _ in lists["val"]}) == 1
    assert len(lists["val"]) == 8


def test_table_with_splits_says_it_all(tmp_path, videos):
    rows = [
        (FOLDERS[0], 1, "Training", "a"),
        (FOLDERS[1], 0, "test", "a"),
        ("gone.mp4", 0, "val", "b"),
    ]
    table = write_csv(tmp_path / "videos.csv", "path, label, split, group", rows)
    report = prepare(tmp_path, videos, table=table)
    assert read_all(tmp_path) == {
        "train": [(FOLDERS[0], 1)],
        "val": [],
        "test": [(FOLDERS[1], 0)],
    }
    assert (tmp_path / "missing_val.txt").read_text() == "gone.mp4\n"
    odd = findings(report)
    assert odd["groups that are in several splits"] == ("a",)
    assert len(odd["videos in no list (extra_files.txt)"]) == 38
    rule = SplitRule(make_shares(0.3, 0.0), is_asked_for=True)
    with pytest.raises(PreparationError, match="are in splits already, by the column"):
        plan_custom(videos, rule, table=table)


def test_order_of_classes(tmp_path, videos):
    order = tmp_path / "names.txt"
    order.write_text("walk\nsit down\nrun\n")
    report = prepare(tmp_path, videos, classes_file=order)
    assert {n for name, n in read_all(tmp_path)["train"] if name.startswith("walk")} == {0}
    assert (tmp_path / "classes.txt").read_text() == "walk\nsit down\nrun\n"
    assert report.to_record()["splits"]["train"]["classes_without_videos"] == ["run"]
    order.write_text("walk\n")
    with pytest.raises(PreparationError, match="label 'sit down' is not in"):
        plan_custom(videos, RULE, classes_file=order)
    order.write_text("walk\nwalk\n")
    with pytest.raises(PreparationError, match="walk stands there twice"):
        plan_custom(videos, RULE, classes_file=order)


def test_numbers_stay_what_they_are(tmp_path, videos):
    rows = [(path, i % 11) for i, path in enumerate(FOLDERS)]
    table = write_csv(tmp_path / "videos.csv", "path,label", rows)
    prepare(tmp_path, videos, table=table)
    numbers = dict(rows)
    assert all(numbers[name] == label for name, label in read_all(tmp_path)["train"])
    table = write_csv(tmp_path / "videos.csv", "path,label", [(FOLDERS[0], 0), (FOLDERS[1], 2)])
    with pytest.raises(PreparationError, match="0, 2, which are not 0 to 1 without a gap"):
        plan_custom(videos, RULE, table=table)


@pytest.mark.parametrize(
    ("header", "row", "message"),
    [
        ("path,label", ("../a.mp4", "walk"), r"line 2: path '\.\./a\.mp4' must be a file in"),
        ("path,label", ("/etc/a.mp4", "walk"), "must be a file in"),
        ("path,label", ("a.mp4", ""), "line 2: the label is empty"),
        ("path,label,split", ("a.mp4", "walk", "later"), "split 'later' must be train, val or"),
        ("path,label,group", ("a.mp4", "walk", ""), "line 2: group is empty"),
        ("file,class", ("a.mp4", "walk"), "header is file,class, but the columns path, label"),
    ],
)
def test_bad_tables(tmp_path, videos, header, row, message):
    table = write_csv(tmp_path / "videos.csv", header, [row])
    with pytest.raises(PreparationError, match=message):
        plan_custom(videos, RULE, table=table)


def test_table_names_a_video_once(tmp_path, videos):
    rows = [(FOLDERS[0], "walk"), (f"./{FOLDERS[0]}", "walk")]
    table = write_csv(tmp_path / "videos.csv", "path,label", rows)
    with pytest.raises(PreparationError, match=r"line 3: .* stands in .*line 2 already"):
        plan_custom(videos, RULE, table=table)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [(r"subject(\d+)", "finds nothing in"), ("(", "--group-regex"), (r"walk|sit", "cannot fill 3")],
)
def test_groups_that_cannot_be(videos, pattern, message):
    rule = SplitRule(make_shares(0.2, 0.2), group_pattern=pattern)
    with pytest.raises(PreparationError, match=message):
        plan_custom(videos, rule)


def test_groups_are_given_once(tmp_path, videos):
    table = write_csv(tmp_path / "videos.csv", "path,label,group", [(FOLDERS[0], "walk", "a")])
    rule = SplitRule(make_shares(0.2, 0.0), group_pattern="x")
    with pytest.raises(PreparationError, match="groups are given twice"):
        plan_custom(videos, rule, table=table)


@pytest.mark.parametrize(("val", "test"), [(0.6, 0.4), (-0.1, 0.0), (0.0, 1.0)])
def test_shares_leave_something_to_train_on(val, test):
    with pytest.raises(PreparationError, match="must be fractions that leave something"):
        make_shares(val, test)


def test_nothing_to_list(tmp_path):
    with pytest.raises(PreparationError, match="no video to list"):
        plan_custom(touch(tmp_path / "videos"), RULE)
    with pytest.raises(PreparationError, match=r"table .*none\.csv does not exist"):
        plan_custom(touch(tmp_path / "videos"), RULE, table=tmp_path / "none.csv")
