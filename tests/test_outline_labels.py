"""`geoseg outline`, from a raster of labels to polygons."""

import json
import sqlite3
import xml.etree.ElementTree as ElementTree

import numpy as np
import pyogrio
import pytest
import rasterio
import rasterio.features
import shapely
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from skimage.measure import label

import geoseg
from geoseg.raster.label_raster import LabelInput
from geoseg.steps import label_raster
from tests.reference.outline import outline_by_gdal
from tests.reference.regions import whole_regions

from .conftest import TRANSFORM, fields, rest_slow, run_command, write_raster
from .test_scene import damage

SHAPE = (150, 170)  # nine tiles of 64 pixels or less
STRIP = (6, 140)  # three of them, and small enough for the slow sieve
WHOLE = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64"]


def patches(shape=SHAPE, n_labels=6, *, seed=0, grain=7):
    """Return (y, x) labels from 0, in patches of ragged outlines, some of one pixel."""
    draw = np.random.default_rng(seed)
    coarse = draw.integers(0, n_labels, (shape[0] // grain + 2, shape[1] // grain + 2))
    rows, cols = np.indices(shape)
    rows, cols = rows + draw.integers(0, 3, shape), cols + draw.integers(0, 3, shape)
    return coarse[rows // grain, cols // grain]


@pytest.fixture
def outline(tmp_path):
    """Run `geoseg outline` in one process: outline(labels, *options) → Ended; polygons go to out.gpkg by default."""

    def run(labels, *options):
        out = () if "--out" in options else ("--out", tmp_path / "out.gpkg")
        workers = () if "--workers" in options else ("--workers", 0)
        size = () if "--tile-size" in options else ("--tile-size", 64)
        return run_command("outline", labels, *out, *workers, *size, *options)

    return run


def polygons(path, layer="labels"):
    return pyogrio.read_dataframe(path, layer=layer)


def outlined(tmp_path, outline, labels, *options):
    """Return the layer of a run, which must succeed."""
    ended = outline(labels, "--overwrite", "-q", *options)
    assert (ended.code, ended.text) == (0, "")
    return polygons(tmp_path / "out.gpkg")


def as_set(values, shapes):
    """Return pairs of a value and its outline, independent of the first vertex and of vertices on straight lines."""
    corners = shapely.normalize(shapely.simplify(np.asarray(shapes), 0))
    return {(int(value), shape.wkt) for value, shape in zip(values, corners, strict=True)}


def by_gdal(labels, valid=None):
    """Return the polygons of GDAL's polygonizer in map coordinates."""
    valid = np.ones(labels.shape, bool) if valid is None else valid
    kinds, order = np.unique(labels, return_inverse=True)
    shapes, numbers = outline_by_gdal(np.where(valid, order.reshape(labels.shape) + 1, 0))
    on_map = shapely.transform(shapes, lambda xy: np.stack(TRANSFORM @ tuple(xy.T), axis=1))
    return as_set(kinds[numbers - 1], on_map)


def only_line(ended, code=1):
    assert ended.code == code, ended.text
    (line,) = ended.lines
    return line


# --- the outlines -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", WHOLE)
def test_polygons_of_any_integer_type_equal_those_of_gdal(tmp_path, outline, make_raster, dtype):
    labels = patches().astype(np.int64)
    if dtype in ("int8", "int16", "int32", "int64", "float32", "float64"):
        labels = labels * 7 - 20
    if dtype in ("uint32", "int64", "uint64"):
        labels = np.where(labels == labels.max(), 2**32 - 1 if dtype == "uint32" else 2**62 + 1, labels)

    layer = outlined(tmp_path, outline, make_raster(labels[None].astype(dtype)))

    assert as_set(layer["class"], layer.geometry) == by_gdal(labels)
    assert layer["pixels"].sum() == labels.size
    assert layer["pixels"].to_numpy() == pytest.approx(shapely.area(layer.geometry) / 100)
    assert layer["area"].to_numpy() == pytest.approx(shapely.area(layer.geometry))
    assert layer["perimeter"].to_numpy() == pytest.approx(shapely.length(layer.geometry))


@pytest.mark.slow
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 1000),
    grain=st.integers(1, 40),
    sizes=st.lists(st.integers(64, 170), min_size=2, max_size=2),
    simplify=st.sampled_from([0, 0, 1.5]),
)
def test_polygons_are_a_coverage_and_exact_ones_do_not_depend_on_the_tile_size(tmp_path, seed, grain, sizes, simplify):
    labels = patches((100, 130), 4, seed=seed, grain=grain)
    raster = write_raster(tmp_path / "labels.tif", labels[None].astype(np.uint8), nodata=3)
    found = []
    for size in sizes:
        geoseg.outline_labels(
            raster,
            tmp_path / "out.gpkg",
            workers=0,
            overwrite=True,
            tiles__size=size,
            simplify=simplify,
        )
        found.append(polygons(tmp_path / "out.gpkg"))

    for layer in found:
        assert shapely.is_valid(layer.geometry).all()
        assert shapely.coverage_is_valid(layer.geometry.to_numpy())
        assert shapely.area(layer.geometry).sum() == pytest.approx(100 * (labels != 3).sum(), rel=1e-12)
    one, other = (layer.drop(columns="geometry").sort_values("region").reset_index(drop=True) for layer in found)
    assert one.equals(other)
    if not simplify:
        assert as_set(found[0]["class"], found[0].geometry) == as_set(found[1]["class"], found[1].geometry)
        assert as_set(found[0]["class"], found[0].geometry) == by_gdal(labels, labels != 3)


def test_every_pixel_may_have_a_label_of_its_own(tmp_path, outline, make_raster):
    labels = np.random.default_rng(0).permutation(130 * 100).reshape(100, 130) * 2**40 - 2**50

    layer = outlined(tmp_path, outline, make_raster(labels[None]))

    assert sorted(layer["class"]) == sorted(labels.ravel())
    assert (layer["pixels"] == 1).all()
    assert layer["color"].nunique() > 10_000


def test_region_raster_equals_the_rasterised_polygons(tmp_path, outline, make_raster):
    labels = patches()

    layer = outlined(
        tmp_path, outline, make_raster(labels[None].astype(np.uint8)), "--region-raster", tmp_path / "regions.tif"
    )

    with rasterio.open(tmp_path / "regions.tif") as raster:
        regions = raster.read(1)
        shapes = zip(layer.geometry, layer["region"], strict=True)
        back = rasterio.features.rasterize(shapes, raster.shape, transform=raster.transform, dtype="int32")
    np.testing.assert_array_equal(regions, back)
    assert (regions > 0).all()
    np.testing.assert_array_equal(layer.set_index("region")["class"].loc[regions.ravel()], labels.ravel())


@pytest.mark.parametrize("ending", [".fgb", ".parquet"])
def test_other_formats_have_the_same_polygons(tmp_path, outline, make_raster, ending):
    labels = patches()
    path = tmp_path / f"out{ending}"

    assert outline(make_raster(labels[None].astype(np.int16)), "--out", path, "-q").code == 0

    import geopandas

    layer = geopandas.read_parquet(path) if ending == ".parquet" else geopandas.read_file(path)
    assert as_set(layer["class"], layer.geometry) == by_gdal(labels)


@pytest.mark.slow
def test_workers_find_the_same_polygons(tmp_path, outline, make_raster):
    raster = make_raster(patches()[None].astype(np.uint8))
    alone = outlined(tmp_path, outline, raster)

    together = outlined(tmp_path, outline, raster, "--workers", 2)

    assert together.equals(alone)


@pytest.mark.slow
def test_classes_of_a_segmented_scene_give_the_same_polygons_again(tmp_path, geoseg_tile, outline, make_raster):
    scene = fields()
    scene[:, 60:80, 100:130] = 0
    raster = make_raster(scene, nodata=0)
    assert geoseg_tile(raster, "--class-raster", tmp_path / "classes.tif").code == 0
    expected = polygons(tmp_path / "labels.gpkg")

    layer = outlined(tmp_path, outline, tmp_path / "classes.tif", "--values", raster)

    assert as_set(layer["class"], layer.geometry) == as_set(expected["class"], expected.geometry)
    same = ["region", "class", "color", "pixels", "area", "perimeter", *(f"mean_{n}" for n in (1, 2, 3))]
    one, other = (frame[same].sort_values("region").reset_index(drop=True) for frame in (layer, expected))
    np.testing.assert_array_equal(one[same[:4]], other[same[:4]])
    np.testing.assert_allclose(one[same[4:]], other[same[4:]], rtol=1e-9)


# --- nodata -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("nodata", "options", "left_out"),
    [
        (None, (), None),  # 0 is a label like any other
        (0, (), 0),
        (3, (), 3),
        (3, ("--nodata", 0), 0),
        (3, ("--nodata", "none"), None),
        (None, ("--nodata", 5), 5),
    ],
)
def test_nodata_is_that_of_the_file_or_the_option(tmp_path, outline, make_raster, nodata, options, left_out):
    labels = patches()

    layer = outlined(tmp_path, outline, make_raster(labels[None].astype(np.uint8), nodata=nodata), *options)

    valid = np.ones(labels.shape, bool) if left_out is None else labels != left_out
    assert as_set(layer["class"], layer.geometry) == by_gdal(labels, valid)


