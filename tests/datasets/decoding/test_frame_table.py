from amflow_mm.datasets.decoding.frame_table import (
    FrameTable,
    PacketFacts,
    Run,
    has_usable_times,
)

# Two groups of pictures, the second one open: its B-frames are shown before its key frame.
ORDER = [(0, "I"), (3, "P"), (1, "B"), (2, "B"), (6, "I"), (4, "B"), (5, "B"), (7, "P")]


def packets(order=ORDER, hidden=()):
    return [PacketFacts(t, at, kind == "I", at not in hidden) for at, (t, kind) in enumerate(order)]


def test_frames_are_numbered_as_they_are_shown():
    table = FrameTable.build(packets())
    assert table.positions == [0, 2, 3, 1, 5, 6, 4, 7]
    assert table.times == list(range(8))
    assert table.gop_size == 4


def test_frames_before_an_open_key_frame_start_from_the_one_before():
    assert FrameTable.build(packets()).starts == [0, 0, 0, 0, 0, 0, 4, 4]


def test_frames_that_never_come_out_are_left_out():
    cut = FrameTable.build(packets()[2:])
    assert cut.times == [6, 7]
    assert FrameTable.build(packets(hidden={2, 7})).times == [0, 2, 3, 4, 5, 6]


def test_runs_start_at_key_frames_where_that_saves_work():
    table = FrameTable.build(packets())
    assert table.runs([1]) == [Run(0, 2)]
    assert table.runs([7]) == [Run(4, 7)]
    assert table.runs([0, 7]) == [Run(0, 0), Run(4, 7)]
    assert table.runs([3, 6]) == [Run(0, 1), Run(4, 4)]
    assert table.runs([5, 7]) == [Run(0, 7)]


def test_streams_without_any_key_frame_start_at_the_first():
    table = FrameTable.build(packets([(0, "P"), (1, "P"), (2, "P")]))
    assert table.starts == [0, 0, 0]
    assert table.gop_size == 3


def test_times_that_cannot_be_used():
    assert has_usable_times(packets())
    assert not has_usable_times(packets([(0, "I"), (0, "P")]))
    assert not has_usable_times(packets([(None, "I"), (0, "P")]))
