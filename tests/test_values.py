"""Statistics of rasters of values: exact over tile lines, on any grid and in any CRS, refused before a run begins."""

import geopandas
import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Transformer
from rasterio.enums import ColorInterp
from scipy.ndimage import map_coordinates

import geoseg
from geoseg.errors import ConfigError, RasterError, RunError
from geoseg.grid import GeoBox, TileGrid, Window
from geoseg.raster.values_raster import Bins, cells_of, check_overlap, open_values, positions, read_values
from geoseg.run.values_option import ValuesOption, open_values_of, split_values
from geoseg.segment.sampling import sample
from geoseg.steps.values import binnings
from geoseg.vectorize import value_stats
from geoseg.vectorize.region_runs import local_regions, region_runs
from geoseg.vectorize.value_stats import Binning, ValueSums

from .conftest import TRANSFORM, fields, run_command, write_raster
from .tilings import SCENES, regions_of, winding

FINE = Binning(1e-3, 0.5, -(10**7), 10**7)
CATEGORIES = Binning(0.0, 0.0, 0, 0)


def measured(regions, layers, size):
    """Statistics of (values, has_value, binning) in all regions from tiles of `size`, as a run folder holds them."""
    tiles, last = [], np.zeros(regions.max() + 1, np.int64)
    for tile in TileGrid(regions.shape, size, 0):
        core = tile.core
        inside = core.within(Window(0, 0, regions.shape[1], regions.shape[0]))
        framed = np.pad(regions, 1)[core.row_off : core.row_end + 2, core.col_off : core.col_end + 2]
        used, pieces = np.unique(np.append(framed[1:-1, 1:-1], 0), return_inverse=True)
        frame = framed[0], framed[-1], framed[1:-1, 0], framed[1:-1, -1]
        local = local_regions(pieces.ravel()[:-1].reshape(core.shape).astype(np.int32), used, frame)
        some = [(np.ascontiguousarray(values[inside]), known[inside]) for values, known, _ in layers]
        part = value_stats.tile_values(local, region_runs(local), some, [binning for *_, binning in layers])
        tiles.append((tile.number, ValueSums.from_arrays(part.to_arrays())))
        last[regions[inside]] = tile.number
    return value_stats.combine(tiles, last[1:], [binning for *_, binning in layers])


def layers_of(regions, seed=1):
    draw = np.random.default_rng(seed)
    heights = 3000 + regions % 7 + draw.normal(0, 0.2, regions.shape)
    return [
        (heights, draw.random(regions.shape) > 0.2, FINE),
        (draw.integers(-2, 4, regions.shape), draw.random(regions.shape) > 0.4, CATEGORIES),
    ]


@settings(max_examples=15, deadline=None)
@given(regions=SCENES.filter(lambda regions: regions.max() > 0), size=st.integers(2, 24))
def test_statistics_do_not_depend_on_the_size_of_the_tiles(regions, size):
    layers = layers_of(regions)

    tiled, whole = (measured(regions, layers, some).to_arrays() for some in (size, 1000))

    for name in ("pixels", "mean", "scatter", "low", "high", "ranks"):
        np.testing.assert_allclose(tiled[name], whole[name], rtol=1e-9, atol=1e-9, err_msg=name)


def test_statistics_are_those_of_numpy_and_percentiles_are_half_a_bin_off_at_most(monkeypatch):
    monkeypatch.setattr(value_stats, "_MAX_HELD", 0)
    regions = regions_of(winding((50, 60), 4, 1.5, 9))
    layers = layers_of(regions)

    found = measured(regions, layers, 13)

    (heights, known, _), (crops, has_crop, _) = layers
    for i in range(regions.max()):
        some = heights[(regions == i + 1) & known]
        assert found.pixels[i, 0] == len(some)
        if len(some):
            assert found.mean[i, 0] == pytest.approx(some.mean(), rel=1e-9)
            assert found.scatter[i, 0] == pytest.approx(some.var() * len(some), abs=1e-6)
            assert (found.low[i, 0], found.high[i, 0]) == (some.min(), some.max())
            assert np.abs(found.ranks[i, 0] - np.quantile(some, value_stats.QUANTILES)).max() <= 0.5e-3 + 1e-9
        counts = np.bincount(crops[(regions == i + 1) & has_crop] + 2, minlength=6)
        expected = np.nan if not counts.any() else counts.argmax() - 2
        np.testing.assert_equal(found.ranks[i, 1, 0], expected)
    assert np.isnan(found.ranks[:, 1]).any()