def test_mask_of_the_file_hides_labels(tmp_path, outline, make_raster):
    labels, shown = patches(), patches(seed=1, grain=30) > 2

    layer = outlined(tmp_path, outline, make_raster(labels[None].astype(np.uint8), mask=(shown * 255).astype(np.uint8)))

    assert as_set(layer["class"], layer.geometry) == by_gdal(labels, shown)


def test_transparent_labels_are_left_out(tmp_path, outline, make_raster):
    labels, shown = patches(), patches(seed=1, grain=30) > 2
    pixels = np.stack([labels, shown * 255]).astype(np.uint8)

    layer = outlined(tmp_path, outline, make_raster(pixels, alpha="YES"))

    assert as_set(layer["class"], layer.geometry) == by_gdal(labels, shown)


def test_nan_is_no_label(tmp_path, outline, make_raster):
    labels = patches()
    floats = np.where(labels == 2, np.nan, labels - 3).astype(np.float32)

    layer = outlined(tmp_path, outline, make_raster(floats[None]))

    assert as_set(layer["class"], layer.geometry) == by_gdal(labels - 3, labels != 2)


def test_raster_without_any_label_gives_an_empty_layer(tmp_path, outline, make_raster):
    layer = outlined(tmp_path, outline, make_raster(np.zeros((1, *SHAPE), np.uint8), nodata=0))

    assert len(layer) == 0


