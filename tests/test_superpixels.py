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
    SuperpixelParameters,
    assemble,
    block_of,
    block_superpixels,
    contrast,
    fit_parameters,
    superpixels,
)
from tests.reference import superpixels as reference

seeds = st.integers(0, 2**32 - 1)
shapes = st.tuples(st.integers(1, 12), st.integers(1, 12))


def quantised(seed: int, shape: tuple[int, int], n_bands: int = 3, *, grey_levels: int = 6) -> NDArray[np.float32]:
    """Draw an image of few values, so that many edges have equal weights."""
    values = np.random.default_rng(seed).integers(0, grey_levels, (n_bands, *shape))
    return (values / (grey_levels * 3)).astype(np.float32)


def smooth(seed: int, shape: tuple[int, int], n_bands: int = 3, *, grain: float = 2.0) -> NDArray[np.float32]:
    """Draw a smooth random image from 0 to 1."""
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


FLAT = SuperpixelParameters(sigma=0.0)
SLIC = SuperpixelParameters(method="slic", n_segments=4000)


class TestFelzenszwalb:
    @settings(max_examples=60, deadline=None)
    @given(seeds, shapes, st.integers(1, 4), st.sampled_from([0.0, 0.2, 0.5]), st.integers(1, 9), st.floats(0, 400))
    def test_labels_are_those_of_the_published_algorithm_with_sets_of_pixels(
        self, seed: int, shape: tuple[int, int], n_bands: int, nodata: float, min_size: int, scale: float
    ) -> None:
        bands, valid = quantised(seed, shape, n_bands), holed(seed, shape, nodata)

        labels = superpixels(bands, valid, SuperpixelParameters(sigma=0.0, scale=scale, min_size=min_size))

        expected = reference.felzenszwalb(bands, valid, k=scale / 255, min_size=min_size)
        np.testing.assert_array_equal(by_first_pixel(labels), expected)

    @settings(max_examples=15, deadline=None)
    @given(seeds, st.floats(5, 200))
    def test_labels_are_those_of_the_published_algorithm_for_continuous_values(self, seed: int, scale: float) -> None:
        bands, valid = smooth(seed, (14, 13)), holed(seed, (14, 13), 0.1)

        labels = superpixels(bands, valid, SuperpixelParameters(sigma=0.0, scale=scale, min_size=6))

        expected = reference.felzenszwalb(bands, valid, k=scale / 255, min_size=6)
        np.testing.assert_array_equal(by_first_pixel(labels), expected)

    def test_labels_agree_with_scikit_image_on_noisy_fields(self) -> None:
        bands, fields = patchwork()

        labels = superpixels(bands, np.ones(fields.shape, bool), SuperpixelParameters())

        theirs = segmentation.felzenszwalb(
            np.moveaxis(bands, 0, -1).astype(float), scale=32, sigma=0.5, min_size=32, channel_axis=-1
        )
        assert adjusted_rand_score(fields.ravel(), labels.ravel()) > 0.95
        assert adjusted_rand_score(theirs.ravel(), labels.ravel()) > 0.95

    @settings(max_examples=15, deadline=None)
    @given(seeds, st.sampled_from([0.0, 0.3]), st.integers(1, 40))
    def test_superpixels_below_min_size_are_islands_in_nodata(self, seed: int, nodata: float, min_size: int) -> None:
        valid = holed(seed, (32, 40), nodata)

        labels = superpixels(smooth(seed, (32, 40)), valid, SuperpixelParameters(min_size=min_size))

        islands, _ = ndimage.label(valid)
        pixels = np.bincount(labels[valid])
        of_island = np.bincount(islands[valid])[ndimage.maximum(islands, labels, np.arange(len(pixels)))]
        assert (pixels >= np.minimum(min_size, of_island)).all()

    def test_larger_scale_gives_fewer_superpixels(self) -> None:
        bands, valid = smooth(3, (64, 64)), np.ones((64, 64), bool)

        counts = [
            int(superpixels(bands, valid, SuperpixelParameters(scale=scale, min_size=1)).max())
            for scale in (8, 32, 128)
        ]

        assert counts[0] > counts[1] > counts[2] > 0

    @settings(max_examples=10, deadline=None)
    @given(seeds)
    def test_values_of_nodata_pixels_do_not_change_the_superpixels(self, seed: int) -> None:
        bands, valid = smooth(seed, (24, 24)), holed(seed, (24, 24), 0.2)
        other = np.where(valid, bands, np.float32(99))

        options = SuperpixelParameters(sigma=1.5, min_size=4)
        np.testing.assert_array_equal(superpixels(bands, valid, options), superpixels(other, valid, options))

    def test_constant_image_with_a_nodata_hole_is_one_superpixel(self) -> None:
        bands, valid = np.full((3, 40, 40), 0.37, np.float32), np.ones((40, 40), bool)
        valid[10:20, 15:30] = False

        labels = superpixels(bands, valid, SuperpixelParameters(sigma=1.0))

        np.testing.assert_array_equal(labels, np.where(valid, 0, NONE))


