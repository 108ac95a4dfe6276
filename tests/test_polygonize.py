"""`geoseg.vectorize.polygonize.polygonize`, from a label array to a GeoDataFrame."""

import geopandas
import numpy as np
import pyogrio
import pytest
import rasterio.crs
import rasterio.features
import shapely
import shapely.geometry
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pyproj import CRS

import geoseg
from geoseg.errors import ConfigError, GeosegError, RasterError
from geoseg.raster.label_raster import LabelInput
from geoseg.vectorize.polygonize import polygonize

from .conftest import TRANSFORM, write_raster
from .tilings import winding

PLACE = {"transform": TRANSFORM, "crs": "EPSG:32631"}
COLUMNS = ["region", "class", "pixels", "area", "perimeter", "compactness"]
LABELS = st.tuples(st.integers(1, 12), st.integers(1, 12)).flatmap(
    lambda shape: arrays(np.int16, shape, elements=st.integers(-1, 2))
)
ROTATED = Affine(3, 1, 400_000, 1, -2, 600_000)


def by_rasterio(labels, valid=None, transform=TRANSFORM):
    """Return {(label, normalized outline)} as `rasterio.features.shapes` finds them."""
    found = rasterio.features.shapes(labels, mask=valid, connectivity=4, transform=transform)
    return as_set(*zip(*((label, shapely.geometry.shape(shape)) for shape, label in found), strict=True))


def as_set(labels, polygons):
    """Return pairs of a label and its outline, without vertices on straight lines, whatever vertex rings begin at."""
    outlines = shapely.normalize(shapely.simplify(np.asarray(polygons, object), 0))
    return {(int(label), outline.wkt) for label, outline in zip(labels, outlines, strict=True)}


def assert_same_frame(frame, layer):
    """Check that a frame has the rows of a layer that `geoseg outline` wrote, whatever their order."""
    layer = layer.sort_values("region", ignore_index=True)
    for name in frame.columns.drop("geometry"):
        np.testing.assert_array_equal(frame[name], layer[name], err_msg=name)
    assert shapely.equals_exact(shapely.normalize(frame.geometry), shapely.normalize(layer.geometry)).all()


@settings(max_examples=100)
@given(LABELS)
def test_polygons_are_those_of_rasterio_features_shapes(labels):
    frame = polygonize(labels, **PLACE)

    assert as_set(frame["class"], frame.geometry) == by_rasterio(labels)
    assert len(frame) == len(by_rasterio(labels))


@given(LABELS)
def test_polygons_under_a_rotated_transform_are_those_of_rasterio(labels):
    frame = polygonize(labels, transform=ROTATED, crs="EPSG:32631")

    assert as_set(frame["class"], frame.geometry) == by_rasterio(labels, transform=ROTATED)


@given(LABELS, st.sampled_from([0.0, 1.0, 3.0]), st.booleans(), st.integers(0, 6))
def test_polygons_are_a_valid_coverage_of_all_pixels(labels, simplify, smooth, min_pixels):
    frame = polygonize(labels, **PLACE, simplify=simplify, smooth=smooth, min_pixels=min_pixels)

    polygons = np.asarray(frame.geometry)
    assert shapely.is_valid(polygons).all()
    assert shapely.coverage_is_valid(polygons)
    assert shapely.area(polygons).sum() == pytest.approx(labels.size * 100)
    assert frame["pixels"].sum() == labels.size
    assert frame["area"].sum() == pytest.approx(labels.size * 100)


def test_simplified_winding_borders_have_fewer_vertices_and_remain_a_coverage():
    labels = winding((80, 90), 4, 3, 0)
    exact, simplified = (polygonize(labels, **PLACE, simplify=simplify) for simplify in (0, 1.5))

    assert (
        shapely.get_num_coordinates(simplified.geometry).sum() < shapely.get_num_coordinates(exact.geometry).sum() / 2
    )
    assert shapely.coverage_is_valid(np.asarray(simplified.geometry))
    assert simplified.drop(columns="geometry").equals(exact.drop(columns="geometry"))


@given(LABELS, st.integers(2, 9))
def test_no_region_is_smaller_than_min_pixels_unless_it_is_alone(labels, min_pixels):
    frame = polygonize(labels, **PLACE, min_pixels=min_pixels)

    assert len(frame) == 1 or frame["pixels"].min() >= min_pixels


def test_of_two_equal_borders_a_small_region_takes_the_class_with_the_nearer_values():
    labels = np.array([[1, 1, 3, 2, 2]])

    near_1, near_2 = (
        polygonize(labels, **PLACE, min_pixels=2, values=np.array([[10, 10, middle, 90, 90]])) for middle in (20, 80)
    )

    assert near_1["pixels"].tolist() == [3, 2]
    assert near_2["pixels"].tolist() == [2, 3]


