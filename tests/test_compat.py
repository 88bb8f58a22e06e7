"""Each remedy in a fresh process: once where its dependency is broken, once where it is not.

Broken and sound dependencies are tiny packages put in front of the real ones.
"""

import io
import os
import pickle
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer

import amflow_mm  # noqa: F401  applies the remedies in this process too

ROOT = Path(__file__).parents[1]
DRN = "mmaction/models/localizers/drn/drn.py"
TORCHVISION = """
    import torch
    torch.library.register_fake("torchvision::nms")(lambda boxes, scores, threshold: boxes)
"""

pytestmark = pytest.mark.slow  # a process that imports torch for each test


MMACTION = {
    "mmaction/__init__.py": "",
    "mmaction/models/__init__.py": "",
    "mmaction/models/localizers/__init__.py": "from .drn.drn import DRN",
}
TRANSFORMERS = {
    "transformers/__init__.py": "",
    "transformers/modeling_utils.py": "",
    "transformers-4.57.0.dist-info/METADATA": "Name: transformers\nVersion: 4.57.0\n",
}
HIDE_TRANSFORMERS = """
    import sys
    sys.modules["transformers"] = None
"""


@pytest.fixture
def run(tmp_path):
    """Write packages, run a script in front of which they stand, and return what it printed.

    With packages, also with none of them, an installed transformers is hidden: its own remedy
    would import the stand-ins of others.
    """

    def run_script(script: str, packages: dict[str, str] | None = None) -> str:
        if packages is not None and "transformers/__init__.py" not in packages:
            packages = packages | {"sitecustomize.py": HIDE_TRANSFORMERS}
        for name, source in (packages or {}).items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(source))
        environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
        finished = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script)],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        return finished.stdout + finished.stderr

    return run_script


