from itertools import pairwise

import cv2
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from amflow_mm.visualization import draw_confusion_matrix


@pytest.fixture
def drawn(monkeypatch):
    """Collect the figures that are saved, to look at what is on them."""
    figures = []
    savefig = Figure.savefig

    def keep(figure, path):
        figures.append(figure)
        savefig(figure, path)

    monkeypatch.setattr(Figure, "savefig", keep)
    return figures


def names(count):
    return [f"class {k}" for k in range(count)]


def main_axes(figure) -> Axes:
    return figure.axes[0]


@pytest.mark.parametrize("count", [2, 31, pytest.param(400, marks=pytest.mark.slow)])
def test_writes_a_picture_with_every_class_name_in_readable_type(tmp_path, drawn, count):
    path = tmp_path / "matrix.png"
    draw_confusion_matrix(np.eye(count, dtype=int), names(count), path)
    image = cv2.imread(str(path))
    assert image.shape[0] > 7 * count  # pixels for each line of type
    axes = main_axes(drawn[0])
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert [label.get_text() for label in labels] == names(count)
        assert min(label.get_fontsize() for label in labels) >= 6
    boxes = [label.get_window_extent() for label in axes.get_yticklabels()]
    overlaps = [a.y0 < b.y1 for a, b in pairwise(boxes)]
    assert not any(overlaps)


def test_colours_are_shares_of_the_true_class_and_numbers_are_counts(tmp_path, drawn):
    matrix = np.array([[3, 1, 0], [0, 0, 0], [0, 20, 60]])
    draw_confusion_matrix(matrix, names(3), tmp_path / "m.png", title="validation")
    axes = main_axes(drawn[0])
    shares = axes.images[0].get_array()
    np.testing.assert_allclose(shares[0], [0.75, 0.25, 0])
    np.testing.assert_allclose(shares[2], [0, 0.25, 0.75])
    assert np.ma.getmaskarray(np.ma.masked_invalid(shares))[1].all()  # no samples, no share
    numbers = {(text.get_position()[::-1]): text.get_text() for text in axes.texts}
    assert numbers == {(0, 0): "3", (0, 1): "1", (2, 1): "20", (2, 2): "60"}
    assert axes.get_title() == "validation"
    assert axes.get_ylabel() == "true class"
    assert axes.get_xlabel() == "predicted class"


def test_first_true_class_is_at_the_top_and_first_prediction_at_the_left(tmp_path, drawn):
    draw_confusion_matrix(np.array([[0, 9], [0, 0]]), ["a", "b"], tmp_path / "m.png")
    axes = main_axes(drawn[0])
    number = axes.texts[0].get_window_extent()
    centre = axes.get_window_extent()
    assert number.y0 > (centre.y0 + centre.y1) / 2
    assert number.x0 > (centre.x0 + centre.x1) / 2
    left, right = axes.get_xticklabels()
    assert (left.get_text(), right.get_text()) == ("a", "b")
    assert left.get_window_extent().x0 < right.get_window_extent().x0


def test_many_classes_have_no_numbers_in_cells(tmp_path, drawn):
    draw_confusion_matrix(np.eye(33), names(33), tmp_path / "m.png")
    assert not main_axes(drawn[0]).texts


def test_drawing_leaves_no_figure_open(tmp_path):
    from matplotlib import pyplot

    before = pyplot.get_fignums()
    draw_confusion_matrix(np.eye(2), names(2), tmp_path / "m.png")
    assert pyplot.get_fignums() == before


@pytest.mark.parametrize(
    ("matrix", "count", "message"),
    [
        (np.eye(3), 2, "2 names for 3 classes"),
        (np.eye(1), 1, "fewer than 2 classes"),
        (-np.eye(2), 2, "negative or non-finite"),
        (np.full((2, 2), np.nan), 2, "negative or non-finite"),
    ],
)
def test_unusable_matrix_raises(tmp_path, matrix, count, message):
    with pytest.raises(ValueError, match=message):
        draw_confusion_matrix(matrix, names(count), tmp_path / "m.png")


@pytest.mark.usefixtures("own_checks_only")
def test_matrix_that_is_not_square_raises(tmp_path):
    with pytest.raises(ValueError, match=r"shape \(2, 3\); a confusion matrix is square"):
        draw_confusion_matrix(np.ones((2, 3)), names(2), tmp_path / "m.png")
