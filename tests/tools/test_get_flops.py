"""get_flops.py: figures that add up, no data, no weights, no traceback."""

import functools
import json

import pytest

from tests.engine.tiny_experiment import ROOT, run_tool

TOOL = ROOT / "tools" / "analysis" / "get_flops.py"
CONFIG = ROOT / "configs" / "amflow_vits_custom.py"
PARTS = ["frozen_vit", "am_flow", "aligner", "adapters", "head"]


@pytest.fixture
def call(call_tool):
    """Run the tool in this process; returns its exit code, output and errors."""
    return functools.partial(call_tool, TOOL)


@pytest.mark.slow
def test_json_adds_up_and_counts_the_asked_shape(tmp_path):
    done = run_tool(
        "analysis/get_flops.py", CONFIG, "--json", "--shape", "4", "56", "84",
        "--cfg-options", "model.backbone.pretrained=no/such.pth", "model.cls_head.num_classes=9",
        "test_dataloader.dataset.pipeline.0.steps.1.num_clips=3", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["shape"] == dict(num_frames=4, height=56, width=84)
    assert list(found["gmacs_per_view"]) == ["total", *PARTS]
    gmacs, parameters = found["gmacs_per_view"], found["parameters"]
    tokens, width = 1 + 4 * 6, 384
    blocks = 12 * (tokens * 12 * width**2 + 2 * tokens**2 * width)
    by_hand = 4 * (24 * 3 * 14**2 * width + blocks) / 1e9
    assert gmacs["frozen_vit"] == pytest.approx(by_hand, rel=0.01)
    assert gmacs["am_flow"] == pytest.approx(4 * 12 * (tokens - 1) * tokens * width / 1e9, rel=0.01)
    assert gmacs["head"] == pytest.approx(9 * width / 1e9)
    assert sum(gmacs[name] for name in PARTS) == pytest.approx(gmacs["total"])
    assert sum(parameters[name] for name in PARTS) == parameters["total"]
    assert parameters["adapters"] + parameters["head"] + 2 * width == parameters["trainable"]
    assert found["gflops_per_view"]["total"] == pytest.approx(2 * gmacs["total"])
    assert found["views_per_video"] == 3
    assert found["gmacs_per_video"] == pytest.approx(3 * gmacs["total"])
    assert found["gflops_per_video"] == pytest.approx(6 * gmacs["total"])


def test_table_takes_the_shape_of_the_test_pipeline(call):
    code, out, _ = call(CONFIG)
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == str(CONFIG)
    assert lines[1] == "one view, 8 frames of 112 x 112"
    assert [line.split("  ")[0] for line in lines[3:8]] == [
        "frozen ViT", "AM flow", "aligner", "adapters", "head",
    ]  # fmt: skip
    assert lines[-1].startswith("one video, views: 1, GMACs: ")


MODEL = dict(
    type="AMFlowRecognizer",
    data_preprocessor=dict(type="ActionDataPreprocessor", mean=[0.0] * 3, std=[1.0] * 3),
    backbone=dict(type="ImageViT", variant="ti16", family="timm"),
    cls_head=dict(type="TemporalMeanHead", num_classes=5, in_channels=192),
)


@pytest.fixture
def untested(tmp_path):
    """A config without a test pipeline."""
    path = tmp_path / "untested.py"
    path.write_text(f"model = {MODEL}\n")
    return path


def test_video_is_left_out_where_the_config_tests_nothing(call, untested):
    code, out, _ = call(untested, "--shape", 2, 32, 16)
    assert code == 0
    assert "one video" not in out
    found = json.loads(call(untested, "--shape", 2, 32, 16, "--json")[1])
    assert found["views_per_video"] is found["gmacs_per_video"] is found["gflops_per_video"] is None


def test_size_is_asked_for_where_nothing_fixes_it(call, untested):
    code, _, err = call(untested)
    assert code == 2
    assert err.splitlines()[-1].startswith("error: the config's test pipeline does not fix")
    assert "--shape T HEIGHT WIDTH" in err


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ((CONFIG, "--shape", 8, 110, 112), ("110x112", "patch_size=14")),
        ((CONFIG, "--shape", 1, 112, 112), ("num_frames=1", "must be >= 2")),
        ((CONFIG, "--shape", 8, 0, 112), ("--shape 8 0 112", "positive")),
        (("no/such/config.py",), ("no/such/config.py", "does not exist")),
    ],
)
def test_errors_are_one_line(arguments, parts, call):
    code, out, err = call(*arguments)
    assert (code, out) == (2, "")
    line = err.splitlines()[-1]
    assert line.startswith("error: ")
    for part in parts:
        assert part in line


def test_misspelt_key_is_named(call):
    code, _, err = call(CONFIG, "--cfg-options", "model.neck.alinger=1")
    assert code == 2
    assert "model.neck.alinger: AMFlow takes no 'alinger'; did you mean 'aligner'?" in err
