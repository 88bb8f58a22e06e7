"""Fixtures for the tests of the user functions."""

from pathlib import Path

import pytest
from mmengine.config import Config

from amflow_mm.apis import build_frozen_flow
from amflow_mm.datasets.video_writer import write_video
from tests.apis.square_video import FPS, TINY_CONFIG, square_frames


@pytest.fixture
def config_path(tmp_path) -> Path:
    path = tmp_path / "tiny.py"
    path.write_text(TINY_CONFIG)
    return path


@pytest.fixture
def config(config_path) -> Config:
    return Config.fromfile(config_path)


@pytest.fixture
def model(config):
    return build_frozen_flow(config)


@pytest.fixture
def frames():
    return square_frames()


@pytest.fixture
def video(tmp_path, frames) -> Path:
    path = tmp_path / "square.mp4"
    write_video(path, frames, FPS)
    return path
