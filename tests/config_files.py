"""Where the configs are, and how their tests read them."""

from pathlib import Path

from mmengine.config import Config

from amflow_mm.engine.launch import load_config

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "configs").glob("*.py"))
NAMES = [path.stem for path in FILES]
PEERS = [name for name in NAMES if name.endswith(("_k400", "_ssv2")) and "amflow" not in name]
BIG = [
    name
    for name in NAMES
    if name.endswith(("_k400", "_ssv2", "_cs", "_cv1", "_cv2")) and name not in PEERS
]
CUSTOM = ["amflow_vits_custom", "amflow_side_vits_custom"]


def path_of(name: str) -> Path:
    return ROOT / "configs" / f"{name}.py"


def load(name: str, **options) -> Config:
    return load_config(str(path_of(name)), options)


def video_dataset(loader: Config) -> Config:
    dataset = loader.dataset
    while "dataset" in dataset:
        dataset = dataset.dataset
    return dataset
