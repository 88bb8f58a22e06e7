"""The recognizer: views, modes, stages, what is frozen, what raises."""

import pytest
import torch
from mmaction.structures import ActionDataSample

from amflow_mm.models.peft import trainable_state_dict
from tests.models.tiny import (
    ENCODER,
    VIT,
    B,
    C,
    K,
    P,
    T,
    fixed,
    in_block,
    names_with_gradient,
    recognizer,
    side,
    trainable_names,
    videos_of,
)

NECK = {"type": "AMFlow"}
MODELS = {
    "in_block": (lambda: in_block(), NECK, 3),
    "side": (lambda: side(), NECK, 2),
    "side, feature": (lambda: side(output="ladder"), {"type": "FeatureFlow"}, 2),
    "frozen": (lambda: side(output="frozen"), None, 0),
    "image": (lambda: {"type": "ImageViT", **VIT}, None, 0),
}


def make(name="in_block", **options):
    backbone, neck, _ = MODELS[name]
    return fixed(recognizer(backbone(), neck, **options)).eval()


def data_of(num_views=1, num=B):
    videos = videos_of(num_views, num)
    samples = [ActionDataSample().set_gt_label(index % K) for index in range(num)]
    return {"inputs": videos, "data_samples": samples}


def inputs_of(model, num_views=1, num=B):
    return model.data_preprocessor(data_of(num_views, num))["inputs"]


# ---------------------------------------------------------------- views


@pytest.mark.parametrize("average_clips", ["prob", "score"])
@pytest.mark.parametrize("name", MODELS)
def test_the_views_of_a_video_are_scored_alone_and_averaged(name, average_clips):
    model = make(name, head={"average_clips": average_clips})
    data = data_of(num_views=6)  # two clips of three crops
    predictions = model.test_step(data)
    for video, sample in zip(videos_of(num_views=6), predictions, strict=True):
        single = {"inputs": list(video[:, None]), "data_samples": [None] * 6}
        views = model.data_preprocessor(single)["inputs"]
        scores = torch.cat([model(view[None], stage="head") for view in views])
        if average_clips == "prob":
            scores = scores.softmax(dim=-1)
        expected = scores.mean(dim=0)
        torch.testing.assert_close(sample.pred_score, expected, rtol=1e-4, atol=1e-5)
        assert sample.pred_label.item() == expected.argmax().item()


