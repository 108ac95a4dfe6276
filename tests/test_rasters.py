"""Class and region rasters contain every pixel unchanged, on the grid of the scene."""

import resource
from contextlib import contextmanager

import numpy as np
import pytest
import rasterio
from affine import Affine
from pyproj import CRS

from geoseg.errors import ConfigError, OutputError
from geoseg.grid import GeoBox, TileGrid, Window
from geoseg.output import rasters as module
from geoseg.output.rasters import write_class_raster, write_region_raster
from geoseg.output.style import Legend

NORTH_UP = Affine(10, 0, 5e5, 0, -10, 5e6)
SOUTH_UP = Affine(10, 0, 5e5, 0, 10, 5e6)
ROTATED = Affine.translation(5e5, 5e6) @ Affine.rotation(30) @ Affine.scale(10, -10)
LEGEND = Legend(np.array([[200, 0, 0], [0, 200, 0], [0, 0, 200]], np.uint8), ("wood", "<water>", "snow"))


def _geobox(transform=NORTH_UP, shape=(700, 900)):
    return GeoBox(shape, transform, CRS(32631).to_wkt())


def _values(geobox, high=4, seed=0):
    rng = np.random.default_rng(seed)
    rows, cols = geobox.shape
    return rng.integers(0, high, (rows // 7 + 1, cols // 7 + 1)).repeat(7, 0).repeat(7, 1)[:rows, :cols]


def _tiles(values, size=300):
    scene = Window(0, 0, values.shape[1], values.shape[0])
    return [(tile.core, values[tile.core.within(scene)]) for tile in TileGrid(values.shape, size, 0)]


@contextmanager
def _files_of_at_most(n_bytes):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("transform", [NORTH_UP, SOUTH_UP, ROTATED], ids=["north up", "south up", "rotated"])
def test_class_raster_contains_the_classes_on_the_grid_of_the_scene(tmp_path, transform):
    geobox = _geobox(transform)
    values = _values(geobox)

    write_class_raster(tmp_path / "classes.tif", geobox, _tiles(values), LEGEND)

    with rasterio.open(tmp_path / "classes.tif") as raster:
        np.testing.assert_array_equal(raster.read(1), values)
        assert raster.transform.almost_equals(transform)
        assert raster.crs.to_epsg() == 32631
        assert (raster.dtypes, raster.nodata) == (("uint8",), 0)
        assert raster.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert raster.colormap(1)[2] == (0, 200, 0, 255)
        assert raster.colormap(1)[0][3] == 0


def test_overview_of_a_class_raster_contains_the_most_frequent_class(tmp_path):
    minority = np.random.default_rng(0).integers(0, 4, (512, 512))  # which of four pixels is of class 1
    at = np.arange(1024) % 2
    values = np.where(minority.repeat(2, 0).repeat(2, 1) == 2 * at[:, None] + at, 1, 3)

    write_class_raster(tmp_path / "classes.tif", _geobox(shape=(1024, 1024)), _tiles(values), LEGEND)

    with rasterio.open(tmp_path / "classes.tif", overview_level=0) as overview:
        assert overview.shape == (512, 512)
        assert (overview.read(1) == 3).all()


def test_region_raster_contains_the_largest_uint32(tmp_path):
    geobox = _geobox()
    values = _values(geobox, high=2**32)
    values[0, 0] = 2**32 - 1

    write_region_raster(tmp_path / "regions.tif", geobox, _tiles(values))

    with rasterio.open(tmp_path / "regions.tif") as raster:
        np.testing.assert_array_equal(raster.read(1), values)
        assert (raster.dtypes, raster.nodata) == (("uint32",), 0)
        assert set(np.unique(raster.read(1, out_shape=(350, 450)))) <= set(np.unique(values))


def test_pixels_outside_all_windows_are_nodata(tmp_path):
    geobox = _geobox()
    values = np.ones(geobox.shape, np.uint8)

    write_class_raster(tmp_path / "classes.tif", geobox, _tiles(values)[1:], LEGEND)

    with rasterio.open(tmp_path / "classes.tif") as raster:
        found = raster.read(1)
    assert not found[:300, :300].any()
    assert found.sum() == values.sum() - 300 * 300


def test_more_than_255_classes_give_a_uint16_raster(tmp_path):
    legend = Legend(np.zeros((300, 3), np.uint8), tuple(str(i) for i in range(300)))
    values = np.arange(301).reshape(7, 43)

    write_class_raster(tmp_path / "classes.tif", _geobox(shape=(7, 43)), _tiles(values), legend)

    with rasterio.open(tmp_path / "classes.tif") as raster:
        assert raster.read(1).max() == 300


def test_class_names_and_style_are_written_beside_the_raster(tmp_path):
    write_class_raster(tmp_path / "classes.tif", _geobox(), _tiles(_values(_geobox())), LEGEND)

    names = (tmp_path / "classes.tif.aux.xml").read_text(encoding="utf-8")
    assert names.index("nodata") < names.index("wood") < names.index("&lt;water&gt;") < names.index("snow")
    assert 'label="wood"' in (tmp_path / "classes.qml").read_text(encoding="utf-8")
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("write", [write_class_raster, write_region_raster])
def test_same_tiles_in_any_order_give_the_same_bytes(tmp_path, write):
    tiles = _tiles(_values(_geobox()))
    more = (LEGEND,) if write is write_class_raster else ()

    write(tmp_path / "a.tif", _geobox(), tiles, *more)
    write(tmp_path / "b.tif", _geobox(), tiles[::-1], *more)

    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()


def test_number_that_does_not_fit_the_dtype_is_refused(tmp_path):
    tiles = [(Window(0, 0, 2, 1), np.array([[1, 256]]))]

    with pytest.raises(OutputError, match="1 to 256 do not fit a raster of uint8"):
        write_class_raster(tmp_path / "classes.tif", _geobox(), tiles, LEGEND)

    assert list(tmp_path.iterdir()) == []


def test_exception_of_the_tiles_is_raised_unchanged_and_leaves_no_file(tmp_path):
    def tiles():
        yield Window(0, 0, 2, 1), np.array([[1, 2]])
        raise OSError("tile 3 is gone")

    with pytest.raises(OSError, match=r"^tile 3 is gone$"):
        write_region_raster(tmp_path / "regions.tif", _geobox(), tiles())

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("n_bytes", [20_000, 300_000, 1_000_000])
def test_full_disk_gives_an_error_with_the_file_name_and_leaves_no_file(tmp_path, n_bytes):
    values = np.random.default_rng(0).integers(0, 2**32, (700, 900))

    with _files_of_at_most(n_bytes), pytest.raises(OutputError, match=f"^{tmp_path}/regions.tif"):
        write_region_raster(tmp_path / "regions.tif", _geobox(), _tiles(values))

    assert list(tmp_path.iterdir()) == []


def test_raster_with_a_missing_window_is_detected(tmp_path, monkeypatch):
    whole = module._write_plain

    def lossy(path, geobox, tiles, **options):
        checksums = whole(path, geobox, tiles, **options)
        with rasterio.open(path, "r+") as raster:
            raster.write(np.zeros((100, 100), "uint32"), 1, window=rasterio.windows.Window(600, 600, 100, 100))
        return checksums

    monkeypatch.setattr(module, "_write_plain", lossy)

    with pytest.raises(OutputError, match=r"regions\.tif does not contain what was written"):
        write_region_raster(tmp_path / "regions.tif", _geobox(), _tiles(np.ones(_geobox().shape, np.uint32)))

    assert list(tmp_path.iterdir()) == []


def test_unsupported_suffix_and_existing_raster_are_refused(tmp_path):
    (tmp_path / "regions.tif").touch()

    with pytest.raises(ConfigError, match=r"\.tif, \.tiff"):
        write_region_raster(tmp_path / "regions.png", _geobox(), [])
    with pytest.raises(OutputError, match="--overwrite"):
        write_region_raster(tmp_path / "regions.tif", _geobox(), [])
