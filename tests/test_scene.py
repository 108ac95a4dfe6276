import os
import struct
import threading
import warnings
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.enums import ColorInterp

from geoseg.errors import RasterError
from geoseg.grid import Window
from geoseg.raster.names import quoted
from geoseg.raster.scene import open_scene, read, read_tolerant, touches

from .conftest import TRANSFORM, fields, write_raster

WHOLE = Window(0, 0, 40, 30)
SHAPE = (30, 40)
RGB = [ColorInterp.red, ColorInterp.green, ColorInterp.blue]


def ramp(dtype, n_bands=1, shape=SHAPE):
    """Return (band, y, x) pixels from 1, all different in a band where the dtype has enough values."""
    values = 1 + np.arange(n_bands * shape[0] * shape[1]).reshape(n_bands, *shape)
    return (values % 250 + 1 if np.dtype(dtype).itemsize == 1 else values).astype(dtype)


def refusal(path, **options):
    """Return the error message of a raster that must be refused; it is one line."""
    with pytest.raises(RasterError) as refused:
        open_scene(path, **options)
    text = str(refused.value)
    assert "\n" not in text
    return text


def damage(path, row, col):
    """Overwrite the compressed bytes of one block of a GeoTIFF."""
    with warnings.catch_warnings(action="ignore"), rasterio.open(path) as raster:
        offset = int(raster.get_tag_item(f"BLOCK_OFFSET_{col}_{row}", "TIFF", bidx=1))
        size = int(raster.get_tag_item(f"BLOCK_SIZE_{col}_{row}", "TIFF", bidx=1))
    content = bytearray(path.read_bytes())
    content[offset : offset + size] = b"\xff" * size
    path.write_bytes(content)


# --- values -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64"])
def test_values_of_every_dtype_are_read_unchanged(make_raster, dtype):
    pixels = ramp(dtype, 2)

    read_pixels, valid = read(open_scene(make_raster(pixels)), WHOLE)

    assert read_pixels.dtype == np.float32
    np.testing.assert_array_equal(read_pixels, pixels.astype(np.float32))
    assert valid.all()


