"""What each flag does to a config."""

import os

import pytest
from mmengine.config import Config
from mmengine.optim import AmpOptimWrapper, OptimWrapper

from amflow_mm.engine import launch
from amflow_mm.engine.config_check import ConfigError
from amflow_mm.engine.errors import MissingFileError, UserError
from amflow_mm.engine.launch import (
    TrainOptions,
    check_before_building,
    load_config,
    set_run,
    set_train_options,
)
from tests.engine.tiny_experiment import write_experiment

TRAIN = ["train_dataloader", "val_dataloader"]


@pytest.fixture
def cfg(tmp_path):
    return load_config(str(write_experiment(tmp_path / "experiment")))


def test_missing_config_is_one_line():
    with pytest.raises(MissingFileError, match=r"^config nowhere\.py does not exist$"):
        load_config("nowhere.py")


def test_options_override_nested_keys_and_list_items(tmp_path):
    path = write_experiment(tmp_path / "experiment")
    pipeline = "train_dataloader.dataset.pipeline"
    cfg = load_config(str(path), {"optim_wrapper.optimizer.lr": 5, f"{pipeline}.1": {"type": "X"}})
    assert cfg.optim_wrapper.optimizer.lr == 5
    assert cfg.train_dataloader.dataset.pipeline[1].type == "X"


def test_an_option_that_would_change_nothing_is_refused(tmp_path):
    path = write_experiment(tmp_path / "experiment")
    with pytest.raises(UserError, match=r"--cfg-options clip_pipeline\.1 would change nothing"):
        load_config(str(path), {"clip_pipeline.1": {"type": "X"}})


def test_scope_is_ours_unless_the_config_says_otherwise(tmp_path):
    path = tmp_path / "plain.py"
    path.write_text("a = 1\n")
    assert load_config(str(path)).default_scope == "amflow_mm"
    path.write_text("default_scope = 'mmaction'\n")
    assert load_config(str(path)).default_scope == "mmaction"


def test_work_dir_of_command_line_config_and_name(cfg, monkeypatch):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    set_run(cfg, work_dir=None, launcher="none", local_rank=2)
    assert cfg.work_dir == "work_dirs/experiment"
    assert cfg.launcher == "none"
    assert os.environ["LOCAL_RANK"] == "2"
    cfg.work_dir = "of_the_config"
    set_run(cfg, work_dir=None, launcher="none", local_rank=0)
    assert cfg.work_dir == "of_the_config"
    assert os.environ["LOCAL_RANK"] == "2"  # the launcher's word stands
    set_run(cfg, work_dir="asked_for", launcher="pytorch", local_rank=0)
    assert (cfg.work_dir, cfg.launcher) == ("asked_for", "pytorch")


def test_no_flag_changes_only_what_records_the_seed(cfg):
    before = cfg.to_dict()
    set_train_options(cfg, TrainOptions())
    assert cfg.to_dict() == before | {"randomness": {"seed": None}}


def test_no_validate_drops_all_of_validation(cfg):
    set_train_options(cfg, TrainOptions(validate=False))
    assert cfg.val_cfg is cfg.val_dataloader is cfg.val_evaluator is None


def test_seed_joins_what_the_config_says(cfg):
    cfg.randomness = {"seed": 1, "diff_rank_seed": True}
    set_train_options(cfg, TrainOptions(seed=7, deterministic=True))
    assert cfg.randomness == {"seed": 7, "diff_rank_seed": True, "deterministic": True}


@pytest.mark.parametrize(("resume", "load_from"), [("auto", None), ("x.pth", "x.pth")])
@pytest.mark.parametrize("seed", [None, 7])
def test_resume_forgets_the_seed_of_the_config_but_not_one_asked_for(cfg, resume, load_from, seed):
    """The config's is a default; the run may have been started with another."""
    cfg.load_from = "weights.pth"
    cfg.randomness = {"seed": 0}
    set_train_options(cfg, TrainOptions(resume=resume, seed=seed))
    assert cfg.resume is True
    assert cfg.load_from == load_from
    assert cfg.randomness.seed == seed


