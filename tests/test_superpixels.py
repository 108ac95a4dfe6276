from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage
from skimage import segmentation
from sklearn.metrics import adjusted_rand_score

from geoseg.config import Superpixels
from geoseg.grid import TileGrid, Window
from geoseg.segment.superpixels import (
    BLOCK,
    BLOCK_MARGIN,
    NONE,
    BlockSuperpixels,
    Sizes,
    assemble,
    block_of,
    block_superpixels,
    contrast,
    felzenszwalb,
    fitted,
    superpixels,
)
from tests.reference import superpixels as reference

seeds = st.integers(0, 2**32 - 1)
shapes = st.tuples(st.integers(1, 12), st.integers(1, 12))


def rough(seed: int, shape: tuple[int, int], n_bands: int = 3, *, grey_levels: int = 6) -> NDArray[np.float32]:
    """Draw a picture of few values, so that many edges tie."""
    values = np.random.default_rng(seed).integers(0, grey_levels, (n_bands, *shape))
    return (values / (grey_levels * 3)).astype(np.float32)


def smooth(seed: int, shape: tuple[int, int], n_bands: int = 3, *, grain: float = 2.0) -> NDArray[np.float32]:
    """Draw soft blobs between 0 and 1."""
    noise = np.random.default_rng(seed).random((n_bands, *shape))
    blobs = ndimage.gaussian_filter(noise, (0, grain, grain))
    return np.asarray((blobs - blobs.min()) / np.ptp(blobs), np.float32)


def holed(seed: int, shape: tuple[int, int], share: float) -> NDArray[np.bool_]:
    return np.random.default_rng(seed + 1).random(shape) >= share


def by_first_pixel(labels: NDArray[np.integer]) -> NDArray[np.int64]:
    """Number superpixels by their first pixels in reading order."""
    inside = labels >= 0
    _, first, inverse = np.unique(labels[inside], return_index=True, return_inverse=True)
    numbered = np.full(labels.shape, NONE, np.int64)
    numbered[inside] = np.argsort(np.argsort(first))[inverse]
    return numbered


def in_pieces(labels: NDArray[np.integer]) -> list[int]:
    """Return the superpixels that are not connected through pixel sides."""
    return [n for n in np.unique(labels[labels >= 0]).tolist() if ndimage.label(labels == n)[1] > 1]