def test_labels_outside_the_area_of_interest_are_left_out(tmp_path, outline, make_raster):
    import geopandas

    labels = patches()
    box = shapely.box(*(TRANSFORM @ (20, 100)), *(TRANSFORM @ (90, 10)))
    geopandas.GeoSeries([box], crs="EPSG:32631").to_file(tmp_path / "aoi.gpkg")

    layer = outlined(tmp_path, outline, make_raster(labels[None].astype(np.uint8)), "--aoi", tmp_path / "aoi.gpkg")

    inside = np.zeros(labels.shape, bool)
    inside[10:100, 20:90] = True
    assert as_set(layer["class"], layer.geometry) == by_gdal(labels, inside)


# --- the minimum size ---------------------------------------------------------------------------------------------


def test_small_regions_merge_by_border_length_and_ties_go_to_the_lower_label(tmp_path, outline, make_raster):
    labels = patches(STRIP, 4, grain=3) * 11 - 5

    layers = [
        outlined(tmp_path, outline, make_raster(labels[None].astype(np.int16)), "--min-pixels", 9, "--tile-size", size)
        for size in (64, 140)
    ]

    kinds, order = np.unique(labels, return_inverse=True)
    equal = np.zeros((len(kinds) + 1, 1))
    _, classes = whole_regions(order.reshape(labels.shape) + 1, min_pixels=9, features=equal)
    for layer in layers:
        assert as_set(layer["class"], layer.geometry) == by_gdal(kinds[classes - 1])
        assert layer["pixels"].min() >= 9


