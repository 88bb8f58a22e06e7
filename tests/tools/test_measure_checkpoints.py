"""The table of sizes: recorded, up to date, and what params.py foretells."""

import json

import pytest

from amflow_mm.apis.parameters import measure_config
from amflow_mm.engine.launch import load_config
from tests.engine.tiny_experiment import ROOT, run_tool

TOOL = "misc/measure_checkpoints.py"
RECORD = ROOT / "docs/results/checkpoints/vitb16.json"
DOCUMENT = "before\n<!-- results:begin -->\nold\n<!-- results:end -->\nafter\n"


def foretold(config, rows):
    """The bytes of each file by the model's sizes."""
    total = measure_config(load_config(str(ROOT / config))).total
    by_kind = {
        "trained weights, AdamW's state": total.checkpoint_bytes,
        "trained weights, their average, AdamW's state": total.checkpoint_bytes + total.saved_bytes,
        "all weights, AdamW's state": total.full_checkpoint_bytes,
        "trained weights": total.saved_bytes,
        "all weights": total.full_saved_bytes,
    }
    return [by_kind[row["holds"]] for row in rows]


def assert_as_foretold(record):
    """Names, config and the structure of the file come on top of the tensors."""
    for row, expected in zip(
        record["rows"], foretold(record["config"], record["rows"]), strict=True
    ):
        assert expected < row["bytes"] < 1.02 * expected + 100_000, row


@pytest.mark.slow
def test_document_shows_what_is_recorded(tmp_path):
    done = run_tool(TOOL, "--check", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_recorded_sizes_are_those_of_todays_model():
    record = json.loads(RECORD.read_text())
    assert len(record["rows"]) == 6
    assert_as_foretold(record)


@pytest.mark.slow
def test_measuring_writes_record_and_table(tmp_path):
    record, document = tmp_path / "record.json", tmp_path / "document.md"
    document.write_text(DOCUMENT)
    options = ["--config", "configs/amflow_vits_custom.py", "--result", record]
    options += ["--document", document]
    done = run_tool(TOOL, *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    written = json.loads(record.read_text())
    assert_as_foretold(written)
    table = document.read_text()
    assert table.startswith("before\n<!-- results:begin -->\n\n| file | holds | MB |\n")
    assert table.endswith("[record.json](results/checkpoints/record.json).\n\n"
                          "<!-- results:end -->\nafter\n")  # fmt: skip
    for row in written["rows"]:
        assert f"| {row['file']} | {row['holds']} | {row['bytes'] / 1e6:.1f} |" in table
    assert run_tool(TOOL, *options, "--check", cwd=tmp_path).returncode == 0
    document.write_text(table.replace("| published, `.pth` |", "| published |"))
    done = run_tool(TOOL, *options, "--check", cwd=tmp_path)
    assert done.returncode == 1
    assert "is outdated" in done.stderr
