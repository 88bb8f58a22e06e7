"""The browser shows what the pipeline returns, and says which sample it is."""

from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config

from amflow_mm.apis.dataset_browser import DatasetBrowser
from amflow_mm.datasets.transforms import clip_geometry  # noqa: F401  (registers the steps)
from amflow_mm.datasets.video_writer import write_video
from amflow_mm.engine.config_check import ConfigError
from amflow_mm.engine.errors import MissingFileError, UserError
from amflow_mm.registry import DATASETS
from tests.datasets.array_videos import CLIP_LEN, FLIP, HEIGHT, WIDTH, dataset_of, write_videos

MODEL = {
    "type": "AMFlowRecognizer",
    "backbone": {"type": "AMFlowViT", "variant": "s14", "family": "dinov2"},
    "cls_head": {"type": "TemporalMeanHead", "num_classes": 2, "in_channels": 384},
    "data_preprocessor": {
        "type": "ActionDataPreprocessor",
        "mean": [90.0, 60.0, 30.0],
        "std": [50.0, 60.0, 70.0],
        "format_shape": "NCTHW",
    },
}


def browser_of(dataset, *, classes_file=None, model=MODEL, **options):
    sections = {"model": model, "train_dataloader": {"dataset": dataset}}
    cfg = Config(sections, cfg_text="an experiment", filename="exp.py")
    if classes_file:
        cfg.classes_file = str(classes_file)
    return DatasetBrowser(cfg, **options)


def images_of(dataset, index):
    """What the data set itself returns, as images."""
    return DATASETS.build(dataset)[index]["inputs"].permute(0, 2, 3, 4, 1).numpy()


@pytest.fixture
def videos(tmp_path):
    return write_videos(tmp_path / "videos", 5)


def test_frames_are_those_of_the_pipeline_with_all_that_is_known(videos, tmp_path):
    (tmp_path / "classes.txt").write_text("left\nright side\n")
    dataset = dataset_of(videos, num_clips=2)
    sample = browser_of(dataset, classes_file=tmp_path / "classes.txt").draw(3)
    assert (sample.index, sample.label, sample.error) == (3, "right side (1)", None)
    assert sample.path == str(videos.parent / "train_3.npy")
    assert sample.original_size == (HEIGHT, WIDTH)
    (draw,) = sample.draws
    assert draw.views.shape == (2, CLIP_LEN, HEIGHT, WIDTH, 3)
    assert np.array_equal(draw.views, images_of(dataset, 3))
    assert draw.frame_numbers is None
    assert draw.note == ""


def test_a_class_without_a_name_has_its_number(videos):
    assert browser_of(dataset_of(videos)).draw(1).label == "class 1"


def test_draws_vary_repeat_and_do_not_depend_on_the_others(videos):
    dataset = dataset_of(videos, FLIP)
    first = browser_of(dataset, seed=3).draw(0, 8)
    browser = browser_of(dataset, seed=3)
    browser.draw(1, 2)
    again = browser.draw(0, 8)
    assert len({draw.views.tobytes() for draw in first.draws}) == 2
    for one, other in zip(first.draws, again.draws, strict=True):
        assert np.array_equal(one.views, other.views)
    # The flip changes the label, and the note tells.
    plain = images_of(dataset_of(videos), 0)
    for draw in first.draws:
        is_flipped = not np.array_equal(draw.views, plain)
        assert draw.note == ("label now class 1" if is_flipped else "")
    other_seed = browser_of(dataset, seed=4).draw(0, 8)
    assert [d.views.tobytes() for d in other_seed.draws] != [d.views.tobytes() for d in first.draws]


def test_what_the_device_would_crop_is_shown_cropped(videos):
    host = dataset_of(videos, {"type": "ThreeCrop", "crop_size": HEIGHT})
    planned = dataset_of(videos)
    planned["pipeline"].append({"type": "PlanThreeCrop", "crop_size": HEIGHT})
    (draw,) = browser_of(planned).draw(0).draws
    assert draw.views.shape[0] == 3
    assert np.array_equal(draw.views, images_of(host, 0))


@pytest.mark.parametrize("to_rgb", [False, True])
def test_the_way_through_the_preprocessor_and_back(videos, to_rgb):
    preprocessor = MODEL["data_preprocessor"] | {"to_rgb": to_rgb}
    model = MODEL | {"data_preprocessor": preprocessor}
    browser = browser_of(dataset_of(videos), model=model, through_preprocessor=True)
    (draw,) = browser.draw(2).draws
    seen = images_of(dataset_of(videos), 2)[..., :: -1 if to_rgb else 1]
    mean, std = np.array(preprocessor["mean"]), np.array(preprocessor["std"])
    channels = ((seen - mean) / std).reshape(-1, 3)
    assert np.array_equal(draw.views, seen)
    texts = ["/".join(f"{v:.2f}" for v in f(0)) for f in (channels.mean, channels.std)]
    assert draw.note == "normalised: mean {} std {}".format(*texts)
    assert "ActionDataPreprocessor" in browser.facts()["shown"]


def test_frozen_features_show_the_videos_beneath(videos, tmp_path):
    dataset = dataset_of(videos)
    frozen = {"type": "FrozenFeatureDataset", "dataset": dataset, "cache_dir": str(tmp_path / "c")}
    (draw,) = browser_of(frozen).draw(1).draws
    assert np.array_equal(draw.views, images_of(dataset, 1))
    assert not (tmp_path / "c").exists()