def test_small_regions_merge_with_the_more_similar_of_two_equally_long_borders(tmp_path, outline, make_raster):
    labels = patches(STRIP, 5, grain=3, seed=3) * 11 - 5
    kinds, order = np.unique(labels, return_inverse=True)
    values = np.array([30, 200, 90, 190, 100])[order.reshape(labels.shape)][None]
    values = (values + np.random.default_rng(0).integers(-9, 10, values.shape)).astype(np.uint8)
    raster = make_raster(labels[None].astype(np.int16))
    scene = make_raster(values, "values.tif")

    layers = [
        outlined(tmp_path, outline, raster, "--values", scene, "--min-pixels", 9, "--tile-size", size)
        for size in (64, 140)
    ]
    without = outlined(tmp_path, outline, raster, "--min-pixels", 9)

    features = np.array([[0.0], *([values[0][labels == kind].mean()] for kind in kinds)])
    _, classes = whole_regions(order.reshape(labels.shape) + 1, min_pixels=9, features=features)
    for layer in layers:
        assert as_set(layer["class"], layer.geometry) == by_gdal(kinds[classes - 1])
    assert as_set(without["class"], without.geometry) != by_gdal(kinds[classes - 1])


def test_similarity_also_decides_for_a_region_across_a_tile_line(tmp_path, outline, make_raster):
    labels = np.repeat([3, 9, 5], [60, 8, 72])[None]
    values = np.repeat([10, 90, 100], [60, 8, 72])[None]
    raster = make_raster(labels[None].astype(np.uint8))

    layer = outlined(
        tmp_path, outline, raster, "--values", make_raster(values[None].astype(np.uint8), "v.tif"), "--min-pixels", 9
    )

    assert dict(zip(layer["class"], layer["pixels"], strict=True)) == {3: 60, 5: 80}


# --- values -------------------------------------------------------------------------------------------------------


def test_statistics_are_those_of_the_values_in_the_region(tmp_path, outline, make_raster):
    labels = patches()
    values = np.random.default_rng(0).normal(1000, 300, (2, *SHAPE)).astype(np.float32)
    values[:, 20:60, 30:140] = np.nan  # over the tile line; some regions have no value at all
    raster, scene = make_raster(labels[None].astype(np.uint8)), make_raster(values, "values.tif")

    layer = outlined(tmp_path, outline, raster, "--values", scene, "--bands", "2")

    numbers = label(labels + 1, connectivity=1)
    known = np.isfinite(values[1])
    first = {tuple(np.argwhere(numbers == n)[0]): n for n in range(1, numbers.max() + 1)}
    assert [name for name in layer.columns if name.startswith(("mean", "std"))] == ["mean_2", "std_2"]
    order = sorted(first)  # regions are numbered by their first pixels
    for _, row in layer.iterrows():
        inside = numbers == first[order[row["region"] - 1]]
        seen = values[1][inside & known].astype(float)
        assert row["pixels"] == inside.sum()
        if seen.size:
            assert row["mean_2"] == pytest.approx(seen.mean(), rel=1e-9)
            assert row["std_2"] == pytest.approx(seen.std(), rel=1e-9, abs=1e-9)
        else:
            assert np.isnan(row["mean_2"])
            assert np.isnan(row["std_2"])
    assert layer["mean_2"].isna().any()


