"""Tables, page and chart of a recorded run."""

import cv2
import pytest

from amflow_mm.apis.pipeline_benchmark.chart import draw_chart
from amflow_mm.apis.pipeline_benchmark.document import updated_page
from amflow_mm.apis.pipeline_benchmark.report import (
    merge_orders,
    print_run,
    run_as_markdown,
    speed_rows,
    stage_rows,
)
from amflow_mm.apis.reporting import format_markdown, format_text
from amflow_mm.errors import UserError
from tests.apis.pipeline_benchmark.recorded_run import BASELINE, recorded_run


def test_speeds_have_a_column_for_each_mode_that_was_measured():
    heading, baseline, ours = speed_rows(recorded_run(), "GOP 12")
    assert heading == [
        "pipeline",
        *("one process: clips/s", "clips per core and second", "x MMAction2"),
        *("DataLoader: clips/s", "clips per core and second", "x MMAction2"),
    ]
    assert baseline == [BASELINE, "10.0", "5.0", "1.00", "20.0", "", "1.00"]
    assert ours[:4] == ["ours, auto", "30.0 (20.0-40.0)", "15.0", "3.00 (2.00-4.00)"]
    assert ours[4:] == ["60.0 (40.0-80.0)", "", "3.00 (2.00-4.00)"]


def test_stages_of_worker_and_border_stand_in_one_table():
    heading, baseline, ours = stage_rows(recorded_run(), "GOP 12")
    assert heading == [
        *("ms a clip", "open", "decode", "Flip", "Pack", "to the main process", "into a batch"),
    ]
    assert baseline == [BASELINE, "20.00", "60.00", "", "20.00", "1.50", "0.50"]
    assert ours == ["ours, auto", "10.00", "20.00", "10.00", "10.00", "1.50", "0.50"]


def test_merged_orders_keep_each_order():
    orders = [["a", "b", "z"], ["c", "b", "d", "z"], ["b", "e"]]
    merged = merge_orders(orders)
    assert sorted(merged) == sorted({name for order in orders for name in order})
    for order in orders:
        places = [merged.index(name) for name in order]
        assert places == sorted(places)


def test_text_is_in_columns():
    text = format_text([["name", "x"], ["a", "100"], ["long name", "7"]])
    assert text == "name         x\na          100\nlong name    7"


def test_markdown_is_a_table():
    assert format_markdown([["a", "b"], ["1", "2"]]) == "| a | b |\n|---|---:|\n| 1 | 2 |"


@pytest.mark.parametrize("write", [print_run, run_as_markdown])
def test_reports_tell_videos_agreement_and_conditions(write):
    text = write(recorded_run())
    assert "4 videos such as 340 x 256, 300 frames, 30 fps, h264, a key frame every 12" in text
    assert f"to the frames of {BASELINE}, in grey levels: ours, auto 0.50" in text
    assert "Some CPU, 2 cores, load 0.25 before; 2 workers, batches of 8" in text
    assert "3 interleaved repetitions of at least 1 s" in text


def test_page_gets_the_tables_between_its_markers(tmp_path):
    page = tmp_path / "docs" / "speed.md"
    page.parent.mkdir()
    page.write_text("before\n<!-- results:begin -->\nold\n<!-- results:end -->\nafter\n")
    text = updated_page(page, recorded_run(), tmp_path / "docs" / "results" / "run.json")
    assert text.startswith("before\n<!-- results:begin -->\n\n### GOP 12\n")
    assert "old" not in text
    assert text.endswith(
        "Full record: [run.json](results/run.json).\n\n<!-- results:end -->\nafter\n"
    )
    page.write_text(text)
    assert updated_page(page, recorded_run(), tmp_path / "docs" / "results" / "run.json") == text


def test_page_without_markers_is_refused(tmp_path):
    page = tmp_path / "speed.md"
    page.write_text("<!-- results:begin -->\n")
    with pytest.raises(UserError, match="must hold a line"):
        updated_page(page, recorded_run(), tmp_path / "run.json")


def test_chart_has_a_panel_for_each_set(tmp_path):
    run = recorded_run()
    draw_chart(run, tmp_path / "one.png")
    copies = [{**record, "videos": "GOP 250"} for record in run["measurements"]]
    run["measurements"] += copies
    run["videos"]["GOP 250"] = run["videos"]["GOP 12"]
    draw_chart(run, tmp_path / "two.png")
    one, two = (cv2.imread(str(tmp_path / f"{name}.png")) for name in ("one", "two"))
    assert two.shape[0] == one.shape[0]
    assert two.shape[1] > 1.4 * one.shape[1]
    assert one.std() > 10
