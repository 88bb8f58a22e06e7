"""What README and docs show is true: commands and code run, figures fit, links lead somewhere."""

import ast
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from amflow_mm.apis.complexity import build_on_meta, read_views
from amflow_mm.datasets.video_writer import write_video
from amflow_mm.engine.launch import load_config
from amflow_mm.models import AMFlowViT, layers, necks, peft
from amflow_mm.registry import MODELS
from tests.apis.square_video import FPS, TINY_CONFIG, square_frames

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FIGURE_CONFIG = ROOT / "configs" / "amflow_vitb_k400.py"


def code_blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


COMMANDS = [
    line.partition("  #")[0].strip()
    for block in code_blocks(README, "bash")
    for line in block.splitlines()
    if line and not line.startswith("#")
]

# A rehearsal: every command is run as it stands, and these stand before the real programs on PATH.
# They shorten what takes long and stop where processes, jobs or an installation would start.
STAND_INS = {
    "python": """
case "$*" in
    *torch.distributed.run*) exit 0 ;;
    *tools/train.py*|*tools/test.py*) more=(--dry-run) ;;
    *make_motion_clips.py*) more=(--train 8 --val 8 --frames 2 --size 32) ;;
    *prepare.py*) more=(--out prepared --no-manifest) ;;
    *amflow_video.py*) more=(--config tiny.py --size 70 --device cpu) ;;
    *) more=() ;;
esac
exec {python} "$@" "${{more[@]}}"
""",
    "pip": '\nexec {python} -m pip "$@" --dry-run --no-index --no-build-isolation\n',
    "srun": "",
}