@pytest.mark.slow
def test_smooth_outlines_of_labels_are_a_coverage_also_where_large_regions_are_split(tmp_path, outline, make_raster):
    labels = make_raster(patches()[None].astype(np.uint8))
    whole = outlined(tmp_path, outline, labels, "--simplify", 1)

    layer = outlined(tmp_path, outline, labels, "--simplify", 1, "--smooth", "--max-vertices", 40)

    assert shapely.is_valid(layer.geometry).all()
    assert shapely.coverage_is_valid(layer.geometry.to_numpy())
    assert shapely.area(layer.geometry).sum() == pytest.approx(patches().size * 100)
    assert set(layer["region"]) == set(whole["region"])
    assert len(layer) > len(whole)


def test_statistics_of_a_region_without_values_are_null_in_the_file(tmp_path, outline, make_raster):
    values = np.full((1, *SHAPE), np.nan, np.float32)
    values[0, 0, 0] = 4

    outlined(tmp_path, outline, make_raster(patches()[None].astype(np.uint8)), "--values", make_raster(values, "v.tif"))

    with sqlite3.connect(tmp_path / "out.gpkg") as database:
        (n_null,) = database.execute(
            "SELECT count(*) FROM labels WHERE mean_1 IS NULL AND std_1 IS NULL AND min_1 IS NULL AND max_1 IS NULL"
        ).fetchone()
        (n_all,) = database.execute("SELECT count(*) FROM labels").fetchone()
    database.close()
    assert n_null == n_all - 1 > 0


@pytest.mark.parametrize(
    ("profile", "shape", "text"),
    [
        ({"crs": "EPSG:32632"}, SHAPE, "has another CRS than"),
        ({}, (150, 171), "has 171 x 150 pixels instead of the 170 x 150 of"),
        ({"transform": TRANSFORM @ Affine.translation(0.5, 0)}, SHAPE, "has the transform (10.0, 0.0, 500005.0"),
    ],
    ids=["crs", "shape", "transform"],
)
def test_values_on_another_grid_are_refused_with_what_differs(outline, make_raster, tmp_path, profile, shape, text):
    labels = make_raster(patches()[None].astype(np.uint8))
    values = make_raster(np.zeros((1, *shape), np.uint8), "values.tif", **profile)

    line = only_line(outline(labels, "--values", values))

    assert text in line
    assert "gdalwarp" in line
    assert not (tmp_path / "out.run").exists()


def test_layer_has_only_the_selected_columns(tmp_path, outline, make_raster):
    labels = make_raster(patches()[None].astype(np.uint8))

    layer = outlined(tmp_path, outline, labels, "--attributes", "area,pix*")

    assert set(layer.columns) == {"region", "class", "color", "pixels", "area", "geometry"}


@pytest.mark.parametrize(("asked", "nearest"), [("aera", "area"), ("confidence", "one is"), ("mean_1", "one is")])
def test_unknown_column_is_refused_with_the_nearest_name(outline, make_raster, tmp_path, asked, nearest):
    line = only_line(outline(make_raster(patches()[None].astype(np.uint8)), "--attributes", asked))

    assert f"no attribute '{asked}'" in line
    assert nearest in line
    assert not (tmp_path / "out.gpkg").exists()


# --- style --------------------------------------------------------------------------------------------------------


def style_of(path):
    with sqlite3.connect(path) as database:
        (qml,) = database.execute("SELECT styleQML FROM layer_styles").fetchone()
    database.close()
    return ElementTree.fromstring(qml.partition("\n")[2])


def test_style_names_each_label_by_its_value_and_share(tmp_path, outline, make_raster):
    labels = np.where(np.arange(SHAPE[1]) < 17, -4, 70_000) + np.zeros(SHAPE, int)

    layer = outlined(tmp_path, outline, make_raster(labels[None].astype(np.int32)))

    categories = style_of(tmp_path / "out.gpkg").findall(".//category")
    assert [(each.get("value"), each.get("label")) for each in categories] == [
        ("-4", "class -4 (10.0 %)"),
        ("70000", "class 70000 (90.0 %)"),
    ]
    assert layer["color"].nunique() == 2