def test_auto_scale_lr_needs_a_base(cfg):
    with pytest.raises(UserError, match="base_batch_size"):
        set_train_options(cfg, TrainOptions(auto_scale_lr=True))
    cfg.auto_scale_lr = {"base_batch_size": 64, "enable": False}
    set_train_options(cfg, TrainOptions(auto_scale_lr=True))
    assert cfg.auto_scale_lr.enable is True


@pytest.mark.parametrize(
    "kind", [None, "OptimWrapper", OptimWrapper, "amflow_mm.engine.optim.AutocastOptimWrapper"]
)
def test_amp_is_bfloat16_without_loss_scale(cfg, kind):
    if kind is not None:
        cfg.optim_wrapper.type = kind
    set_train_options(cfg, TrainOptions(amp=True))
    assert cfg.optim_wrapper.type == "amflow_mm.engine.optim.AutocastOptimWrapper"
    assert cfg.optim_wrapper.where == "anywhere"
    assert "loss_scale" not in cfg.optim_wrapper


def test_amp_is_scaled_float16_on_a_gpu_without_bfloat16(cfg, monkeypatch):
    monkeypatch.setattr(launch.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(
        launch.torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation
    )
    cfg.optim_wrapper.update(type="AutocastOptimWrapper", where="gpu")
    set_train_options(cfg, TrainOptions(amp=True))
    wrapper = cfg.optim_wrapper
    assert (wrapper.type, wrapper.dtype, wrapper.loss_scale) == (
        "mmengine.optim.AmpOptimWrapper",
        "float16",
        "dynamic",
    )
    assert "where" not in wrapper


@pytest.mark.parametrize("kind", ["AmpOptimWrapper", AmpOptimWrapper])
def test_amp_leaves_a_config_that_has_it(cfg, kind):
    cfg.optim_wrapper.type = kind
    set_train_options(cfg, TrainOptions(amp=True))
    assert cfg.optim_wrapper.type == kind


def test_amp_refuses_what_it_does_not_know(cfg):
    cfg.optim_wrapper.type = "ApexOptimWrapper"
    with pytest.raises(UserError, match=r"--amp does not know .*ApexOptimWrapper"):
        set_train_options(cfg, TrainOptions(amp=True))


def test_good_experiment_passes_the_check(cfg):
    check_before_building(cfg, TRAIN)


def test_check_finds_keys_before_files(cfg):
    cfg.train_dataloader.dataset.ann_file = "nowhere.txt"
    with pytest.raises(MissingFileError, match=r"nowhere\.txt"):
        check_before_building(cfg, TRAIN)
    cfg.model.cls_head.num_clases = 3
    with pytest.raises(ConfigError, match="num_clases"):
        check_before_building(cfg, TRAIN)


def test_check_looks_at_the_loaders_of_the_run_only(cfg):
    cfg.train_dataloader.dataset.ann_file = "nowhere.txt"
    check_before_building(cfg, ["test_dataloader"])
    cfg.test_dataloader = None
    with pytest.raises(UserError, match=r"experiment\.py has no test_dataloader"):
        check_before_building(cfg, ["test_dataloader"])


def test_image_weights_are_needed_for_training_only(cfg):
    cfg.model.init_cfg = {"type": "Pretrained", "checkpoint": "nowhere.pth"}
    check_before_building(cfg, ["test_dataloader"])
    with pytest.raises(MissingFileError, match=r"nowhere\.pth \(model\.init_cfg\.checkpoint\)"):
        check_before_building(cfg, TRAIN)


def test_check_finds_that_there_is_nothing_to_resume(cfg, tmp_path):
    cfg.work_dir = str(tmp_path / "empty")
    set_train_options(cfg, TrainOptions(resume="auto"))
    with pytest.raises(MissingFileError, match=r"nothing to resume in .*empty"):
        check_before_building(cfg, TRAIN)


def test_foreign_runner_is_built_where_the_config_asks(cfg, monkeypatch):
    built = []
    monkeypatch.setattr(launch.AMFlowRunner, "from_cfg", lambda c: built.append(c) or "ours")
    assert launch.build_runner(cfg) == "ours"
    monkeypatch.setattr(launch.RUNNERS, "build", lambda c: "theirs")
    assert launch.build_runner(Config({"runner_type": "FlexibleRunner"})) == "theirs"