def test_frame_has_the_columns_in_order_the_crs_and_regions_in_reading_order():
    frame = polygonize([[5, 5], [-3, 0]], **PLACE, values=[[1.0, 2.0], [3.0, 4.0]])

    assert isinstance(frame, geopandas.GeoDataFrame)
    assert list(frame) == [*COLUMNS, "mean_1", "std_1", "min_1", "max_1", "geometry"]
    assert frame.crs == CRS("EPSG:32631")
    assert frame["region"].tolist() == [1, 2, 3]
    assert frame["class"].tolist() == [5, -3, 0]
    assert frame["mean_1"].tolist() == [1.5, 3.0, 4.0]
    assert frame["perimeter"].tolist() == [60.0, 40.0, 40.0]
    assert frame["compactness"].tolist() == pytest.approx([16 * 2 / 36, 1, 1])


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int16", "uint32", "int64", "uint64", "float32", "float64"])
def test_labels_of_every_dtype_are_accepted(dtype):
    labels = np.array([[0, 1, 1], [0, 0, 1]]).astype(dtype)

    assert polygonize(labels, **PLACE)["class"].tolist() == [0, 1]


def test_labels_at_the_ends_of_int64_are_kept():
    labels = np.array([[-(2**63), 2**63 - 1]])

    assert polygonize(labels, **PLACE)["class"].tolist() == [-(2**63), 2**63 - 1]
    assert polygonize(np.array([[2**63 - 1]], np.uint64), **PLACE)["class"].tolist() == [2**63 - 1]


def test_zero_is_a_label_unless_it_is_nodata():
    labels = np.array([[0, 4]])

    assert polygonize(labels, **PLACE)["class"].tolist() == [0, 4]
    assert polygonize(labels, **PLACE, nodata=0)["class"].tolist() == [4]
    assert polygonize(labels, **PLACE, nodata=0.0)["class"].tolist() == [4]
    assert polygonize(labels, **PLACE, nodata=np.nan)["class"].tolist() == [0, 4]


@pytest.mark.parametrize(
    "labels",
    [
        np.ma.masked_array([[1, 2]], [[False, True]]),
        np.array([[1, np.nan]]),
        np.ma.masked_array([[1, 0.5]], [[False, True]]),
        np.ma.masked_array(np.array([[1, 2**64 - 1]], np.uint64), [[False, True]]),
    ],
    ids=["masked", "NaN", "masked-fraction", "masked-too-large"],
)
def test_masked_and_nan_labels_are_nodata(labels):
    frame = polygonize(labels, **PLACE)

    assert frame["class"].tolist() == [1]
    assert frame["pixels"].tolist() == [1]


def test_labels_are_not_changed():
    labels = np.ma.masked_array([[1.0, 2.0, np.nan]], [[False, True, False]])
    before = labels.copy()

    polygonize(labels, **PLACE, nodata=1)

    np.testing.assert_array_equal(labels.mask, before.mask)
    np.testing.assert_array_equal(labels.data, before.data)


def test_one_pixel_gives_its_square():
    frame = polygonize([[9]], **PLACE)

    assert frame.geometry[0].equals(shapely.box(500_000, 4_999_990, 500_010, 5_000_000))
    assert frame[COLUMNS].to_numpy().tolist() == [[1, 9, 1, 100, 40, 1]]


def test_labels_that_are_all_nodata_give_an_empty_frame_with_the_columns_and_the_crs():
    frame = polygonize(np.zeros((3, 4), int), **PLACE, nodata=0, values=np.ones((2, 3, 4)), min_pixels=5, simplify=1)

    some = polygonize(np.ones((3, 4), int), **PLACE, values=np.ones((2, 3, 4)))
    assert len(frame) == 0
    assert list(frame) == list(some)
    assert list(frame.dtypes) == list(some.dtypes)
    assert frame.crs == some.crs


def test_statistics_are_those_of_the_pixels_with_a_value():
    labels = np.array([[1, 1, 1, 2]])
    values = np.ma.masked_array([[[1.0, 3.0, 50.0, np.nan]]], [[[False, False, True, False]]])

    frame = polygonize(labels, **PLACE, values=values)

    statistics = frame[["pixels", "mean_1", "std_1", "min_1", "max_1"]].to_numpy()
    np.testing.assert_array_equal(statistics[0], [3, 2, 1, 1, 3])
    np.testing.assert_array_equal(statistics[1], [1, np.nan, np.nan, np.nan, np.nan])


@given(LABELS, st.integers(0, 2**32 - 1))
def test_statistics_of_each_region_are_those_of_numpy(labels, seed):
    values = np.random.default_rng(seed).integers(0, 1000, (2, *labels.shape))

    frame = polygonize(labels, **PLACE, values=values)

    for row in frame.itertuples():
        inside = rasterio.features.rasterize([row.geometry], labels.shape, transform=TRANSFORM).astype(bool)
        for band in (1, 2):
            pixels = values[band - 1][inside]
            found = [getattr(row, f"{name}_{band}") for name in ("mean", "std", "min", "max")]
            assert found == pytest.approx([pixels.mean(), pixels.std(), pixels.min(), pixels.max()])