def test_samples_are_found_inside_joined_and_repeated_data_sets(videos, tmp_path):
    other = write_videos(tmp_path / "other", 3, name="val")
    joined = {
        "type": "ConcatDataset",
        "datasets": [{"type": "RepeatDataset", "times": 2, "dataset": dataset_of(videos)},
                     dataset_of(other)],
    }  # fmt: skip
    browser = browser_of({"type": "RepeatDataset", "times": 2, "dataset": dataset_of(other)})
    assert len(browser) == 6
    assert Path(browser.draw(4).path).name == "val_1.npy"
    browser = browser_of(joined)
    assert len(browser) == 13
    assert [Path(browser.draw(i).path).name for i in (7, 11)] == ["train_2.npy", "val_1.npy"]


def test_real_videos_tell_their_frames_and_size(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (12, 32, 64, 3), dtype=np.uint8)
    write_video(tmp_path / "a.mp4", frames, 10.0)
    (tmp_path / "list.txt").write_text("a.mp4 0\n")
    dataset = dataset_of(tmp_path / "list.txt", {"type": "ThreeCrop", "crop_size": 32})
    dataset["pipeline"][:1] = [
        {"type": "DecordInit"},
        {"type": "SampleFrames", "clip_len": 3, "frame_interval": 2, "num_clips": 2,
         "test_mode": True},
        {"type": "DecordDecode"},
    ]  # fmt: skip
    sample = browser_of(dataset).draw(0)
    assert sample.original_size == (32, 64)
    numbers = sample.draws[0].frame_numbers
    assert numbers.shape == (6, 3)
    assert (np.diff(numbers) == 2).all()
    assert np.array_equal(numbers[:2], numbers[4:])
    assert not np.array_equal(numbers[0], numbers[1])


def test_floating_point_clips_are_stretched_and_the_note_says_so(tmp_path):
    import tests.engine.tiny_parts  # noqa: F401  (registers LoadArray)

    clip = np.linspace(-2, 3, 3 * 2 * 5 * 7).reshape(1, 3, 2, 5, 7).astype(np.float32)
    np.save(tmp_path / "a.npy", clip)
    (tmp_path / "list.txt").write_text("a.npy 0\n")
    dataset = dataset_of(tmp_path / "list.txt") | {
        "pipeline": [{"type": "LoadArray"}, {"type": "PackActionInputs"}]
    }
    (draw,) = browser_of(dataset).draw(0).draws
    assert draw.note == "black is -2, white 3"
    assert (draw.views.min(), draw.views.max()) == (0, 255)


def test_frames_by_themselves_are_one_view(videos):
    dataset = dataset_of(videos)
    dataset["pipeline"][1] = {"type": "FormatShape", "input_format": "NCHW"}
    (draw,) = browser_of(dataset).draw(0).draws
    assert np.array_equal(draw.views, images_of(dataset_of(videos), 0))


def test_what_a_bad_sample_raises_is_told(videos):
    (videos.parent / "train_1.npy").write_bytes(b"torn")
    browser = browser_of(dataset_of(videos))
    sample = browser.draw(1, 2)
    assert sample.draws == ()
    assert sample.error.startswith("UnpicklingError: ") or sample.error.startswith("ValueError: ")
    assert browser.draw(0).error is None


def test_inputs_that_are_no_clips_are_told(videos):
    dataset = dataset_of(videos)
    dataset["pipeline"][1] = {"type": "FormatShape", "input_format": "NCTHW", "collapse": True}
    error = browser_of(dataset).draw(0).error
    assert "inputs of shape (3, 4, 14, 21) are no clips" in error


def test_classes_have_their_turns(tmp_path):
    labels = [0] * 20 + [1] * 2 + [2] * 5
    path = write_videos(tmp_path, len(labels))
    path.write_text("".join(f"train_{i}.npy {label}\n" for i, label in enumerate(labels)))
    model = MODEL | {"cls_head": MODEL["cls_head"] | {"num_classes": 3}}
    browser = browser_of(dataset_of(path), model=model)
    assert [labels[i] for i in browser.choose(3)] == [0, 1, 2]
    assert [labels[i] for i in browser.choose(8)] == [0, 0, 0, 1, 1, 2, 2, 2]
    assert browser.choose(8) == browser.choose(8)
    assert sorted(browser.choose(100)) == list(range(27))
    others = {tuple(browser_of(dataset_of(path), model=model, seed=s).choose(2)) for s in range(9)}
    assert len({labels[i] for pair in others for i in pair}) == 3  # not always the frequent ones


def test_facts_name_the_pipeline(videos):
    facts = browser_of(dataset_of(videos, FLIP)).facts()
    assert facts["samples"] == "5, VideoDataset"
    assert [line.partition("(")[0] for line in facts["pipeline"].splitlines()][1:] == [
        "Flip", "FormatShape", "PackActionInputs",
    ]  # fmt: skip


def test_what_the_user_can_put_right_is_said_before_anything_is_built(videos):
    dataset = dataset_of(videos)
    with pytest.raises(UserError, match=r"exp\.py has no val_dataloader"):
        browser_of(dataset, loader="val")
    with pytest.raises(UserError, match="the config has no test_dataloader"):
        DatasetBrowser(Config({"model": MODEL}), "test")
    with pytest.raises(ConfigError, match="'annfile'"):
        browser_of(dataset | {"annfile": "x"})
    with pytest.raises(MissingFileError, match=r"nowhere\.txt"):
        browser_of(dataset | {"ann_file": "nowhere.txt"})
    browser = browser_of(dataset)
    with pytest.raises(UserError, match=r"no sample 5; exp\.py, train_dataloader has 0 to 4"):
        browser.check_indices([0, 5])
    with pytest.raises(UserError, match="num=0 must be >= 1"):
        browser.choose(0)
