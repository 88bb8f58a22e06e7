import numpy as np
import pytest

from amflow_mm.visualization import FlowScale, clip_scale, colour_bar, overlay_flow

GRID = (5, 7)
T, HEIGHT, WIDTH = 3, 50, 70


@pytest.fixture
def frames():
    return np.random.default_rng(0).integers(0, 256, (T, HEIGHT, WIDTH, 3)).astype(np.uint8)


@pytest.fixture
def flow():
    """Still, but for one patch a frame: row 1, columns 2, 3, 4."""
    flow = np.full((T, *GRID), 0.9)
    for t in range(T):
        flow[t, 1, 2 + t] = 5.0
    return flow.reshape(T, -1)


def patch_means(image):
    """Mean of each patch of 10 by 10 pixels."""
    return image.reshape(5, 10, 7, 10, 3).mean(axis=(1, 3, 4))


@pytest.mark.parametrize("interpolation", ["smooth", "patches"])
def test_the_strongest_patch_is_the_most_altered_place(frames, flow, interpolation):
    drawn = overlay_flow(frames, flow, GRID, interpolation=interpolation)
    assert drawn.shape == frames.shape
    assert drawn.dtype == np.uint8
    still = overlay_flow(frames, np.ones_like(flow), GRID)
    for t in range(T):
        change = patch_means(np.abs(drawn[t].astype(float) - still[t]))
        assert np.unravel_index(change.argmax(), GRID) == (1, 2 + t)
        assert change[4, 6] == 0  # far away nothing happens


def test_on_black_frames_brightness_grows_with_flow(flow):
    flow = np.linspace(0.5, 6.0, 35)[None]
    scale = FlowScale(low=1.0, high=7.0)
    black = np.zeros((1, HEIGHT, WIDTH, 3), np.uint8)
    drawn = overlay_flow(black, flow, GRID, scale=scale, interpolation="patches")
    brightness = patch_means(drawn[0]).ravel()
    moving = flow[0] > 1.0
    assert (brightness[~moving] == 0).all()
    assert (np.diff(brightness[moving]) > 0).all()


def test_uniform_flow_dims_all_pixels_alike(frames):
    ones = np.ones((T, 35))
    np.testing.assert_array_equal(overlay_flow(frames, ones, GRID, dim=1.0), frames)
    np.testing.assert_array_equal(
        overlay_flow(frames, ones, GRID, dim=0.5), np.rint(frames * 0.5).astype(np.uint8)
    )


def test_rounding_noise_of_a_still_clip_is_not_drawn(frames):
    noise = 1 + np.random.default_rng(1).normal(0, 1e-4, (T, 35))
    drawn = overlay_flow(frames, noise, GRID, dim=1.0)
    assert np.abs(drawn.astype(int) - frames).max() <= 1


def test_patches_are_flat_and_smooth_is_not(flow):
    black = np.zeros((T, HEIGHT, WIDTH, 3), np.uint8)
    flat = overlay_flow(black, flow, GRID, interpolation="patches")[0, 10:20, 20:30]
    assert (flat == flat[0, 0]).all()
    assert flat.any()
    smooth = overlay_flow(black, flow, GRID, interpolation="smooth")[0, 10:20, 20:30]
    assert (smooth != smooth[0, 0]).any()


def test_rows_of_patches_are_rows_of_the_picture(frames):
    flow = np.ones((1, 35))
    flow[0, 6] = 9.0  # last column of the first row
    drawn = overlay_flow(frames[:1], flow, GRID, dim=1.0, interpolation="patches")[0]
    changed = np.argwhere((drawn != frames[0]).any(axis=-1))
    assert changed.min(axis=0).tolist() == [0, 60]
    assert changed.max(axis=0).tolist() == [9, 69]


def test_a_given_scale_makes_pieces_equal_the_whole(frames, flow):
    flow = flow * np.array([[1.0], [2.0], [3.0]])
    scale = clip_scale(flow)
    whole = overlay_flow(frames, flow, GRID)
    pieces = [overlay_flow(frames[t : t + 1], flow[t : t + 1], GRID, scale=scale) for t in range(T)]
    np.testing.assert_array_equal(np.concatenate(pieces), whole)
    alone = overlay_flow(frames[:1], flow[:1], GRID)
    assert (alone[0] != whole[0]).any()  # a scale of its own would flatter a still frame