@pytest.mark.parametrize(
    "crs",
    ["EPSG:32631", 32631, CRS(32631), rasterio.crs.CRS.from_epsg(32631)],
    ids=["str", "int", "pyproj", "rasterio"],
)
def test_crs_is_whatever_pyproj_accepts(crs):
    assert polygonize([[1]], transform=TRANSFORM, crs=crs).crs == CRS(32631)


def test_transform_may_be_six_numbers():
    one, other = (polygonize([[1, 2]], transform=t, crs=32631) for t in (TRANSFORM, list(TRANSFORM)[:6]))

    assert one.equals(other)


def test_area_in_degrees_is_measured_in_square_metres():
    frame = polygonize([[1]], transform=Affine(1, 0, 7, 0, -1, 51), crs="EPSG:4326")

    assert frame["area"][0] == pytest.approx(111_000 * 111_000 * np.cos(np.radians(50.5)), rel=0.01)


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 1000),
    min_pixels=st.sampled_from([0, 8]),
    shaping=st.sampled_from([(0, False), (1.5, False), (1, True)]),
)
def test_frame_is_the_layer_that_outline_writes_for_the_same_raster(tmp_path, seed, min_pixels, shaping):
    labels = winding((60, 70), 5, 1.5, seed).astype(np.uint8)
    values = np.random.default_rng(seed).integers(1, 255, (2, *labels.shape)).astype(np.uint8)
    files = [write_raster(tmp_path / "labels.tif", labels[None], nodata=2), write_raster(tmp_path / "v.tif", values)]
    simplify, smooth = shaping
    geoseg.outline_labels(
        LabelInput(*map(str, files)),
        tmp_path / "out.gpkg",
        simplify=simplify,
        smooth=smooth,
        min_pixels=min_pixels,
        tile_size=128,
        overwrite=True,
        workers=0,
    )

    frame = polygonize(
        labels, **PLACE, values=values, nodata=2, min_pixels=min_pixels, simplify=simplify, smooth=smooth
    )

    assert_same_frame(frame, pyogrio.read_dataframe(tmp_path / "out.gpkg", layer="labels"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": np.zeros((2, 3, 3), int)}, r"labels have shape \(2, 3, 3\) .* must be integers \(y, x\)"),
        ({"labels": np.zeros((0, 3), int)}, r"labels have shape \(0, 3\) .* at least one pixel"),
        ({"labels": [["a"]]}, "dtype <U1.* must be integers"),
        ({"labels": [[1], [1, 2]]}, "rows of different length"),
        ({"labels": [[0.5]]}, "labels contain 0.5, and must be whole numbers.* Round or classify"),
        ({"labels": [[np.inf]]}, "labels contain inf, and must be whole numbers"),
        ({"labels": [[2.0**60]]}, r"at most 2\*\*53"),
        ({"labels": np.array([[2**63]], np.uint64)}, "labels contain 9223372036854775808, and must be at most"),
        ({"nodata": 0.5}, "nodata is 0.5, and must be a whole number"),
        ({"nodata": "none"}, "nodata is 'none', and must be a whole number"),
        ({"values": np.zeros((2, 5, 5))}, r"values have shape \(2, 5, 5\) .* labels, which have shape \(1, 2\)"),
        ({"values": np.zeros(2)}, r"values have shape \(2,\)"),
        ({"crs": None}, "crs is None, and must be a CRS that pyproj accepts .*EPSG:32631"),
        ({"crs": "EPSG:1"}, "crs is 'EPSG:1', and must be a CRS"),
        ({"transform": Affine(0, 0, 1, 0, -1, 1)}, "no finite area.* Affine.from_gdal"),
        ({"transform": (1, 0, np.nan, 0, -1, 1)}, "no finite area"),
        ({"transform": (1, 2, 3)}, r"transform is \(1, 2, 3\), and must be an Affine or its 6 numbers"),
        ({"transform": None}, "transform is None, and must be an Affine"),
    ],
)
def test_input_that_cannot_be_used_is_refused_with_its_values(changes, message):
    arguments = {"labels": [[1, 2]], **PLACE} | changes

    with pytest.raises(RasterError, match=message) as caught:
        polygonize(**arguments)

    assert isinstance(caught.value, ValueError)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"min_pixels": -1}, "min_pixels is -1, and must be a whole number of pixels from 0"),
        ({"min_pixels": 2.5}, "min_pixels is 2.5"),
        ({"simplify": -0.5}, "simplify is -0.5, and must be a finite number of pixels from 0"),
        ({"simplify": np.nan}, "simplify is nan"),
        ({"simplify": "1"}, "simplify is '1'"),
    ],
)
def test_options_out_of_range_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message) as caught:
        polygonize([[1, 2]], **PLACE, **changes)

    assert isinstance(caught.value, GeosegError)
    assert isinstance(caught.value, ValueError)