def test_palette_and_names_of_the_raster_are_kept(tmp_path, outline, make_raster):
    labels = patches(n_labels=3)
    raster = make_raster(labels[None].astype(np.uint8))
    with rasterio.open(raster, "r+") as target:
        target.write_colormap(1, {0: (1, 2, 3, 255), 1: (1, 2, 4, 255), 2: (200, 100, 0, 255)})
    (tmp_path / "scene.tif.aux.xml").write_text(
        '<PAMDataset><PAMRasterBand band="1"><CategoryNames><Category>water</Category><Category></Category>'
        "<Category>wood &amp; heath</Category></CategoryNames></PAMRasterBand></PAMDataset>"
    )

    layer = outlined(tmp_path, outline, raster)

    assert dict(zip(layer["class"], layer["color"], strict=True)) == {0: "#010203", 1: "#010204", 2: "#c86400"}
    names = [each.get("label").rpartition(" (")[0] for each in style_of(tmp_path / "out.gpkg").findall(".//category")]
    assert names == ["water", "class 1", "wood & heath"]


def test_labels_have_the_colours_of_the_values(tmp_path, outline, make_raster):
    labels = np.repeat([5, 6, 7], [50, 50, 70]) + np.zeros(SHAPE, int)
    values = np.stack([np.where(labels == label, 200, 20) for label in (5, 6, 7)]).astype(np.uint8)
    raster = make_raster(labels[None].astype(np.uint8))

    layer = outlined(tmp_path, outline, raster, "--values", make_raster(values, "values.tif", photometric="RGB"))

    for channel, color in enumerate(layer.sort_values("class")["color"]):
        red_green_blue = list(bytes.fromhex(color[1:]))
        assert red_green_blue[channel] - sorted(red_green_blue)[1] > 100


@pytest.mark.slow
def test_style_of_more_than_256_labels_uses_the_colour_column(tmp_path, outline, make_raster):
    labels = np.arange(SHAPE[0] * SHAPE[1]).reshape(SHAPE) // 60

    layer = outlined(tmp_path, outline, make_raster(labels[None].astype(np.int32)))

    root = style_of(tmp_path / "out.gpkg")
    assert not root.findall(".//category")
    assert any(option.get("value") == '"color"' for option in root.iter("Option"))
    assert layer["color"].str.fullmatch("#[0-9a-f]{6}").all()
    assert layer["color"].nunique() > 400


# --- refused inputs -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pixels", "profile", "text"),
    [
        (np.full((1, *SHAPE), 0.5, np.float32), {}, "has the value 0.5 at"),
        (np.full((1, *SHAPE), np.inf, np.float32), {}, "has the value inf at"),
        (np.full((1, *SHAPE), 2**63, np.uint64), {}, "has the label 9223372036854775808 at"),
        (np.zeros((3, *SHAPE), np.uint8), {}, "has 3 bands; expected one band of labels"),
        (np.zeros((1, *SHAPE), np.complex64), {}, "has complex numbers"),
        (np.zeros((1, *SHAPE), np.uint8), {"crs": None}, "has no CRS"),
        (np.zeros((1, *SHAPE), np.uint8), {"transform": Affine.identity()}, "no transform"),
    ],
    ids=["fraction", "infinity", "too-large", "bands", "complex", "no-crs", "no-place"],
)
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_raster_without_integer_labels_is_refused_in_one_line(outline, make_raster, pixels, profile, text):
    ended = outline(make_raster(pixels, **profile), "-q")

    assert text in only_line(ended)


def test_band_option_selects_one_of_several_bands(tmp_path, outline, make_raster):
    labels = patches()
    raster = make_raster(np.stack([0 * labels, labels]).astype(np.uint8))

    layer = outlined(tmp_path, outline, raster, "--band", 2)

    assert as_set(layer["class"], layer.geometry) == by_gdal(labels)
    assert "bands 1 to 2; there is no band 3" in only_line(outline(raster, "--band", 3, "--overwrite"))


