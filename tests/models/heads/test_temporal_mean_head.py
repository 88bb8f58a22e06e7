"""The head: mean over the frames, dropout, one linear layer."""

import pytest
import torch
from mmaction.structures import ActionDataSample
from mmengine.registry import init_default_scope

from amflow_mm.models import TemporalMeanHead
from amflow_mm.testing import fixed_init_, fixed_tensor

B, T, C, K = 3, 5, 7, 4


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope("amflow_mm")


def make(**options):
    return fixed_init_(TemporalMeanHead(K, C, **options))


def samples_of(*labels):
    return [ActionDataSample().set_gt_label(label) for label in labels]


def test_scores_by_hand():
    head, x = make().eval(), fixed_tensor((B, T, C))
    mean = sum(x[:, t] for t in range(T)) / T
    expected = mean @ head.fc_cls.weight.T + head.fc_cls.bias
    torch.testing.assert_close(head(x), expected)


def test_the_order_of_frames_does_not_matter():
    head, x = make().eval(), fixed_tensor((B, T, C))
    torch.testing.assert_close(head(x.flip(1)), head(x))


def test_dropout_acts_in_training_alone_and_on_whole_channels_of_the_mean():
    head, x = make(dropout_ratio=0.5), torch.ones(4000, T, C)
    with torch.no_grad():
        head.fc_cls.weight.copy_(torch.eye(C)[:K])
        head.fc_cls.bias.zero_()
    scores = head.train()(x)
    assert set(scores.unique().tolist()) == {0.0, 2.0}
    assert scores.mean().item() == pytest.approx(1.0, abs=0.05)
    assert (head.eval()(x) == 1).all()


@pytest.mark.parametrize("init_std", [0.01, 0.2])
def test_the_linear_layer_starts_small(init_std):
    head = TemporalMeanHead(100, 300, init_std=init_std)
    head.init_weights()
    assert head.fc_cls.weight.std().item() == pytest.approx(init_std, rel=0.05)
    assert abs(head.fc_cls.weight.mean().item()) < 0.1 * init_std
    assert not head.fc_cls.bias.any()


def test_everything_is_declared_as_trained():
    assert make().adapter_params() == ["fc_cls.weight", "fc_cls.bias"]


@pytest.mark.parametrize("eps", [0.0, 0.1])
def test_the_loss_by_hand(eps):
    head, x = make(label_smooth_eps=eps).eval(), fixed_tensor((B, T, C))
    losses = head.loss(x, samples_of(0, 3, 1))
    target = torch.eye(K)[[0, 3, 1]] * (1 - eps) + eps / K
    expected = -(target * head(x).log_softmax(dim=-1)).sum(dim=-1).mean()
    torch.testing.assert_close(losses["loss_cls"], expected)
    assert {"top1_acc", "top5_acc"} <= losses.keys()


@pytest.mark.parametrize("average_clips", ["prob", "score", None])
def test_the_views_of_a_video_are_averaged(average_clips):
    head, x = make(average_clips=average_clips).eval(), fixed_tensor((2 * 3, T, C))
    scores = head(x).view(2, 3, K)
    expected = {
        "prob": scores.softmax(dim=-1).mean(dim=1),
        "score": scores.mean(dim=1),
        None: scores,
    }[average_clips]
    for sample, row in zip(head.predict(x, samples_of(0, 1)), expected, strict=True):
        torch.testing.assert_close(sample.pred_score, row)


@torch.no_grad()
def test_probabilities_are_averaged_unless_another_way_is_asked_for():
    """MMAction2's default, no averaging, has its accuracy metric sort views in place of classes."""
    from mmaction.evaluation import AccMetric

    head, x = make().eval(), fixed_tensor((3, T, C))
    labels = head(x).argmax(dim=-1)
    assert len(labels.unique()) > 1
    metric = AccMetric()
    predictions = head.predict(x, samples_of(*labels.tolist()))
    metric.process([], [sample.to_dict() for sample in predictions])
    assert metric.compute_metrics(metric.results)["top1"] == 1.0


def test_an_unknown_average_raises(own_checks_only):
    with pytest.raises(ValueError, match="average_clips='mean' must be 'score', 'prob' or None"):
        make(average_clips="mean")


def test_several_labels_take_another_loss():
    loss = {"type": "BCELossWithLogits"}
    head = make(multi_class=True, loss_cls=loss).eval()
    x = fixed_tensor((2, T, C))
    samples = [ActionDataSample().set_gt_label(torch.tensor(row)) for row in
               ([1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 1.0, 0.0])]  # fmt: skip
    target = torch.tensor([[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 1.0, 0.0]])
    expected = torch.nn.functional.binary_cross_entropy_with_logits(head(x), target)
    torch.testing.assert_close(head.loss(x, samples)["loss_cls"], expected)