def patchwork() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Draw twelve fields of four colours with noise on them."""
    fields = np.kron(np.arange(12).reshape(3, 4), np.ones((20, 20), np.int64))
    colours = np.array([[0.1, 0.1, 0.4], [0.1, 0.5, 0.1], [0.7, 0.6, 0.3], [0.9, 0.9, 0.9]])
    which = np.array([0, 1, 2, 3, 2, 3, 0, 1, 1, 0, 3, 2])
    noise = np.random.default_rng(5).normal(0, 0.01, (60, 80, 3))
    return np.moveaxis(colours[which[fields]] + noise, -1, 0).astype(np.float32), fields


FLAT = Sizes(sigma=0.0)
SLIC = Sizes(method="slic", n_segments=4000)


class TestFelzenszwalb:
    @settings(max_examples=60, deadline=None)
    @given(seeds, shapes, st.integers(1, 4), st.sampled_from([0.0, 0.2, 0.5]), st.integers(1, 9), st.floats(0, 400))
    def test_is_the_algorithm_of_the_article_with_sets_of_pixels(
        self, seed: int, shape: tuple[int, int], n_bands: int, no_data: float, min_size: int, scale: float
    ) -> None:
        bands, valid = rough(seed, shape, n_bands), holed(seed, shape, no_data)

        labels = felzenszwalb(bands, valid, Sizes(sigma=0.0, scale=scale, min_size=min_size))

        expected = reference.felzenszwalb(bands, valid, k=scale / 255, min_size=min_size)
        np.testing.assert_array_equal(by_first_pixel(labels), expected)

    @settings(max_examples=15, deadline=None)
    @given(seeds, st.floats(5, 200))
    def test_is_the_algorithm_of_the_article_where_values_are_not_round(self, seed: int, scale: float) -> None:
        bands, valid = smooth(seed, (14, 13)), holed(seed, (14, 13), 0.1)

        labels = felzenszwalb(bands, valid, Sizes(sigma=0.0, scale=scale, min_size=6))

        expected = reference.felzenszwalb(bands, valid, k=scale / 255, min_size=6)
        np.testing.assert_array_equal(by_first_pixel(labels), expected)

    def test_finds_the_fields_that_scikit_image_finds(self) -> None:
        bands, fields = patchwork()

        labels = superpixels(bands, np.ones(fields.shape, bool), Sizes())

        theirs = segmentation.felzenszwalb(
            np.moveaxis(bands, 0, -1).astype(float), scale=32, sigma=0.5, min_size=32, channel_axis=-1
        )
        assert adjusted_rand_score(fields.ravel(), labels.ravel()) > 0.95
        assert adjusted_rand_score(theirs.ravel(), labels.ravel()) > 0.95

    @settings(max_examples=15, deadline=None)
    @given(seeds, st.sampled_from([0.0, 0.3]), st.integers(1, 40))
    def test_none_is_below_the_least_size_but_islands_in_no_data(
        self, seed: int, no_data: float, min_size: int
    ) -> None:
        valid = holed(seed, (32, 40), no_data)

        labels = superpixels(smooth(seed, (32, 40)), valid, Sizes(min_size=min_size))

        islands, _ = ndimage.label(valid)
        pixels = np.bincount(labels[valid])
        of_island = np.bincount(islands[valid])[ndimage.maximum(islands, labels, np.arange(len(pixels)))]
        assert (pixels >= np.minimum(min_size, of_island)).all()

    def test_a_larger_scale_leaves_fewer(self) -> None:
        bands, valid = smooth(3, (64, 64)), np.ones((64, 64), bool)

        counts = [int(superpixels(bands, valid, Sizes(scale=scale, min_size=1)).max()) for scale in (8, 32, 128)]

        assert counts[0] > counts[1] > counts[2] > 0

    @settings(max_examples=10, deadline=None)
    @given(seeds)
    def test_what_no_data_holds_does_not_bleed_into_its_neighbours(self, seed: int) -> None:
        bands, valid = smooth(seed, (24, 24)), holed(seed, (24, 24), 0.2)
        other = np.where(valid, bands, np.float32(99))

        options = Sizes(sigma=1.5, min_size=4)
        np.testing.assert_array_equal(superpixels(bands, valid, options), superpixels(other, valid, options))

    def test_flat_ground_with_a_hole_is_one_superpixel(self) -> None:
        bands, valid = np.full((3, 40, 40), 0.37, np.float32), np.ones((40, 40), bool)
        valid[10:20, 15:30] = False

        labels = superpixels(bands, valid, Sizes(sigma=1.0))

        np.testing.assert_array_equal(labels, np.where(valid, 0, NONE))


class TestSlic:
    def test_makes_about_as_many_as_asked_per_512_by_512_pixels(self) -> None:
        labels = superpixels(smooth(1, (128, 128)), np.ones((128, 128), bool), SLIC)

        assert 0.75 * 250 <= labels.max() + 1 <= 1.25 * 250

    def test_is_compact_where_nearness_counts_much(self) -> None:
        labels = superpixels(smooth(1, (128, 128)), np.ones((128, 128), bool), SLIC)

        heights, widths = np.array([[part.stop - part.start for part in box] for box in boxes(labels)]).T
        assert np.median(heights * widths / np.bincount(labels.ravel())) < 2.0
        assert max(heights.max(), widths.max()) < 4 * np.sqrt(512 * 512 / SLIC.n_segments)

    def test_follows_edges_where_likeness_counts_much(self) -> None:
        bands, fields = patchwork()

        labels = superpixels(bands, np.ones(fields.shape, bool), Sizes(method="slic", n_segments=4000, compactness=5.0))

        within = np.zeros((labels.max() + 1, 12))
        np.add.at(within, (labels.ravel(), fields.ravel()), 1)
        assert within.max(axis=1).sum() > 0.99 * fields.size

    def test_is_connected_between_islands_in_no_data(self) -> None:
        valid = holed(0, (64, 64), 0.4)

        assert in_pieces(quietly(smooth(0, (64, 64)), valid)) == []

    def test_is_no_smaller_where_half_of_the_picture_is_no_data(self) -> None:
        bands, valid = smooth(1, (128, 128)), np.ones((128, 128), bool)
        half = valid.copy()
        half[:, 64:] = False

        whole, cut = quietly(bands, valid), quietly(bands, half)

        assert 0.35 < (cut.max() + 1) / (whole.max() + 1) < 0.7

    def test_says_nothing_of_small_islands(self) -> None:
        valid = np.zeros((64, 64), bool)
        valid[:30, :30] = valid[40:42, 40:42] = valid[50:52, 50:52] = valid[60:62, 10:12] = True

        superpixels(smooth(0, (64, 64)), valid, SLIC)  # a warning is an error in tests


def boxes(labels: NDArray[np.int32]) -> list[tuple[slice, slice]]:
    return list(ndimage.find_objects(labels + 1))


def quietly(bands: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.int32]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return superpixels(bands, valid, SLIC)


class TestBoth:
    @pytest.mark.parametrize("options", [Sizes(), FLAT, SLIC])
    @pytest.mark.parametrize("no_data", [0.0, 0.05])
    def test_number_all_data_from_0_without_a_gap_and_nothing_else(self, options: Sizes, no_data: float) -> None:
        valid = holed(2, (64, 70), no_data)

        labels = superpixels(smooth(2, (64, 70)), valid, options)

        assert labels.dtype == np.int32
        np.testing.assert_array_equal(labels == NONE, ~valid)
        np.testing.assert_array_equal(np.unique(labels[valid]), np.arange(labels.max() + 1))

    @pytest.mark.parametrize("options", [Sizes(), Sizes(min_size=1, scale=4.0), SLIC])
    def test_are_connected_through_pixel_sides(self, options: Sizes) -> None:
        labels = superpixels(smooth(4, (64, 64)), np.ones((64, 64), bool), options)

        assert labels.max() > 0
        assert in_pieces(labels) == []

    def test_felzenszwalb_is_connected_between_islands_in_no_data(self) -> None:
        labels = superpixels(smooth(0, (64, 64)), holed(0, (64, 64), 0.4), Sizes())

        assert in_pieces(labels) == []

    @pytest.mark.parametrize("options", [Sizes(), SLIC])
    def test_are_the_same_every_time(self, options: Sizes) -> None:
        bands, valid = smooth(6, (64, 64)), holed(6, (64, 64), 0.02)

        np.testing.assert_array_equal(superpixels(bands, valid, options), superpixels(bands, valid, options))

    @pytest.mark.parametrize("options", [Sizes(), SLIC])
    def test_nothing_but_no_data_has_none(self, options: Sizes) -> None:
        labels = superpixels(np.zeros((3, 20, 20), np.float32), np.zeros((20, 20), bool), options)

        assert (labels == NONE).all()

    @pytest.mark.parametrize("options", [Sizes(), SLIC])
    def test_a_single_pixel_with_data_is_one(self, options: Sizes) -> None:
        valid = np.zeros((20, 20), bool)
        valid[7, 9] = True

        np.testing.assert_array_equal(superpixels(smooth(0, (20, 20)), valid, options), np.where(valid, 0, NONE))


GRID = TileGrid((70, 90), 32, 8)  # of blocks; 2 × 3 of them


@st.composite
def windows(draw: st.DrawFn) -> Window:
    rows, cols = GRID.shape
    top, left = draw(st.integers(0, rows - 1)), draw(st.integers(0, cols - 1))
    return Window(left, top, draw(st.integers(1, cols - left)), draw(st.integers(1, rows - top)))


SMALL = Sizes(sigma=0.0, min_size=4)


def made_of(
    bands: NDArray[np.float32], valid: NDArray[np.bool_], options: Sizes = SMALL, grid: TileGrid = GRID
) -> list[BlockSuperpixels]:
    """Make the superpixels of each block from a picture of the scene."""
    made = []
    for block in grid:
        here = block.read.within(Window(0, 0, grid.shape[1], grid.shape[0]))
        origin = (block.read.row_off, block.read.col_off)
        made.append(block_superpixels(superpixels(bands[:, *here], valid[here], options, origin), block))
    return made


def at_odds(seed: int, valid: NDArray[np.bool_]) -> list[BlockSuperpixels]:
    """Draw superpixels for each block with no regard to those of its neighbours."""
    draw = np.random.default_rng(seed)
    made = []
    for block in GRID:
        rows, cols = block.read.shape
        coarse = draw.integers(0, 30, (rows // 5 + 1, cols // 5 + 1))
        drawn = np.kron(coarse, np.ones((5, 5), np.int64))[:rows, :cols]
        drawn[~valid[block.read.within(Window(0, 0, GRID.shape[1], GRID.shape[0]))]] = NONE
        made.append(block_superpixels(by_first_pixel(drawn).astype(np.int32), block))
    return made


def seen_by(window: Window, made: list[BlockSuperpixels]) -> NDArray[np.int64]:
    return assemble(window, (made[number] for number in GRID.reading(window)))


def by_the_rule(made: list[BlockSuperpixels]) -> NDArray[np.int64]:
    """Decide pixel by pixel: the own block at home, the first neighbour at home, the own block all the same."""
    numbers = np.full(GRID.shape, NONE, np.int64)
    for y, x in np.ndindex(GRID.shape):
        pixel = Window(x, y, 1, 1)
        own = GRID.touching(pixel)[0]
        words = {}
        for number in GRID.reading(pixel):
            item, read = made[number], made[number].block.read
            label = item.labels[y - read.row_off, x - read.col_off]
            if label >= 0:
                words[number] = (bool(item.home[label]), int(item.numbers[y - read.row_off, x - read.col_off]))
        at_home = [number for number in sorted(words) if words[number][0]]
        if words:
            numbers[y, x] = words[own if own in at_home or not at_home else at_home[0]][1]
    return numbers


class TestAssemble:
    @settings(max_examples=5, deadline=None)
    @given(seeds, st.sampled_from([0.0, 0.3]))
    def test_who_has_the_middle_of_a_superpixel_keeps_it(self, seed: int, no_data: float) -> None:
        made = at_odds(seed, holed(seed, GRID.shape, no_data))

        np.testing.assert_array_equal(assemble(Window(0, 0, 90, 70), made), by_the_rule(made))

    @settings(max_examples=60, deadline=None)
    @given(seeds, windows(), st.sampled_from([0.0, 0.3]))
    def test_a_pixel_has_one_number_whichever_window_asks(self, seed: int, window: Window, no_data: float) -> None:
        made = at_odds(seed, holed(seed, GRID.shape, no_data))
        whole = Window(0, 0, GRID.shape[1], GRID.shape[0])

        expected = assemble(whole, made)[window.within(whole)]

        np.testing.assert_array_equal(seen_by(window, made), expected)

    @settings(max_examples=30, deadline=None)
    @given(seeds, windows(), st.sampled_from([0.0, 0.3, 1.0]))
    def test_all_data_has_a_number_and_no_data_has_none(self, seed: int, window: Window, no_data: float) -> None:
        valid = holed(seed, GRID.shape, no_data)

        numbers = seen_by(window, at_odds(seed, valid))

        np.testing.assert_array_equal(numbers >= 0, valid[window.within(Window(0, 0, GRID.shape[1], GRID.shape[0]))])

    @settings(max_examples=10, deadline=None)
    @given(seeds, windows())
    def test_the_superpixels_of_a_picture_do_not_depend_on_the_window(self, seed: int, window: Window) -> None:
        made = made_of(smooth(seed, GRID.shape), holed(seed, GRID.shape, 0.05))
        whole = Window(0, 0, GRID.shape[1], GRID.shape[0])

        np.testing.assert_array_equal(seen_by(window, made), assemble(whole, made)[window.within(whole)])

    @pytest.mark.parametrize("middle", [(16, 29), (16, 34), (29, 16), (30, 30), (34, 34), (35, 66)])
    def test_a_superpixel_across_a_block_line_is_not_cut(self, middle: tuple[int, int]) -> None:
        rows, cols = np.indices(GRID.shape)
        pond = (rows - middle[0]) ** 2 + (cols - middle[1]) ** 2 <= 5**2
        bands = np.where(pond, 0.9, 0.1)[None].astype(np.float32)

        numbers = assemble(Window(0, 0, 90, 70), made_of(bands, np.ones(GRID.shape, bool)))

        own = np.unique(numbers[pond])
        assert len(own) == 1
        assert not (numbers[~pond] == own[0]).any()
        assert GRID.touching(Window(middle[1], middle[0], 1, 1)) == [block_of(own)[0]]

    def test_one_block_gives_back_its_own_superpixels(self) -> None:
        block = TileGrid((20, 30), 512, 48).tile(0)
        labels = superpixels(smooth(0, (20, 30)), np.ones((20, 30), bool), Sizes(min_size=4))

        numbers = assemble(Window(0, 0, 30, 20), [block_superpixels(labels, block)])

        np.testing.assert_array_equal(numbers, labels)

    def test_no_two_blocks_share_a_number(self) -> None:
        valid = np.ones(GRID.shape, bool)

        numbers = [np.unique(item.numbers[item.numbers >= 0]) for item in at_odds(0, valid)]

        assert len(np.unique(np.concatenate(numbers))) == sum(map(len, numbers))
        for item, own in zip(at_odds(0, valid), numbers, strict=True):
            assert (block_of(own) == item.block.number).all()

    @pytest.mark.parametrize(
        "options",
        [
            Sizes(),
            Sizes(method="slic"),
        ],
        ids=["felzenszwalb", "slic"],
    )
    def test_superpixels_do_not_gather_at_a_block_line(self, options: Sizes) -> None:
        strip = TileGrid((60, 1100), BLOCK, BLOCK_MARGIN)
        bands, valid = smooth(0, strip.shape), np.ones(strip.shape, bool)

        numbers = assemble(Window(0, 0, 1100, 60), made_of(bands, valid, options, strip))

        ends = (numbers[:, 1:] != numbers[:, :-1]).mean(axis=0)
        assert ends[BLOCK - 5 : BLOCK + 5].mean() < 1.4 * ends.mean()


class TestFitted:
    def test_half_a_metre_of_usual_contrast_has_the_usual_parameters(self) -> None:
        assert fitted(Superpixels(), resolution=0.5, contrast=0.045) == Sizes()

    def test_what_is_unknown_is_taken_for_usual(self) -> None:
        assert fitted(Superpixels(), resolution=0.0, contrast=0.0) == Sizes()

    def test_what_is_given_stays(self) -> None:
        asked = Superpixels("slic", scale=7.0, sigma=0.0, min_size=5, n_segments=300, compactness=2.0)

        assert vars(fitted(asked, resolution=0.05, contrast=0.2)) == vars(asked)

    def test_pixels_that_show_less_ground_make_superpixels_of_more_of_them(self) -> None:
        made = [fitted(Superpixels(), resolution=metres, contrast=0.045) for metres in (30, 10, 2, 0.5, 0.1, 0.05)]

        assert np.all(np.diff([one.min_size for one in made]) > 0)
        assert np.all(np.diff([one.n_segments for one in made]) <= 0)
        assert np.all(np.diff([one.sigma for one in made]) >= 0)
        assert made[0].sigma == 0.0

    def test_lively_ground_is_joined_over_stronger_edges(self) -> None:
        faint, usual, lively = (fitted(Superpixels(), resolution=0.5, contrast=step) for step in (0.015, 0.045, 0.1))

        assert faint.scale < usual.scale < lively.scale
        assert faint.compactness < usual.compactness < lively.compactness

    @given(st.floats(1e-4, 1e5), st.floats(1e-9, 10))
    def test_parameters_stay_within_reason_whatever_the_scene(self, resolution: float, step: float) -> None:
        made = fitted(Superpixels(), resolution=resolution, contrast=step)

        assert 16 <= made.scale <= 64
        assert 0 <= made.sigma <= 1
        assert 6 <= made.min_size <= 128

    def test_contrast_is_the_mean_step_between_pixels_with_data(self) -> None:
        bands = np.zeros((2, 2, 3), np.float32)
        bands[:, :, 1] = 0.2
        bands[:, :, 2] = 9.0
        valid = np.array([[True, True, False], [True, True, False]])

        assert contrast(bands, valid) == pytest.approx(0.1)  # two steps of 0.2 to the right, two of 0 down

    def test_without_neighbours_there_is_no_contrast(self) -> None:
        assert contrast(np.ones((1, 3, 3), np.float32), np.eye(3, dtype=bool)) == 0.0
