import hashlib
import os

import numpy as np
import pytest

from amflow_mm.datasets.preparation import (
    ManifestOptions,
    SplitRule,
    make_shares,
    manifest,
    plan_custom,
    read_manifest,
    write_dataset,
)
from amflow_mm.datasets.preparation.manifest import quick_checksum, write_manifest
from amflow_mm.datasets.preparation.plan import PreparationError
from amflow_mm.datasets.video_files.parallel import ItemError, Outcome
from amflow_mm.datasets.video_writer import write_video
from tests.datasets.preparation.owners_files import findings


@pytest.fixture
def videos(tmp_path):
    """Two videos of different length, and a file that is none."""
    folder = tmp_path / "videos"
    for name, frames in (("a b", 5), ("c", 7)):
        pictures = np.full((frames, 16, 32, 3), frames, dtype=np.uint8)
        write_video(folder / f"walk/{name}.mp4", pictures, fps=10)
    (folder / "walk/broken.mp4").write_bytes(b"not a video, at all\n" * 9)
    names = ("a b", "c", "broken")
    return {f"videos/walk/{name}.mp4": folder / f"walk/{name}.mp4" for name in names}


@pytest.fixture
def asked(monkeypatch):
    """Watch which files are looked into; the work is done in this process."""
    items = []

    def run(function, todo, **options):
        for item in todo:
            items.append(os.path.basename(item))
            yield item, Outcome(value=function(item))

    monkeypatch.setattr(manifest, "run_isolated", run)
    return items


@pytest.mark.slow
def test_rows_say_what_the_files_hold(tmp_path, videos):
    path = tmp_path / "manifest.csv"
    rows = write_manifest(path, videos, checksum="sha256", num_workers=2)
    assert rows == read_manifest(path)
    assert [row.path for row in rows] == sorted(videos)
    good, broken, other = rows
    assert (good.frames, other.frames) == (5, 7)
    assert (good.width, good.height, good.fps, good.codec) == (32, 16, 10.0, "h264")
    assert good.duration == pytest.approx(0.5)
    content = videos[good.path].read_bytes()
    assert good.bytes == len(content)
    assert good.checksum == f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert broken.error
    assert broken.frames is None
    assert broken.checksum.startswith("sha256:")
    assert not (tmp_path / "manifest.csv.journal").exists()


def test_only_what_changed_is_looked_into_again(tmp_path, videos, asked):
    path = tmp_path / "manifest.csv"
    first = write_manifest(path, videos)
    assert sorted(asked) == ["a b.mp4", "broken.mp4", "c.mp4"]
    asked.clear()
    # What cannot be read is tried again: another decoder may be there by now.
    assert write_manifest(path, videos) == first
    assert asked == ["broken.mp4"]
    asked.clear()
    os.utime(videos["videos/walk/c.mp4"], ns=(1, 1))
    del videos["videos/walk/broken.mp4"]
    # Two names of one file are two rows and one look.
    videos["again"] = videos["videos/walk/c.mp4"]
    rows = write_manifest(path, videos)
    assert asked == ["c.mp4"]
    assert [row.path for row in rows] == ["again", "videos/walk/a b.mp4", "videos/walk/c.mp4"]
    assert [row.frames for row in rows] == [7, 5, 7]
    asked.clear()
    write_manifest(path, videos, checksum="none")
    assert asked == []
    write_manifest(path, videos, checksum="sha256")
    assert sorted(asked) == ["a b.mp4", "c.mp4"]


def test_run_that_is_cut_off_keeps_its_rows(tmp_path, videos, asked, monkeypatch):
    path = tmp_path / "manifest.csv"
    run = manifest.run_isolated

    def run_until_cut(function, items, **options):
        for count, result in enumerate(run(function, items, **options)):
            if count == 1:
                raise KeyboardInterrupt
            yield result

    with monkeypatch.context() as patch:
        patch.setattr(manifest, "run_isolated", run_until_cut)
        with pytest.raises(KeyboardInterrupt):
            write_manifest(path, videos)
    assert not path.exists()
    asked.clear()
    rows = write_manifest(path, videos)
    assert asked == ["broken.mp4", "c.mp4"]
    assert [row.frames for row in rows] == [5, None, 7]


def test_crash_of_a_reader_is_an_error_of_its_file(tmp_path, videos, monkeypatch):
    def crash(function, items, **options):
        return ((item, Outcome(error=ItemError("crash", "ended by\nSIGSEGV"))) for item in items)

    monkeypatch.setattr(manifest, "run_isolated", crash)
    rows = write_manifest(tmp_path / "manifest.csv", videos)
    assert {row.error for row in rows} == {"crash: ended by SIGSEGV"}
    assert read_manifest(tmp_path / "manifest.csv") == rows


def test_quick_checksum_reads_beginning_middle_and_end(tmp_path):
    size = 1 << 20
    path = tmp_path / "file"
    content = bytearray(size)
    path.write_bytes(content)
    digests = {quick_checksum(path)}
    for position in (0, size // 2, size - 1):
        content[position] = 1
        path.write_bytes(content)
        digests.add(quick_checksum(path))
    path.write_bytes(content + b"\0")
    digests.add(quick_checksum(path))
    assert len(digests) == 5
    path.write_bytes(b"")
    assert quick_checksum(path).startswith("quick:")


def test_data_set_with_manifest_tells_copies_and_unreadable_files(tmp_path, videos, asked):
    source = videos["videos/walk/c.mp4"]
    source.with_name("d.mp4").write_bytes(source.read_bytes())
    table = tmp_path / "videos.csv"
    rows = [("a b", "train"), ("c", "train"), ("d", "val"), ("broken", "val")]
    lines = "".join(f"walk/{name}.mp4,walk,{split}\n" for name, split in rows)
    table.write_text(f"path,label,split\n{lines}")
    rule = SplitRule(make_shares(0.2, 0.0))
    plan = plan_custom(tmp_path / "videos", rule, table=table)
    report = write_dataset(plan, tmp_path, ManifestOptions())
    assert findings(report)["copies of one file in several splits"] == (
        "videos/walk/c.mp4 = videos/walk/d.mp4",
    )
    facts = report.to_record()["manifest"]
    assert facts["videos"] == 4
    assert facts["unreadable"] == ["videos/walk/broken.mp4"]
    assert facts["codecs"] == {"h264": 3}
    assert facts["hours"] == round((0.5 + 0.7 + 0.7) / 3600, 3)
    assert "unreadable, see the column error: 1 (videos/walk/broken.mp4)" in str(report)


def test_other_tables_are_not_overwritten(tmp_path, videos):
    path = tmp_path / "manifest.csv"
    path.write_text("path,label\n")
    with pytest.raises(PreparationError, match="other columns than a manifest"):
        write_manifest(path, videos)
    assert path.read_text() == "path,label\n"
