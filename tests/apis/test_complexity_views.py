"""How many views of which size a test pipeline takes."""

import pytest
from mmaction.datasets.transforms import (
    CenterCrop,
    FormatShape,
    PackActionInputs,
    Resize,
    SampleFrames,
    ThreeCrop,
)
from mmengine.config import Config

from amflow_mm.apis.complexity import ClipShape, Views, read_views
from amflow_mm.engine.errors import UserError

T = 5


def pipeline(*steps: dict, num_clips: int = 1, input_format: str = "NCTHW") -> list[dict]:
    return [
        dict(type="DecordInit", num_threads=1),
        dict(type=SampleFrames, clip_len=T, frame_interval=3, num_clips=num_clips, test_mode=True),
        dict(type="DecordDecode"),
        *steps,
        dict(type=FormatShape, input_format=input_format),
        dict(type=PackActionInputs),
    ]


def with_test(steps: list[dict]) -> Config:
    return Config(dict(test_dataloader=dict(dataset=dict(type="VideoDataset", pipeline=steps))))


@pytest.mark.parametrize(
    ("steps", "views"),
    [
        (pipeline(dict(type=Resize, scale=(-1, 40)), dict(type=CenterCrop, crop_size=32)), 1),
        (
            pipeline(
                dict(type=Resize, scale=(-1, 40)),
                dict(type=CenterCrop, crop_size=32),
                num_clips=3,
            ),
            3,
        ),
        (
            pipeline(
                dict(type=Resize, scale=(-1, 32)),
                dict(type=ThreeCrop, crop_size=32),
                num_clips=2,
            ),
            6,
        ),
    ],
)
def test_views_are_clips_times_crops(steps, views):
    assert read_views(with_test(steps)) == Views(views, ClipShape(T, 32, 32))


def test_a_pipeline_that_keeps_the_size_of_the_video_fixes_none():
    assert read_views(with_test(pipeline(num_clips=2))) == Views(2, None)
    resized = pipeline(dict(type=Resize, scale=(-1, 32)))
    assert read_views(with_test(resized)) == Views(1, None)


def test_views_are_read_through_a_dataset_that_wraps_another():
    cfg = with_test(pipeline(dict(type=Resize, scale=(32, 24), keep_ratio=False)))
    inner = cfg.test_dataloader.dataset
    cfg.test_dataloader.dataset = dict(type="FrozenFeatureDataset", dataset=inner)
    assert read_views(cfg) == Views(1, ClipShape(T, 24, 32))


def test_a_config_without_a_test_has_no_views():
    assert read_views(Config(dict(test_dataloader=None))) is None


def test_frames_of_a_2d_recognizer_are_refused():
    steps = pipeline(dict(type=CenterCrop, crop_size=32), input_format="NCHW")
    with pytest.raises(UserError, match="input_format='NCTHW'"):
        read_views(with_test(steps))
