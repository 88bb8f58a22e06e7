"""What a config file itself gets wrong is one line; a fault of the program stays what it is."""

import gc
import subprocess
import sys

import pytest

from amflow_mm.engine.config_check import ConfigError
from amflow_mm.engine.config_file import read_config
from amflow_mm.engine.errors import MissingFileError, UserError
from tests.engine.tiny_experiment import ROOT

GOOD = """
import os

import amflow_mm.models
import torch.nn as nn
from amflow_mm import models
from amflow_mm.models import backbones, AMFlowRecognizer
from mmengine.config import read_base

with read_base():
    from .base import *
    from .base import train_cfg as shared

model = dict(
    type=AMFlowRecognizer,
    backbone=dict(type=backbones.AMFlowViT, act=nn.GELU),
    neck=dict(type=models.AMFlow),
    cls_head=dict(type=amflow_mm.models.TemporalMeanHead),
    depth=os.sep,
)
"""
BASE = """
from mmengine.optim import OptimWrapper

train_cfg = dict(max_epochs=3)
optim_wrapper = dict(type=OptimWrapper)
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a config, and `base.py` beside it, and name it as a user in its folder does."""
    monkeypatch.chdir(tmp_path)

    def write_files(text: str, base: str = BASE, name: str = "mine.py") -> str:
        (tmp_path / "base.py").write_text(base)
        (tmp_path / name).write_text(text)
        return name

    return write_files


def test_all_forms_of_imports_are_resolved(write):
    from amflow_mm import models

    cfg = read_config(write(GOOD))
    assert cfg.model.type is models.AMFlowRecognizer
    assert cfg.model.backbone.type is models.AMFlowViT
    assert cfg.model.neck.type is models.AMFlow
    assert cfg.model.cls_head.type is models.TemporalMeanHead
    assert cfg.train_cfg == cfg.shared == {"max_epochs": 3}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "backbones, AMFlowRecognizer",
            "backbones, AMFlowRecogniser as AMFlowRecognizer",
            "mine.py, line 7: amflow_mm.models has no 'AMFlowRecogniser'; "
            "did you mean 'AMFlowRecognizer'?",
        ),
        (
            "from amflow_mm.models import",
            "from amflow_mm.modells import",
            "mine.py, line 7: there is no module 'amflow_mm.modells'; "
            "did you mean 'amflow_mm.models'?",
        ),
        (
            "from amflow_mm.models import",
            "from amflow_m.models import",
            "mine.py, line 7: there is no module 'amflow_m'; did you mean 'amflow_mm'?",
        ),
        (
            "import amflow_mm.models",
            "import amflow_mm.model",
            "mine.py, line 4: there is no module 'amflow_mm.model'; "
            "did you mean 'amflow_mm.models'?",
        ),
        (
            "import torch.nn as nn",
            "import torch.mn as nn",
            "mine.py, line 5: there is no module 'torch.mn'; did you mean 'torch.nn'?",
        ),
        (
            "models.AMFlow)",
            "models.AMFlaw)",
            "mine.py, line 6: amflow_mm.models has no 'AMFlaw'; did you mean 'AMFlow'?",
        ),
        (
            "backbones.AMFlowViT",
            "backbones.AMFlowVit",
            "mine.py, line 7: amflow_mm.models.backbones has no 'AMFlowVit'; "
            "did you mean 'AMFlowViT'?",
        ),
        (
            "nn.GELU",
            "nn.functional.qqq",
            "mine.py, line 5: torch.nn.functional has no 'qqq'",
        ),
        (
            "import os",
            "from os import sepp as os",
            "mine.py, line 2: os has no 'sepp'; did you mean 'sep'?",
        ),
        (
            "from .base import *",
            "from .bose import *",
            "mine.py: there is no base bose.py; did you mean 'base.py'?",
        ),
        (
            "import train_cfg as",
            "import trian_cfg as",
            "mine.py, line 12: .base has no 'trian_cfg'; did you mean 'train_cfg'?",
        ),
        ("    depth=os.sep,\n)", "    depth=os.sep,", "mine.py, line 14: '(' was never closed"),
        (
            "from mmengine.config import read_base",
            "from torch import *",
            "mine.py: Illegal syntax in config! `from xxx import *` is not allowed to appear "
            "outside the `if base:` statement",
        ),
    ],
)
def test_what_the_config_got_wrong_is_one_line(write, old, new, message):
    assert GOOD.count(old) == 1
    with pytest.raises(ConfigError, match=r"\A.*\Z") as raised:
        read_config(write(GOOD.replace(old, new)))
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("OptimWrapper\n\n", "OptimWraper as OptimWrapper\n\n", "line 2: mmengine.optim has no"),
        ("max_epochs=3)", "max_epochs=3]", "line 4: closing parenthesis ']' does not match"),
    ],
)
def test_a_base_is_named_where_it_is_at_fault(write, old, new, message):
    with pytest.raises(ConfigError, match=rf"base\.py, {message}"):
        read_config(write(GOOD, BASE.replace(old, new)))


