from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage
from skimage import segmentation
from sklearn.metrics import adjusted_rand_score

from geoseg.errors import ConfigError, RasterError
from geoseg.segment.array_superpixels import felzenszwalb, slic
from tests.reference import superpixels as reference

METHODS = [felzenszwalb, slic]
DTYPES = ["uint8", "int16", "uint16", "int64", "uint64", "float16", "float32", "float64"]

seeds = st.integers(0, 2**32 - 1)
shapes = st.tuples(st.integers(1, 3), st.integers(1, 14), st.integers(1, 14))


def smooth(seed: int, shape: tuple[int, ...], *, high: float = 200.0) -> NDArray[np.float64]:
    """Draw a smooth random image from 0 to `high`."""
    noise = np.random.default_rng(seed).random(shape)
    blurred = ndimage.gaussian_filter(noise, (0, 2, 2))
    return np.asarray(high * (blurred - blurred.min()) / (np.ptp(blurred) or 1.0))


def fields() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Draw twelve fields of four reflectances with noise."""
    of = np.kron(np.arange(12).reshape(3, 4), np.ones((20, 20), np.int64))
    values = np.array([[400, 600, 1800], [300, 2500, 700], [3000, 2600, 1500], [4100, 4000, 4200]])
    which = np.array([0, 1, 2, 3, 2, 3, 0, 1, 1, 0, 3, 2])
    noise = np.random.default_rng(5).normal(0, 40, (60, 80, 3))
    return np.moveaxis(values[which[of]] + noise, -1, 0), of


def assert_numbered_in_reading_order(labels: NDArray[np.int64]) -> None:
    numbers, first = np.unique(labels[labels > 0], return_index=True)
    np.testing.assert_array_equal(numbers, np.arange(1, len(numbers) + 1))
    assert (np.diff(first) > 0).all()


def in_pieces(labels: NDArray[np.int64]) -> list[int]:
    """Return the superpixels that are not connected through pixel sides."""
    return [n for n in range(1, labels.max() + 1) if ndimage.label(labels == n)[1] > 1]


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=25, deadline=None)
@given(seeds, shapes, st.sampled_from(DTYPES), st.sampled_from([0.0, 0.2, 0.6, 1.0]))
def test_labels_are_connected_and_0_exactly_at_nodata(
    method: Any, seed: int, shape: tuple[int, int, int], dtype: str, nodata: float
) -> None:
    image = smooth(seed, shape).astype(dtype)
    valid = np.random.default_rng(seed).random(shape[1:]) >= nodata

    labels = method(image, valid=valid)

    assert labels.dtype == np.int64
    np.testing.assert_array_equal(labels == 0, ~valid)
    assert_numbered_in_reading_order(labels)
    assert in_pieces(labels) == []


@settings(max_examples=40, deadline=None)
@given(seeds, shapes, st.sampled_from([0.0, 0.3]), st.floats(0, 400), st.integers(1, 9))
def test_felzenszwalb_is_the_published_algorithm_on_the_stretched_bands(
    seed: int, shape: tuple[int, int, int], nodata: float, scale: float, min_size: int
) -> None:
    image = np.random.default_rng(seed).integers(0, 6, shape)
    valid = np.random.default_rng(seed + 1).random(shape[1:]) >= nodata

    labels = felzenszwalb(image, valid=valid, scale=scale, sigma=0, min_size=min_size)

    expected = reference.felzenszwalb(percentile_stretched(image, valid), valid, k=scale / 255, min_size=min_size)
    np.testing.assert_array_equal(labels - 1, expected)


def percentile_stretched(image: NDArray[np.int64], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    bands = np.zeros(image.shape, np.float32)
    for band, stretched in zip(image, bands, strict=True):
        values = band[valid]
        if values.size and np.ptp(values):
            low, high = np.percentile(values, [1, 99])
            low, high = (low, high) if high > low else (values.min(), values.max())
            stretched[valid] = ((values - low) / (high - low)).clip(-0.5, 1.5)
    return bands


@pytest.mark.parametrize("method", METHODS)
def test_fields_are_found_as_by_scikit_image(method: Any) -> None:
    image, of = fields()
    unit = np.moveaxis(image / image.max(), 0, -1)

    if method is felzenszwalb:
        labels = felzenszwalb(image)
        theirs = segmentation.felzenszwalb(unit, scale=32, sigma=0.5, min_size=64, channel_axis=-1)
        assert adjusted_rand_score(theirs.ravel(), labels.ravel()) > 0.95
        assert adjusted_rand_score(of.ravel(), labels.ravel()) > 0.95
    else:
        labels = slic(image, n_segments=12, compactness=20)
        theirs = segmentation.slic(unit, n_segments=12, compactness=0.2, convert2lab=False, channel_axis=-1)
        assert adjusted_rand_score(theirs.ravel(), labels.ravel()) > 0.9


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=15, deadline=None)
@given(seeds, st.sampled_from([0.125, 4.0, 1024.0]), st.sampled_from([0.0, 256.0, -4096.0]))
def test_superpixels_do_not_depend_on_the_unit_of_the_values(
    method: Any, seed: int, factor: float, offset: float
) -> None:
    image = np.rint(smooth(seed, (2, 24, 30)))

    np.testing.assert_array_equal(method(image * factor + offset), method(image))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("missing", [np.nan, np.inf, -np.inf])
def test_pixels_with_nan_or_infinity_in_any_band_are_nodata(method: Any, missing: float) -> None:
    image = smooth(0, (3, 24, 30))
    valid = np.ones((24, 30), bool)
    valid[3:9, 4:11] = False
    broken = image.copy()
    broken[1, 3:9, 4:11] = missing

    np.testing.assert_array_equal(method(broken), method(image, valid=valid))


@pytest.mark.parametrize("method", METHODS)
def test_pixels_masked_in_any_band_are_nodata(method: Any) -> None:
    image = smooth(0, (3, 24, 30))
    valid = np.ones((24, 30), bool)
    valid[3:9, 4:11] = False
    mask = np.zeros(image.shape, bool)
    mask[2] = ~valid

    np.testing.assert_array_equal(method(np.ma.MaskedArray(image, mask)), method(image, valid=valid))


@pytest.mark.parametrize("method", METHODS)
def test_dataset_mask_of_0_and_255_is_accepted(method: Any) -> None:
    image, valid = smooth(1, (1, 20, 20)), np.random.default_rng(0).random((20, 20)) > 0.2

    np.testing.assert_array_equal(method(image, valid=np.uint8(255) * valid), method(image, valid=valid))


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=10, deadline=None)
@given(seeds)
def test_values_of_nodata_pixels_do_not_change_the_superpixels(method: Any, seed: int) -> None:
    image, valid = smooth(seed, (2, 20, 24)), np.random.default_rng(seed).random((20, 24)) > 0.2

    np.testing.assert_array_equal(method(np.where(valid, image, 9e6), valid=valid), method(image, valid=valid))


@pytest.mark.parametrize("method", METHODS)
def test_image_and_mask_are_not_changed(method: Any) -> None:
    image, valid = smooth(1, (2, 20, 20)).astype(np.float32), np.random.default_rng(0).random((20, 20)) > 0.2
    image[0, 3, 3] = np.nan
    before = image.copy(), valid.copy()

    method(image, valid=valid)

    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(valid, before[1])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [0, 7, 65535])
def test_few_other_values_in_a_constant_image_are_not_lost(method: Any, value: int) -> None:
    image = np.full((1, 40, 40), 300, np.uint16)
    image[0, 10:14, 10:13] = value

    labels = method(image, **({"min_size": 1} if method is felzenszwalb else {"n_segments": 100, "compactness": 1}))

    inside, outside = labels[10:14, 10:13], labels.copy()
    outside[10:14, 10:13] = 0
    assert not set(inside.ravel()) & set(outside[outside > 0])


def test_slic_gives_about_n_segments() -> None:
    image, valid = smooth(2, (3, 120, 160)), np.ones((120, 160), bool)
    valid[:, 80:] = False

    for mask in (None, valid):
        assert 0.75 * 300 <= slic(image, valid=mask, n_segments=300).max() <= 1.3 * 300


def test_larger_scale_gives_fewer_superpixels() -> None:
    image = smooth(3, (3, 64, 64))

    counts = [int(felzenszwalb(image, scale=scale, min_size=1).max()) for scale in (8, 32, 128)]

    assert counts[0] > counts[1] > counts[2] > 1


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("image", "part"),
    [
        (np.zeros((4, 5)), "shape (4, 5); expected (band, y, x)"),
        (np.zeros((1, 1, 4, 5)), "shape (1, 1, 4, 5); expected (band, y, x)"),
        (np.zeros((0, 4, 5)), "shape (0, 4, 5)"),
        (np.zeros((3, 0, 5)), "shape (3, 0, 5)"),
        (np.broadcast_to(np.uint8(0), (1, 1 << 15, 1 << 15)), "less than 2^30 pixels"),
        (np.zeros((1, 4, 5), complex), "dtype complex128"),
        (np.zeros((1, 4, 5), bool), "dtype bool"),
        (np.full((1, 4, 5), "a"), "dtype <U1"),
        (np.full((1, 4, 5), None), "dtype object"),
    ],
)
def test_image_that_is_no_numeric_array_of_bands_is_refused(method: Any, image: Any, part: str) -> None:
    with pytest.raises(RasterError, match=re.escape(part)):
        method(image)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(5, 4), (1, 4, 5), (4,), ()])
def test_mask_of_another_shape_is_refused(method: Any, shape: tuple[int, ...]) -> None:
    with pytest.raises(RasterError, match=re.escape(f"valid has shape {shape}; expected (4, 5)")):
        method(np.zeros((1, 4, 5)), valid=np.ones(shape, bool))


@pytest.mark.parametrize(
    ("method", "name", "value"),
    [
        (felzenszwalb, "scale", -1),
        (felzenszwalb, "scale", np.nan),
        (felzenszwalb, "sigma", -0.1),
        (felzenszwalb, "sigma", np.inf),
        (felzenszwalb, "min_size", 0),
        (felzenszwalb, "min_size", None),
        (slic, "n_segments", 0),
        (slic, "n_segments", "many"),
        (slic, "compactness", 0),
        (slic, "compactness", -5),
    ],
)
def test_parameter_out_of_range_is_refused_by_name(method: Any, name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"^{name} is {re.escape(repr(value))}; it must be"):
        method(np.zeros((1, 4, 5)), **{name: value})