@given(data=st.data())
def test_window_equals_a_crop_of_the_whole_scene(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "crops.tif"
    if not path.exists():
        pixels = ramp("uint16", 3)
        pixels[:, 10:20, 5:15] = 0
        write_raster(path, pixels, nodata=0, tiled=True, blockxsize=16, blockysize=16)
    scene = open_scene(path)
    left, top = data.draw(st.integers(0, 39)), data.draw(st.integers(0, 29))
    window = Window(left, top, data.draw(st.integers(1, 40 - left)), data.draw(st.integers(1, 30 - top)))

    pixels, valid = read(scene, window)

    all_pixels, all_valid = read(scene, WHOLE)
    inner = window.within(WHOLE)
    np.testing.assert_array_equal(pixels, all_pixels[:, *inner])
    np.testing.assert_array_equal(valid, all_valid[inner])


def test_bands_are_read_in_the_given_order(make_raster):
    pixels = ramp("uint16", 4)

    scene = open_scene(make_raster(pixels), bands=(4, 2))

    assert scene.bands == (4, 2)
    np.testing.assert_array_equal(read(scene, WHOLE)[0], pixels[[3, 1]])


@pytest.mark.parametrize("band", [0, 4, -1])
def test_missing_band_is_refused_with_the_existing_ones_named(make_raster, band):
    assert f"bands 1 to 3; there is no band {band}" in refusal(make_raster(ramp("uint8", 3)), bands=(1, band))


def test_rewritten_file_is_not_read_from_an_open_handle(make_raster):
    path = make_raster(ramp("uint16"))
    scene = open_scene(path)
    read(scene, WHOLE)

    make_raster(ramp("uint16") + 5)

    np.testing.assert_array_equal(read(scene, WHOLE)[0], ramp("uint16") + 5)


def test_threads_read_the_same_pixels_concurrently(make_raster):
    pixels = ramp("uint16", 3, (200, 200))
    scene = open_scene(make_raster(pixels, tiled=True, blockxsize=16, blockysize=16, compress="deflate"))
    found = {}

    def work(number):
        found[number] = [read(scene, Window(i, number, 50, 50))[0] for i in range(20)]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    for number, parts in found.items():
        for i, part in enumerate(parts):
            np.testing.assert_array_equal(part, pixels[:, number : number + 50, i : i + 50])
    assert len(found) == 4


# --- valid pixels -------------------------------------------------------------------------------------------------


def hole():
    """Return (y, x) bool, a rectangle of pixels that are not valid."""
    missing = np.zeros(SHAPE, bool)
    missing[5:12, 8:20] = True
    return missing


@pytest.mark.parametrize(
    ("dtype", "nodata"), [("uint8", 0), ("uint16", 65535), ("int16", -9999), ("float32", -9999.0), ("float32", np.nan)]
)
def test_pixel_with_the_nodata_value_is_not_valid(make_raster, dtype, nodata):
    pixels = ramp(dtype, 3)
    pixels[:, hole()] = nodata

    found, valid = read(open_scene(make_raster(pixels, nodata=nodata)), WHOLE)

    np.testing.assert_array_equal(valid, ~hole())
    assert (found[:, hole()] == 0).all()


@pytest.mark.parametrize("nodata", [None, -9999.0])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_or_infinite_value_is_not_valid_whatever_nodata_is(make_raster, value, nodata):
    pixels = ramp("float32", 3)
    pixels[1, hole()] = value  # in one band only

    found, valid = read(open_scene(make_raster(pixels, nodata=nodata)), WHOLE)

    np.testing.assert_array_equal(valid, ~hole())
    assert np.isfinite(found).all()


@pytest.mark.parametrize(
    ("dtype", "nodata"), [("uint8", 0), ("uint16", 65535), ("int16", -9999), ("int32", 0), ("float32", 0.0)]
)
def test_nodata_in_one_band_counts_by_the_nodata_mode_whatever_the_data_type(make_raster, dtype, nodata):
    pixels = ramp(dtype, 3)
    pixels[1, hole()] = nodata
    path = make_raster(pixels, nodata=nodata)

    assert read(open_scene(path), WHOLE)[1].all()
    np.testing.assert_array_equal(read(open_scene(path, nodata_mode="any"), WHOLE)[1], ~hole())


def test_only_the_chosen_bands_determine_valid_pixels(make_raster):
    pixels = ramp("uint8", 3)
    pixels[1, hole()] = 0
    path = make_raster(pixels, nodata=0)

    np.testing.assert_array_equal(read(open_scene(path, bands=(2,)), WHOLE)[1], ~hole())
    assert read(open_scene(path, bands=(1, 3)), WHOLE)[1].all()


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_alpha_is_not_a_band_and_transparent_pixels_are_not_valid(make_raster, dtype):
    pixels = ramp(dtype, 4)
    pixels[3] = np.where(hole(), 0, np.iinfo(dtype).max)
    pixels[3, 0, 0] = 1  # valid, although nearly transparent

    scene = open_scene(make_raster(pixels, colours=[*RGB, ColorInterp.alpha]))
    _, valid = read(scene, WHOLE)

    assert scene.bands == (1, 2, 3)
    np.testing.assert_array_equal(valid, ~hole())


def test_alpha_applies_also_beside_a_nodata_value(make_raster):
    pixels = ramp("uint8", 4)
    pixels[3] = np.where(hole(), 0, 255)
    pixels[:3, 0, :10] = 0

    scene = open_scene(make_raster(pixels, nodata=0, colours=[*RGB, ColorInterp.alpha]))

    expected = ~hole()
    expected[0, :10] = False
    np.testing.assert_array_equal(read(scene, WHOLE)[1], expected)


@pytest.mark.parametrize("internal", [True, False], ids=["internal", "msk"])
def test_pixels_masked_by_the_file_are_not_valid(make_raster, internal):
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=internal):
        path = make_raster(ramp("uint8", 3), mask=~hole())

    scene = open_scene(path)

    assert Path(f"{path}.msk").exists() != internal
    np.testing.assert_array_equal(read(scene, WHOLE)[1], ~hole())
    assert len(scene.files) == (1 if internal else 2)  # a changed mask is a changed scene


def test_raster_of_only_alpha_bands_is_refused(make_raster):
    path = make_raster(ramp("uint8", 2), colours=[ColorInterp.alpha, ColorInterp.alpha])

    assert "only alpha bands" in refusal(path)