def test_percentiles_of_whole_numbers_are_exact():
    values = np.random.default_rng(2).integers(0, 200, 5000)
    bins = Bins.of_sample(values[:4000], "uint8")
    regions = np.ones((50, 100), np.int64)
    (binning,) = binnings([_with_bins(bins)])

    found = measured(regions, [(values.reshape(50, 100).astype(float), regions > 0, binning)], 17)

    assert bins.width < 0.06
    assert found.ranks[0, 0].tolist() == pytest.approx(np.quantile(values, value_stats.QUANTILES))


def _with_bins(bins):
    from geoseg.raster.values_raster import ValuesRaster

    return ValuesRaster("v", None, (bins,))


def test_values_far_from_the_sample_are_counted_at_its_limits_and_do_not_take_more_bins():
    (binning,) = binnings([_with_bins(Bins.of_sample(np.array([0.0, 1.0]), "float32"))])
    values = np.array([[0.5, 1e12, -1e12, 0.25]])

    found = measured(np.ones((1, 4), np.int64), [(values, values < np.inf, binning)], 2)

    assert binning.high - binning.low <= 3 * 4096
    assert (found.low[0, 0], found.high[0, 0]) == (-1e12, 1e12)
    assert found.ranks[0, 0, 1] == pytest.approx(0.375, abs=1e-3)


def test_tile_of_another_run_is_refused():
    part = ValueSums.zeros(5, 1)

    with pytest.raises(RunError, match="values of region 5, and the scene has 3"):
        value_stats.combine([(0, part)], np.zeros(3, np.int64), [FINE])


# --- grids --------------------------------------------------------------------------------------------------------


GRID = GeoBox((90, 120), TRANSFORM, "EPSG:32631")


@pytest.fixture(scope="module")
def degrees(tmp_path_factory):
    """A raster of a plane in degrees around GRID, coarser than it, with a hole."""
    to_degrees = Transformer.from_crs("EPSG:32631", "EPSG:4326", always_xy=True)
    left, top = to_degrees.transform(499_000, 5_001_000)
    transform = Affine(0.0004, 0, left, 0, -0.0003, top)
    rows, cols = np.mgrid[0:60, 0:80]
    values = (100 + 2.0 * rows - 3.0 * cols).astype(np.float32)
    values[20:22, 30:33] = -9999
    path = tmp_path_factory.mktemp("degrees") / "dem.tif"
    return write_raster(path, values[None], crs="EPSG:4326", transform=transform, nodata=-9999)


def test_values_of_another_crs_are_those_at_the_exact_positions_in_every_window(degrees):
    raster = open_values(str(degrees), "dem")
    found = np.full(GRID.shape, np.nan)
    for tile in TileGrid(GRID.shape, 37, 0):
        at = positions(raster, GRID, tile.core)
        cells = cells_of(raster, *at)
        rows, cols = cells.within(raster.source.geobox.window)
        plane = 100 + 2.0 * np.arange(60)[rows, None] - 3.0 * np.arange(80)[None, cols]
        values, _ = sample(plane, np.ones(plane.shape, bool), cells, at)
        found[tile.core.within(GRID.window)] = values

    rows, cols = np.mgrid[0.5:90.5, 0.5:120.5]
    x, y = TRANSFORM @ (cols.ravel(), rows.ravel())
    u, v = ~raster.source.geobox.transform @ Transformer.from_crs("EPSG:32631", "EPSG:4326", always_xy=True).transform(
        x, y
    )
    expected = map_coordinates(100 + 2.0 * np.arange(60)[:, None] - 3.0 * np.arange(80), [v - 0.5, u - 0.5], order=1)
    np.testing.assert_allclose(found.ravel(), expected, atol=1e-3)
    whole = positions(raster, GRID, GRID.window)
    part = positions(raster, GRID, Window(40, 30, 5, 7))
    np.testing.assert_array_equal(whole[0][30:37, 40:45], part[0])