def test_options_without_effect_are_refused(outline, make_raster):
    raster = make_raster(patches()[None].astype(np.uint8))

    assert "Give --values too" in only_line(outline(raster, "--bands", "1"))
    assert "'x' is not a label" in outline(raster, "--nodata", "x").text
    assert outline(raster, "--nodata", "x").code == 2
    with pytest.raises(geoseg.errors.ConfigError, match="a class raster has no effect"):
        geoseg.outline_labels(raster, geoseg.Outputs(raster.with_suffix(".gpkg"), raster.with_name("c.tif")))


def test_output_with_the_path_of_an_input_is_refused(outline, make_raster):
    raster = make_raster(patches()[None].astype(np.uint8))
    values = make_raster(patches()[None].astype(np.uint8), "values.tif")

    for path in (raster, values):
        ended = outline(raster, "--values", values, "--region-raster", path, "--overwrite")
        assert "give the output file another name" in only_line(ended)


# --- failures and interruptions -----------------------------------------------------------------------------------


def damaged(make_raster, pixels, name):
    path = make_raster(pixels, name, tiled=True, blockxsize=32, blockysize=32, compress="deflate")
    damage(path, 4, 4)  # in the last tile
    return path


def test_tile_whose_labels_cannot_be_read_is_a_hole_and_marked(tmp_path, outline, make_raster):
    labels = patches()
    raster = damaged(make_raster, labels[None].astype(np.uint8), "damaged.tif")

    ended = outline(raster)

    assert ended.code == 3
    layer, failed = polygons(tmp_path / "out.gpkg"), polygons(tmp_path / "out.gpkg", "failed_tiles")
    assert "cannot be read" in failed["message"][0]
    rest = np.ones(labels.shape, bool)
    rest[128:, 128:] = False
    assert as_set(layer["class"], layer.geometry) == by_gdal(labels, rest)


def test_tile_whose_values_cannot_be_read_is_a_hole_and_its_neighbours_are_whole(tmp_path, outline, make_raster):
    labels = patches()
    raster = make_raster(labels[None].astype(np.uint8))
    values = damaged(make_raster, labels[None].astype(np.uint8), "damaged.tif")

    ended = outline(raster, "--values", values)

    assert ended.code == 3
    layer = polygons(tmp_path / "out.gpkg")
    assert shapely.area(layer.geometry).sum() == pytest.approx(100 * (150 * 170 - 22 * 42))
    assert shapely.coverage_is_valid(layer.geometry.to_numpy())
    np.testing.assert_allclose(layer["mean_1"], layer["class"])


@pytest.mark.parametrize(
    ("step", "n_calls"),
    rest_slow(
        [
            ("measure_tile", [8, 9, 9]),
            ("outline_tile", [0, 0, 8]),
            ("share_means", [0, 9, 9]),
            ("label_tile", [0, 8, 9]),
            ("merge_pieces", [0, 0, 9]),
        ],
        quick=1,
    ),
)
def test_interrupted_run_resumes_without_repeating_steps(tmp_path, outline, make_raster, monkeypatch, step, n_calls):
    """Of the nine tiles one is finished before the interruption; `n_calls` on resume: measure, label, outline."""
    raster = make_raster(patches()[None].astype(np.uint8))
    values = make_raster(fields(), "values.tif")
    options = ("--values", values, "--min-pixels", 5, "--simplify", 1)
    expected = outlined(tmp_path, outline, raster, *options)
    (tmp_path / "out.gpkg").unlink()
    interrupted = counted(step, label_raster, fail_at=1 if step in ("share_means", "merge_pieces") else 2)
    with monkeypatch.context() as patch:
        patch.setattr(label_raster, step, interrupted)
        assert outline(raster, *options, "--overwrite").code == 130
    assert not (tmp_path / "out.gpkg").exists()
    counters = {name: counted(name, label_raster) for name in ("measure_tile", "label_tile", "outline_tile")}
    for name, counter in counters.items():
        monkeypatch.setattr(label_raster, name, counter)

    assert "continue it with --resume" in only_line(outline(raster, *options))
    assert outline(raster, *options, "--resume").code == 0

    assert [len(counter.calls) for counter in counters.values()] == n_calls
    assert polygons(tmp_path / "out.gpkg").equals(expected)