# --- colours ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "bands", "expected"),
    [
        ({"n_bands": 4, "names": ["blue", "Green", "red", "nir"]}, (), (2, 1, 0)),
        ({"n_bands": 4, "names": ["blue", "Green", "red", "nir"]}, (4, 3, 2), (0, 1, 2)),  # no blue: the first bands
        ({"n_bands": 3, "colours": RGB[::-1]}, (), (2, 1, 0)),
        ({"n_bands": 3}, (), (0, 1, 2)),
        ({"n_bands": 2}, (), (0, 1, 1)),
        ({"n_bands": 1}, (), (0, 0, 0)),
    ],
)
def test_natural_colours_are_found_by_name_or_colour_interpretation(make_raster, options, bands, expected):
    path = make_raster(ramp("uint16", options.pop("n_bands")), **options)

    assert open_scene(path, bands=bands).red_green_blue == expected


# --- georeferencing -----------------------------------------------------------------------------------------------


def test_geobox_equals_that_of_the_file(make_raster):
    transform = Affine(-0.14, -0.58, 337_934, -0.58, 0.14, 7_840_518)

    geobox = open_scene(make_raster(ramp("uint8"), transform=transform, crs="EPSG:32759")).geobox

    assert (geobox.shape, geobox.transform) == (SHAPE, transform)
    assert "32759" in geobox.crs


@pytest.mark.parametrize(
    ("profile", "advice"),
    [
        ({"crs": None}, "gdal_edit.py -a_srs"),
        ({"transform": Affine.identity()}, "gdal_edit.py -a_ullr"),
        ({"dtype": "complex64"}, "gdal_calc.py"),
    ],
)
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")  # of writing; reading must not warn
def test_raster_that_cannot_be_segmented_is_refused_with_what_to_do(make_raster, profile, advice):
    path = make_raster(ramp(profile.get("dtype", "uint8")), **profile)

    assert advice in refusal(path)
    assert str(path) in refusal(path)


def test_raster_with_only_control_points_is_refused_with_what_to_do(tmp_path):
    points = [rasterio.control.GroundControlPoint(row, col, col, row) for row in (0, 9) for col in (0, 9)]
    path = tmp_path / "points.tif"
    pixels = ramp("uint8", 1, (10, 10))
    with rasterio.open(
        path, "w", driver="GTiff", width=10, height=10, count=1, dtype="uint8", gcps=points, crs="EPSG:4326"
    ) as raster:
        raster.write(pixels)

    assert "gdalwarp" in refusal(path)


def test_palette_is_refused_with_what_to_do(tmp_path):
    path = tmp_path / "palette.tif"
    profile = {"driver": "GTiff", "width": 40, "height": 30, "count": 1, "dtype": "uint8", "photometric": "palette"}
    with rasterio.open(path, "w", **profile, crs="EPSG:32631", transform=TRANSFORM) as raster:
        raster.write(ramp("uint8"))
        raster.write_colormap(1, {1: (255, 0, 0, 255)})

    assert "gdal_translate -expand rgb" in refusal(path)


@pytest.mark.parametrize("content", [b"", b"no raster", b"II*\0" + bytes(20)])
def test_file_that_is_not_a_raster_is_refused(tmp_path, content):
    path = tmp_path / "scene.tif"
    path.write_bytes(content)

    assert f"{path} {'cannot be opened as a raster' if content else 'is empty (0 bytes)'}" in refusal(path)


@pytest.mark.parametrize(("codec", "name"), [(34712, "JP2000"), (34661, "JBIG"), (9999, "of code 9999")])
def test_codec_that_gdal_lacks_is_named_with_what_to_do(make_raster, codec, name):
    path = make_raster(np.ones((1, 64, 64), np.uint8), compress="deflate")
    content = bytearray(path.read_bytes())
    place = content.index(struct.pack("<HHI", 259, 3, 1)) + 8  # of the value of the tag Compression
    content[place : place + 2] = struct.pack("<H", codec)
    path.write_bytes(content)

    said = refusal(path)

    assert f"codec {name}" in said
    assert f"gdal_translate -co COMPRESS=DEFLATE {quoted(str(path))} scene.tif" in said


def test_missing_file_is_refused(tmp_path):
    assert f"no file {tmp_path / 'absent.tif'}" in refusal(tmp_path / "absent.tif")
    assert "is a folder" in refusal(tmp_path)
    assert "has a part of 300 bytes" in refusal("x" * 300)


# --- damage -------------------------------------------------------------------------------------------------------


