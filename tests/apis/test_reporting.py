"""What the reports of measurements share."""

from pathlib import Path

import pytest

from amflow_mm.apis.reporting import (
    Spread,
    describe_run,
    format_spread,
    page_with_results,
    relative_link,
)
from amflow_mm.errors import UserError


def test_spread_is_written_with_its_range():
    assert format_spread(Spread.of([3.0, 1.0, 2.0]), 1) == "2.0 (1.0-3.0)"
    assert format_spread(Spread.of([2.0]), 2) == "2.00"


def test_results_stand_between_the_markers(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- results:begin -->\nold\n<!-- results:end -->\nz\n")
    text = page_with_results(page, "new")
    assert text == "a\n<!-- results:begin -->\n\nnew\n\n<!-- results:end -->\nz\n"


@pytest.mark.parametrize("text", ["", "<!-- results:begin -->\n", 2 * "<!-- results:end -->\n"])
def test_page_without_its_markers_is_refused(tmp_path, text):
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(UserError, match="must hold a line"):
        page_with_results(page, "new")


def test_links_start_from_the_page():
    page = Path("docs", "page.md")
    assert relative_link(Path("docs", "results", "run.json"), page) == "results/run.json"
    assert relative_link(Path("README.md"), page) == "../README.md"


def test_a_run_tells_where_and_with_what_it_was_made():
    facts = describe_run()
    assert facts["machine"]["processor"]
    assert facts["machine"]["load"] >= 0
    assert facts["machine"]["threads"] >= 1
    assert {"python", "torch"} <= set(facts["versions"])
