"""Figures, tables and chart of a run that is easy to reckon with."""

import cv2
import pytest

from amflow_mm.apis.model_benchmark.chart import draw_chart
from amflow_mm.apis.model_benchmark.recipes import AIM, FROZEN, IN_BLOCK, SIDE
from amflow_mm.apis.model_benchmark.report import (
    component_rows,
    growth_rows,
    model_rows,
    print_run,
    run_as_markdown,
    target_rows,
)
from amflow_mm.apis.model_benchmark.summary import Summary
from amflow_mm.apis.model_benchmark.targets import FIGURES
from amflow_mm.apis.reporting import Spread
from tests.apis.model_benchmark.tiny import recorded_run


@pytest.fixture
def summary():
    return Summary(recorded_run())


def test_targets_are_compared_with_ratios(summary):
    assert target_rows(summary) == [
        ["figure", "target", "measured", "reached"],
        ["forward, AM flow and adapters / frozen ViT", "≤ 1.20", "1.500", "no"],
        ["AM flow alone / maps written out", "≤ 0.50", "0.250", "yes"],
        ["training step, in_block / AIM", "≤ 0.60", "0.500", "yes"],
        ["training step, side, nothing cached / AIM", "≤ 0.35", "0.250", "yes"],
        ["epoch, side, cached / in_block", "≤ 0.05", "0.042", "yes"],
        ["peak memory of a step, in_block / AIM", "≤ 0.60", "0.538", "yes"],
        ["peak memory of a step, side / AIM", "≤ 0.25", "0.308", "no"],
        ["the same beyond weights and optimiser, in_block / AIM", "", "0.500", ""],
        ["the same beyond weights and optimiser, side / AIM", "", "0.250", ""],
        ["share of the matrix peak in a training step, in_block", "", "0.500 (0.333-1.000)", ""],
    ]


def test_a_gpu_has_other_targets():
    run = recorded_run()
    run["options"]["device"] = "cuda"
    rows = {row[0]: row[1:] for row in target_rows(Summary(run))}
    assert rows["training step, in_block / AIM"] == ["≤ 0.50", "0.500", "yes"]
    share = rows["share of the matrix peak in a training step, in_block"]
    assert share == ["≥ 0.40", "0.500 (0.333-1.000)", "yes"]


def test_figures_without_their_subjects_are_left_out():
    run = recorded_run()
    run["subjects"] = [facts for facts in run["subjects"] if facts["subject"] != AIM]
    run["measurements"] = [entry for entry in run["measurements"] if entry["subject"] != AIM]
    run["memory"] = [entry for entry in run["memory"] if entry["subject"] != AIM]
    titles = [row[0] for row in target_rows(Summary(run))]
    assert len(titles) == 1 + 4
    assert not any("AIM" in title for title in titles)


def test_a_floor_is_reached_from_above():
    share = FIGURES[-1]
    assert share.is_reached("cuda", Spread(0.41, 0.4, 0.5))
    assert not share.is_reached("cuda", Spread(0.39, 0.3, 0.5))
    assert share.is_reached("cpu", Spread(0.39, 0.3, 0.5)) is None


def test_ratios_are_taken_within_each_repetition(summary):
    assert summary.time_ratio(IN_BLOCK, AIM, "step") == Spread(0.5, 0.5, 0.5)
    assert summary.time_ratio("nobody", AIM, "step") is None


def test_times_are_of_one_run(summary):
    assert summary.times(AIM, "step") == {0: 3.0, 1: 6.0, 2: 9.0}


def test_growth_is_one_where_it_is_linear(summary):
    assert summary.growth(AIM, "step", 1) == pytest.approx(1.0)  # twice the frames, twice the time
    assert summary.growth(AIM, "step", 2) == pytest.approx(2.0)  # twice the clips, four times
    assert summary.growth("nobody", "step", 1) is None


def test_models_are_told_for_a_clip(summary):
    heading, frozen, *_ = model_rows(summary)
    assert heading[:6] == ["model", "trained", "forward: GFLOP", "ms", "TFLOP/s", "% of peak"]
    assert frozen[:3] == [FROZEN, "100", "0.5"]
    assert frozen[3] == "500 (250-750)"
    assert frozen[4:6] == ["0.001", "50"]
    assert frozen[-2:] == ["500", "400"]


def test_components_have_a_backward_pass_where_they_train(summary):
    heading, ours, _ = component_rows(summary)
    assert heading[0] == "on its own"
    assert ours == ["AM flow", "0.250", "250 (125-375)", "", "100.0"]


def test_growth_has_a_column_a_case(summary):
    heading, *rows = growth_rows(summary)
    assert heading[1:] == ["8 frames of 224 x 224, 2 at once, fp32", "16 frames", "4 at once"]
    side = next(row for row in rows if row[0] == SIDE)
    assert side[1:] == ["1500 (750-2250)", "3000 (1500-4500), x 1.00", "6000 (3000-9000), x 2.00"]


@pytest.mark.parametrize("write", [print_run, run_as_markdown])
def test_reports_tell_conditions(write):
    text = write(recorded_run())
    assert "Some CPU, 2 cores, 2 threads, load 0.25 before; ViT-B16, 8 frames of 224 x 224" in text
    assert "AM flow is within 1.0e-06 of the maps written out" in text
    assert "Preliminary" not in text
    assert write(recorded_run(is_preliminary=True)).startswith("**Preliminary")


def test_chart_has_a_panel_for_frames_and_one_for_clips(tmp_path):
    run = recorded_run()
    draw_chart(run, tmp_path / "three.png")
    first = {"cases": run["cases"][:1]}
    for key in ("subjects", "measurements", "memory"):
        first[key] = [entry for entry in run[key] if entry["case"] == 0]
    draw_chart(run | first, tmp_path / "one.png")
    one, three = (cv2.imread(str(tmp_path / f"{name}.png")) for name in ("one", "three"))
    assert three.shape[1] > 1.5 * one.shape[1]
    assert one.std() > 10