class TestSlic:
    def test_number_of_superpixels_is_about_n_segments_per_512_by_512_pixels(self) -> None:
        labels = superpixels(smooth(1, (128, 128)), np.ones((128, 128), bool), SLIC)

        assert 0.75 * 250 <= labels.max() + 1 <= 1.25 * 250

    def test_superpixels_are_compact_with_large_compactness(self) -> None:
        labels = superpixels(smooth(1, (128, 128)), np.ones((128, 128), bool), SLIC)

        heights, widths = np.array([[part.stop - part.start for part in box] for box in boxes(labels)]).T
        assert np.median(heights * widths / np.bincount(labels.ravel())) < 2.0
        assert max(heights.max(), widths.max()) < 4 * np.sqrt(512 * 512 / SLIC.n_segments)

    def test_superpixels_follow_edges_with_small_compactness(self) -> None:
        bands, fields = patchwork()

        labels = superpixels(
            bands, np.ones(fields.shape, bool), SuperpixelParameters(method="slic", n_segments=4000, compactness=5.0)
        )

        within = np.zeros((labels.max() + 1, 12))
        np.add.at(within, (labels.ravel(), fields.ravel()), 1)
        assert within.max(axis=1).sum() > 0.99 * fields.size

    def test_superpixels_between_islands_in_nodata_are_connected(self) -> None:
        valid = holed(0, (64, 64), 0.4)

        assert in_pieces(quietly(smooth(0, (64, 64)), valid)) == []

    def test_superpixels_are_not_smaller_if_half_of_the_image_is_nodata(self) -> None:
        bands, valid = smooth(1, (128, 128)), np.ones((128, 128), bool)
        half = valid.copy()
        half[:, 64:] = False

        whole, cut = quietly(bands, valid), quietly(bands, half)

        assert 0.35 < (cut.max() + 1) / (whole.max() + 1) < 0.7

    def test_small_islands_give_no_warning(self) -> None:
        valid = np.zeros((64, 64), bool)
        valid[:30, :30] = valid[40:42, 40:42] = valid[50:52, 50:52] = valid[60:62, 10:12] = True

        superpixels(smooth(0, (64, 64)), valid, SLIC)  # a warning is an error in tests


def boxes(labels: NDArray[np.int32]) -> list[tuple[slice, slice]]:
    return list(ndimage.find_objects(labels + 1))


def quietly(bands: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.int32]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return superpixels(bands, valid, SLIC)


