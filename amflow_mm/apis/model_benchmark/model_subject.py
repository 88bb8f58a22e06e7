"""A whole model as in training: the real recognizer, its preprocessor, loss and optimiser."""

from collections.abc import Callable
from dataclasses import replace
from inspect import signature
from logging import getLogger
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.optim import OptimWrapper, build_optim_wrapper
from torch import Tensor, nn

from amflow_mm.apis.complexity import build_on_meta, count_view_macs
from amflow_mm.apis.model_benchmark.case import Case
from amflow_mm.apis.model_benchmark.recipes import NUM_CLASSES, SIDE_CACHED, model_config
from amflow_mm.apis.model_benchmark.subject import MODES, Mode, Subject
from amflow_mm.apis.random_clips import RandomClips, collate, random_clips
from amflow_mm.datasets import FrozenFeatureDataset
from amflow_mm.engine.hooks import FrozenFeatureHook
from amflow_mm.errors import UserError
from amflow_mm.models.peft import parameter_report
from amflow_mm.registry import MODELS
from amflow_mm.resources import configs_dir

SCHEDULE = "_base_/schedules/adamw_30e.py"

Batch = dict[str, Any]


class ModelSubject(Subject):
    """A recognizer that is run without gradient, or trained for a step.

    Args:
        name: Heads the line.
        model: Recognizer on its device.
        optim_wrapper: Steps it.
        case: What it is given.
        inputs: Of the forward pass.
        next_batch: Returns what a loader yields for a training step.
        macs: See :class:`Subject`.
    """

    def __init__(
        self,
        name: str,
        model: nn.Module,
        optim_wrapper: OptimWrapper,
        *,
        case: Case,
        inputs: Tensor | dict[str, Tensor],
        next_batch: Callable[[], Batch],
        macs: dict[Mode, int],
    ) -> None:
        super().__init__(name, "model", macs)
        self.model = model
        self.optim_wrapper = optim_wrapper
        self._case = case
        self._inputs = inputs
        self._next_batch = next_batch

    def prepare(self, mode: Mode) -> None:
        """Set the mode of the modules."""
        self.model.train(mode == "step")

    def run(self, mode: Mode) -> None:
        """Score the clips, or train on them: preprocessing, loss, gradients, optimiser."""
        if mode == "step":
            self.model.train_step(self._next_batch(), self.optim_wrapper)
            return
        device = next(self.model.parameters()).device
        with torch.no_grad(), self._case.autocast(device):
            self.model(self._inputs, stage="head")

    def held_bytes(self) -> int:
        """Add up weights, buffers and the state of the optimiser."""
        states = self.optim_wrapper.optimizer.state.values()
        tensors = [value for state in states for value in state.values() if torch.is_tensor(value)]
        tensors += [*self.model.parameters(), *self.model.buffers()]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    def facts(self) -> dict[str, Any]:
        """Tell the parameters too."""
        report = parameter_report(self.model)
        counts = {"parameters": report.total, "trainable": report.trainable}
        return super().facts() | counts


def build_model_subject(
    name: str,
    variant: str | dict[str, int],
    case: Case,
    *,
    device: torch.device,
    folder: Path,
    is_compiled: bool = False,
) -> ModelSubject:
    """Build a model with random weights and all that a training step needs.

    Args:
        name: See ``model_config``.
        variant: Size of the image transformer.
        case: What it is given.
        device: Where it runs.
        folder: For kept features.
        is_compiled: Compile the blocks of models that offer it.
    """
    cfg = model_config(name, variant, case)
    is_cached = name == SIDE_CACHED
    # Counted in single precision, since the meta device knows no autocast; products are the same.
    counted = model_config(name, variant, replace(case, dtype="fp32"))
    macs = _count(counted, case, from_features=is_cached)
    if is_compiled and "compile_blocks" in signature(cfg.model.backbone.type).parameters:
        cfg.model.backbone.compile_blocks = True
    model = MODELS.build(cfg.model).to(device)
    clips = RandomClips(case.batch_size, case.shape, NUM_CLASSES)
    inputs: Any = random_clips(case.batch_size, case.shape, device)
    if is_cached:
        clips = _kept_features(model, clips, folder)
        inputs, _ = _preprocess(model, collate(clips, case.batch_size))
    batch = collate(clips, case.batch_size)

    def next_batch() -> Batch:
        # Clips come from workers while the device is busy; kept features have none.
        return collate(clips, case.batch_size) if is_cached else batch

    return ModelSubject(
        name,
        model,
        build_training_optimizer(model, case, device),
        case=case,
        inputs=inputs,
        next_batch=next_batch,
        macs=macs,
    )


def build_training_optimizer(model: nn.Module, case: Case, device: torch.device) -> OptimWrapper:
    """Build the optimiser of the configs, in the precision of a case."""
    if get_device() != device.type:
        raise UserError(
            f"--device {device.type} on a machine where training would take {get_device()}: "
            "its optimiser wrapper would autocast there; hide the GPU with CUDA_VISIBLE_DEVICES="
        )
    cfg = Config.fromfile(configs_dir() / SCHEDULE).optim_wrapper
    if case.dtype == "bf16":
        cfg.update(where="anywhere")
    else:
        cfg.update(type=OptimWrapper)
    return build_optim_wrapper(model, cfg)


def _count(cfg: Config, case: Case, *, from_features: bool) -> dict[Mode, int]:
    model = build_on_meta(cfg)
    return {
        mode: case.batch_size
        * count_view_macs(model, case.shape, training=mode == "step", from_features=from_features)
        for mode in MODES
    }


def _kept_features(model: nn.Module, clips: RandomClips, folder: Path) -> FrozenFeatureDataset:
    """Return the data set that a training reads after its first epoch, filled by the real hook."""
    dataset = FrozenFeatureDataset(
        {
            "type": RandomClips,
            "num_clips": len(clips),
            "shape": tuple(clips.shape),
            "num_classes": clips.num_classes,
        },
        cache_dir=str(folder),
    )
    runner = SimpleNamespace(
        model=model.eval(),
        train_dataloader=SimpleNamespace(dataset=dataset),
        val_loop=None,
        logger=getLogger("amflow_mm.benchmark"),
    )
    FrozenFeatureHook(batch_size=1, num_workers=0).before_train(runner)
    return dataset


@torch.no_grad()
def _preprocess(model: nn.Module, batch: Batch) -> tuple[Any, Any]:
    data = model.data_preprocessor(batch, False)
    return data["inputs"], data["data_samples"]