def counted(name, module, fail_at=None):
    """Return a function of a module that keeps its calls; the call `fail_at`, from 1, is interrupted."""
    function = getattr(module, name)

    def counter(*arguments):
        counter.calls.append(arguments)
        if len(counter.calls) == fail_at:
            raise KeyboardInterrupt
        return function(*arguments)

    counter.calls = []
    return counter


def test_tile_that_succeeds_on_resume_changes_the_means_of_its_labels(tmp_path, outline, make_raster, monkeypatch):
    labels = np.repeat([3, 9, 5, 9], [30, 8, 27, 75])[None]  # the first tile line is at 64
    values = np.repeat([10, 90, 100, 0], [30, 8, 27, 75])[None]
    raster = make_raster(labels[None].astype(np.uint8))
    options = ("--values", make_raster(values[None].astype(np.uint8), "v.tif"), "--min-pixels", 9)
    whole = label_raster.measure_tile

    def fails(job, number):
        if number > 0:
            raise OSError("the share is gone")
        whole(job, number)

    monkeypatch.setattr(label_raster, "measure_tile", fails)
    ended = outline(raster, *options)
    assert ended.code == 3
    assert dict(zip(polygons(tmp_path / "out.gpkg")["class"], [30, 34], strict=True)) == {3: 30, 5: 34}
    monkeypatch.setattr(label_raster, "measure_tile", whole)

    assert outline(raster, *options, "--resume").code == 0

    layer = polygons(tmp_path / "out.gpkg")
    assert dict(zip(layer["class"], layer["pixels"], strict=True)) == {3: 38, 5: 27, 9: 75}


def test_run_is_not_resumed_with_other_labels_or_another_nodata_value(outline, make_raster, monkeypatch):
    raster = make_raster(patches()[None].astype(np.uint8))
    with monkeypatch.context() as patch:
        patch.setattr(label_raster, "outline_tile", _interrupt)
        assert outline(raster).code == 130

    assert "labels.nodata" in only_line(outline(raster, "--resume", "--nodata", 0))
    make_raster(patches(seed=1)[None].astype(np.uint8))
    assert "input.scene.tif" in only_line(outline(raster, "--resume"))


def _interrupt(*_):
    raise KeyboardInterrupt


def test_finished_run_keeps_only_its_report(tmp_path, outline, make_raster):
    raster = make_raster(patches()[None].astype(np.uint8))
    layer = outlined(tmp_path, outline, raster, "--values", make_raster(fields(), "values.tif"))

    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.gpkg", "out.run", "scene.tif", "values.tif"]
    report = json.loads((tmp_path / "out.run" / "run.json").read_text())
    assert report["scene"] == str(raster)
    assert (report["n_regions"], report["n_classes"]) == (len(layer), 6)
    assert set(report["tiles"]["states"]) == {"done"}
    assert set(report["seconds"]) == {"label", "merge", "outline", "write"}
    assert "is finished" in outline(raster, "--values", tmp_path / "values.tif", "--resume").text


def test_python_function_takes_labels_and_values(tmp_path, make_raster):
    raster = make_raster(patches()[None].astype(np.uint8))
    source = LabelInput(str(raster), values=str(raster), nodata=0)

    result = geoseg.outline_labels(source, tmp_path / "out.gpkg", workers=0)

    layer = polygons(tmp_path / "out.gpkg")
    assert (result.n_regions, result.n_classes, result.failed) == (len(layer), 5, {})
    np.testing.assert_allclose(layer["mean_1"], layer["class"])