class TestBothMethods:
    @pytest.mark.parametrize("options", [SuperpixelParameters(), FLAT, SLIC])
    @pytest.mark.parametrize("nodata", [0.0, 0.05])
    def test_valid_pixels_are_numbered_from_0_without_gaps_and_nodata_is_minus_1(
        self, options: SuperpixelParameters, nodata: float
    ) -> None:
        valid = holed(2, (64, 70), nodata)

        labels = superpixels(smooth(2, (64, 70)), valid, options)

        assert labels.dtype == np.int32
        np.testing.assert_array_equal(labels == NONE, ~valid)
        np.testing.assert_array_equal(np.unique(labels[valid]), np.arange(labels.max() + 1))

    @pytest.mark.parametrize("options", [SuperpixelParameters(), SuperpixelParameters(min_size=1, scale=4.0), SLIC])
    def test_superpixels_are_connected_through_pixel_sides(self, options: SuperpixelParameters) -> None:
        labels = superpixels(smooth(4, (64, 64)), np.ones((64, 64), bool), options)

        assert labels.max() > 0
        assert in_pieces(labels) == []

    def test_felzenszwalb_superpixels_between_islands_in_nodata_are_connected(self) -> None:
        labels = superpixels(smooth(0, (64, 64)), holed(0, (64, 64), 0.4), SuperpixelParameters())

        assert in_pieces(labels) == []

    @pytest.mark.parametrize("options", [SuperpixelParameters(), SLIC])
    def test_repeated_calls_give_the_same_superpixels(self, options: SuperpixelParameters) -> None:
        bands, valid = smooth(6, (64, 64)), holed(6, (64, 64), 0.02)

        np.testing.assert_array_equal(superpixels(bands, valid, options), superpixels(bands, valid, options))

    @pytest.mark.parametrize("options", [SuperpixelParameters(), SLIC])
    def test_image_without_data_has_no_superpixels(self, options: SuperpixelParameters) -> None:
        labels = superpixels(np.zeros((3, 20, 20), np.float32), np.zeros((20, 20), bool), options)

        assert (labels == NONE).all()

    @pytest.mark.parametrize("options", [SuperpixelParameters(), SLIC])
    def test_single_valid_pixel_is_one_superpixel(self, options: SuperpixelParameters) -> None:
        valid = np.zeros((20, 20), bool)
        valid[7, 9] = True

        np.testing.assert_array_equal(superpixels(smooth(0, (20, 20)), valid, options), np.where(valid, 0, NONE))


GRID = TileGrid((70, 90), 32, 8)  # of blocks; 2 × 3 of them


@st.composite
def windows(draw: st.DrawFn) -> Window:
    rows, cols = GRID.shape
    top, left = draw(st.integers(0, rows - 1)), draw(st.integers(0, cols - 1))
    return Window(left, top, draw(st.integers(1, cols - left)), draw(st.integers(1, rows - top)))


SMALL = SuperpixelParameters(sigma=0.0, min_size=4)


def made_of(
    bands: NDArray[np.float32], valid: NDArray[np.bool_], options: SuperpixelParameters = SMALL, grid: TileGrid = GRID
) -> list[BlockSuperpixels]:
    """Return the superpixels of each block of an image."""
    made = []
    for block in grid:
        here = block.read.within(Window(0, 0, grid.shape[1], grid.shape[0]))
        origin = (block.read.row_off, block.read.col_off)
        made.append(block_superpixels(superpixels(bands[:, *here], valid[here], options, origin), block))
    return made


