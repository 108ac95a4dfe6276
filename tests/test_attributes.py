"""Shape, texture and context of regions: the same in tiles of any size, and as computed by scikit-image and shapely."""

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.errors import RunError
from geoseg.grid import GeoBox, TileGrid
from geoseg.raster.pixel_size import pixel_size
from geoseg.vectorize import attributes
from geoseg.vectorize.objects import objects_of
from geoseg.vectorize.region_runs import local_regions
from geoseg.vectorize.texture import grey_levels
from geoseg.vectorize.tile_attributes import TileAttributes, TilePixels, tile_attributes

from .reference.attributes import contexts_of, nodata_distances, shapes_of, textures_of
from .tilings import SCENES, regions_of, winding

GROUPS = ("shape", "texture", "context", "objects", "votes")
UTM = "EPSG:32631"
N_CLASSES = 4


def straight(centre):
    """Matrices of a raster whose rows go east and whose columns go south."""
    return np.broadcast_to(np.array([[1.0, 0], [0, -1]]), (len(centre), 2, 2))


def brightness_of(regions, seed=3):
    draw = np.random.default_rng(seed)
    return (regions % 5 / 6 + draw.normal(0, 0.15, regions.shape)).astype(np.float32)


COMPONENTS = np.random.default_rng(0).normal(size=(9, 2))


def superpixels_of(regions):
    return np.random.default_rng(1).integers(0, 9, regions.shape)


def classes_of(regions):
    return np.arange(regions.max()) % N_CLASSES + 1


def measured(regions, size, *, matrices=straight, groups=GROUPS, failed=()):
    """Attributes of all regions from tiles of `size`, through the arrays that a run folder holds."""
    brightness = np.pad(brightness_of(regions), 1)
    box = GeoBox(regions.shape, Affine(2, 0, 5e5, 0, -2, 5e6), UTM)
    parts = []
    for tile in TileGrid(regions.shape, size, 0):
        core = tile.core
        around = slice(core.row_off, core.row_end + 2), slice(core.col_off, core.col_end + 2)
        framed = np.pad(regions, 1)[around]
        used, pieces = np.unique(np.append(framed[1:-1, 1:-1], 0), return_inverse=True)
        frame = framed[0], framed[-1], framed[1:-1, 0], framed[1:-1, -1]
        local = local_regions(pieces.ravel()[:-1].reshape(core.shape).astype(np.int32), used, frame)
        light = np.ascontiguousarray(brightness[around])
        in_metres = pixel_size(box.cropped(core), box)
        superpixels = superpixels_of(regions)[core.within(box.window)]
        pixels = TilePixels(core, in_metres, regions.shape, matrices, light, superpixels, COMPONENTS)
        found = None if tile.number in failed else tile_attributes(local, pixels, groups)
        parts.append((core, found and TileAttributes.from_arrays(found.to_arrays())))
    last = np.zeros(regions.max() + 1, np.int64)
    for tile in TileGrid(regions.shape, size, 0):
        last[regions[tile.core.within(box.window)]] = tile.number
    return attributes.combine(parts, last[1:], scene_shape=regions.shape, matrices=matrices)


def columns_of(regions, size, *, matrices=straight):
    found = measured(regions, size, matrices=matrices)
    named = attributes.shape_columns(found, matrices(found.moments.centre)) | attributes.texture_columns(found)
    named |= attributes.votes_columns(found)
    return named | attributes.context_columns(found, regions.shape, 1.0, classes_of(regions), N_CLASSES)