@pytest.fixture
def damaged(make_raster):
    """A scene of 96 × 96 pixels in blocks of 32, of which the central one is damaged; and its original pixels."""
    pixels = ramp("uint16", 2, (96, 96))
    path = make_raster(pixels, tiled=True, blockxsize=32, blockysize=32, compress="deflate", interleave="pixel")
    damage(path, 1, 1)
    return open_scene(path), pixels


def test_damaged_block_cannot_be_read(damaged):
    scene, pixels = damaged

    with pytest.raises(RasterError, match=r"scene\.tif cannot be read at Window\(col_off=20") as refused:
        read(scene, Window(20, 20, 30, 30))
    assert "\n" not in str(refused.value)
    np.testing.assert_array_equal(read(scene, Window(0, 0, 32, 96))[0], pixels[:, :, :32])


@pytest.mark.parametrize("window", [Window(0, 0, 96, 96), Window(5, 7, 80, 60), Window(31, 31, 34, 34)])
def test_tolerant_reading_returns_all_except_the_damaged_block(damaged, window):
    scene, pixels = damaged
    whole = Window(0, 0, 96, 96)
    good = np.ones((96, 96), bool)
    good[32:64, 32:64] = False

    found, valid = read_tolerant(scene, window)

    inner = window.within(whole)
    np.testing.assert_array_equal(valid, good[inner])
    np.testing.assert_array_equal(found, np.where(good, pixels, 0)[:, *inner])


@given(left=st.integers(0, 31), top=st.integers(0, 70))
def test_core_adjacent_to_a_damaged_block_is_read_completely(tmp_path_factory, left, top):
    path = tmp_path_factory.getbasetemp() / "damaged.tif"
    pixels = ramp("uint16", 1, (96, 96))
    if not path.exists():
        write_raster(path, pixels, tiled=True, blockxsize=32, blockysize=32, compress="deflate")
        damage(path, 1, 1)
    core = Window(left, top, 32 - left, 96 - top)
    window = core.expanded(16, (96, 96))

    found, valid = read_tolerant(open_scene(path), window, core=core)

    inner = core.within(window)
    assert valid[inner].all()
    np.testing.assert_array_equal(found[:, *inner], pixels[:, *core.within(Window(0, 0, 96, 96))])


def test_tolerant_reading_refuses_a_damaged_core(damaged):
    scene, _ = damaged

    with pytest.raises(RasterError, match="cannot be read"):
        read_tolerant(scene, Window(0, 0, 96, 96), core=Window(60, 60, 36, 36))


def test_damaged_mask_cannot_be_read(make_raster):
    shape = (96, 96)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False):
        path = make_raster(ramp("uint8", 1, shape), mask=np.indices(shape).sum(axis=0) % 7 > 0)
    mask = Path(f"{path}.msk")
    damage(mask, 0, 0)

    with pytest.raises(RasterError, match="cannot be read"):
        read(open_scene(path), Window(0, 0, 96, 96))


# --- the area of interest -----------------------------------------------------------------------------------------


def area_file(tmp_path, polygons, name="area.gpkg", crs="EPSG:32631", **options):
    path = tmp_path / name
    geopandas.GeoDataFrame(geometry=list(polygons), crs=crs).to_file(path, **options)
    return path


def on_map(pixel_box, transform=TRANSFORM):
    """Return a polygon in the CRS from a polygon in pixel coordinates."""
    return shapely.transform(pixel_box, lambda xy: np.array([transform @ tuple(point) for point in xy]))


def centres_inside(polygon, transform=TRANSFORM):
    rows, cols = np.indices(SHAPE) + 0.5
    x, y = transform @ (cols, rows)
    return shapely.contains_xy(polygon, x, y)


TRIANGLE = shapely.Polygon([(2.2, 3.1), (33.7, 9.4), (11.3, 26.8)])


@pytest.mark.parametrize("name", ["area.gpkg", "area.geojson", "area.fgb"])
def test_pixels_with_their_centre_outside_the_area_are_not_valid(make_raster, tmp_path, name):
    path = area_file(tmp_path, [on_map(TRIANGLE)], name)

    _, valid = read(open_scene(make_raster(ramp("uint8")), aoi=path), WHOLE)

    np.testing.assert_array_equal(valid, centres_inside(on_map(TRIANGLE)))
    assert valid.any()


