"""What tests of frozen features share."""

import pytest

from amflow_mm.models.backbones import AMFlowSideViT
from tests.datasets.array_videos import write_videos
from tests.engine.hooks.frozen_runs import NUM_TRAIN, NUM_VAL


@pytest.fixture
def plain_configs(monkeypatch):
    """Let configs be written as they come: their layout takes two thirds of a tiny run."""
    monkeypatch.setattr("mmengine.config.config.FormatCode", lambda text, **_: (text, False))


@pytest.fixture
def folder(tmp_path):
    write_videos(tmp_path / "videos", NUM_TRAIN, name="train")
    write_videos(tmp_path / "videos", NUM_VAL, name="val")
    return tmp_path


@pytest.fixture
def passes(monkeypatch):
    """Count the videos that pass the frozen model: views through ``extract_frozen``."""
    seen, extract = [], AMFlowSideViT.extract_frozen

    def count(self, clips, flow):
        seen.append(len(clips))
        return extract(self, clips, flow)

    monkeypatch.setattr(AMFlowSideViT, "extract_frozen", count)
    return seen
