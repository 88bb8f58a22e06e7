"""The report by class against figures counted by hand, and against MMAction2's."""

import numpy as np
import pytest
import torch
from mmaction.evaluation import AccMetric

from amflow_mm.engine.class_report import PredictionCollector, Predictions, build_class_report
from amflow_mm.errors import UserError

# Seven clips of four classes; the last class has no clip.
SCORES = np.array(
    [
        [9, 1, 2, 0],  # 0, right
        [1, 9, 2, 0],  # 0, taken for 1
        [0, 9, 2, 1],  # 1, right
        [0, 9, 2, 1],  # 1, right
        [5, 1, 4, 0],  # 1, taken for 0
        [0, 1, 9, 2],  # 2, right
        [3, 3, 3, 3],  # 0, right: among equals the first wins
    ],
    dtype=np.float32,
)
LABELS = np.array([0, 0, 1, 1, 1, 2, 0])
NAMES = ["left", "right", "up", "down"]


def predict(scores, labels, left_out=()):
    is_left_out = np.zeros(len(labels), dtype=bool)
    is_left_out[list(left_out)] = True
    return Predictions(scores, labels, is_left_out)


def test_report_counts_by_hand():
    report = build_class_report(predict(SCORES, LABELS), NAMES)
    assert report.top1 == pytest.approx(5 / 7)
    assert report.top5 == 1.0
    assert report.mean_class_accuracy == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    np.testing.assert_array_equal(report.clips, [3, 3, 1, 0])
    np.testing.assert_array_equal(
        report.confusion, [[2, 1, 0, 0], [1, 2, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    )
    np.testing.assert_allclose(report.class_accuracy, [2 / 3, 2 / 3, 1, np.nan])


def test_top5_looks_at_five_classes():
    scores = np.arange(7, dtype=np.float32)[None].repeat(7, 0)
    report = build_class_report(predict(scores, np.arange(7)), list("abcdefg"))
    assert report.top5 == pytest.approx(5 / 7)
    assert report.top1 == pytest.approx(1 / 7)


def test_table_shows_every_class_and_a_dash_for_one_without_clips():
    lines = str(build_class_report(predict(SCORES, LABELS), NAMES)).splitlines()
    assert [line.split() for line in lines[:5]] == [
        ["class", "clips", "accuracy"],
        ["left", "3", "0.6667"],
        ["right", "3", "0.6667"],
        ["up", "1", "1.0000"],
        ["down", "0", "-"],
    ]
    assert lines[-1].split() == ["mean", "class", "accuracy", "7", "0.7778"]
    assert len({len(line) for line in lines}) == 1


def test_clips_left_out_are_in_no_figure():
    report = build_class_report(predict(SCORES, LABELS, [1, 5]), NAMES)
    assert report.top1 == pytest.approx(4 / 5)
    np.testing.assert_array_equal(report.clips, [2, 3, 0, 0])
    assert report.num_left_out == 2
    assert str(report).endswith("\n2 of 7 videos left out: they cannot be read")


def test_report_of_nothing_is_an_error():
    with pytest.raises(UserError, match="none of the 7 videos can be read"):
        build_class_report(predict(SCORES, LABELS, range(7)), NAMES)


def test_rows_hold_no_nan():
    rows = build_class_report(predict(SCORES, LABELS), NAMES).rows()
    assert rows[3] == {"class": "down", "clips": 0, "accuracy": None}


def test_names_must_match_the_scores():
    with pytest.raises(ValueError, match="3 class names for 4 scores"):
        build_class_report(predict(SCORES, LABELS), NAMES[:3])


def make_samples(scores, labels):
    return [
        {"pred_score": torch.as_tensor(s), "gt_label": torch.tensor([int(label)])}
        for s, label in zip(scores, labels, strict=True)
    ]


def test_collected_figures_are_those_of_mmaction2():
    rng = np.random.default_rng(0)
    scores, labels = rng.random((23, 7), dtype=np.float32), rng.integers(0, 7, 23)
    collector, metric = PredictionCollector(), AccMetric()
    for part in (slice(0, 11), slice(11, 24)):
        samples = make_samples(scores[part], labels[part])
        collector.process(None, samples)
        metric.process(None, samples)
    assert collector.evaluate(23) == {}
    report = build_class_report(collector.predictions, list("abcdefg"))
    theirs = metric.evaluate(23)
    assert set(labels) == set(range(7))  # they count a class without clips as 0
    assert report.top1 == pytest.approx(theirs["acc/top1"])
    assert report.top5 == pytest.approx(theirs["acc/top5"])
    assert report.mean_class_accuracy == pytest.approx(theirs["acc/mean1"])


def test_padded_samples_are_dropped():
    collector = PredictionCollector()
    collector.process(None, make_samples(SCORES, LABELS))
    collector.evaluate(5)
    assert len(collector.predictions.labels) == 5


def test_scores_by_view_raise():
    with pytest.raises(ValueError, match="average_clips"):
        PredictionCollector().process(None, make_samples(SCORES[None], LABELS[:1]))
