"""Segmentation of arrays: the same result as for files, and clear errors."""

import sys
import types

import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine

import geoseg
from geoseg.errors import ConfigError, GeosegError, ModelError, RasterError
from geoseg.raster.array_input import Place, open_array

from .conftest import TRANSFORM, fields, write_raster

CRS = "EPSG:32631"
QUICK = {
    "tiles": {"size": 96, "halo": 16},
    "superpixels": {"min_size": 8},
    "network": {"kernels": [3, 1], "channels": [24, 24]},
    "learn": {"windows": 8, "crop": 64, "batch": 4, "steps": 12},
    "classify": {"classes": 5},
    "polygons": {"min_pixels": 12, "simplify": 0},
}


def segment(image, **options):
    options.setdefault("config", QUICK)
    return geoseg.segment_array(image, transform=TRANSFORM, crs=CRS, device="cpu", **options)


@pytest.fixture(scope="module")
def image():
    pixels = fields((150, 170), seed=3)
    pixels[:, :20, :30] = 0
    return pixels


@pytest.fixture(scope="module")
def valid(image):
    return (image != 0).any(axis=0)


@pytest.fixture(scope="module")
def segmentation(image, valid):
    return segment(image, valid=valid)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="scene-network"),
        pytest.param({"training": "tile", "tile_steps": 3}, id="network-per-tile", marks=pytest.mark.slow),
        pytest.param({"method": "rag"}, id="region-merging"),
    ],
)
def test_array_gives_pixel_for_pixel_what_a_file_gives(tmp_path, image, valid, options):
    scene = write_raster(tmp_path / "scene.tif", image, nodata=0)
    classes, regions = tmp_path / "classes.tif", tmp_path / "regions.tif"

    of_file = geoseg.segment_scene(
        scene, tmp_path / "labels.gpkg", config=QUICK, workers=0, device="cpu",
        class_raster=classes, region_raster=regions, **options,
    )  # fmt: skip
    of_array = segment(image, valid=valid, **options)

    with rasterio.open(classes) as one, rasterio.open(regions) as other:
        np.testing.assert_array_equal(of_array.classes, one.read(1))
        np.testing.assert_array_equal(of_array.regions, other.read(1))
    ours, theirs = of_array.polygons(), of_file.polygons().sort_values("region", ignore_index=True)
    assert list(ours.columns) == list(theirs.columns)
    assert ours.crs == theirs.crs
    assert ours.geometry.geom_equals_exact(theirs.geometry, 0).all()
    for name in ours.columns.drop("geometry"):
        np.testing.assert_array_equal(ours[name].to_numpy(), theirs[name].to_numpy(), err_msg=name)


def test_nodata_is_0_in_all_rasters_and_nothing_else_is(segmentation, valid):
    for raster in (segmentation.classes, segmentation.regions, segmentation.superpixels):
        np.testing.assert_array_equal(raster > 0, valid)


def test_superpixels_are_numbered_from_1_without_gaps(segmentation):
    assert np.array_equal(np.unique(segmentation.superpixels), np.arange(segmentation.superpixels.max() + 1))


def test_polygons_are_a_coverage_with_the_pixels_of_the_regions(segmentation):
    frame = segmentation.polygons(simplify=1)

    assert shapely.coverage_is_valid(frame.geometry.to_numpy())
    counts = np.bincount(segmentation.regions.ravel())[1:]
    np.testing.assert_array_equal(counts[frame["region"] - 1], frame["pixels"])


def test_simplifying_changes_outlines_and_not_the_segmentation(segmentation):
    before = segmentation.polygons()

    simplified = segmentation.polygons(simplify=2)

    assert shapely.get_num_coordinates(simplified.geometry).sum() < shapely.get_num_coordinates(before.geometry).sum()
    assert segmentation.polygons().geometry.geom_equals_exact(before.geometry, 0).all()


def test_attributes_choose_the_columns(segmentation):
    frame = segmentation.polygons(attributes=["area"])

    assert list(frame.columns) == ["region", "class", "color", "area", "geometry"]


def test_tree_has_a_level_for_the_classes(segmentation):
    level = segmentation.tree.level(5)

    assert set(np.unique(segmentation.classes)) - {0} <= set(level)


def test_model_predicts_the_same_classes_for_the_same_image(segmentation, image, valid):
    predicted = segmentation.model.predict(image, valid=valid, transform=TRANSFORM, crs=CRS, device="cpu")

    np.testing.assert_array_equal(predicted.classes, segmentation.classes)


def test_saved_model_is_used_by_segment_scene(tmp_path, segmentation, image):
    scene = write_raster(tmp_path / "scene.tif", image, nodata=0)

    segmentation.model.save(tmp_path / "fields.geoseg")
    geoseg.segment_scene(
        scene, tmp_path / "labels.gpkg", model=tmp_path / "fields.geoseg", workers=0, device="cpu",
        class_raster=tmp_path / "classes.tif",
    )  # fmt: skip

    with rasterio.open(tmp_path / "classes.tif") as classes:
        np.testing.assert_array_equal(classes.read(1), segmentation.classes)


def test_model_refuses_an_image_with_other_bands(segmentation, image):
    with pytest.raises(ModelError, match="2 bands"):
        segmentation.model.predict(image[:2])


def test_method_without_a_network_has_no_model(image):
    with pytest.raises(ConfigError, match="no network"):
        _ = segment(image, method="kmeans").model


def test_two_dimensions_are_one_band():
    image = fields((80, 90), 1, seed=1)

    one, two = (segment(pixels, method="kmeans") for pixels in (image, image[0]))

    np.testing.assert_array_equal(one.classes, two.classes)


