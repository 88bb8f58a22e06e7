"""Lists are read with blanks in paths and URLs, and every fault is told with its line."""

import re

import fsspec
import pytest

from amflow_mm.datasets.annotation_list import (
    AnnotationError,
    Classes,
    LineLayout,
    ListedClip,
    is_whole_number,
    locate,
    parse_list,
    read_list,
    split_line,
)
from amflow_mm.datasets.storage import MissingStoredFileError

OURS = LineLayout(is_label_last=True)
HOSTS = LineLayout()


def parse(line, layout=OURS, **options):
    clips, problems = parse_list([line], layout, **options)
    assert len(clips) + len(problems) == 1
    return clips[0] if clips else problems[0].finding


@pytest.mark.parametrize(
    ("line", "delimiter", "path"),
    [
        ("a.mp4 2", " ", "a.mp4"),
        ("a b  c.mp4 2", " ", "a b  c.mp4"),
        ("a.mp4  2\r", " ", "a.mp4"),
        ("a,b c.mp4,2", ",", "a,b c.mp4"),
        ("a.mp4 , 2", ",", "a.mp4"),
        ("a b.mp4\t2", "\t", "a b.mp4"),
        ("a b.mp4 \t 2", None, "a b.mp4"),
        ("/abs/a.mp4 2", " ", "/abs/a.mp4"),
        ("memory://x/a b.mp4 2", " ", "memory://x/a b.mp4"),
    ],
)
def test_label_is_what_stands_after_the_last_delimiter(line, delimiter, path):
    layout = LineLayout(delimiter=delimiter, is_label_last=True)
    expected = path if path[0] == "/" or "://" in path else f"videos/{path}"
    assert parse(line, layout, prefix="videos") == ListedClip(1, expected, (2,))


def test_a_line_is_split_without_a_look_at_its_label():
    assert split_line("a b.mp4 x\n", OURS) == ("a b.mp4", ["x"])
    with pytest.raises(ValueError, match=r"'a\.mp4' is not 'path label'"):
        split_line("a.mp4", OURS)


@pytest.mark.parametrize(
    ("label", "expected"), [("0", True), ("-12", True), ("", False), ("1.0", False), ("²", False)]
)
def test_whole_numbers(label, expected):
    assert is_whole_number(label) is expected


def test_counted_fields_take_what_stands_between():
    assert parse("clip 3 12 2", LineLayout(2, None)) == ListedClip(1, "clip", (2,))
    assert parse("a.mp4 0 2", LineLayout(has_many_labels=True)).labels == (0, 2)
    assert parse("a.mp4 0 2", LineLayout(has_many_labels=True, is_label_last=True)).path == "a.mp4"


@pytest.mark.parametrize(
    ("line", "layout", "finding"),
    [
        ("", OURS, r"^'' is not 'path label', separated by delimiter=' '$"),
        ("a.mp4", OURS, "'a.mp4' is not 'path label'"),
        ("a.mp4,2", OURS, "is not 'path label', separated by delimiter=' '"),
        ("a b.mp4 0", HOSTS, "'a b.mp4 0' is not 'path label'.*paths with blanks need another"),
        ("clip 2", LineLayout(1, None), "'folder frames label', separated by blanks"),
        ("a.mp4 zero", OURS, "label 'zero' is not a whole number"),
        ("a.mp4 1.0", OURS, "label '1.0' is not a whole number"),
        ("a.mp4 --1", OURS, "label '--1' is not a whole number"),
        ("a.mp4 ²", OURS, "label '²' is not a whole number"),
        ("a.mp4 -1", OURS, "label -1 is negative; labels start at 0"),
        ("../a.mp4 0", OURS, r"'\.\./a\.mp4' leaves its folder 'videos'"),
        ("b/../../a.mp4 0", OURS, "leaves its folder"),
    ],
)
def test_unusable_line_is_explained(line, layout, finding):
    assert re.search(finding, parse(line, layout, prefix="videos"))


def test_labels_are_bounded_where_the_classes_are_known():
    classes = Classes(3, "the head's num_classes")
    assert parse("a.mp4 2", classes=classes).labels == (2,)
    expected = "label 3 is not within 0 ... 2; labels start at 0, and the head's num_classes is 3"
    assert parse("a.mp4 3", classes=classes) == expected
    assert "label -1 is not within" in parse("a.mp4 -1", classes=classes)


def test_names_are_not_split_at_exotic_line_ends(tmp_path):
    (tmp_path / "list.txt").write_text("a\u2028b.mp4 0\r\nc\x0b.mp4 1", encoding="utf-8")
    clips = read_list(str(tmp_path / "list.txt"), OURS)
    assert [clip.path for clip in clips] == ["a\u2028b.mp4", "c\x0b.mp4"]


def test_all_problems_are_told_together(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("".join(f"a{i}.mp4 {'x' if i % 2 else 0}\n" for i in range(24)))
    with pytest.raises(
        AnnotationError, match=r"^12 problems in .*list\.txt:\n  line 2: "
    ) as caught:
        read_list(str(path), OURS)
    lines = str(caught.value).splitlines()
    assert len(lines) == 12
    assert lines[1] == "  line 2: label 'x' is not a whole number"
    assert lines[10] == "  line 20: label 'x' is not a whole number"
    assert lines[11] == "  and 2 more"


def test_single_problem_is_a_line_of_its_own(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("a.mp4 0\n\nb.mp4 1\n")
    with pytest.raises(AnnotationError, match=r"^\S+/list\.txt, line 2: '' is not 'path label'"):
        read_list(str(path), OURS)


@pytest.mark.parametrize("content", [b"", b"\n \n"])
def test_empty_list_is_refused(tmp_path, content):
    path = tmp_path / "list.txt"
    path.write_bytes(content)
    with pytest.raises(AnnotationError, match=r"list\.txt is empty; it needs a line for each clip"):
        read_list(str(path), OURS)


def test_list_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "list.txt"
    path.write_bytes(b"\xff\xfe\x00 0\n")
    with pytest.raises(AnnotationError, match=r"annotation list .*list\.txt is not text in UTF-8"):
        read_list(str(path), OURS)


def test_missing_list_is_named():
    with pytest.raises(MissingStoredFileError, match=r"nowhere\.txt does not exist"):
        read_list("nowhere.txt", OURS)


def test_list_behind_a_url():
    fsspec.filesystem("memory").pipe("/lists/a.txt", b"\xef\xbb\xbfa b.mp4 1\n")
    clips = read_list("memory://lists/a.txt", OURS, prefix="memory://videos")
    assert clips == [ListedClip(1, "memory://videos/a b.mp4", (1,))]


@pytest.mark.parametrize(
    ("root", "path", "expected"),
    [
        ("data", "list.txt", "data/list.txt"),
        ("data", "../lists/list.txt", "data/../lists/list.txt"),
        ("data", "/abs/list.txt", "/abs/list.txt"),
        ("data", "gs://bucket/list.txt", "gs://bucket/list.txt"),
        ("gs://bucket", "list.txt", "gs://bucket/list.txt"),
        ("", "list.txt", "list.txt"),
        (None, "list.txt", "list.txt"),
    ],
)
def test_data_root_stands_in_front_of_relative_paths(root, path, expected):
    assert locate(root, path) == expected
