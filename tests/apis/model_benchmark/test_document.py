"""The page is written from all records in its folder."""

import json

import pytest

from amflow_mm.apis.model_benchmark.document import chart_path, record_path, updated_page
from amflow_mm.errors import UserError
from tests.apis.model_benchmark.tiny import recorded_run
from tests.apis.profiling.recorded_profile import recorded_profile


@pytest.fixture
def page(tmp_path):
    path = tmp_path / "docs" / "speed.md"
    path.parent.mkdir()
    path.write_text("before\n<!-- results:begin -->\nold\n<!-- results:end -->\nafter\n")
    return path


def put(page, name, record):
    path = record_path(page, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record))


def test_each_record_has_a_section(page):
    put(page, "cpu", recorded_run())
    put(page, "profile_tiny", recorded_profile())
    text = updated_page(page)
    assert text.startswith("before\n<!-- results:begin -->\n\n### cpu\n")
    assert "| training step, in_block / AIM | ≤ 0.60 | 0.500 | yes |" in text
    assert "### profile tiny\n" in text
    assert "| attention | 2.00 | 4.00 | 6.00 | 60.0 |" in text
    assert "Full record: [cpu.json](results/speed/cpu.json)." in text
    assert text.endswith("\n<!-- results:end -->\nafter\n")
    assert "old" not in text
    page.write_text(text)
    assert updated_page(page) == text


def test_a_chart_is_shown_where_there_is_one(page):
    put(page, "cpu", recorded_run())
    assert "![" not in updated_page(page)
    chart_path(page, "cpu").parent.mkdir()
    chart_path(page, "cpu").write_bytes(b"")
    assert "![cost of each model](images/speed_cpu.png)" in updated_page(page)


def test_without_records_the_page_says_so(page):
    assert "Nothing is recorded yet." in updated_page(page)


def test_a_file_of_another_kind_is_refused(page):
    put(page, "other", {"kind": "recipe"})
    with pytest.raises(UserError, match="kind='recipe' must be one of benchmark, profile"):
        updated_page(page)