def test_bilinear_values_leave_out_cells_without_data():
    at = (np.array([[0.5, 1.0, 1.5, np.nan]]), np.full((1, 4), 0.5))
    known = np.array([[True, False]])

    values, has_value = sample(np.array([[4.0, 900.0]]), known, Window(0, 0, 2, 1), at)

    assert has_value.tolist() == [[True, False, False, False]]
    assert values[0, 0] == 4


# --- runs ---------------------------------------------------------------------------------------------------------


QUICK = {"method": "kmeans", "classes": 4, "workers": 0, "min_pixels": 12, "simplify": 0}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("values")
    write_raster(folder / "scene.tif", fields((90, 120), patch=30))
    crops = np.kron(np.array([[3, 7], [9, 3]]), np.ones((23, 30), int)).astype(np.uint8)[:, :50]
    palette = {3: (1, 2, 3, 255), 7: (9, 9, 9, 255), 9: (30, 3, 3, 255)}
    with rasterio.open(
        folder / "crops.tif", "w", driver="GTiff", count=1, height=46, width=50, dtype="uint8", crs="EPSG:32631",
        transform=TRANSFORM @ Affine.scale(2), nodata=0,
    ) as raster:  # fmt: skip
        raster.write(crops, 1)
        raster.write_colormap(1, palette)
        raster.colorinterp = [ColorInterp.palette]
    return folder


def frame_of(path):
    return geopandas.read_file(path, layer="labels").sort_values("region", ignore_index=True)


def test_columns_of_values_do_not_depend_on_the_tiles_and_are_those_of_the_pixels(place, degrees, tmp_path):
    values = [f"{degrees}:height", place / "crops.tif", f"{place / 'scene.tif'}:again"]
    regions = tmp_path / "regions.tif"
    for name, size in (("whole", 512), ("tiled", 64)):
        raster = {"region_raster": regions} if name == "whole" else {}
        geoseg.segment_scene(
            place / "scene.tif", tmp_path / f"{name}.gpkg", values=values, tile_size=size, **raster, **QUICK
        )

    whole, tiled = frame_of(tmp_path / "whole.gpkg"), frame_of(tmp_path / "tiled.gpkg")

    assert list(whole.columns) == list(tiled.columns)
    for name in whole.columns.drop(["color", "geometry"]):
        np.testing.assert_allclose(tiled[name], whole[name], rtol=1e-9, atol=1e-9, err_msg=name)
    for band in (1, 2, 3):
        for end in ("mean", "std", "min", "max"):
            np.testing.assert_allclose(whole[f"again_{band}_{end}"], whole[f"{end}_{band}"], rtol=1e-9, atol=1e-9)
    with rasterio.open(regions) as file, rasterio.open(place / "crops.tif") as crops:
        numbers = file.read(1)
        wide = np.kron(crops.read(1), np.ones((2, 2), int))[:90]
        pixels = file.read(1)[:, :100], wide[:, :100]
    for number, found in zip(whole["region"], whole["crops_majority"], strict=True):
        counts = np.bincount(pixels[1][pixels[0] == number], minlength=10)
        np.testing.assert_equal(found, counts.argmax() if counts.any() else np.nan)
    assert whole["height_mean"].notna().all()
    assert (whole["height_p10"] <= whole["height_p90"]).all()
    assert numbers.max() == len(whole)


def test_outline_takes_named_values_beside_the_ones_on_its_grid(place, degrees, tmp_path):
    values = [place / "scene.tif", f"{degrees}:height"]

    geoseg.outline_labels(place / "crops.tif", tmp_path / "a.gpkg", values=values[1:], workers=0)

    assert "height_median" in frame_of(tmp_path / "a.gpkg")
    with pytest.raises(RasterError, match=r"scene\.tif"):  # another grid
        geoseg.outline_labels(place / "crops.tif", tmp_path / "b.gpkg", values=values, workers=0)


