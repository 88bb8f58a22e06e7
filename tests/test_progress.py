"""Progress: what is shown on a terminal and in a log."""

import io

import pytest

from amflow_mm.progress import ProgressBar, format_duration, track


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (61, "1:01"), (3661, "1:01:01")]
)
def test_format_duration(seconds, text):
    assert format_duration(seconds) == text


def test_log_gets_a_line_for_each_tenth():
    stream, clock = io.StringIO(), Clock()
    bar = ProgressBar(23, "encoding", stream=stream, clock=clock)
    for _ in range(23):
        clock.now += 2
        bar.advance()
    bar.close()
    lines = stream.getvalue().splitlines()
    assert len(lines) == 10
    assert lines[4] == "encoding: 12/23, 0:22 left"
    assert lines[-1] == "encoding: 23/23, done in 0:46"


def test_short_step_writes_no_more_lines_than_items():
    stream = io.StringIO()
    bar = ProgressBar(3, "testing", stream=stream, clock=Clock())
    for _ in range(3):
        bar.advance()
    assert len(stream.getvalue().splitlines()) == 3


def test_terminal_redraws_one_line_and_not_at_every_item():
    stream, clock = Terminal(), Clock()
    bar = ProgressBar(100, "encoding", stream=stream, clock=clock)
    for _ in range(50):
        clock.now += 0.0625
        bar.advance()
    assert "\n" not in stream.getvalue()
    drawn = stream.getvalue().split("\r")[1:]
    assert len(drawn) == 25
    assert drawn[-1].startswith("[###############...............] encoding: 50/100, 0:03 left")
    bar.close()
    assert stream.getvalue().endswith("\n")


def test_speed_counts_only_what_this_run_has_done():
    stream, clock = io.StringIO(), Clock()
    bar = ProgressBar(100, "training", start=80, stream=stream, clock=clock)
    clock.now = 10
    bar.advance(10)
    assert stream.getvalue() == "training: 90/100, 0:10 left\n"


@pytest.mark.parametrize(("total", "start"), [(-1, 0), (3, 4), (3, -1)])
def test_impossible_bounds_raise(total, start):
    with pytest.raises(ValueError, match="0 <= start <= total"):
        ProgressBar(total, "x", start=start)


def test_track_yields_everything_and_writes_to_stderr(capsys):
    assert list(track("abc", description="letters")) == ["a", "b", "c"]
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "letters: 3/3, done" in captured.err


def test_track_counts_what_is_done_when_broken_off(capsys):
    for item in track(range(10), description="steps"):
        if item == 4:
            break
    assert "4/10" in capsys.readouterr().err


def test_track_needs_a_length():
    with pytest.raises(ValueError, match="give total"):
        list(track(iter("abc"), description="letters"))
    assert list(track(iter("abc"), total=3, description="letters")) == ["a", "b", "c"]
