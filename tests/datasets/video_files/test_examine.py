import dataclasses
from fractions import Fraction

import pytest

from amflow_mm.datasets.video_files.examine import KINDS, UNUSABLE_KINDS, examine_video
from amflow_mm.datasets.video_writer import write_video
from tests.datasets.video_files.sample_videos import (
    MEDIA,
    cut,
    flip_bytes,
    remux_with_index_first,
    soft_frames,
    write_odd_video,
    write_sound,
)

# File, kinds, frames that decode. A file that is not named here is fine.
ODD_MEDIA = {
    "decord__corrupted.mp4": (("damaged",), 49),
    "decord__video_90.mov": (("rotated",), 3),
    "made__one_frame.mp4": (("one-frame",), 1),
    "made__text_named.mp4": (("unreadable",), 0),
    "made__truncated_faststart.mp4": (("truncated", "damaged"), 143),
    "made__truncated_moov_at_end.mp4": (("unreadable", "truncated"), 0),
    "made__vfr.mp4": (("variable-rate",), 145),
    "made__zero_length.mp4": (("unreadable",), 0),
    "mmaction2__test.avi": (("disordered",), 164),
    "mmaction2__test.wav": (("audio-only",), 0),
    "torchcodec__testsrc2_odd_height_and_width_444.mp4": (("odd-sized",), 25),
    # AVI files with B-frames count one frame more than they hold; this is not called truncated.
    "torchvision__RATRACE_wave_f_nm_np1_fr_goo_37.avi": (("disordered",), 72),
    "torchvision__hmdb51_Turnk_r_Pippi_Michel_cartwheel_f_cm_np2_le_med_6.avi": (
        ("disordered",),
        83,
    ),
}


def kinds_of(path):
    return examine_video(str(path)).kinds


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "clip.mp4"
    write_video(path, soft_frames(20), 25)
    return path


@pytest.mark.skipif(not MEDIA.is_dir(), reason="the collection of odd files is not there")
def test_kinds_of_real_odd_files():
    found = {}
    for path in sorted(MEDIA.iterdir()):
        report = examine_video(str(path))
        if report.kinds:
            found[path.name] = (report.kinds, report.num_frames)
    assert found == ODD_MEDIA


def test_a_sound_video_is_described(clip):
    report = examine_video(str(clip))
    expected = {
        "path": str(clip),
        "kinds": (),
        "detail": "",
        "num_frames": 20,
        "declared_frames": 20,
        "num_damaged": 0,
        "fps": 25.0,
        "width": 64,
        "height": 48,
        "rotation": 0,
        "gop_size": 4,
        "seconds": 0.8,
        "codec": "h264",
        "pixel_format": "yuv420p",
        "has_audio": False,
        "num_bytes": clip.stat().st_size,
    }
    assert dataclasses.asdict(report) == expected


def test_missing_and_unreadable_files(tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "empty.mp4").touch()
    assert kinds_of(tmp_path / "nowhere.mp4") == ("missing",)
    assert kinds_of(tmp_path) == ("missing",)
    assert kinds_of(tmp_path / "text.mp4") == ("unreadable",)
    assert kinds_of(tmp_path / "empty.mp4") == ("unreadable",)
    report = examine_video(str(tmp_path / "empty.mp4"))
    assert report.detail.endswith("the file is empty")
    assert str(tmp_path) not in report.detail


def test_sound_alone(tmp_path):
    write_sound(tmp_path / "a.wav")
    assert kinds_of(tmp_path / "a.wav") == ("audio-only",)


def test_a_single_frame(tmp_path):
    write_video(tmp_path / "a.mp4", soft_frames(1), 25)
    assert kinds_of(tmp_path / "a.mp4") == ("one-frame",)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi"])
def test_the_end_is_cut_off(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    frames = soft_frames(60, 96, 128)
    if suffix == "mp4":
        write_video(tmp_path / "whole.mp4", frames, 25, gop_size=60, encoder_options={"crf": "1"})
        remux_with_index_first(tmp_path / "whole.mp4", path)
    else:
        write_odd_video(path, frames, unit=Fraction(1, 25 if suffix == "avi" else 1000))
    assert examine_video(str(path)).num_frames == 60
    assert "truncated" not in kinds_of(path)
    cut(path, 0.7)
    report = examine_video(str(path))
    assert "truncated" in report.kinds
    assert "are there" in report.detail
    assert 2 <= report.num_frames < 58


def test_damage_inside_is_told_from_a_lost_end(tmp_path):
    path = tmp_path / "a.mp4"
    write_video(path, soft_frames(60, 96, 128), 25, gop_size=60)
    flip_bytes(path, 0.4, 0.45)
    report = examine_video(str(path))
    assert report.kinds == ("damaged",)
    assert report.num_damaged >= 1
    assert str(report.num_damaged) in report.detail


def test_a_video_of_which_nothing_decodes_is_unreadable(tmp_path):
    path = tmp_path / "a.mp4"
    write_video(path, soft_frames(4), 25)
    content = path.read_bytes()
    start = content.index(b"mdat") + 4
    size = int.from_bytes(content[start - 8 : start - 4], "big") - 8
    path.write_bytes(content[:start] + b"\xff" * size + content[start + size :])
    report = examine_video(str(path))
    assert report.kinds[0] == "unreadable"
    assert report.num_frames == 0
    assert "none of 4 packets" in report.detail


def test_uneven_steps_are_a_variable_rate(tmp_path):
    times = [0, 40, 80, 400, 440, 480]
    write_odd_video(tmp_path / "a.mp4", soft_frames(6), times=times)
    report = examine_video(str(tmp_path / "a.mp4"))
    assert report.kinds == ("variable-rate",)
    assert report.fps == pytest.approx(5 / 0.48, abs=0.001)


def test_rounding_to_milliseconds_is_not_a_variable_rate(tmp_path):
    times = [round(1000 * index / 30) for index in range(20)]
    write_odd_video(tmp_path / "a.mkv", soft_frames(20), times=times)
    assert kinds_of(tmp_path / "a.mkv") == ()


def test_rotation_is_told_and_sizes_are_upright(tmp_path):
    write_odd_video(tmp_path / "a.mp4", soft_frames(3), rotation=90)
    report = examine_video(str(tmp_path / "a.mp4"))
    assert report.kinds == ("rotated",)
    assert (report.width, report.height) == (48, 64)
    assert report.rotation in (90, 270)


def test_odd_sizes(tmp_path):
    write_odd_video(tmp_path / "a.mp4", soft_frames(3, 47, 64), pix_fmt="yuv444p")
    assert kinds_of(tmp_path / "a.mp4") == ("odd-sized",)


def test_oblong_pixels_are_nothing_to_report(tmp_path):
    write_odd_video(tmp_path / "a.mp4", soft_frames(3), aspect=Fraction(4, 3))
    assert kinds_of(tmp_path / "a.mp4") == ()


def test_what_nothing_can_be_trained_on():
    assert UNUSABLE_KINDS == (
        "missing",
        "unreadable",
        "audio-only",
        "zero-frame",
        "one-frame",
        "timeout",
        "crash",
    )
    assert {"truncated", "damaged"} < set(KINDS) - set(UNUSABLE_KINDS)
