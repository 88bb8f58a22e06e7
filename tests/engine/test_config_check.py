"""Every misspelt key is found, and nothing that is right is reported."""

import copy
import re
from pathlib import Path

import mmaction
import pytest
from mmaction.datasets import SampleFrames
from mmengine.config import Config, ConfigDict
from mmengine.config.lazy import LazyObject
from torch.optim import AdamW

from amflow_mm.engine import config_check
from amflow_mm.engine.config_check import ConfigError, check_config

PIPELINE = [
    dict(type="DecordInit", num_threads=1),
    dict(type="SampleFrames", clip_len=4, frame_interval=4, num_clips=1),
    dict(type="UniformSample", clip_len=4),
    dict(type="DecordDecode"),
    dict(type="Resize", scale=(-1, 256)),
    dict(type="RandomResizedCrop", area_range=(0.5, 1.0)),
    dict(type="CenterCrop", crop_size=224),
    dict(type="ThreeCrop", crop_size=224),
    dict(type="Flip", flip_ratio=0.5),
    dict(type="FormatShape", input_format="NCTHW"),
    dict(type="PackActionInputs"),
]
DATALOADER = dict(
    batch_size=8,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    collate_fn=dict(type="pseudo_collate"),
    dataset=dict(
        type="RepeatDataset",
        times=3,
        dataset=dict(
            type="VideoDataset",
            ann_file="train.txt",
            data_prefix=dict(video="videos"),
            num_classes=5,
            pipeline=PIPELINE,
        ),
    ),
)
CONFIG = dict(
    default_scope="amflow_mm",
    model=dict(
        type="Recognizer3D",
        data_preprocessor=dict(
            type="ActionDataPreprocessor", mean=[0.0], std=[1.0], format_shape="NCTHW"
        ),
        backbone=dict(
            type="ResNet3d",
            depth=50,
            norm_cfg=dict(type="BN3d", requires_grad=True),
            init_cfg=dict(type="Pretrained", checkpoint="weights.pth", prefix="backbone."),
        ),
        cls_head=dict(type="I3DHead", num_classes=5, in_channels=7, average_clips="prob"),
    ),
    train_dataloader=DATALOADER,
    val_dataloader=DATALOADER,
    test_dataloader=DATALOADER,
    train_cfg=dict(type="EpochBasedTrainLoop", max_epochs=3, val_interval=1),
    val_cfg=dict(type="ValLoop", fp16=True),
    test_cfg={},
    val_evaluator=dict(type="AccMetric", metric_list=("top_k_accuracy",)),
    test_evaluator=[dict(type="AccMetric"), dict(type="ConfusionMatrix", num_classes=5)],
    optim_wrapper=dict(
        type="AmpOptimWrapper",
        dtype="bfloat16",
        accumulative_counts=2,
        optimizer=dict(type="AdamW", lr=3e-4, weight_decay=0.05, betas=(0.9, 0.98)),
        paramwise_cfg=dict(norm_decay_mult=0.0, custom_keys={"head": dict(lr_mult=0.1)}),
        clip_grad=dict(type="value", clip_value=1.0),
    ),
    param_scheduler=[
        dict(type="LinearLR", start_factor=0.01, end=3, convert_to_iter_based=True),
        dict(type="CosineAnnealingLR", T_max=7, eta_min=0.0, by_epoch=True),
    ],
    default_hooks=dict(
        checkpoint=dict(type="CheckpointHook", interval=1, save_best="auto", priority="LOW"),
        logger=dict(type="LoggerHook", interval=10, ignore_last=False),
        sync_buffers=dict(type="SyncBuffersHook"),
    ),
    custom_hooks=[dict(type="EMAHook", momentum=0.001, priority=49)],
    visualizer=dict(type="ActionVisualizer", vis_backends=[dict(type="LocalVisBackend")]),
    log_processor=dict(window_size=20, by_epoch=True),
    env_cfg=dict(cudnn_benchmark=False, mp_cfg=dict(mp_start_method="fork")),
    randomness=dict(seed=3, deterministic=True),
    auto_scale_lr=dict(enable=False, base_batch_size=64),
    data_root="data/of/the/user",
    train_pipeline=PIPELINE,
    test_pipeline=PIPELINE,
)


def edited(path: str, value) -> ConfigDict:
    """Copy CONFIG and set one key of it, given as `section.0.key`."""
    cfg = ConfigDict(copy.deepcopy(CONFIG))
    node, *keys = cfg, *path.split(".")
    for key in keys[:-1]:
        node = node[int(key) if isinstance(node, list) else key]
    node[keys[-1]] = value
    return cfg