def independent(seed: int, valid: NDArray[np.bool_]) -> list[BlockSuperpixels]:
    """Draw superpixels for each block independently of those of its neighbours."""
    draw = np.random.default_rng(seed)
    made = []
    for block in GRID:
        rows, cols = block.read.shape
        coarse = draw.integers(0, 30, (rows // 5 + 1, cols // 5 + 1))
        drawn = np.kron(coarse, np.ones((5, 5), np.int64))[:rows, :cols]
        drawn[~valid[block.read.within(Window(0, 0, GRID.shape[1], GRID.shape[0]))]] = NONE
        made.append(block_superpixels(by_first_pixel(drawn).astype(np.int32), block))
    return made


def assembled(window: Window, made: list[BlockSuperpixels]) -> NDArray[np.int64]:
    return assemble(window, (made[number] for number in GRID.reading(window)))


def by_the_rule(made: list[BlockSuperpixels]) -> NDArray[np.int64]:
    """Assemble pixel by pixel: own block if its centroid is in core, else the first such block, else the own block."""
    numbers = np.full(GRID.shape, NONE, np.int64)
    for y, x in np.ndindex(GRID.shape):
        pixel = Window(x, y, 1, 1)
        own = GRID.touching(pixel)[0]
        candidates = {}
        for number in GRID.reading(pixel):
            item, read = made[number], made[number].block.read
            label = item.labels[y - read.row_off, x - read.col_off]
            if label >= 0:
                candidates[number] = (bool(item.in_core[label]), int(item.numbers[y - read.row_off, x - read.col_off]))
        in_core = [number for number in sorted(candidates) if candidates[number][0]]
        if candidates:
            numbers[y, x] = candidates[own if own in in_core or not in_core else in_core[0]][1]
    return numbers


class TestAssemble:
    @settings(max_examples=5, deadline=None)
    @given(seeds, st.sampled_from([0.0, 0.3]))
    def test_superpixel_belongs_to_the_block_with_its_centroid(self, seed: int, nodata: float) -> None:
        made = independent(seed, holed(seed, GRID.shape, nodata))

        np.testing.assert_array_equal(assemble(Window(0, 0, 90, 70), made), by_the_rule(made))

    @settings(max_examples=60, deadline=None)
    @given(seeds, windows(), st.sampled_from([0.0, 0.3]))
    def test_number_of_a_pixel_does_not_depend_on_the_window(self, seed: int, window: Window, nodata: float) -> None:
        made = independent(seed, holed(seed, GRID.shape, nodata))
        whole = Window(0, 0, GRID.shape[1], GRID.shape[0])

        expected = assemble(whole, made)[window.within(whole)]

        np.testing.assert_array_equal(assembled(window, made), expected)

    @settings(max_examples=30, deadline=None)
    @given(seeds, windows(), st.sampled_from([0.0, 0.3, 1.0]))
    def test_exactly_the_valid_pixels_have_a_number(self, seed: int, window: Window, nodata: float) -> None:
        valid = holed(seed, GRID.shape, nodata)

        numbers = assembled(window, independent(seed, valid))

        np.testing.assert_array_equal(numbers >= 0, valid[window.within(Window(0, 0, GRID.shape[1], GRID.shape[0]))])

    @settings(max_examples=10, deadline=None)
    @given(seeds, windows())
    def test_superpixels_of_an_image_do_not_depend_on_the_window(self, seed: int, window: Window) -> None:
        made = made_of(smooth(seed, GRID.shape), holed(seed, GRID.shape, 0.05))
        whole = Window(0, 0, GRID.shape[1], GRID.shape[0])

        np.testing.assert_array_equal(assembled(window, made), assemble(whole, made)[window.within(whole)])

    @pytest.mark.parametrize("center", [(16, 29), (16, 34), (29, 16), (30, 30), (34, 34), (35, 66)])
    def test_superpixel_across_a_block_border_is_not_cut(self, center: tuple[int, int]) -> None:
        rows, cols = np.indices(GRID.shape)
        disc = (rows - center[0]) ** 2 + (cols - center[1]) ** 2 <= 5**2
        bands = np.where(disc, 0.9, 0.1)[None].astype(np.float32)

        numbers = assemble(Window(0, 0, 90, 70), made_of(bands, np.ones(GRID.shape, bool)))

        own = np.unique(numbers[disc])
        assert len(own) == 1
        assert not (numbers[~disc] == own[0]).any()
        assert GRID.touching(Window(center[1], center[0], 1, 1)) == [block_of(own)[0]]

    def test_single_block_keeps_its_superpixels(self) -> None:
        block = TileGrid((20, 30), 512, 48).tile(0)
        labels = superpixels(smooth(0, (20, 30)), np.ones((20, 30), bool), SuperpixelParameters(min_size=4))

        numbers = assemble(Window(0, 0, 30, 20), [block_superpixels(labels, block)])

        np.testing.assert_array_equal(numbers, labels)

    def test_numbers_of_two_blocks_are_disjoint(self) -> None:
        valid = np.ones(GRID.shape, bool)

        numbers = [np.unique(item.numbers[item.numbers >= 0]) for item in independent(0, valid)]

        assert len(np.unique(np.concatenate(numbers))) == sum(map(len, numbers))
        for item, own in zip(independent(0, valid), numbers, strict=True):
            assert (block_of(own) == item.block.number).all()

    @pytest.mark.parametrize(
        "options",
        [
            SuperpixelParameters(),
            SuperpixelParameters(method="slic"),
        ],
        ids=["felzenszwalb", "slic"],
    )
    def test_superpixel_borders_are_not_denser_at_a_block_border(self, options: SuperpixelParameters) -> None:
        strip = TileGrid((60, 1100), BLOCK, BLOCK_MARGIN)
        bands, valid = smooth(0, strip.shape), np.ones(strip.shape, bool)

        numbers = assemble(Window(0, 0, 1100, 60), made_of(bands, valid, options, strip))

        ends = (numbers[:, 1:] != numbers[:, :-1]).mean(axis=0)
        assert ends[BLOCK - 5 : BLOCK + 5].mean() < 1.4 * ends.mean()


class TestFitParameters:
    def test_reference_resolution_and_contrast_give_the_defaults(self) -> None:
        assert fit_parameters(Superpixels(), resolution=0.5, contrast=0.045) == SuperpixelParameters()

    def test_unknown_resolution_and_contrast_give_the_defaults(self) -> None:
        assert fit_parameters(Superpixels(), resolution=0.0, contrast=0.0) == SuperpixelParameters()

    def test_given_parameters_are_kept(self) -> None:
        asked = Superpixels("slic", scale=7.0, sigma=0.0, min_size=5, n_segments=300, compactness=2.0)

        assert vars(fit_parameters(asked, resolution=0.05, contrast=0.2)) == vars(asked) | {"by_value": False}

    def test_smaller_pixels_give_larger_and_smoother_superpixels_in_pixels(self) -> None:
        made = [
            fit_parameters(Superpixels(), resolution=metres, contrast=0.045) for metres in (30, 10, 2, 0.5, 0.1, 0.05)
        ]

        assert np.all(np.diff([one.min_size for one in made]) > 0)
        assert np.all(np.diff([one.n_segments for one in made]) <= 0)
        assert np.all(np.diff([one.sigma for one in made]) >= 0)
        assert made[0].sigma == 0.0

    def test_higher_contrast_gives_larger_scale_and_compactness(self) -> None:
        low, medium, high = (
            fit_parameters(Superpixels(), resolution=0.5, contrast=step) for step in (0.015, 0.045, 0.1)
        )

        assert low.scale < medium.scale < high.scale
        assert low.compactness < medium.compactness < high.compactness

    @given(st.floats(1e-4, 1e5), st.floats(1e-9, 10))
    def test_parameters_are_bounded_for_any_scene(self, resolution: float, step: float) -> None:
        made = fit_parameters(Superpixels(), resolution=resolution, contrast=step)

        assert 16 <= made.scale <= 64
        assert 0 <= made.sigma <= 1
        assert 6 <= made.min_size <= 128

    def test_contrast_is_the_mean_difference_between_valid_neighbours(self) -> None:
        bands = np.zeros((2, 2, 3), np.float32)
        bands[:, :, 1] = 0.2
        bands[:, :, 2] = 9.0
        valid = np.array([[True, True, False], [True, True, False]])

        assert contrast(bands, valid) == pytest.approx(0.1)  # two steps of 0.2 to the right, two of 0 down

    def test_contrast_without_valid_neighbours_is_0(self) -> None:
        assert contrast(np.ones((1, 3, 3), np.float32), np.eye(3, dtype=bool)) == 0.0
