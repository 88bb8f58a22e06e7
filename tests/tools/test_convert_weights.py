"""convert_weights.py: one file out of any source, nothing overwritten, nothing half-written."""

import functools
import hashlib
import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from amflow_mm.apis import converting
from amflow_mm.models.weights import CATALOG, read_image_weights
from amflow_mm.testing import fixed_init_
from tests.engine.tiny_experiment import ROOT, run_tool
from tests.models.weights.foreign_models import PlainViT

TOOL = ROOT / "tools" / "convert" / "convert_weights.py"


@pytest.fixture
def source(tmp_path, monkeypatch):
    """Weights in DINOv2's layout in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AMFLOW_MM_CACHE", str(tmp_path / "cache"))
    torch.save(fixed_init_(PlainViT(is_dinov2=True)).state_dict(), "image.pth")
    return tmp_path / "image.pth"


@pytest.fixture
def call(call_tool):
    """Run the tool in this process; returns its exit code, output and errors."""
    return functools.partial(call_tool, TOOL)


def facts_of(path):
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["amflow_mm"])


# ---------------------------------------------------------------- converting


@pytest.mark.slow
def test_in_a_process_of_its_own(source):
    done = run_tool(
        "convert/convert_weights.py", "image.pth", "--out", "new/x.safetensors", "--json",
        cwd=source.parent,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    converted = read_image_weights(str(source.parent / "new" / "x.safetensors"))
    expected = read_image_weights(str(source))
    assert converted.keys() == expected.keys()
    assert all(torch.equal(converted[name], value) for name, value in expected.items())
    assert found == {
        "source": "image.pth",
        "sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
        "layout": "dinov2",
        "license": None,
        "url": None,
        "path": "new/x.safetensors",
        "num_tensors": len(expected),
        "num_parameters": sum(value.numel() for value in expected.values()),
        "num_bytes": (source.parent / "new" / "x.safetensors").stat().st_size,
    }


def test_the_file_tells_where_it_comes_from(source, call):
    code, out, _ = call("image.pth", "--out", "x.safetensors")
    assert code == 0
    assert out.splitlines()[0] == "x.safetensors"
    assert "layout dinov2, licence unknown" in out
    facts = facts_of("x.safetensors")
    assert facts["source"] == "image.pth"
    assert facts["sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
    assert (facts["layout"], facts["license"]) == ("dinov2", None)
    assert facts["mean"] == [123.675, 116.28, 103.53]


def test_a_converted_file_can_be_converted(source, call):
    call("image.pth", "--out", "x.safetensors")
    code, out, _ = call("x.safetensors", "--out", "y.safetensors")
    assert code == 0
    assert "layout amflow_mm" in out
    assert facts_of("y.safetensors")["mean"] == facts_of("x.safetensors")["mean"]
    first, second = (read_image_weights(f"{name}.safetensors") for name in "xy")
    assert all(torch.equal(first[name], value) for name, value in second.items())


def test_of_a_named_source_all_is_told(source, call, monkeypatch):
    name = "dinov2-vits14"
    entry = CATALOG[name]
    cache = source.parent / "cache"
    cache.mkdir()
    source.rename(cache / converting.name_for(entry.url))
    monkeypatch.setenv("AMFLOW_MM_OFFLINE", "1")
    code, out, err = call(name, "--out", "x.safetensors", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert (found["license"], found["url"]) == ("Apache-2.0", entry.url)
    assert facts_of("x.safetensors")["license"] == "Apache-2.0"


# ---------------------------------------------------------------- refusals


def assert_one_line_error(result, *parts):
    code, out, err = result
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1
    for part in parts:
        assert part in err


def test_nothing_is_overwritten_unless_forced(source, call):
    target = source.parent / "x.safetensors"
    target.write_text("precious")
    assert_one_line_error(call("image.pth", "--out", target), "exists already", "--force")
    assert target.read_text() == "precious"
    assert call("image.pth", "--out", target, "--force")[0] == 0
    assert "embedding.cls_token" in read_image_weights(str(target))


@pytest.mark.parametrize("content", [b"no weights", b""])
def test_what_was_there_survives_a_failure(source, call, content):
    target = source.parent / "x.safetensors"
    target.write_text("precious")
    source.write_bytes(content)
    assert_one_line_error(call("image.pth", "--out", target, "--force"), "image.pth")
    assert target.read_text() == "precious"
    assert {path.name for path in source.parent.iterdir()} == {"image.pth", "x.safetensors"}


def test_a_failed_write_leaves_nothing(source, call, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(converting, "save_image_weights", fail)
    result = call("image.pth", "--out", "x.safetensors")
    assert_one_line_error(result, "x.safetensors cannot be written", "No space left")
    assert {path.name for path in source.parent.iterdir()} == {"image.pth"}


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("image.pth", "--out", "x.pth"), ("x.pth must end in .safetensors",)),
        (("image.pth", "--out", "folder.safetensors", "--force"), ("is a folder",)),
        (("nowhere.pth", "--out", "x.safetensors"), ("'nowhere.pth' is neither",)),
        (("other.safetensors", "--out", "x.safetensors"), ("conv1.weight", "layouts")),
        (("image.pth", "--out", "image.pth/x.safetensors"), ("cannot be written",)),
        (("ftp://host/x.pth", "--out", "x.safetensors"), ("ftp://host/x.pth",)),
        (("hf:owner", "--out", "x.safetensors"), ("hf:owner/repo",)),
    ],
)
def test_errors_are_one_line(source, call, arguments, parts):
    (source.parent / "folder.safetensors").mkdir()
    save_file({"conv1.weight": torch.zeros(1)}, "other.safetensors")
    assert_one_line_error(call(*arguments), *parts)
    assert not (source.parent / "x.safetensors").exists()


def test_offline_names_address_place_and_checksum(source, call, monkeypatch):
    monkeypatch.setenv("AMFLOW_MM_OFFLINE", "1")
    entry = CATALOG["clip-vit-b16-openai"]
    result = call(entry.name, "--out", "x.safetensors")
    place = source.parent / "cache" / converting.name_for(entry.url)
    assert_one_line_error(result, "AMFLOW_MM_OFFLINE", entry.url, str(place), entry.sha256)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give either SRC or --list"),
        (("image.pth", "--list"), "give either SRC or --list"),
        (("image.pth",), "give --out"),
    ],
)
def test_a_wrong_command_line_is_told(call, arguments, message):
    code, _, err = call(*arguments)
    assert code == 2
    assert message in err


# ---------------------------------------------------------------- the table


def test_the_table_has_a_line_for_each_name(call):
    code, out, _ = call("--list")
    lines = out.splitlines()
    assert code == 0
    assert lines[0].split() == [
        "name", "variant", "family", "pixels", "registers", "licence", "SHA-256", "address",
    ]  # fmt: skip
    assert [line.split()[0] for line in lines[1:]] == list(CATALOG)
    (clip,) = (line.split() for line in lines if line.startswith("clip-vit-l14-336-openai "))
    entry = CATALOG["clip-vit-l14-336-openai"]
    assert clip == [
        entry.name, "l14", "clip", "336", "0", "MIT", entry.sha256[:12], entry.url,
    ]  # fmt: skip


def test_the_table_as_json_has_all(call, monkeypatch, tmp_path):
    monkeypatch.setenv("AMFLOW_MM_CACHE", str(tmp_path))
    code, out, _ = call("--list", "--json")
    assert code == 0
    rows = {row["name"]: row for row in json.loads(out)}
    assert rows.keys() == CATALOG.keys()
    entry = CATALOG["clip-vit-b16-openai"]
    row = rows[entry.name]
    assert (row["url"], row["sha256"], row["license"]) == (entry.url, entry.sha256, "MIT")
    assert row["cache_path"] == str(tmp_path / converting.name_for(entry.url))
