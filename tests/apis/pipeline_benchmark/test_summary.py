"""Medians and ratios against a count by hand."""

import pytest

from amflow_mm.apis.pipeline_benchmark.summary import Spread, summarize
from tests.apis.pipeline_benchmark.recorded_run import BASELINE, recorded_run


@pytest.fixture
def speeds():
    return summarize(recorded_run()["measurements"], BASELINE)


def test_rates_are_clips_a_second(speeds):
    assert speeds["GOP 12", BASELINE, "process"].rate == Spread(10.0, 10.0, 10.0)
    assert speeds["GOP 12", "ours, auto", "process"].rate == Spread(30.0, 20.0, 40.0)
    assert speeds["GOP 12", "ours, auto", "loader"].rate == Spread(60.0, 40.0, 80.0)


def test_rate_per_core_is_by_processor_time(speeds):
    assert speeds["GOP 12", "ours, auto", "process"].per_core == Spread(15.0, 10.0, 20.0)
    assert speeds["GOP 12", "ours, auto", "loader"].per_core is None


def test_ratio_is_taken_within_each_repetition():
    """A machine that was slower in one repetition was so for both."""
    records = recorded_run()["measurements"]
    for record in records:
        record["seconds"] *= 1 + record["repetition"]
    speed = summarize(records, BASELINE)["GOP 12", "ours, auto", "process"]
    assert speed.ratio.median == pytest.approx(3)
    assert speed.ratio.low == pytest.approx(2)
    assert speed.ratio.high == pytest.approx(4)


def test_stages_are_milliseconds_a_clip(speeds):
    stages = speeds["GOP 12", "ours, auto", "process"].stages
    assert stages == pytest.approx({"VideoInit": 10, "VideoDecode": 20, "Flip": 10, "Pack": 10})


def test_without_the_baseline_there_is_no_ratio():
    speeds = summarize(recorded_run()["measurements"], "nobody")
    assert {speed.ratio for speed in speeds.values()} == {None}


def test_subjects_keep_the_order_of_the_first_repetition():
    records = recorded_run()["measurements"]
    later = [{**record, "repetition": 9} for record in reversed(records)]
    subjects = [subject for _, subject, _ in summarize(records + later, BASELINE)]
    assert list(dict.fromkeys(subjects)) == [BASELINE, "ours, auto"]