def test_no_frames_give_no_frames(frames):
    assert overlay_flow(frames[:0], np.ones((0, 35)), GRID, scale=FlowScale(1.0, 2.0)).shape[0] == 0


def test_max_alpha_zero_draws_nothing(frames, flow):
    drawn = overlay_flow(frames, flow, GRID, max_alpha=0.0, dim=1.0)
    np.testing.assert_array_equal(drawn, frames)


def test_input_frames_are_left_alone(frames, flow):
    before = frames.copy()
    overlay_flow(frames, flow, GRID)
    np.testing.assert_array_equal(frames, before)


class TestScale:
    def test_spans_from_the_mean_to_a_high_percentile(self):
        flow = np.ones((10, 100))
        flow[:, :10] = 4.0
        assert clip_scale(flow) == FlowScale(low=1.0, high=4.0)

    def test_one_outlier_does_not_darken_the_rest(self):
        flow = np.ones((10, 100))
        flow[:, :10] = 4.0
        flow[3, 3] = 1000.0
        assert clip_scale(flow).high == pytest.approx(4.0)

    def test_still_clip_keeps_a_least_span(self):
        assert clip_scale(np.ones((2, 35)), min_span=0.25) == FlowScale(low=1.0, high=1.25)

    def test_strength_is_clipped_to_the_unit_interval(self):
        strength = FlowScale(low=1.0, high=3.0).strength(np.array([0.0, 1.0, 2.0, 3.0, 9.0]))
        np.testing.assert_allclose(strength, [0, 0, 0.5, 1, 1])

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_flow_that_is_not_finite_raises(self, bad):
        flow = np.ones((2, 35))
        flow[1, 3] = bad
        with pytest.raises(ValueError, match="NaN or infinity"):
            clip_scale(flow)

    def test_empty_span_raises(self):
        with pytest.raises(ValueError, match=r"low=2\.0 must be < high=2\.0"):
            FlowScale(low=2.0, high=2.0)


class TestColourBar:
    @pytest.mark.parametrize("width", [112, 320, 1281])
    def test_has_the_width_asked_for_and_a_ramp_from_dark_to_bright(self, width):
        bar = colour_bar(FlowScale(low=1.0, high=5.0), width)
        assert bar.shape[1] == width
        assert bar.dtype == np.uint8
        coloured = (np.ptp(bar, axis=-1) > 30).any(axis=1)  # text is grey
        ramp = bar[coloured].astype(float) @ [0.299, 0.587, 0.114]
        assert (np.diff(ramp) > -1.5).all()
        assert (ramp[:, 0] < 5).all()
        assert (ramp[:, -1] > 200).all()

    def test_shows_the_numbers_of_the_scale(self, monkeypatch):
        import amflow_mm.visualization.flow_overlay as module

        texts = []
        text_strip = module.text_strip
        monkeypatch.setattr(
            module, "text_strip", lambda text, **how: texts.append(text) or text_strip(text, **how)
        )
        colour_bar(FlowScale(low=1.0, high=5.25), 300, label="flow")
        assert sorted(texts) == ["3.1", "flow", "≤ 1.0", "≥ 5.2"]

    def test_small_spans_get_more_digits(self):
        a = colour_bar(FlowScale(low=1.0, high=1.125), 300)
        b = colour_bar(FlowScale(low=1.0, high=1.129), 300)
        assert (a != b).any()


class TestErrors:
    def test_grid_that_does_not_fit(self, frames, flow):
        with pytest.raises(ValueError, match=r"35 patches, grid=\(5, 6\) has 30"):
            overlay_flow(frames, flow, (5, 6))

    @pytest.mark.usefixtures("own_checks_only")
    def test_number_of_frames_that_does_not_fit(self, frames, flow):
        with pytest.raises(ValueError, match="flow has T=2, frames have T=3"):
            overlay_flow(frames, flow[:2], GRID)

    @pytest.mark.parametrize("name", ["max_alpha", "dim"])
    @pytest.mark.parametrize("value", [-0.1, 1.5])
    def test_fractions_out_of_range(self, frames, flow, name, value):
        with pytest.raises(ValueError, match=f"{name}={value} must be in 0-1"):
            overlay_flow(frames, flow, GRID, **{name: value})

    @pytest.mark.usefixtures("own_checks_only")
    def test_unknown_interpolation(self, frames, flow):
        with pytest.raises(ValueError, match=r"'cubic' is unknown; choose one of \['patches', "):
            overlay_flow(frames, flow, GRID, interpolation="cubic")