def test_area_is_the_same_in_every_window(make_raster, tmp_path):
    scene = open_scene(make_raster(ramp("uint8")), aoi=area_file(tmp_path, [on_map(TRIANGLE)]))
    whole = read(scene, WHOLE)[1]

    for window in (Window(0, 0, 7, 7), Window(3, 5, 20, 20), Window(12, 9, 4, 3), Window(25, 20, 15, 10)):
        valid = read(scene, window)[1]
        np.testing.assert_array_equal(valid, whole[window.within(WHOLE)])
        assert touches(scene, window) or not valid.any()
    assert not touches(scene, Window(0, 0, 3, 3))


def test_area_applies_to_the_pixels_of_a_rotated_raster(make_raster, tmp_path):
    transform = Affine.translation(500_000, 5_000_000) @ Affine.rotation(30) @ Affine.scale(10, -10)
    polygon = on_map(TRIANGLE, transform)

    scene = open_scene(make_raster(ramp("uint8"), transform=transform), aoi=area_file(tmp_path, [polygon]))

    np.testing.assert_array_equal(read(scene, WHOLE)[1], centres_inside(polygon, transform))


def test_area_in_another_crs_is_reprojected_to_that_of_the_scene(make_raster, tmp_path):
    frame = geopandas.GeoSeries([on_map(shapely.box(5, 5, 25, 20))], crs="EPSG:32631").to_crs(4326)
    path = area_file(tmp_path, frame, "area.geojson", crs=4326)

    _, valid = read(open_scene(make_raster(ramp("uint8")), aoi=path), WHOLE)

    expected = np.zeros(SHAPE, bool)
    expected[5:20, 5:25] = True
    np.testing.assert_array_equal(valid, expected)


def test_area_that_covers_the_world_contains_the_scene(make_raster, tmp_path):
    path = area_file(tmp_path, [shapely.box(-180, -90, 180, 90)], "area.geojson", crs=4326)

    _, valid = read(open_scene(make_raster(ramp("uint8")), aoi=path), WHOLE)

    assert valid.all()


def test_area_of_several_polygons_with_a_hole_and_a_self_intersection_is_repaired(make_raster, tmp_path):
    ring = shapely.difference(shapely.box(1, 1, 15, 15), shapely.box(5, 5, 10, 10))
    knot = shapely.Polygon([(20.3, 2.1), (38.2, 19.4), (37.7, 2.4), (19.8, 20.9)])  # crosses itself
    line = shapely.LineString([(0, 25), (40, 25)])
    path = area_file(tmp_path, map(on_map, (ring, knot, line)), "area.geojson", crs="EPSG:32631")

    _, valid = read(open_scene(make_raster(ramp("uint8")), aoi=path), WHOLE)

    seen = centres_inside(on_map(ring)) | centres_inside(on_map(shapely.make_valid(knot)))
    np.testing.assert_array_equal(valid, seen)
    assert not valid[25:].any()


@pytest.mark.parametrize(
    ("polygons", "reason"),
    [
        ([shapely.box(0, 0, 1, 1)], "no polygon that touches the scene"),
        ([shapely.LineString([(500_000, 5_000_000), (500_400, 4_999_700)])], "no polygons, only LineString"),
        ([shapely.Point(500_100, 4_999_900)], "no polygons, only Point"),
        ([shapely.box(500_101, 4_999_891, 500_102, 4_999_892)], "the centre of no pixel"),
        ([], "it has no geometry"),
    ],
    ids=["elsewhere", "lines", "points", "small", "empty"],
)
def test_area_that_does_not_intersect_the_scene_is_refused(make_raster, tmp_path, polygons, reason):
    area = area_file(tmp_path, polygons, **({} if polygons else {"geometry_type": "Polygon"}))

    assert reason in refusal(make_raster(ramp("uint8")), aoi=area)


def test_area_that_cannot_be_read_is_refused(make_raster, tmp_path):
    scene = make_raster(ramp("uint8"))
    (tmp_path / "words.geojson").write_text("just words")
    no_crs = area_file(tmp_path, [on_map(TRIANGLE)], "area.shp")
    no_crs.with_suffix(".prj").unlink()
    two = area_file(tmp_path, [on_map(TRIANGLE)], "two.gpkg", layer="fields")
    area_file(tmp_path, [on_map(TRIANGLE)], "two.gpkg", layer="woods")

    assert "cannot be read" in refusal(scene, aoi=tmp_path / "absent.gpkg")
    assert "cannot be read" in refusal(scene, aoi=tmp_path / "words.geojson")
    assert "no CRS" in refusal(scene, aoi=no_crs)
    assert "fields, woods" in refusal(scene, aoi=two)


