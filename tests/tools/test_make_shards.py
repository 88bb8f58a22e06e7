"""The tool: shards from a list, and errors in one line."""

from pathlib import Path

import pytest

from amflow_mm.datasets.shards import load_index
from tests.datasets.shards.small_shards import in_memory, make_files

TOOL = Path(__file__).parents[2] / "tools" / "data" / "make_shards.py"


@pytest.mark.parametrize("is_remote", [False, True])
def test_shards_are_made(call_tool, tmp_path, is_remote):
    list_file = make_files(tmp_path, 23)
    out = in_memory() if is_remote else str(tmp_path / "shards")
    arguments = [list_file, "--videos", tmp_path / "videos", "--out", out]
    arguments += ["--shard-megabytes", "0.02", "--shuffle", "1", "--threads", "2"]
    code, printed, errors = call_tool(TOOL, *arguments)
    index = load_index(f"{out}/index.json")
    assert code == 0
    assert printed == f"23 videos in {len(index.shards)} shards, 0.00 GB\n"
    assert len(index.shards) > 1
    assert "videos: 23/23, done" in errors
    assert call_tool(TOOL, *arguments) == (0, printed, "")


def test_errors_take_one_line(call_tool, tmp_path):
    list_file = make_files(tmp_path, 2)
    (tmp_path / "videos" / "class 0" / "000.mp4").unlink()
    code, printed, errors = call_tool(
        TOOL, list_file, "--videos", tmp_path / "videos", "--out", tmp_path / "shards"
    )
    assert (code, printed) == (2, "")
    assert errors.splitlines()[-1].startswith("error: line 1 of the list: ")
    assert "000.mp4 does not exist" in errors


def test_a_missing_list_takes_one_line(call_tool, tmp_path):
    code, _, errors = call_tool(
        TOOL, tmp_path / "no.txt", "--videos", tmp_path, "--out", tmp_path / "shards"
    )
    assert code == 2
    assert errors == f"error: {tmp_path / 'no.txt'} does not exist\n"