def test_other_content_of_the_values_is_another_run(place, tmp_path):
    heights = tmp_path / "h.tif"
    write_raster(heights, fields((90, 120), 1, seed=4))
    geoseg.segment_scene(place / "scene.tif", tmp_path / "a.gpkg", values=heights, **QUICK)
    write_raster(heights, fields((90, 120), 1, seed=5))

    with pytest.raises(RunError, match=r"another input.*h\.tif"):
        geoseg.segment_scene(place / "scene.tif", tmp_path / "a.gpkg", values=heights, resume=True, **QUICK)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dem.tif", ("dem.tif", "", False, "dem")),
        ("a b/dem-2.tif:h", ("a b/dem-2.tif", "h", False, "h")),
        ("s3://bucket/dem.tif", ("s3://bucket/dem.tif", "", False, "dem")),
        ("s3://bucket/dem.tif:h", ("s3://bucket/dem.tif", "h", False, "h")),
        ("crops.tif:majority", ("crops.tif", "", True, "crops")),
        ("crops.tif:c:majority", ("crops.tif", "c", True, "c")),
        ("2021.tif", ("2021.tif", "", False, "v2021")),
    ],
)
def test_values_are_written_as_file_name_and_majority(text, expected):
    option = ValuesOption.parse(text)

    assert (option.path, option.name, option.majority, option.column) == expected


def test_existing_file_with_a_colon_in_its_name_is_that_file(tmp_path):
    path = tmp_path / "dem:h"
    path.write_bytes(b"")

    assert ValuesOption.parse(str(path)).path == str(path)


def test_two_rasters_without_a_name_are_refused_for_labels():
    with pytest.raises(ConfigError, match=r"Name the others, as in b.tif:NAME"):
        split_values(["a.tif", "b.tif"])


def test_wrong_values_are_refused_in_one_line_before_the_run(place, degrees, tmp_path, make_raster):
    far = make_raster(fields((20, 20), 1), "far.tif", transform=TRANSFORM @ Affine.translation(10_000, 0))
    cases = {
        f"{far}:x": "does not overlap",
        f"{tmp_path / 'absent.tif'}:x": "there is no file",
        f"{make_raster(fields((20, 20), 1), 'plain.tif', crs=None)}:x": "no CRS",
        f"{make_raster(np.full((1, 20, 20), 5.0), 'empty.tif', nodata=5.0)}:x": "no value",
        f"{degrees}:ndvi": "ndvi_mean, which is taken",
    }
    for text, expected in cases.items():
        ended = run_command("tile", place / "scene.tif", "--out", tmp_path / "x.gpkg", "--values", text)

        assert (ended.code, len(ended.lines)) == (1, 1), ended.text
        assert expected in ended.text
        assert not (tmp_path / "x.run").exists()


def test_small_raster_anywhere_in_a_large_scene_overlaps_it(make_raster):
    small = make_raster(fields((5, 5), 1), "small.tif", transform=TRANSFORM @ Affine.translation(30_011, 4_007))
    large = GeoBox((60_000, 60_000), TRANSFORM, "EPSG:32631")

    check_overlap(open_values(str(small), "s"), large, "scene.tif")

    with pytest.raises(RasterError, match="does not overlap"):
        check_overlap(open_values(str(small), "s"), GeoBox((4000, 60_000), TRANSFORM, "EPSG:32631"), "scene.tif")


def test_two_rasters_of_one_name_are_refused(degrees, place):
    from geoseg.raster.scene import open_scene

    with pytest.raises(ConfigError, match="dem_mean, which is taken by"):
        open_values_of([str(degrees), f"{degrees}:dem"], open_scene(place / "scene.tif"), "all")


def test_columns_that_differ_in_case_alone_are_refused_before_the_run(tmp_path):
    path = write_raster(tmp_path / "a.tif", fields(n_bands=1) // 60)

    for command in (("tile", path), ("outline", path)):
        ended = run_command(*command, "--out", tmp_path / "o.gpkg", "--values", f"{path}:a", "--values", f"{path}:A")
        assert ended.code == 1
        assert "would be the column A_mean" in ended.lines[-1]


def test_categories_beyond_exact_numbers_are_refused_not_rounded(tmp_path):
    numbers = (fields(n_bands=1) // 60).astype(np.int64) + 2**53 + 1
    raster = open_values(str(write_raster(tmp_path / "a.tif", numbers)), "a", majority=True)

    with pytest.raises(RasterError, match="Renumber"):
        read_values(raster, Window(0, 0, 40, 40))