def make_needed_files(folder: Path, config: str) -> None:
    """Put an empty file wherever a config expects one of the user's."""
    cfg = load_config(str(ROOT / config))
    lists, empty = {}, [cfg.model.backbone.pretrained, cfg.get("classes_file")]
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        dataset = loader.dataset
        while "ann_file" not in dataset:
            dataset = dataset.dataset
        lists[dataset.ann_file] = "clip.mp4 0\n"
        empty.append(f"{dataset.data_prefix.video}/clip.mp4")
    for name, content in (lists | dict.fromkeys(filter(None, empty), "")).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A checkout made of links, with stand-ins for programs, data and checkpoints."""
    folder = tmp_path_factory.mktemp("checkout")
    for path in ROOT.iterdir():
        if path.name in ("amflow_mm", "configs", "requirements", "tools") or path.is_file():
            (folder / path.name).symlink_to(path)
    for name, body in STAND_INS.items():
        program = folder / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text("#!/usr/bin/env bash\nset -eu" + body.format(python=sys.executable))
        program.chmod(0o755)
    for config in set(re.findall(r"configs/\w+\.py", " ".join(COMMANDS))):
        make_needed_files(folder, config)
    for checkpoint in re.findall(r"\S+\.pth", " ".join(COMMANDS)):
        (folder / checkpoint).parent.mkdir(parents=True, exist_ok=True)
        (folder / checkpoint).touch()
    for name in ("bow/1.mp4", "bow/2.mp4", "wave/1.mp4", "wave/2.mp4"):
        (folder / "my_videos" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "my_videos" / name).touch()
    (folder / "tiny.py").write_text(TINY_CONFIG)
    write_video(folder / "video.mp4", square_frames(), FPS)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_command_of_the_readme_works(folder, command):
    environment = os.environ | {
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "MAKEFLAGS": "n",  # make prints what it would run
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command], cwd=folder, env=environment,
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def test_two_commands_come_first():
    assert COMMANDS[:2] == ["make demo", "make test"]
    assert all(command in "".join(README.splitlines()[:20]) for command in COMMANDS[:2])


def test_checkpoints_of_the_readme_are_the_last_ones():
    shown = re.findall(r"(configs/(\w+)\.py) work_dirs/(\w+)/epoch_(\d+)\.pth", README)
    assert len(shown) >= 2
    for config, name, work_dir, epoch in shown:
        assert work_dir == name
        assert load_config(str(ROOT / config)).train_cfg.max_epochs == int(epoch)


def test_readme_lists_every_tool():
    tools = [p for p in (ROOT / "tools").rglob("*") if p.suffix in (".py", ".sh")]
    parts_of_others = ("launch.sh", "command_line.py")
    names = {p.relative_to(ROOT).as_posix() for p in tools if p.name not in parts_of_others}
    table = set(re.findall(r"^\|.*$", README, re.MULTILINE))
    listed = set(re.findall(r"`(tools/[\w/.]+)`", "\n".join(table)))
    assert names == listed


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_files(document):
    links = re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8"))
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (document.parent / link).exists()] == []


def test_pictures_are_small():
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", README)
    assert pictures
    assert all((ROOT / picture).stat().st_size < 250_000 for picture in pictures)


def test_readme_and_architecture_show_the_same():
    figure, *_ = code_blocks(README, "text")
    assert figure in code_blocks(ARCHITECTURE, "text")
    where = r"^## Where is …\?\n\n((?:\|.*\n)+)"
    tables = [re.search(where, text, re.MULTILINE)[1] for text in (README, ARCHITECTURE)]
    assert tables[0] == tables[1]


def times(shape: tuple[int, ...]) -> str:
    return " \N{MULTIPLICATION SIGN} ".join(map(str, shape))


def test_figure_has_the_shapes_of_the_config():
    figure, *_ = code_blocks(README, "text")
    cfg = load_config(str(FIGURE_CONFIG))
    batch, frames = cfg.train_dataloader.batch_size, read_views(cfg).shape
    clips = torch.zeros(batch, 3, *frames, device="meta")
    model = build_on_meta(cfg)
    assert times((batch, 1, *clips.shape[1:])) in figure
    tokens, grid = model.backbone.embed(clips)
    assert times(tokens.shape) in figure
    block = model.backbone.blocks[0]
    heads = block.attn.num_heads
    assert f"H = {heads}, D = {tokens.shape[-1] // heads}" in figure
    assert f"down to R = {block.after_attention.down.out_features}," in figure
    _, w = block(tokens, grid, model.neck)
    assert f"{times(w.shape)} " in figure
    assert f"({times(model.backbone.read_out(tokens).shape)})" in figure


def test_contracts_have_the_arguments_of_the_code():
    (contracts,) = code_blocks(ARCHITECTURE, "python")
    shown = ast.parse(contracts).body
    assert len(shown) >= 6
    for node in shown:
        home = next(h for h in (layers, necks, peft) if hasattr(h, node.name))
        target = getattr(home, node.name)
        pairs = [(target, node)]
        if isinstance(node, ast.ClassDef):
            pairs = [(getattr(target, function.name), function) for function in node.body]
        for function, drawn in pairs:
            parameters = [argument.arg for argument in drawn.args.args]
            assert parameters == list(inspect.signature(function).parameters), drawn.name


def run_code(text: str) -> dict:
    """Execute the Python blocks of a document one after the other."""
    names = {}
    for block in code_blocks(text, "python"):
        exec(block, names)
    return names


def test_code_of_the_readme_runs():
    w = run_code(README)["w"]
    assert w.shape == (2, 8, 196)
    torch.testing.assert_close(w.mean(dim=-1), torch.ones(2, 8))


def test_components_of_the_guide_work():
    before = set(MODELS.module_dict)
    try:
        names = run_code((ROOT / "docs" / "adding_a_component.md").read_text(encoding="utf-8"))
        flow = MODELS.build(names["neck"])
    finally:
        for name in set(MODELS.module_dict) - before:
            del MODELS.module_dict[name]
    size = {"embed_dim": 20, "depth": 3, "num_heads": 5, "mlp_dim": 28, "patch_size": 4}
    vit = AMFlowViT(names["adapter"], variant=size, image_size=12)
    out = vit(torch.rand(2, 3, 5, 12, 12), flow=flow, return_flow=True)
    assert out.flow.shape == (2, 3, 5, 9)
    assert out.flow.std() > 0.01
    torch.testing.assert_close(out.flow.mean(dim=-1), torch.ones(2, 3, 5))
    out.features.square().sum().backward()
    units = [block.after_attention.bottleneck.unit for block in vit.blocks]
    assert all(isinstance(unit, names["DifferenceUnit"]) for unit in units)
    declared = peft.declared_names(vit)
    assert {
        f"blocks.{n}.after_attention.bottleneck.unit.linear.weight" for n in range(3)
    } <= declared
