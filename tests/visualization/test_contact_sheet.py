import numpy as np
import pytest

from amflow_mm.visualization import SheetRow, contact_sheet
from amflow_mm.visualization.contact_sheet import MARGIN

COLOURS = np.array([(250, 0, 0), (0, 250, 0), (0, 0, 250)], np.uint8)


def tiles(height=30, width=40, colours=COLOURS):
    return [np.full((height, width, 3), colour, np.uint8) for colour in colours]


def place(sheet, colour):
    """First and last row and column of a plain colour."""
    found = np.argwhere((sheet == colour).all(axis=-1))
    return found.min(axis=0), found.max(axis=0)


def test_images_stand_side_by_side_in_their_order_and_shape():
    sheet = contact_sheet([SheetRow("frames", tiles())], tile_width=80)
    assert sheet.dtype == np.uint8
    assert sheet.shape[1] == 3 * 80 + 4 * MARGIN
    for column, colour in enumerate(COLOURS):
        first, last = place(sheet, colour)
        assert first[1] == MARGIN + column * (80 + MARGIN)
        assert (last - first + 1).tolist() == [60, 80]  # enlarged in proportion


def test_rows_stand_below_each_other_in_their_order():
    above, below = tiles(colours=COLOURS[:1]), tiles(colours=COLOURS[1:2])
    sheet = contact_sheet([SheetRow("frames", above), SheetRow("flow", below)])
    assert place(sheet, COLOURS[0])[1][0] < place(sheet, COLOURS[1])[0][0]


def test_labels_captions_and_title_leave_ink_outside_the_images():
    def ink(**texts):
        row = SheetRow(texts.get("label", ""), tiles(), texts.get("captions", ("",) * 3))
        return contact_sheet([row], title=texts.get("title", " ")).astype(int)

    plain = ink()
    assert not (plain == 235).all(axis=-1).any()
    label = np.argwhere(ink(label="frames") != plain)
    caption = np.argwhere(ink(captions=("", "t = 1 s", "")) != plain)
    title = np.argwhere(ink(title="clip.mp4") != plain)
    top, bottom = place(plain, COLOURS[0])
    assert title[:, 0].max() < label[:, 0].min() < label[:, 0].max() < top[0]
    assert caption[:, 0].min() > bottom[0]
    middle = place(plain, COLOURS[1])
    assert middle[0][1] <= caption[:, 1].min()
    assert caption[:, 1].max() <= middle[1][1]


def test_images_of_different_heights_hang_from_one_line():
    images = [*tiles(20, 40, COLOURS[:1]), *tiles(40, 40, COLOURS[1:2])]
    sheet = contact_sheet([SheetRow("frames", images)], tile_width=40)
    assert place(sheet, COLOURS[0])[0][0] == place(sheet, COLOURS[1])[0][0]


def test_narrow_footer_keeps_its_size_and_is_centred():
    footer = np.full((10, 60, 3), (9, 99, 199), np.uint8)
    sheet = contact_sheet([SheetRow("frames", tiles())], footer=footer, tile_width=40)
    first, last = place(sheet, (9, 99, 199))
    assert (last - first + 1).tolist() == [10, 60]
    assert abs((first[1] + last[1]) / 2 - (sheet.shape[1] - 1) / 2) <= 0.5
    assert first[0] > place(sheet, COLOURS[0])[1][0]


def test_wide_footer_is_reduced_to_the_sheet():
    footer = np.full((20, 1000, 3), (9, 99, 199), np.uint8)
    sheet = contact_sheet([SheetRow("frames", tiles())], footer=footer, tile_width=40)
    first, last = place(sheet, (9, 99, 199))
    assert last[1] - first[1] + 1 == sheet.shape[1] - 2 * MARGIN


@pytest.mark.parametrize("rows", [[], [SheetRow("frames", [])]])
def test_nothing_to_lay_out_raises(rows):
    with pytest.raises(ValueError, match="at least one image"):
        contact_sheet(rows)


def test_rows_of_different_lengths_raise():
    rows = [SheetRow("frames", tiles()), SheetRow("flow", tiles()[:2])]
    with pytest.raises(ValueError, match="'flow' has 2 images, the first row 3"):
        contact_sheet(rows)


def test_wrong_number_of_captions_raises():
    with pytest.raises(ValueError, match="1 captions for 3 images"):
        contact_sheet([SheetRow("frames", tiles(), ["a"])])
