"""Stand-ins are left out: the figures are those of a list without the broken videos."""

import json

import numpy as np
import pytest
import torch
from mmaction.evaluation import AccMetric
from mmaction.structures import ActionDataSample

from amflow_mm.datasets.skip_ledger import SKIPPED
from amflow_mm.engine.evaluate import evaluate_checkpoint
from amflow_mm.engine.metrics import VideoAccuracy
from amflow_mm.errors import UserError
from tests.engine.skipping_experiment import write_skipping_experiment
from tests.engine.tiny_experiment import make_config, train_here

CLEAN = {"v0.mp4": 0, "v1.mp4": 1, "v2.mp4": 2, "w0.mp4": 0, "w1.mp4": 1}
BROKEN = {
    "v0.mp4": 0, "bad2.mp4": 2, "v1.mp4": 1, "v2.mp4": 2, "bad0.mp4": 0, "w0.mp4": 0, "w1.mp4": 1,
}  # fmt: skip


def make_samples(num_broken):
    rng = np.random.default_rng(5)
    samples = []
    for index in range(11):
        sample = ActionDataSample().set_gt_label(index % 3)
        sample.set_pred_score(torch.from_numpy(rng.random(3)))
        if index < num_broken:
            sample.set_metainfo({SKIPPED: {"a.mp4": "corrupt"}})
        samples.append(sample.to_dict())
    return samples


def test_figures_are_the_hosts_over_the_rest():
    samples = make_samples(4)
    ours, hosts = VideoAccuracy(), AccMetric()
    for batch in (samples[:3], samples[3:]):
        ours.process(None, batch)
    hosts.process(None, samples[4:])
    found = ours.evaluate(len(samples))
    assert found.pop("acc/left_out") == 4
    assert found == hosts.evaluate(7)


def test_nothing_left_out_is_told_as_none():
    metric = VideoAccuracy()
    metric.process(None, make_samples(0))
    assert metric.evaluate(11)["acc/left_out"] == 0


def test_no_readable_video_is_an_error():
    metric = VideoAccuracy()
    metric.process(None, make_samples(11))
    with pytest.raises(UserError, match="none of the 11 videos can be read"):
        metric.evaluate(11)


@pytest.fixture(scope="module")
def tested(tmp_path_factory):
    """Results of one checkpoint on a list with broken videos and on the one without."""
    folder = tmp_path_factory.mktemp("tested")
    results = {}
    configs = {
        name: write_skipping_experiment(folder / name, {"a0.mp4": 0, "a1.mp4": 1}, val)
        for name, val in (("clean", CLEAN), ("broken", BROKEN))
    }
    train_here(configs["clean"], folder / "run", {"train_cfg.max_epochs": 1})
    for name, config in configs.items():
        checkpoint = str(folder / "run/epoch_1.pth")
        cfg = make_config(config, folder / f"{name}_test")
        # The videos' grey levels tell their place, which differs between the lists.
        cfg.test_dataloader.dataset.data_prefix = {"video": str(folder / "broken/val")}
        dump = folder / f"{name}.json"
        result = evaluate_checkpoint(cfg, checkpoint, dump=str(dump))
        results[name] = result, json.loads(result.path.read_text()), json.loads(dump.read_text())
    return results


def test_result_of_a_test_is_that_of_the_clean_list(tested):
    (report, broken, dump), (clean_report, clean, clean_dump) = tested["broken"], tested["clean"]
    for key in ("metrics", "classes", "confusion"):
        assert broken[key] == clean[key]
    assert broken["evaluator"] == clean["evaluator"] | {"acc/left_out": 2}
    assert report.report.figures() == clean_report.report.figures()
    assert [name.rpartition("/")[2] for name in broken["left_out"]] == ["bad2.mp4", "bad0.mp4"]
    assert (broken["num_videos"], clean["num_videos"]) == (7, 5)
    assert clean["left_out"] == []
    shown = [(c["path"].rpartition("/")[2], c["label"], c["scores"]) for c in dump["clips"]]
    expected = [
        (c["path"].rpartition("/")[2], c["label"], c["scores"]) for c in clean_dump["clips"]
    ]
    assert shown == expected
    assert dump["left_out"] == broken["left_out"]


def test_report_says_what_is_left_out(tested):
    assert str(tested["broken"][0].report).endswith("\n2 of 7 videos left out: they cannot be read")
    assert "left out" not in str(tested["clean"][0].report)