def test_valid_config_passes():
    check_config(CONFIG)
    check_config(ConfigDict(CONFIG))
    check_config(Config(CONFIG))


PIPE = "train_dataloader.dataset.dataset.pipeline"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (
            f"{PIPE}.1.frame_intervall",
            4,
            f"{PIPE}[1].frame_intervall: SampleFrames takes no 'frame_intervall'; "
            "did you mean 'frame_interval'?",
        ),
        (f"{PIPE}.0.num_thread", 1, "did you mean 'num_threads'?"),
        (f"{PIPE}.3.io_backend", "disk", "DecordDecode takes no 'io_backend'; it takes mode"),
        (f"{PIPE}.10.colour", 1, "PackActionInputs takes no 'colour'; it takes algorithm_keys"),
        (f"{PIPE}.8.type", "Flop", f"{PIPE}[8].type: 'Flop' is no registered transform; did you"),
        ("train_dataloader.dataset.dataset.num_class", 5, "VideoDataset takes no 'num_class'"),
        ("train_dataloader.dataset.time", 5, "RepeatDataset takes no 'time'; did you mean 'times'"),
        ("train_dataloader.batchsize", 5, "a dataloader takes no 'batchsize'; did you mean 'batch"),
        ("train_dataloader.sampler.shufle", True, "DefaultSampler takes no 'shufle'"),
        (
            "model.backbne",
            None,
            "model.backbne: Recognizer3D takes no 'backbne'; did you mean 'back",
        ),
        (
            "model.type",
            "Recogniser3D",
            "'Recogniser3D' is no registered model; did you mean 'Recog",
        ),
        ("model.type", 7, "model.type: 7 is neither a class nor a registered name"),
        ("model.cls_head.num_clases", 5, "model.cls_head.num_clases: I3DHead takes no"),
        ("model.backbone.init_cfg.chekpoint", "", "PretrainedInit takes no 'chekpoint'"),
        ("model.cls_head.average_clip", "prob", "did you mean 'average_clips'?"),
        ("model.data_preprocessor.means", [0.0], "ActionDataPreprocessor takes no 'means'"),
        (
            "train_cfg.max_epoch",
            3,
            "EpochBasedTrainLoop takes no 'max_epoch'; did you mean 'max_ep",
        ),
        ("val_cfg.fp_16", True, "ValLoop takes no 'fp_16'; did you mean 'fp16'?"),
        ("test_cfg.fp_16", True, "test_cfg.fp_16: TestLoop takes no 'fp_16'"),
        ("val_evaluator.metric_lst", (), "AccMetric takes no 'metric_lst'"),
        ("test_evaluator.1.num_class", 5, "test_evaluator[1].num_class: ConfusionMatrix takes no"),
        ("optim_wrapper.dtpe", "bfloat16", "AmpOptimWrapper takes no 'dtpe'; did you mean 'dtype'"),
        ("optim_wrapper.accumulative_count", 2, "did you mean 'accumulative_counts'?"),
        ("optim_wrapper.optimizer.weight_deacy", 0.1, "AdamW takes no 'weight_deacy'"),
        ("optim_wrapper.paramwise_cfg.norm_decay", 0, "did you mean 'norm_decay_mult'?"),
        ("optim_wrapper.constructor", "Defualt", "'Defualt' is no registered optimizer wrapper"),
        ("param_scheduler.1.t_max", 3, "CosineAnnealingLR takes no 't_max'; did you mean 'T_max'?"),
        (
            "default_hooks.chekpoint",
            {},
            "default_hooks.chekpoint: unknown name; did you mean 'check",
        ),
        ("default_hooks.logger.intervall", 3, "LoggerHook takes no 'intervall'"),
        (
            "custom_hooks.0.type",
            "EmaHook",
            "'EmaHook' is no registered hook; did you mean 'EMAHook'",
        ),
        ("visualizer.vis_backends.0.save", "", "LocalVisBackend takes no 'save'"),
        ("log_processor.windowsize", 3, "LogProcessor takes no 'windowsize'"),
        ("env_cfg.cudnn_benchmarks", True, "did you mean 'cudnn_benchmark'?"),
        ("randomness.seeds", 3, "randomness takes no 'seeds'; did you mean 'seed'?"),
        ("auto_scale_lr.base_batchsize", 3, "did you mean 'base_batch_size'?"),
        ("train_dataloder", {}, "train_dataloder: unknown name; did you mean 'train_dataloader'?"),
        (
            "runner_type",
            "Runer",
            "runner_type: 'Runer' is no registered runner; did you mean 'Runner'",
        ),
        ("modle", {}, "modle: unknown name; did you mean 'model'?"),
        ("optim_wraper", {}, "optim_wraper: unknown name; did you mean 'optim_wrapper'?"),
    ],
)
def test_misspelling_is_reported(path, value, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        check_config(edited(path, value))


@pytest.mark.parametrize(
    "name", ["modle", "train_datalaoder", "train_dataloaer", "trian_datalodaer", "optim_wraper"]
)
def test_a_slip_or_two_in_a_section_are_reported(name):
    with pytest.raises(ConfigError, match=rf"^{name}: unknown name; did you mean .*own needs anot"):
        check_config({**CONFIG, name: {}})


@pytest.mark.parametrize(
    "name",
    ["pipeline", "tta_cfg", "vit_cfg", "ann_cfg", "test_pipeline", "clip_pipeline", "my_model",
     "dataloader", "head", "hooks", "visualize_frames", "neck_model"],
)  # fmt: skip
def test_variables_of_the_user_are_no_misspelt_sections(name):
    """Two edits make `ann_cfg` of `env_cfg`, but so short a name is another word."""
    check_config({**CONFIG, name: [{"type": "Flip"}]})


@pytest.mark.parametrize(
    ("first", "second", "edits"),
    [
        ("model", "model", 0),
        ("modle", "model", 1),
        ("modl", "model", 1),
        ("modeel", "model", 1),
        ("omdle", "model", 2),
        ("ca", "abc", 3),
        ("", "abc", 3),
        ("pipeline", "tta_pipeline", 4),
    ],
)
def test_edits_are_counted(first, second, edits):
    assert config_check._count_edits(first, second) == edits
    assert config_check._count_edits(second, first) == edits


def test_a_single_problem_is_one_line():
    with pytest.raises(ConfigError, match=r"\A.*backbne.*\Z"):
        check_config(edited("model.backbne", None))


def test_all_problems_are_reported_at_once():
    cfg = edited("model.backbne", None)
    cfg.train_cfg.max_epoch = 3
    cfg.modle = {}
    with pytest.raises(ConfigError, match=r"^3 problems in the config:") as raised:
        check_config(cfg)
    assert len(str(raised.value).splitlines()) == 4


def test_classes_and_imported_names_serve_as_types():
    cfg = edited("optim_wrapper.optimizer.type", AdamW)
    cfg.train_dataloader.dataset.dataset.pipeline[1].type = LazyObject(
        "mmaction.datasets", "SampleFrames"
    )
    cfg.val_evaluator.type = "mmaction.evaluation.metrics.acc_metric.AccMetric"
    check_config(cfg)
    cfg.train_dataloader.dataset.dataset.pipeline[1].frame_intervall = 4
    with pytest.raises(ConfigError, match="SampleFrames takes no 'frame_intervall'"):
        check_config(cfg)


def test_lazy_type_in_a_plain_dict_is_imported():
    transform = dict(type=LazyObject("mmaction.datasets", "SampleFrames"), frame_intervall=4)
    with pytest.raises(ConfigError, match="SampleFrames takes no 'frame_intervall'"):
        check_config({"tta_pipeline": [transform]})


def test_names_imported_by_a_config_are_no_sections():
    check_config({**CONFIG, "Model": SampleFrames, "models": LazyObject("mmaction", "models")})


def test_loop_is_chosen_by_epoch_flag():
    cfg = edited("train_cfg", dict(by_epoch=False, max_iters=7))
    check_config(cfg)
    cfg.train_cfg.by_epoch = True
    with pytest.raises(ConfigError, match="EpochBasedTrainLoop takes no 'max_iters'"):
        check_config(cfg)


def test_metrics_inside_an_evaluator_are_checked():
    cfg = edited("val_evaluator", dict(metrics=[dict(type="AccMetric", metric_lst=())]))
    with pytest.raises(ConfigError, match=r"val_evaluator.metrics\[0\].metric_lst"):
        check_config(cfg)


def test_config_is_left_as_it_is():
    cfg = Config(copy.deepcopy(CONFIG))
    check_config(cfg)
    assert cfg.to_dict() == Config(CONFIG).to_dict()


STOCK = Path(mmaction.__file__).parent / ".mim" / "configs" / "recognition"


@pytest.mark.skipif(not STOCK.exists(), reason="MMAction2 was installed without its configs")
@pytest.mark.parametrize(
    "name", ["i3d", "mvit", "slowfast", "swin", "timesformer", "tsn", "uniformerv2"]
)
def test_stock_configs_pass(name):
    check_config(Config.fromfile(next((STOCK / name).glob(f"{name}*.py"))))