def test_views_stay_with_their_video_in_order():
    model = make()
    inputs = inputs_of(model, num_views=3)
    together = model(inputs, stage="backbone")
    assert together.shape == (B * 3, T, C)
    for b in range(B):
        for view in range(3):
            alone = model(inputs[b : b + 1, view : view + 1], stage="backbone")[0]
            torch.testing.assert_close(together[3 * b + view], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("max_testing_views", [1, 4, 6, 100])
@pytest.mark.parametrize("name", ["in_block", "side"])
def test_chunks_of_views_give_the_whole(name, max_testing_views, monkeypatch):
    whole, chunked = make(name), make(name, max_testing_views=max_testing_views)
    sizes, forward = [], chunked.backbone.forward
    monkeypatch.setattr(
        chunked.backbone,
        "forward",
        lambda views, **options: sizes.append(len(views)) or forward(views, **options),
    )
    inputs = inputs_of(whole, num_views=3)
    for stage in ("backbone", "head", "flow"):
        expected, _ = whole.extract_feat(inputs, stage=stage, test_mode=True)
        found, _ = chunked.extract_feat(inputs, stage=stage, test_mode=True)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    expected_sizes = {1: [1] * 6, 4: [4, 2], 6: [6], 100: [6]}[max_testing_views]
    assert sizes == expected_sizes * 3


def test_training_does_not_chunk(monkeypatch):
    model = make(max_testing_views=1)
    sizes, forward = [], model.backbone.forward
    monkeypatch.setattr(
        model.backbone,
        "forward",
        lambda views, **options: sizes.append(len(views)) or forward(views, **options),
    )
    model.extract_feat(inputs_of(model))
    assert sizes == [B]
    model.predict(inputs_of(model), data_of()["data_samples"])
    assert sizes == [B, 1, 1]


def test_frozen_features_are_chunked_like_clips():
    model = make("side", max_testing_views=4)
    inputs = inputs_of(model, num_views=3)
    frozen = model.backbone.extract_frozen(inputs.flatten(0, 1), model.neck)
    kept = {name: value.unflatten(0, (B, 3)) for name, value in frozen.items()}
    for stage in ("backbone", "head", "flow"):
        expected, _ = model.extract_feat(inputs, stage=stage)
        found, _ = model.extract_feat(kept, stage=stage, test_mode=True)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_batch_mates_do_not_matter(name):
    model = make(name)
    inputs = inputs_of(model)
    together = model(inputs, stage="head")
    for b in range(B):
        alone = model(inputs[b : b + 1], stage="head")
        torch.testing.assert_close(together[b : b + 1], alone, rtol=1e-4, atol=1e-5)


# ---------------------------------------------------------------- modes and stages


@pytest.mark.parametrize("name", MODELS)
def test_the_stages_are_those_of_the_parts(name):
    model = make(name)
    inputs = inputs_of(model, num_views=2)
    views = inputs.flatten(0, 1)
    neck = model.neck if model.with_neck else None
    features = model.backbone(views, neck).features
    assert torch.equal(model(inputs), features)
    for stage, expected in (
        ("backbone", features),
        ("neck", features),
        ("head", model.cls_head(features)),
    ):
        assert torch.equal(model(inputs, mode="tensor", stage=stage), expected)
    if neck is not None:
        flow = model(inputs, stage="flow")
        assert flow.shape == (2 * B, MODELS[name][2], T, P)
        assert torch.equal(flow, model.backbone(views, neck, return_flow=True).flow)


def test_the_loss_is_that_of_the_head():
    model = make()
    data = model.data_preprocessor(data_of())
    losses = model(**data, mode="loss")
    scores = model(data["inputs"], stage="head")
    expected = torch.nn.functional.cross_entropy(scores, torch.tensor([0, 1]))
    torch.testing.assert_close(losses["loss_cls"], expected)


def test_predictions_keep_their_samples():
    model = make(head={"average_clips": "prob"})
    data = model.data_preprocessor(data_of())
    found = model(**data, mode="predict")
    assert [sample.gt_label.item() for sample in found] == [0, 1]
    for sample in found:
        assert sample.pred_score.sum().item() == pytest.approx(1.0)


def test_a_training_step_moves_what_is_declared_and_nothing_else():
    from mmengine.optim import OptimWrapper

    model = make().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trained = [p for p in model.parameters() if p.requires_grad]
    model.train_step(data_of(), OptimWrapper(torch.optim.SGD(trained, lr=0.1)))
    moved = {n for n, v in model.state_dict().items() if not torch.equal(v, before[n])}
    assert moved == trainable_names(model) == trainable_state_dict(model).keys()


# ---------------------------------------------------------------- frozen and trained


def test_trainable_are_adapters_final_norm_aligner_and_head():
    model = recognizer(in_block(adapter_layers=[0, 2]), {"type": "AMFlow", "aligner": ENCODER})
    prefixes = {
        "backbone.blocks.0.after_attention",
        "backbone.blocks.2.after_attention",
        "backbone.norm",
        "neck.aligner",
        "cls_head.fc_cls",
    }
    names = trainable_names(model)
    for prefix in prefixes:
        assert any(name.startswith(prefix + ".") for name in names), prefix
    assert all(name.startswith(tuple(f"{p}." for p in prefixes)) for name in names)
    assert model.parameter_report.trainable == sum(
        p.numel() for n, p in model.named_parameters() if n in names
    )


@pytest.mark.parametrize("name", ["in_block", "side", "side, feature"])
def test_a_loss_gives_gradients_to_exactly_the_declared_parameters(name):
    model = make(name).train()
    model(**model.data_preprocessor(data_of(), training=True), mode="loss")["loss_cls"].backward()
    assert names_with_gradient(model) == trainable_names(model)
    assert all(p.grad is None for p in model.parameters() if not p.requires_grad)


def test_a_frozen_probe_trains_its_head_alone():
    assert trainable_names(make("frozen")) == {"cls_head.fc_cls.weight", "cls_head.fc_cls.bias"}
    assert trainable_names(make("image")) == {"cls_head.fc_cls.weight", "cls_head.fc_cls.bias"}


def test_frozen_modules_stay_in_evaluation_mode():
    model = make().train()
    modes = {name: module.training for name, module in model.named_modules()}
    assert modes["backbone.blocks.0.after_attention.down"]
    assert modes["backbone.norm"]
    assert modes["cls_head.dropout"]
    assert not modes["backbone.embedding"]
    for layer in range(3):
        for part in ("norm1", "attn", "attn.qkv", "ls1", "norm2", "mlp", "ls2"):
            assert not modes[f"backbone.blocks.{layer}.{part}"]
    assert not any(module.training for module in model.eval().modules())


def test_drop_path_acts_where_something_is_trained():
    backbone = in_block(adapter_layers=[2], drop_path_rate=0.5)
    modes = [
        block.drop_path.training for block in recognizer(backbone, NECK).train().backbone.blocks
    ]
    assert modes == [False, False, True]


def test_starting_the_weights_keeps_adapters_silent():
    model = recognizer(in_block(), {"type": "AMFlow", "aligner": ENCODER})
    torch.nn.init.ones_(model.cls_head.fc_cls.weight)
    before = {n: v.clone() for n, v in model.state_dict().items()}
    model.init_weights()
    changed = {n for n, v in model.state_dict().items() if not torch.equal(v, before[n])}
    assert changed == {"cls_head.fc_cls.weight", "cls_head.fc_cls.bias"}


def test_the_neck_is_registered_once():
    model = recognizer(in_block(), {"type": "AMFlow", "aligner": ENCODER})
    holders = {name.split(".aligner.")[0] for name in model.state_dict() if "aligner" in name}
    assert holders == {"neck"}


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize("stage", ["logits", "", None])
def test_an_unknown_stage_raises(stage, own_checks_only):
    model = make()
    with pytest.raises(ValueError, match=r"stage=.* must be one of 'backbone', 'neck', 'head'"):
        model.extract_feat(inputs_of(model), stage=stage)


def test_an_unknown_mode_raises():
    model = make()
    with pytest.raises(RuntimeError, match="Invalid mode"):
        model(inputs_of(model), mode="train")


def test_inputs_without_views_raise(own_checks_only):
    model = make()
    with pytest.raises(ValueError, match=r"shape \(2, 3, 5, 14, 21\) must have six axes"):
        model.extract_feat(inputs_of(model)[:, 0])


@pytest.mark.parametrize("name", ["frozen", "image"])
def test_asking_for_a_flow_that_nobody_measures_raises(name):
    model = make(name)
    with pytest.raises(ValueError, match=r"stage='flow', but .* measured none"):
        model.extract_feat(inputs_of(model), stage="flow")


@pytest.mark.parametrize("max_testing_views", [0, -1])
def test_chunks_without_views_raise(max_testing_views):
    with pytest.raises(ValueError, match=f"max_testing_views={max_testing_views} must be >= 1"):
        make(max_testing_views=max_testing_views)


def test_adapters_without_neck_raise():
    model = recognizer(in_block())
    with pytest.raises(ValueError, match=r"flow=None.*give the recognizer a neck"):
        model.extract_feat(inputs_of(model))
