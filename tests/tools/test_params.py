"""params.py and its library: figures that agree with get_flops.py, no data, no weights."""

import functools
import json

import pytest

from amflow_mm.apis.complexity import build_on_meta
from amflow_mm.apis.parameters import measure_config
from amflow_mm.engine.launch import load_config
from amflow_mm.models.peft import parameter_report
from tests.engine.tiny_experiment import ROOT

TOOL = ROOT / "tools/analysis/params.py"
CONFIG = ROOT / "configs/amflow_vits_custom.py"


@pytest.fixture
def call(call_tool):
    """Run the tool in this process; returns its exit code, output and errors."""
    return functools.partial(call_tool, TOOL)


def test_json_has_what_the_table_has_and_adds_up(call, tmp_path):
    path = tmp_path / "params.json"
    code, out, _ = call(
        CONFIG, "--json", path, "--cfg-options", "model.backbone.pretrained=no/such.pth"
    )
    assert code == 0
    record = json.loads(path.read_text())
    assert record["config"] == str(CONFIG)
    modules, total = record["modules"], record["total"]
    for key, value in total.items():
        assert sum(module[key] for module in modules.values()) == value, key
    report = parameter_report(build_on_meta(load_config(str(CONFIG))))
    assert total["trainable"] == report.trainable
    assert total["trainable"] + total["frozen"] == report.total
    assert total["gradient_bytes"] == 4 * report.trainable
    assert total["saved_bytes"] == 4 * report.trainable  # all that is frozen is the image model's
    assert total["training_bytes"] == sum(
        total[key] for key in ("weight_bytes", "gradient_bytes", "optimizer_bytes")
    )
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line.strip()}
    for name, module in [*modules.items(), ("all", total)]:
        assert rows[name][:3] == [f"{module[key]:,}" for key in ("trainable", "frozen", "buffers")]
        assert rows[name][-1] == f"{module['full_checkpoint_bytes'] / 1e6:.3f}"
    assert modules["backbone.blocks.*.attn"]["trainable"] == 0
    assert modules["backbone.blocks.*.after_attention"]["frozen"] == 0
    last = out.splitlines()[-1]
    assert last.startswith(f"{report.trainable:,} of {report.total:,} parameters are trained (")


def test_depth_cuts_names(call):
    code, out, _ = call(CONFIG, "--depth", 1)
    assert code == 0
    names = [line.split()[0] for line in out.splitlines()[3:-2]]
    assert names == ["backbone", "cls_head", "data_preprocessor"]


@pytest.mark.parametrize("name", ["amflow_side_vits_custom", "amflow_vitb_k400"])
def test_no_config_needs_its_weights(name):
    sizes = measure_config(load_config(str(ROOT / f"configs/{name}.py")))
    assert 0 < sizes.total.checkpoint_bytes < sizes.total.full_checkpoint_bytes / 5


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ((CONFIG, "--depth", 0), ("--depth 0", "at least 1")),
        (("no/such/config.py",), ("no/such/config.py", "does not exist")),
        ((CONFIG, "--cfg-options", "model.backbone.image_size=15"), ("image_size=15", "multiple")),
    ],
)
def test_errors_are_one_line(call, arguments, parts):
    code, out, err = call(*arguments)
    assert (code, out) == (2, "")
    line = err.splitlines()[-1]
    assert line.startswith("error: ")
    assert all(part in line for part in parts)