# --- mosaics ------------------------------------------------------------------------------------------------------

VRT = """<VRTDataset rasterXSize="40" rasterYSize="30"><SRS>EPSG:32631</SRS>
<GeoTransform>500000, 10, 0, 5000000, 0, -10</GeoTransform>{attributes}
<VRTRasterBand dataType="UInt16" band="1">{sources}</VRTRasterBand></VRTDataset>"""
SOURCE = """<SimpleSource><SourceFilename relativeToVRT="{relative}">{name}</SourceFilename><SourceBand>1</SourceBand>
<SrcRect xOff="0" yOff="0" xSize="20" ySize="15"/><DstRect xOff="{col}" yOff="{row}" xSize="20" ySize="15"/>
</SimpleSource>"""


def mosaic(folder, *names, relative=1, attributes="", name="mosaic.vrt"):
    corners = [(0, 0), (0, 20), (15, 0), (15, 20)]
    sources = [
        SOURCE.format(name=name, col=col, row=row, relative=relative)
        for name, (row, col) in zip(names, corners, strict=False)
    ]
    path = folder / name
    path.write_text(VRT.format(sources="".join(sources), attributes=attributes))
    return path


@pytest.fixture
def quarters(tmp_path):
    """The names of four rasters of 15 × 20 pixels, and the pixels of the scene that they are cut from."""
    pixels = ramp("uint16")
    names = []
    for i, (row, col) in enumerate(((0, 0), (0, 20), (15, 0), (15, 20))):
        part = pixels[:, row : row + 15, col : col + 20]
        names.append(write_raster(tmp_path / f"part{i}.tif", part).name)
    return names, pixels


def test_mosaic_of_several_files_is_one_scene(tmp_path, quarters):
    names, pixels = quarters

    scene = open_scene(mosaic(tmp_path, *names))

    np.testing.assert_array_equal(read(scene, WHOLE)[0], pixels)
    np.testing.assert_array_equal(read(scene, Window(15, 10, 10, 10))[0], pixels[:, 10:20, 15:25])
    assert {Path(path).name for path in scene.files} == {"mosaic.vrt", *names}


def test_mosaic_of_mosaics_is_one_scene(tmp_path, quarters):
    names, pixels = quarters
    mosaic(tmp_path, *names, name="inner.vrt")
    outer = (tmp_path / "inner.vrt").read_text().replace("SRS", "SRS", 1)
    outer = VRT.format(
        attributes="",
        sources='<SimpleSource><SourceFilename relativeToVRT="1">inner.vrt</SourceFilename><SourceBand>1</SourceBand>'
        '<SrcRect xOff="0" yOff="0" xSize="40" ySize="30"/><DstRect xOff="0" yOff="0" xSize="40" ySize="30"/>'
        "</SimpleSource>",
    )
    (tmp_path / "outer.vrt").write_text(outer)

    np.testing.assert_array_equal(read(open_scene(tmp_path / "outer.vrt"), WHOLE)[0], pixels)


def test_mosaic_with_absolute_paths_and_urls_in_its_metadata_is_read(tmp_path, quarters):
    names, pixels = quarters
    metadata = '<Metadata><MDI key="licence">https://example.org/licence</MDI></Metadata>'

    path = mosaic(tmp_path, *(tmp_path / name for name in names), relative=0, attributes=metadata)

    np.testing.assert_array_equal(read(open_scene(path), WHOLE)[0], pixels)


def test_part_of_a_mosaic_without_a_file_has_the_value_of_gdal(tmp_path, quarters):
    names, pixels = quarters

    found, valid = read(open_scene(mosaic(tmp_path, names[0])), WHOLE)

    np.testing.assert_array_equal(found[:, :15, :20], pixels[:, :15, :20])
    assert valid.all()  # zeros, since this mosaic declares no nodata value


def test_damaged_file_of_a_mosaic_affects_only_its_own_pixels(tmp_path, quarters):
    names, pixels = quarters
    part = write_raster(tmp_path / names[3], pixels[:, 15:, 20:], compress="deflate", blockysize=15)
    damage(part, 0, 0)
    scene = open_scene(mosaic(tmp_path, *names))

    found, valid = read_tolerant(scene, WHOLE, core=Window(0, 0, 20, 30))
    _, without_core = read_tolerant(scene, WHOLE)

    np.testing.assert_array_equal(found[:, :, :20], pixels[:, :, :20])
    assert valid[:, :20].all()
    assert not without_core[15:, 20:].any()
    assert without_core[:, :16].all()