def test_several_misspelt_imports_are_listed(write):
    text = GOOD.replace("models.AMFlow)", "models.AMFlaw)").replace("torch.nn", "torch.mn")
    with pytest.raises(ConfigError, match=r"^2 problems in the config:\n.*torch\.mn.*\n.*AMFlaw"):
        read_config(write(text))


@pytest.fixture
def unclosed_copy():
    """Collect the copy of a classic config that MMEngine's reader leaves open where it fails."""
    yield
    gc.collect()


CLASSIC = """
_base_ = ["base_of_classic.py"]
from amflow_mm.models import AMFlowViT
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("AMFlowViT", "AMFlowVit", r"mine\.py, line 3: amflow_mm\.models has no 'AMFlowVit'; did"),
        (".models", ".modells", r"mine\.py, line 3: there is no module 'amflow_mm\.modells'; did"),
        ("[", "(", r"mine\.py, line 2: closing parenthesis"),
    ],
)
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.usefixtures("unclosed_copy")
def test_classic_configs_too(write, tmp_path, old, new, message):
    (tmp_path / "base_of_classic.py").write_text("train_cfg = dict(max_epochs=3)\n")
    assert read_config(write(CLASSIC)).train_cfg.max_epochs == 3
    with pytest.raises(ConfigError, match=message):
        read_config(write(CLASSIC.replace(old, new)))


@pytest.mark.parametrize("text", [
    "from broken_module import part\nmodel = dict(type=part)",
    "_base_ = []\nfrom broken_module import part",
])  # fmt: skip
@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        ("import not_installed", ModuleNotFoundError, "not_installed"),
        ("from math import gone", ImportError, "cannot import name 'gone'"),
        ("1 / 0", ZeroDivisionError, "division by zero"),
    ],
)
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.usefixtures("unclosed_copy")
def test_faults_of_what_is_imported_pass(write, tmp_path, monkeypatch, text, fault, error, message):
    (tmp_path / "broken_module.py").write_text(f"{fault}\npart = int\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(error, match=message) as raised:
        read_config(write(text))
    assert not isinstance(raised.value, ConfigError)
    sys.modules.pop("broken_module", None)


def test_faults_in_the_lines_of_a_config_pass(write):
    with pytest.raises(KeyError, match="absent"):
        read_config(write(GOOD + "\ntrain_cfg['absent'].update(a=1)\n"))
    with pytest.raises(NameError, match="undefined"):
        read_config(write(GOOD + "\na = undefined\n"))


def test_what_is_no_config_is_one_line(write):
    with pytest.raises(MissingFileError, match=r"^config nowhere\.py does not exist$"):
        read_config("nowhere.py")
    with pytest.raises(UserError, match=r"^config a\.pth must end in one of \.py, \.json, \.yaml"):
        read_config(write("", name="a.pth"))


@pytest.mark.slow
@pytest.mark.parametrize("tool", ["print_config.py", "train.py", "analysis/get_flops.py"])
def test_tools_say_it_in_one_line(write, tmp_path, tool):
    config = write(GOOD.replace("Recognizer\nfrom", "Recogniser as AMFlowRecognizer\nfrom"))
    finished = subprocess.run(
        [sys.executable, ROOT / "tools" / tool, config],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert finished.stderr == (
        "error: mine.py, line 7: amflow_mm.models has no 'AMFlowRecogniser'; "
        "did you mean 'AMFlowRecognizer'?\n"
    )
    assert finished.returncode == 2
