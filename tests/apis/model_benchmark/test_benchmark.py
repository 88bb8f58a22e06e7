"""A whole run at a tiny size: turns, record, pictures."""

import json

import pytest

from amflow_mm.apis.model_benchmark import BenchmarkOptions, benchmark_models, cases_around_first
from amflow_mm.apis.model_benchmark.recipes import AIM, IN_BLOCK, SIDE_CACHED
from amflow_mm.apis.model_benchmark.report import print_run
from tests.apis.model_benchmark.tiny import VARIANT

MODELS = (IN_BLOCK, SIDE_CACHED, AIM)


@pytest.fixture(scope="module")
def run():
    """Seconds, which every test here shares."""
    cases = cases_around_first([3, 6], [16], [1], ["fp32"])
    options = BenchmarkOptions(variant=VARIANT, models=MODELS, matrix_sides=(16, 32), repetitions=2)
    return json.loads(json.dumps(benchmark_models(cases, options, is_preliminary=True)))


@pytest.mark.slow
def test_everything_is_measured_in_each_repetition(run):
    expected = {
        (facts["case"], facts["subject"], mode, repetition)
        for facts in run["subjects"]
        for mode in facts["macs"]
        for repetition in range(2)
    }
    found = [
        tuple(entry[key] for key in ("case", "subject", "mode", "repetition"))
        for entry in run["measurements"]
    ]
    assert len(found) == len(set(found))
    assert set(found) == expected
    assert {name for _, name, _, _ in expected} > {*MODELS, "product of 16 x 16"}


@pytest.mark.slow
def test_subjects_take_turns_and_the_order_moves_on(run):
    def order(repetition):
        entries = [
            e for e in run["measurements"] if (e["case"], e["repetition"]) == (1, repetition)
        ]
        return list(dict.fromkeys(entry["subject"] for entry in entries))

    assert order(1) == [*order(0)[1:], order(0)[0]]


@pytest.mark.slow
def test_record_says_what_one_must_know(run):
    assert run["kind"] == "benchmark"
    assert run["is_preliminary"]
    assert run["machine"]["processor"]
    assert [case["frames"] for case in run["cases"]] == [3, 6]
    assert 0 <= run["agreement"] < 1e-4


@pytest.mark.slow
def test_components_are_measured_in_the_first_case_alone(run):
    assert {f["case"] for f in run["subjects"] if f["group"] == "component"} == {0}


@pytest.mark.slow
def test_memory_is_told_for_every_mode(run):
    steps = {
        entry["subject"]: entry
        for entry in run["memory"]
        if (entry["case"], entry["mode"]) == (0, "step") and entry["subject"] in MODELS
    }
    assert set(steps) == set(MODELS)
    assert steps[SIDE_CACHED]["grown_bytes"] < steps[IN_BLOCK]["grown_bytes"]
    assert all(entry["held_bytes"] > 0 for entry in steps.values())


@pytest.mark.slow
def test_longer_clips_take_more_memory(run):
    grown = {
        entry["case"]: entry["grown_bytes"]
        for entry in run["memory"]
        if (entry["subject"], entry["mode"]) == (IN_BLOCK, "step")
    }
    assert grown[1] > 1.5 * grown[0]


@pytest.mark.slow
def test_run_is_printed(run):
    text = print_run(run)
    assert "training step, in_block / AIM" in text
    assert "Preliminary" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"repetitions": 0}, "repetitions=0 must be >= 1"),
        ({"seconds": -1.0}, "seconds=-1.0 must be >= 0"),
        ({"models": ("nothing",)}, r"models=\['nothing'\] must be of frozen ViT"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        BenchmarkOptions(**options)