def assert_near(found, expected):
    np.testing.assert_allclose(np.stack(list(found), axis=1), expected, rtol=1e-9, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(regions=SCENES.filter(lambda regions: regions.max() > 0), size=st.integers(2, 24))
def test_columns_do_not_depend_on_the_size_of_the_tiles(regions, size):
    tiled, whole = columns_of(regions, size), columns_of(regions, 1000)

    for name, values in whole.items():
        np.testing.assert_allclose(tiled[name], values, rtol=1e-9, atol=1e-9, err_msg=name)


def test_columns_do_not_depend_on_how_much_of_open_regions_is_held(monkeypatch):
    regions = regions_of(winding((60, 70), 4, 2.0, 8))
    whole = columns_of(regions, 9)

    monkeypatch.setattr(attributes, "_MAX_HELD", 0)

    for name, values in columns_of(regions, 9).items():
        np.testing.assert_array_equal(values, whole[name], err_msg=name)


@pytest.fixture(scope="module", params=[(40, 55, 2.0), (33, 30, 0.7)])
def scene(request):
    *shape, sigma = request.param
    return regions_of(winding(tuple(shape), 4, sigma, 5))


@pytest.fixture(scope="module")
def found(scene):
    return columns_of(scene, 13)


def test_shape_is_that_of_scikit_image_and_shapely(scene, found):
    expected = shapes_of(scene)

    isotropic = np.isnan(found["orientation"])
    turned = np.where(isotropic, expected[:, 1], found["orientation"])  # of a square or a pixel there is none
    apart = (turned - expected[:, 1] + 90) % 180 - 90
    assert isotropic.sum() < len(isotropic)
    assert (expected[isotropic, 0] < 1e-6).all()
    assert np.abs(apart).max() < 1e-6
    names = ("elongation", "rectangularity", "solidity")
    assert_near((found[name] for name in names), expected[:, [0, 2, 3]])


def test_texture_is_that_of_scikit_image(scene, found):
    brightness = brightness_of(scene)

    expected = textures_of(scene, grey_levels(brightness), brightness)

    names = ("texture_contrast", "texture_homogeneity", "texture_entropy", "gradient")
    assert np.isfinite(expected).any()
    assert_near((found[name] for name in names), expected)


def test_context_is_that_of_the_single_pixel_edges(scene, found):
    expected = contexts_of(scene, brightness_of(scene), classes_of(scene), N_CLASSES)

    names = ("border_contrast", "border_difference", "neighbours", "border_nodata")
    assert_near((found[name] for name in (*names, *(f"border_class_{k}" for k in (1, 2, 3, 4)))), expected)


def test_votes_are_the_means_of_the_pixels(scene, found):
    components = COMPONENTS[superpixels_of(scene)]

    expected = [components[scene == number].mean(axis=0) for number in range(1, scene.max() + 1)]
    assert_near((found["votes_1"], found["votes_2"]), expected)


def test_distance_to_nodata_is_that_between_cells_of_8_pixels(scene, found):
    np.testing.assert_allclose(found["nodata_distance"], nodata_distances(scene, 8))


def test_a_turned_raster_has_turned_axes_and_the_same_rectangles():
    regions = np.zeros((40, 40), np.int64)
    regions[3:9, 4:30] = 1
    regions[20:35, 20:24] = 2
    quarter = np.array([[np.cos(0.5), np.sin(0.5)], [np.sin(0.5), -np.cos(0.5)]])  # rows and columns turned by 0.5

    plain, turned = (
        columns_of(regions, 11, matrices=lambda centre, m=m: np.broadcast_to(m, (len(centre), 2, 2)))
        for m in (np.array([[1.0, 0], [0, -1]]), quarter)
    )

    assert plain["orientation"].tolist() == pytest.approx([90, 0])
    assert turned["orientation"].tolist() == pytest.approx([90 - np.degrees(0.5), 180 - np.degrees(0.5)])
    for name in ("elongation", "rectangularity", "solidity"):
        np.testing.assert_allclose(turned[name], plain[name], atol=1e-9)


def test_a_square_on_the_earth_is_not_elongated_where_degrees_differ():
    regions = np.ones((20, 10), np.int64)

    found = columns_of(regions, 7, matrices=lambda centre: np.broadcast_to([[2.0, 0], [0, -1]], (len(centre), 2, 2)))

    assert found["elongation"][0] == pytest.approx(0, abs=0.01)
    assert found["rectangularity"][0] == pytest.approx(1)


def test_a_tile_that_failed_counts_as_nodata():
    regions = np.ones((32, 32), np.int64)

    found = measured(regions, 16, failed={3})

    assert found.nodata.sum() == 4
    assert found.moments.pixels.tolist() == [3 * 256]


def test_a_tile_of_another_run_is_refused():
    regions = np.ones((8, 8), np.int64)
    box = GeoBox(regions.shape, Affine(2, 0, 5e5, 0, -2, 5e6), UTM)
    nothing = np.zeros(10, np.int64)
    local = local_regions(regions.astype(np.int32), np.array([0, 7]), (nothing, nothing, nothing[:8], nothing[:8]))
    pixels = TilePixels(box.window, pixel_size(box), box.shape, straight)
    part = tile_attributes(local, pixels, {"shape"})

    with pytest.raises(RunError, match="region 7, and the scene has 3 regions"):
        attributes.combine([(box.window, part)], np.zeros(3, np.int64), scene_shape=box.shape, matrices=straight)


def test_perimeter_of_objects_is_that_of_their_pixels(scene):
    adjacency = measured(scene, 13).adjacency
    coarse = classes_of(scene) % 2

    objects = objects_of(adjacency.pairs, coarse)

    raster = np.concatenate([[0], objects])[scene]
    expected = regions_of(np.concatenate([[0], coarse + 1])[scene])
    assert len(np.unique(np.stack([raster, expected])[:, scene > 0], axis=1).T) == expected.max()
    framed = np.pad(raster, 1)
    edges = np.zeros(objects.max() + 1)
    for axis in (0, 1):
        one, other = (framed.take(some, axis) for some in (range(framed.shape[axis] - 1), range(1, framed.shape[axis])))
        for side in (one, other):
            edges += np.bincount(side[one != other], minlength=len(edges))
    regions = np.zeros(scene.max() + 1)
    framed = np.pad(scene, 1)
    for axis in (0, 1):
        one, other = (framed.take(some, axis) for some in (range(framed.shape[axis] - 1), range(1, framed.shape[axis])))
        for side in (one, other):
            regions += np.bincount(side[one != other], minlength=len(regions))
    perimeter = attributes.object_perimeter(2.0 * regions[1:], adjacency, objects)
    np.testing.assert_allclose(perimeter, 2 * edges[1:])