class TestLiteMmcv:
    packages: ClassVar = {
        "mmcv/__init__.py": "",
        "mmcv/cnn.py": """
            import warnings
            warnings.warn("Fail to import ``MultiScaleDeformableAttention`` from "
                          "``mmcv.ops.multi_scale_deform_attn``, You should install ``mmcv``")
            warnings.warn("Fail to import ``Another`` from ``mmcv.ops.another``")
        """,
    }

    def test_without_remedy_there_is_a_warning(self, run):
        assert "MultiScaleDeformableAttention" in run("import mmcv.cnn", self.packages)

    def test_this_warning_alone_is_ignored(self, run):
        printed = run("import amflow_mm, mmcv.cnn; print(amflow_mm.compat.apply())", self.packages)
        assert "silence_lite_mmcv" in printed
        assert "Fail to import ``MultiScaleDeformableAttention``" not in printed
        assert "UserWarning: Fail to import ``Another``" in printed

    def test_full_mmcv_is_left_alone(self, run):
        script = "import amflow_mm, mmcv.cnn; print(amflow_mm.compat.apply())"
        printed = run(script, {**self.packages, "mmcv/_ext.cpython-311.so": ""})
        assert "silence_lite_mmcv" not in printed
        assert "UserWarning: Fail to import ``MultiScaleDeformableAttention``" in printed

    def test_a_tool_writes_nothing_to_stderr(self):
        finished = subprocess.run(
            [sys.executable, "tools/print_config.py", "configs/amflow_vits_motion.py"],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (finished.returncode, finished.stderr) == (0, "")


class TestMissingLocalizer:
    def test_without_remedy_import_fails(self, run):
        assert "ModuleNotFoundError" in run("import mmaction.models.localizers", MMACTION)

    def test_missing_module_is_stood_in_for(self, run):
        script = """
            import amflow_mm
            from mmaction.models.localizers import DRN
            print(amflow_mm.compat.apply())
            DRN(vocab_size=3)
        """
        printed = run(script, MMACTION)
        assert "stand_in_for_missing_localizer" in printed
        assert "NotImplementedError: DRN is missing from the installed mmaction2" in printed

    def test_present_module_is_left_alone(self, run):
        script = """
            import amflow_mm
            from mmaction.models.localizers import DRN
            print(amflow_mm.compat.apply(), DRN)
        """
        printed = run(script, {**MMACTION, DRN: "DRN = 'the real one'"})
        assert "the real one" in printed
        assert "stand_in_for_missing_localizer" not in printed

    def test_real_mmaction_imports(self, run):
        assert run("import amflow_mm, mmaction.models; print('imported')").startswith("imported")


class TestTorchvisionOfAnotherBuild:
    def test_without_remedy_import_fails(self, run):
        packages = {"torchvision/__init__.py": TORCHVISION}
        assert "operator torchvision::nms does not exist" in run("import torchvision", packages)

    def test_binary_that_does_not_load(self, run):
        packages = {"torchvision/__init__.py": TORCHVISION, "torchvision/_C.so": "no binary"}
        script = "import amflow_mm, torchvision; print(amflow_mm.compat.apply())"
        assert "declare_torchvision_operators" in run(script, packages)

    def test_declared_operator_raises_when_called(self, run):
        script = """
            import torch, amflow_mm
            torch.ops.torchvision.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
        """
        printed = run(script, {"torchvision/__init__.py": "", "torchvision/_C.so": "no binary"})
        assert "NotImplementedError" in printed

    def test_present_operators_are_left_alone(self, run):
        script = """
            import torch
            torch.library.define("torchvision::nms", "(Tensor a, Tensor b, float c) -> Tensor")
            import amflow_mm
            print(amflow_mm.compat.apply(), hasattr(torch.ops.torchvision, "qnms"))
        """
        printed = run(script, {"torchvision/__init__.py": ""})
        assert "declare_torchvision_operators" not in printed
        assert printed.strip().endswith("False")


class TestNewTransformers:
    def test_without_the_name_multimodal_is_switched_off(self, run):
        script = """
            import amflow_mm, mmaction.models
            from mmaction.utils.dependency import WITH_MULTIMODAL
            print(amflow_mm.compat.apply(), WITH_MULTIMODAL)
        """
        printed = run(script, TRANSFORMERS)
        assert "disable_unimportable_multimodal_models" in printed
        assert "False" in printed

    def test_with_the_name_multimodal_stays_on(self, run):
        script = """
            import amflow_mm
            from mmaction.utils.dependency import WITH_MULTIMODAL
            print(amflow_mm.compat.apply(), WITH_MULTIMODAL)
        """
        named = {"transformers/modeling_utils.py": "def apply_chunking_to_forward(): ..."}
        printed = run(script, {**TRANSFORMERS, **named})
        assert "disable_unimportable_multimodal_models" not in printed
        assert "True" in printed


def saved(value: object) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def history(*values: float) -> HistoryBuffer:
    buffer = HistoryBuffer()
    for value in values:
        buffer.update(value)
    return buffer


def rename_module(checkpoint: bytes, old: str, new: str) -> bytes:
    """Rewrite a checkpoint as if its pickle named functions of another numpy module."""
    source, target = zipfile.ZipFile(io.BytesIO(checkpoint)), io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name in source.namelist():
            archive.writestr(name, source.read(name).replace(old.encode(), new.encode()))
    return target.getvalue()


class TestHistoryInCheckpoints:
    load = "log = torch.load('c.pth', weights_only=True)['log']"

    @pytest.fixture
    def checkpoint(self, tmp_path):
        (tmp_path / "c.pth").write_bytes(saved({"log": history(2.0, 4.0)}))

    @pytest.mark.usefixtures("checkpoint")
    def test_without_remedy_load_is_refused(self, run):
        assert "UnpicklingError: Weights only load failed" in run(f"import torch; {self.load}")

    @pytest.mark.usefixtures("checkpoint")
    def test_history_loads_and_works(self, run):
        script = f"import torch, amflow_mm; {self.load}; print(log.statistics('mean'))"
        assert run(script).strip() == "3.0"

    def test_torch_that_allows_all_by_default_is_left_alone(self, run):
        script = """
            import torch
            torch.__version__ = "2.5.1"
            before = torch.serialization.get_safe_globals()
            import amflow_mm
            print(set(torch.serialization.get_safe_globals()) == set(before))
        """
        assert run(script, {}).strip() == "True"

    @pytest.mark.parametrize("module", ["numpy.core", "numpy._core"])
    def test_arrays_of_either_numpy_load(self, module):
        other = {"numpy.core": "numpy._core", "numpy._core": "numpy.core"}[module]
        written = saved({"array": np.arange(5), "scalar": np.float64(0.7)})
        loaded = torch.load(io.BytesIO(rename_module(written, other, module)), weights_only=True)
        assert loaded["array"].tolist() == [0, 1, 2, 3, 4]
        assert loaded["scalar"] == 0.7


class Malicious:
    """Pickles as a call of the given function."""

    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ("call", "refusal"),
    [
        ((os.system, ("touch executed",)), "system"),
        ((getattr, (HistoryBuffer, "__init__")), "asks for attribute '__init__'"),
        ((getattr, (HistoryBuffer, "register_statistics")), "asks for attribute 'register_stat"),
        ((getattr, (np.ndarray, "tofile")), "asks for attribute 'tofile'"),
        (
            (getattr, (Malicious(getattr, (HistoryBuffer, "mean")), "__globals__")),
            "asks for attribute '__globals__'",
        ),
    ],
    ids=["call", "constructor", "registration", "method-of-array", "globals-of-statistic"],
)
def test_malicious_checkpoint_stays_refused(call, refusal, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = io.BytesIO(saved(Malicious(*call)))
    with pytest.raises(pickle.UnpicklingError, match=refusal):
        torch.load(file, weights_only=True)
    assert not list(tmp_path.iterdir())


def test_spawned_data_loader_worker_applies_the_remedies(run):
    probe = """
        import sys
        def collate(samples):
            return [safe.__name__ for safe in sys.modules["torch"].serialization.get_safe_globals()
                    if getattr(safe, "__name__", "") == "HistoryBuffer"]
    """
    script = """
        import pickle
        import probe
        from torch.utils.data import DataLoader

        if __name__ == "__main__":
            from amflow_mm.resources import configs_dir
            loader = DataLoader(
                [configs_dir], collate_fn=probe.collate, num_workers=1,
                multiprocessing_context="spawn",
            )
            print(list(loader))
    """
    assert "[['HistoryBuffer']]" in run(script, {"probe.py": probe})
