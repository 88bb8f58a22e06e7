"""Write checkpoints of every kind, and the table of their sizes in docs/checkpoints.md.

    python tools/misc/measure_checkpoints.py             # measure, record, write the table
    python tools/misc/measure_checkpoints.py --check     # tell whether the table is up to date

Trains one step on blank clips with image weights at random, which changes no size; needs 2 GB of
disk for a while. The record is docs/results/checkpoints/vitb16.json.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmaction.structures import ActionDataSample
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from torch.utils.data import DataLoader, Dataset
from update_results import ROOT, describe_place, update

from amflow_mm.apis.frozen_flow import LAYOUT_KEYS
from amflow_mm.apis.parameters import measure_config, to_record
from amflow_mm.apis.publishing import merge_adapters, strip_run_state, write_published
from amflow_mm.engine.checkpoint import read_checkpoint
from amflow_mm.engine.checkpoint_io import write_checkpoint
from amflow_mm.engine.hooks import AMFlowCheckpointHook
from amflow_mm.engine.launch import load_config
from amflow_mm.engine.reproducibility import collect_versions, describe_machine, write_json
from amflow_mm.engine.runner import AMFlowRunner
from amflow_mm.models import ImageViT
from amflow_mm.models.weights import LoadedWeights, save_image_weights

DOCUMENT = ROOT / "docs" / "checkpoints.md"
RESULT = ROOT / "docs" / "results" / "checkpoints" / "vitb16.json"
CLIP = (1, 3, 8, 112, 112)
"""V 3 T height width; whole patches of 14 and of 16 pixels."""


class BlankClips(Dataset):
    """Two clips, for a training of one step."""

    def __len__(self) -> int:
        """Count the clips."""
        return 2

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return a clip of class 0 or 1."""
        sample = ActionDataSample().set_gt_label(index)
        return {"inputs": torch.zeros(CLIP, dtype=torch.uint8), "data_samples": sample}


def save_random_weights(cfg: Config, path: Path) -> Path:
    """Write image weights that fit a config's backbone."""
    backbone = cfg.model.backbone
    vit = ImageViT(**{key: backbone[key] for key in LAYOUT_KEYS if key in backbone})
    save_image_weights(LoadedWeights(vit.state_dict()), path, source="random")
    return path


def train_one_step(cfg: Config, work_dir: Path, hooks: Sequence[str] = ()) -> AMFlowRunner:
    """Train a config's model for one step and save it, as epoch_1.pth."""
    runner = AMFlowRunner(
        model=cfg.model,
        work_dir=str(work_dir),
        train_dataloader=DataLoader(BlankClips(), batch_size=2, collate_fn=pseudo_collate),
        train_cfg={"by_epoch": True, "max_epochs": 1},
        optim_wrapper=cfg.optim_wrapper,
        param_scheduler=cfg.param_scheduler,
        default_hooks={"checkpoint": {"type": "AMFlowCheckpointHook", "interval": 1}},
        custom_hooks=[{"type": name} for name in hooks],
        default_scope="amflow_mm",
        log_level="WARNING",
        cfg=cfg,
    )
    runner.train()
    return runner


def write_files(cfg: Config, folder: Path) -> dict[str, Path]:
    """Write a file of each kind."""
    cfg.model.backbone.pretrained = str(save_random_weights(cfg, folder / "image.safetensors"))
    train_one_step(cfg, folder / "averaged", ["AMFlowEMAHook"])
    runner = train_one_step(cfg, folder)
    trained = folder / "epoch_1.pth"
    hook = next(hook for hook in runner.hooks if isinstance(hook, AMFlowCheckpointHook))
    hook.save_frozen = True
    runner.save_checkpoint(str(folder), "full.pth", by_epoch=False)
    published = strip_run_state(read_checkpoint(trained))
    merged = folder / "merged.safetensors"
    write_checkpoint(strip_run_state(merge_adapters(cfg, trained)), merged)
    return {
        "checkpoint of a training": trained,
        "with `AMFlowEMAHook`": folder / "averaged" / "epoch_1.pth",
        "with `save_frozen=True`": folder / "full.pth",
        "published, `.pth`": write_published(published, folder / "published.pth"),
        "published, `.safetensors`": write_published(published, folder / "published.safetensors"),
        "merged, `.safetensors`": merged,
    }


HOLDS = (
    "trained weights, AdamW's state",
    "trained weights, their average, AdamW's state",
    "all weights, AdamW's state",
    "trained weights",
    "trained weights",
    "all weights",
)


def measure(cfg: Config, config: str) -> dict[str, Any]:
    """Return the record: the size of each file, and what ``params.py`` says of the model."""
    init_default_scope("amflow_mm")
    sizes = to_record(config, measure_config(cfg))["total"]
    with tempfile.TemporaryDirectory() as folder:
        files = write_files(cfg, Path(folder))
        rows = [
            {"file": name, "holds": holds, "bytes": path.stat().st_size}
            for (name, path), holds in zip(files.items(), HOLDS, strict=True)
        ]
    return {
        "config": config,
        "rows": rows,
        "total": sizes,
        "machine": describe_machine(),
        "versions": collect_versions(),
    }


def format_table(record: dict[str, Any], path: Path) -> str:
    """Return table and provenance of a record."""
    total = record["total"]
    lines = ["| file | holds | MB |", "|---|---|---|"]
    lines += [
        f"| {row['file']} | {row['holds']} | {row['bytes'] / 1e6:,.1f} |" for row in record["rows"]
    ]
    lines += [
        "",
        f"`{record['config']}`: {total['trainable']:,} of {total['trainable'] + total['frozen']:,} "
        f"parameters are trained; 1 MB is 10^6 bytes. {describe_place(record)}. Full record: "
        f"[{path.name}](results/checkpoints/{path.name}).",
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure and write the table, or tell whether it is up to date."""
    parser = argparse.ArgumentParser(description="Measure checkpoints of every kind.")
    parser.add_argument("--config", default="configs/amflow_vitb_k400.py")
    parser.add_argument("--result", type=Path, default=RESULT)
    parser.add_argument("--document", type=Path, default=DOCUMENT)
    parser.add_argument("--check", action="store_true", help="change nothing; fail if outdated")
    args = parser.parse_args()
    if not args.check:
        write_json(args.result, measure(load_config(str(ROOT / args.config)), args.config))
    record = json.loads(args.result.read_text(encoding="utf-8"))
    text = args.document.read_text(encoding="utf-8")
    updated = update(text, format_table(record, args.result))
    if args.check and updated != text:
        sys.exit(f"{args.document} is outdated; run: python tools/misc/measure_checkpoints.py")
    if not args.check:
        args.document.write_text(updated, encoding="utf-8")


if __name__ == "__main__":
    main()