@pytest.mark.parametrize(
    "name",
    [
        "/vsicurl/http://example.org/scene.tif",
        "/vsis3/bucket/scene.tif",
        "http://example.org/scene.tif",
        "/VSICURL/https://example.org/scene.tif",
        "  /vsizip//tmp/scene.zip/scene.tif",
    ],
)
def test_mosaic_that_refers_to_an_address_is_refused(tmp_path, name):
    assert "only point to local files" in refusal(mosaic(tmp_path, name, relative=0))


def test_mosaic_that_refers_to_an_address_in_another_element_is_refused(tmp_path, quarters):
    dem = "<GDALWarpOptions><Option name='RPC_DEM'>/vsicurl/http://example.org/dem.tif</Option></GDALWarpOptions>"

    assert "has the element GDALWarpOptions" in refusal(mosaic(tmp_path, *quarters[0], attributes=dem))


@pytest.mark.parametrize("name", ["absent.tif", "x" * 300, "&lt;VRTDataset/&gt;", ""])
def test_mosaic_with_a_missing_file_is_refused_by_name(tmp_path, name):
    assert "does not exist" in refusal(mosaic(tmp_path, name))


@pytest.mark.parametrize(
    "content",
    [
        b"<GDAL_WMS><Service name='TMS'><ServerUrl>http://example.org</ServerUrl></Service></GDAL_WMS>",
        b'{"type": "Feature", "stac_version": "1.0.0"}',
        b"no raster",
    ],
)
def test_mosaic_of_a_file_that_is_not_a_raster_is_refused(tmp_path, content):
    (tmp_path / "part.tif").write_bytes(content)

    assert "not a raster format" in refusal(mosaic(tmp_path, "part.tif"))


def test_vrt_named_as_a_geotiff_is_refused(tmp_path, quarters):
    names, _ = quarters
    disguised = mosaic(tmp_path, *names, name="scene.tif")

    assert "cannot be opened as a raster" in refusal(disguised)


def test_vrt_named_as_a_geotiff_is_checked_as_part_of_a_mosaic(tmp_path):
    mosaic(tmp_path, "/vsicurl/http://example.org/scene.tif", name="part.tif")

    assert "only point to local files" in refusal(mosaic(tmp_path, "part.tif"))


def test_mosaic_of_itself_is_refused(tmp_path):
    assert "deep" in refusal(mosaic(tmp_path, "mosaic.vrt"))


@pytest.mark.parametrize("content", [b"", b"<VRTDataset", b"words", b"<?xml version='1.0' encoding='x-none'?><a/>"])
def test_vrt_that_is_not_xml_is_refused(tmp_path, content):
    path = tmp_path / "mosaic.vrt"
    path.write_bytes(content)

    assert "not a readable VRT" in refusal(path)


def test_png_with_a_world_file_and_a_crs_is_a_scene(tmp_path):
    path = tmp_path / "scene.png"
    with rasterio.open(
        path, "w", driver="PNG", width=40, height=30, count=3, dtype="uint8", transform=TRANSFORM
    ) as png:
        png.write(ramp("uint8", 3))

    assert "no CRS" in refusal(path)
    with rasterio.open(path, "r+") as png:
        png.crs = "EPSG:32631"
    np.testing.assert_array_equal(read(open_scene(path), WHOLE)[0], ramp("uint8", 3))


def test_scene_without_nodata_is_valid_everywhere(make_raster):
    assert read(open_scene(make_raster(fields(SHAPE))), WHOLE)[1].all()


def test_blocks_of_a_small_scene_are_decoded_once(make_raster):
    path = make_raster(fields((200, 200)), tiled=True, blockxsize=128, blockysize=128, compress="deflate")
    scene = open_scene(path)
    before, state = read(scene, scene.geobox.window), path.stat()

    content = path.read_bytes()
    path.write_bytes(content[:1000] + bytes(len(content) - 1000))  # in place, so that the open file has other content
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))

    for window in (scene.geobox.window, Window(100, 20, 90, 150)):
        pixels, _ = read(scene, window)
        np.testing.assert_array_equal(pixels, before[0][:, *window.within(scene.geobox.window)])
