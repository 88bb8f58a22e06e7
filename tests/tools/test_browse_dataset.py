"""browse_dataset.py: pictures of tiny videos, pixel by pixel, from a process of its own."""

import numpy as np
import pytest
from mmengine.registry import init_default_scope
from PIL import Image

from amflow_mm.datasets.video_writer import write_video
from amflow_mm.engine.launch import load_config
from amflow_mm.registry import DATASETS
from amflow_mm.visualization.contact_sheet import MARGIN
from tests.engine.tiny_experiment import ROOT, run_tool

TOOL = ROOT / "tools" / "visualization" / "browse_dataset.py"
SIZE, NUM_FRAMES, NUM_VIDEOS = 112, 10, 6

CONFIG = """
default_scope = "amflow_mm"
classes_file = "classes.txt"
model = dict(
    type="AMFlowRecognizer",
    data_preprocessor=dict(
        type="ActionDataPreprocessor", mean=[90.0, 60.0, 30.0], std=[50.0, 60.0, 70.0],
        format_shape="NCTHW",
    ),
    backbone=dict(type="AMFlowViT", variant="s14", family="dinov2"),
    cls_head=dict(type="TemporalMeanHead", num_classes=2, in_channels=384),
)
read = [
    dict(type="DecordInit"),
    dict(type="SampleFrames", clip_len=3, frame_interval=2, num_clips=1, test_mode=True),
    dict(type="DecordDecode"),
]
pack = [dict(type="FormatShape", input_format="NCTHW"), dict(type="PackActionInputs")]
train_dataloader = dict(
    dataset=dict(
        type="VideoDataset", ann_file="list.txt", data_prefix=dict(video="videos"),
        pipeline=[*read, dict(type="RandomResizedCrop", area_range=(0.2, 0.5)),
                  dict(type="Resize", scale=(112, 112), keep_ratio=False), *pack],
    )
)
val_dataloader = dict(
    dataset=dict(
        type="VideoDataset", ann_file="list.txt", data_prefix=dict(video="videos"),
        pipeline=[*read, *pack], test_mode=True,
    )
)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with a config and six videos of two classes, one of them torn."""
    rng = np.random.default_rng(0)
    (tmp_path / "videos").mkdir()
    for index in range(NUM_VIDEOS):
        frames = rng.integers(0, 256, (NUM_FRAMES, SIZE, SIZE, 3), dtype=np.uint8)
        write_video(tmp_path / "videos" / f"{index}.mp4", frames, 10.0)
    (tmp_path / "videos" / "1.mp4").write_bytes(b"torn")
    lines = [f"{index}.mp4 {index % 2}\n" for index in range(NUM_VIDEOS)]
    (tmp_path / "list.txt").write_text("".join(lines))
    (tmp_path / "classes.txt").write_text("<b>run</b>\njump & fall\n")
    (tmp_path / "tiny.py").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tile(sheet, top, column):
    left = MARGIN + column * (SIZE + MARGIN)
    return sheet[top : top + SIZE, left : left + SIZE]


@pytest.mark.slow
def test_sheet_and_page_show_what_the_pipeline_returns(folder):
    done = run_tool(
        "visualization/browse_dataset.py", "tiny.py", "--loader", "val", "--indices", "0", "1",
        "5", "--draws", "1", cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    page, sheet = done.stdout.splitlines()[-2:]
    assert page == "work_dirs/browse/tiny_val.html"
    assert sheet == "work_dirs/browse/tiny_val_1.png"
    assert "samples: 3/3" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("sample 1, videos/1.mp4: ")

    pixels = np.asarray(Image.open(folder / sheet))
    cfg = load_config("tiny.py")
    init_default_scope("amflow_mm")
    dataset = DATASETS.build(cfg.val_dataloader.dataset)
    rows = {}
    for index in (0, 5):
        frames = dataset[index]["inputs"][0].permute(1, 2, 3, 0).numpy()
        rows[index] = [
            top
            for top in range(len(pixels) - SIZE)
            if all(np.array_equal(tile(pixels, top, t), frames[t]) for t in range(3))
        ]
    assert [len(tops) for tops in rows.values()] == [1, 1]
    assert rows[0] < rows[5]

    text = (folder / page).read_text()
    assert "<h2>#0 &lt;b&gt;run&lt;/b&gt; (0)</h2>" in text
    assert "<h2>#5 jump &amp; fall (1)</h2>" in text
    assert "videos/5.mp4" in text
    assert "112 x 112" in text
    assert text.count('class="clip"') == 2
    assert text.count('class="bad"') == 1


@pytest.fixture
def browse(call_tool, folder):
    """Run the tool in this process; returns its exit code, output and errors."""
    return lambda *arguments: call_tool(TOOL, "tiny.py", *arguments)


def test_draws_of_a_sample_vary_and_repeat_with_the_seed(browse, folder):
    sheets = []
    for out, seed in (("a", 0), ("b", 0), ("c", 1)):
        code, told, _ = browse(
            "--indices", 0, "--draws", 2, "--seed", seed, "--format", "sheet", "--out", out
        )
        assert code == 0
        assert told.splitlines()[-1] == f"{out}/tiny_train_1.png"
        sheets.append((folder / out / "tiny_train_1.png").read_bytes())
    assert sheets[0] == sheets[1] != sheets[2]
    assert sorted(path.name for path in (folder / "a").iterdir()) == ["tiny_train_1.png"]


def test_classes_by_turns_and_options_of_the_config(browse, folder):
    code, _, _ = browse(
        "--num", 4, "--draws", 1, "--format", "html", "--out", "out", "--normalized",
        "--cfg-options", "train_dataloader.dataset.pipeline.1.clip_len=2",
    )  # fmt: skip
    assert code == 0
    text = (folder / "out" / "tiny_train.html").read_text()
    assert text.count("&lt;b&gt;run&lt;/b&gt; (0)</h2>") == 2
    assert text.count("jump &amp; fall (1)</h2>") == 2
    assert "clip_len=2" in text
    assert "normalised: mean " in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--loader", "test"], "error: tiny.py has no test_dataloader"),
        (["--indices", 6], "there is no sample 6; tiny.py, train_dataloader has 0 to 5"),
        (["--indices", 1], "not one of 1 samples can be drawn; sample 1, videos/1.mp4: "),
        (["--cfg-options", "train_dataloader.dataset.ann_file=x.txt"], "x.txt"),
        (["--cfg-options", "train_dataloader.dataset.annfile=x.txt"], "takes no 'annfile'"),
        (["--num", 0], "--num and --draws must be >= 1"),
    ],
)
def test_what_the_user_can_put_right_is_told_without_a_traceback(
    browse, folder, arguments, message
):
    code, out, errors = browse(*arguments)
    assert code == 2
    assert message in errors
    assert "Traceback" not in out + errors
    assert not (folder / "work_dirs").exists()