def test_masked_and_nan_pixels_are_nodata():
    image = fields((80, 90), seed=2).astype(np.float32)
    hidden = np.zeros((80, 90), bool)
    hidden[10:20, 30:50] = True
    with_nan = np.where(hidden, np.nan, image)
    masked = np.ma.MaskedArray(image, np.broadcast_to(hidden, image.shape))

    for pixels in (with_nan, masked):
        np.testing.assert_array_equal(segment(pixels, method="kmeans").classes == 0, hidden)


def test_without_transform_coordinates_are_columns_and_rows():
    frame = geoseg.segment_array(fields((80, 90), seed=2), config=QUICK, method="kmeans", pixel_size=2).polygons()

    assert frame.crs is None
    assert frame.total_bounds.tolist() == [0, 0, 90, 80]
    assert frame["area"].sum() == pytest.approx(80 * 90 * 4)


def test_transform_without_crs_gives_its_coordinates():
    frame = geoseg.segment_array(
        fields((80, 90), seed=2), config=QUICK, method="kmeans", transform=(2, 0, 100, 0, -2, 50)
    ).polygons()

    assert frame.crs is None
    assert frame.total_bounds.tolist() == [100, 50 - 160, 100 + 180, 50]


class _Rio:
    """What rioxarray adds to a DataArray."""

    def __init__(self, nodata):
        self.crs = rasterio.CRS.from_user_input(CRS)
        self.nodata = nodata
        self.encoded_nodata = None

    def transform(self):
        return TRANSFORM


def _data_array(values, nodata=None):
    return types.SimpleNamespace(
        values=values, dims=("band", "y", "x"), attrs={"long_name": ("red", "green", "blue")}, rio=_Rio(nodata)
    )


def test_data_array_brings_its_crs_transform_and_nodata(image, segmentation):
    of_data_array = geoseg.segment_array(_data_array(image, nodata=0), config=QUICK, device="cpu")

    np.testing.assert_array_equal(of_data_array.classes, segmentation.classes)
    assert of_data_array.polygons().crs == CRS


@pytest.mark.parametrize(
    ("coordinates", "expected"), [(["nir", "B04", "B03", "B02"], (1, 2, 3)), ([1, 2, 3, 4], (0, 1, 2))]
)
def test_coordinates_of_the_bands_of_a_data_array_are_their_names(coordinates, expected):
    values = np.zeros((4, 8, 8), np.float32)
    coords = {"band": types.SimpleNamespace(values=np.array(coordinates))}

    scene, _ = open_array(
        types.SimpleNamespace(values=values, dims=("band", "y", "x"), attrs={}, coords=coords), Place()
    )

    assert scene.red_green_blue == expected


def test_neither_xarray_nor_rioxarray_is_imported():
    assert not {"xarray", "rioxarray"} & set(sys.modules)


@pytest.mark.parametrize(
    ("image", "options", "kind", "reason"),
    [
        (None, {}, RasterError, "shape"),
        ("scene.tif", {}, RasterError, "shape"),
        (np.zeros(5), {}, RasterError, "shape"),
        (np.zeros((2, 3, 4, 5)), {}, RasterError, "shape"),
        (np.zeros((3, 0, 5)), {}, RasterError, "at least"),
        (np.zeros((1, 70, 70), complex), {}, RasterError, "complex"),
        (np.array([["a", "b"]]), {}, RasterError, "dtype"),
        (np.full((1, 70, 70), np.nan), {}, RasterError, "no valid pixels"),
        (np.zeros((1, 70, 70)), {"valid": np.ones((5, 5), bool)}, RasterError, "valid has the shape"),
        (np.zeros((1, 70, 70)), {"crs": CRS}, RasterError, "without transform"),
        (np.zeros((1, 70, 70)), {"crs": "nowhere", "transform": TRANSFORM}, RasterError, "pyproj cannot read"),
        (np.zeros((1, 70, 70)), {"transform": "here"}, RasterError, "six numbers"),
        (np.zeros((1, 70, 70)), {"transform": Affine(0, 0, 0, 0, 0, 0)}, RasterError, "without an area"),
        (np.zeros((1, 70, 70)), {"transform": TRANSFORM, "pixel_size": 2}, ConfigError, "no effect"),
        (np.zeros((1, 70, 70)), {"pixel_size": -1}, ConfigError, "above 0"),
        (np.zeros((1, 70, 70)), {"colour": 1}, ConfigError, "no option 'colour'"),
        (np.zeros((1, 70, 70)), {"overwrite": True}, ConfigError, "no effect"),
        (np.zeros((1, 70, 70)), {"class_raster": "a.tif"}, ConfigError, "no effect"),
        (np.zeros((1, 70, 70)), {"classes": 1}, ConfigError, "classes"),
        (np.zeros((1, 70, 70)), {"config": 7}, ConfigError, "config"),
        (np.zeros((1, 70, 70)), {"bands": [4]}, RasterError, "band 4"),
    ],
)
def test_bad_input_gets_one_clear_line(image, options, kind, reason):
    with pytest.raises(kind, match=reason) as caught:
        geoseg.segment_array(image, **options)

    assert isinstance(caught.value, GeosegError)
    assert "\n" not in str(caught.value)


def test_progress_receives_the_stages_in_order(image):
    events = []

    segment(image, progress=events.append)

    started = [event.stage for event in events if isinstance(event, geoseg.StageStarted)]
    assert started == ["survey", "superpixels", "learn", "segment", "classify", "label", "merge", "outline"]
