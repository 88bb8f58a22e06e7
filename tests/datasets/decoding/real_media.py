"""What becomes of each of a collection of odd files, in each backend."""

from pathlib import Path

FOLDER = Path(__file__).parents[4] / "shared" / "data" / "media"

NUM_FRAMES = {
    "decord__flipping_a_pancake.mkv": 310,
    "decord__unordered.mov": 4,
    "decord__video_90.mov": 3,
    "made__five_frames.mp4": 5,
    "made__one_frame.mp4": 1,
    "made__truncated_faststart.mp4": 143,
    "made__vfr.mp4": 145,
    "mmaction2__demo.mp4": 280,
    "mmaction2__test.avi": 164,
    "mmaction2__test.mp4": 300,
    "sam2__01_dog.mp4": 289,
    "torchcodec__animated.gif": 4,
    "torchcodec__av1_video.mkv": 125,
    "torchcodec__h264_10bits.mp4": 30,
    "torchcodec__h265_video.mp4": 10,
    "torchcodec__test_non_zero_start.mp4": 12,
    "torchcodec__testsrc2_odd_height_and_width_444.mp4": 25,
    "torchcodec__testsrc2_vp9.webm": 30,
    "torchvision__RATRACE_wave_f_nm_np1_fr_goo_37.avi": 72,
    "torchvision__hmdb51_Turnk_r_Pippi_Michel_cartwheel_f_cm_np2_le_med_6.avi": 83,
    "torchvision__v_SoccerJuggling_g23_c01.avi": 240,
    "torchvision__v_SoccerJuggling_g24_c01.avi": 251,
}
"""Frames of the files that can be read, counted by decoding them in a row."""

REFUSED = {
    "made__text_named.mp4": "corrupt",
    "made__truncated_moov_at_end.mp4": "truncated",
    "made__zero_length.mp4": "empty",
    "mmaction2__test.wav": "no_video_stream",
}
"""Reasons why the others cannot be opened, whatever the backend."""

DAMAGED = {"decord__corrupted.mp4": 29}
"""Files with a damaged packet, and the first frame that suffers from it."""

REFUSED_BY = {
    "decord": {
        "made__truncated_faststart.mp4": "corrupt",
        "torchcodec__animated.gif": "corrupt",
        "torchcodec__av1_video.mkv": "corrupt",
    },
    "opencv": {"made__truncated_faststart.mp4": "corrupt"},
    "torchcodec": {
        "made__truncated_faststart.mp4": "corrupt",
        "mmaction2__test.avi": "no_decoder",
        "torchvision__RATRACE_wave_f_nm_np1_fr_goo_37.avi": "no_decoder",
        "torchvision__hmdb51_Turnk_r_Pippi_Michel_cartwheel_f_cm_np2_le_med_6.avi": "no_decoder",
    },
}
"""Reasons why single backends do not read a file that others read."""

MAX_DIFFERENCE = 4.0
"""Grey levels by which frames may differ on average: 10 bits become 8 with or without dither."""
