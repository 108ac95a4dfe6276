"""Which bands are shown as red, green and blue, and which are red and near infrared."""

import re

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp

from geoseg.errors import RasterError
from geoseg.raster.band_names import Roles, roles_of_codes, roles_of_words
from geoseg.raster.band_roles import BandRoles, roles_in_use
from geoseg.raster.bands import BandDescriptions
from geoseg.raster.scene import open_scene
from geoseg.raster.wavelengths import described_wavelengths, listed_wavelengths, roles_of_wavelengths

RED, GREEN, BLUE, NIR, NONE = (
    ColorInterp.red,
    ColorInterp.green,
    ColorInterp.blue,
    ColorInterp.nir,
    ColorInterp.undefined,
)
SENTINEL_2 = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B11", "B12")


def described(n_bands=4, *, names=None, colours=None, numbers=None, wavelengths=None):
    """Return the descriptions of a raster with `n_bands` bands, of which those of `numbers` are in use."""
    numbers = numbers or tuple(range(1, n_bands + 1))
    n = len(numbers)
    return BandDescriptions(
        numbers,
        names=tuple(names or [""] * n),
        colours=tuple(colours or [NONE] * n),
        scales=(1.0,) * n,
        offsets=(0.0,) * n,
        wavelengths=tuple(wavelengths or [None] * n),
        n_bands=n_bands,
    )


def shown(bands, **given):
    """Return the numbers of the bands shown as red, green and blue."""
    return tuple(bands.numbers[i] for i in roles_in_use(bands, "scene.tif", BandRoles(**given)).red_green_blue)


def vegetation(bands, **given):
    """Return the numbers of the bands of red and near infrared."""
    found = roles_in_use(bands, "scene.tif", BandRoles(**given)).vegetation
    return None if found is None else (bands.numbers[found.red], bands.numbers[found.nir])


def notes(bands, **given):
    return roles_in_use(bands, "scene.tif", BandRoles(**given)).notes


# --- descriptions -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "names",
    [
        ["blue", "green", "red", "nir"],
        ["BLUE", "GREEN", "RED", "NIR"],
        ["Blue band", "Green band", "Red band", "Near-Infrared band"],
        ["B", "G", "R", "N"],
        ["B02 - Blue", "B03 - Green", "B04 - Red", "B08 - NIR"],
        ["blue_median", "green_median", "red_median", "nir08_median"],
        ["sr_blue", "sr_green", "sr_red", "near infrared (sr)"],
        ["Blue1", "Green1", "Red1", "NIR1"],
        ["BlueReflectance", "GreenReflectance", "RedReflectance", "NearInfrared"],
        ["Blue (475 nm)", "Green (560 nm)", "Red (668 nm)", "Near infra-red (840 nm)"],
        ["Blue", "Green", "Red", "IR"],
    ],
    ids="|".join,
)
def test_words_in_descriptions_name_the_bands(names):
    assert roles_of_words(names) == Roles(red=2, green=1, blue=0, nir=3)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["coastal_blue", "blue", "green_i", "green", "yellow", "red", "rededge", "nir"], Roles(5, 3, 1, 7)),
        (["Coastal", "Blue", "Green", "Yellow", "Red", "Red Edge", "NIR1", "NIR2"], Roles(4, 2, 1, 6)),
        (["Red-edge 1", "RedEdge2", "red_edge", "Vegetation Red Edge"], Roles()),
        (["SWIR 1", "Short-wave infrared", "Thermal Infrared", "mid-infra-red"], Roles()),
        (["reduced", "greenness", "blueprint", "snir"], Roles()),
        (["red minus green", "Blue/Red", "", "cloud mask (red)"], Roles()),
        (["red_2020", "red_2021", "green_2020", "green_2021"], Roles(0, 2)),
    ],
)
def test_other_words_do_not_name_the_bands(names, expected):
    assert roles_of_words(names) == expected


@pytest.mark.parametrize(
    ("names", "sensor", "expected"),
    [
        (["B02", "B03", "B04", "B08"], None, Roles(2, 1, 0, 3)),
        (["B4", "B3", "B2", "B8"], None, Roles(0, 1, 2, 3)),
        (["b04", "b03", "b02"], None, Roles(0, 1, 2)),
        (SENTINEL_2, None, Roles(3, 2, 1, 7)),
        (["T32TPT_2020_B04_10m", "T32TPT_B03_10m", "T32TPT_B02_10m", "T32TPT_B8A_20m"], None, Roles(0, 1, 2, 3)),
        (["SR_B2", "SR_B3", "SR_B4", "SR_B5", "SR_B6", "SR_B7"], None, Roles(2, 1, 0, 3)),
        (["SR_B1", "SR_B2", "SR_B3", "SR_B4", "SR_B5", "SR_B6", "SR_B7", "ST_B10"], None, Roles(3, 2, 1, 4)),
        (["SR_B1", "SR_B2", "SR_B3", "SR_B4", "SR_B5", "SR_B7", "ST_B6"], None, Roles(2, 1, 0, 3)),
        (["LT05_L2SP_037034_B1", "LT05_L2SP_037034_B2", "LT05_L2SP_037034_B3"], None, Roles(2, 1, 0)),
        (["LC09_L1TP_037034_B5", "LC09_L1TP_037034_B4", "LC09_L1TP_037034_B3"], None, Roles(1, 2, None, 0)),
        (["B2", "B3", "B4", "B5"], None, Roles(2, 1, 0)),  # near infrared of Landsat 8, red edge of Sentinel-2
        (["B2", "B3", "B4", "B5"], "landsat", Roles(2, 1, 0, 3)),
        (["B2", "B3", "B4", "B5"], "sentinel2", Roles(2, 1, 0)),
        (["Band 1", "Band 2", "Band 3", "Band 4", "Band 5", "Band 6", "Band 7", "Band 8"], None, Roles()),
        (["Band 2", "Band 3", "Band 4", "Band 30"], None, Roles()),
    ],
)  # fmt: skip
def test_band_codes_name_the_bands_of_the_sensor_that_they_belong_to(names, sensor, expected):
    assert roles_of_codes(names, range(1, len(names) + 1), sensor) == expected


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["482 nm", "B3_561nm", "Band 4 (0.64-0.67 µm)", "865.0 Nanometers"], (482, 561, 655, 865)),
        (["B4-665nm", "B8-833 nm", "", "10 m"], (665, 833, None, None)),
        (["0.48", "0.56", "0.66"], (480, 560, 660)),
        (["482.1", "561.3", "654.6"], (482.1, 561.3, 654.6)),
        (["1", "2", "3"], (None, None, None)),
        (["12", "480", "660"], (None, None, None)),
        (["B480", "VV", "area 665"], (None, None, None)),
    ],
)
def test_wavelengths_are_read_from_descriptions(names, expected):
    assert described_wavelengths(names) == expected


def test_wavelengths_of_all_bands_are_read_from_a_list():
    assert listed_wavelengths({"Wavelengths": "{ 0.45, 0.55,0.65 }"}, 3) == (450, 550, 650)
    assert listed_wavelengths({"wavelength": "450 550"}, 3) == ()


@pytest.mark.parametrize("n_bands", [64, 128, 224])
def test_colours_of_a_hyperspectral_stack_are_the_bands_nearest_to_660_560_and_480_nm(n_bands):
    wavelengths = np.linspace(380, 2500, n_bands)

    found = roles_of_wavelengths(wavelengths.tolist())

    step = wavelengths[1] - wavelengths[0]
    for position, centre in zip(found, (660, 560, 480, 850), strict=True):
        assert abs(wavelengths[position] - centre) <= step / 2


def test_infrared_wavelengths_have_no_colours():
    assert roles_of_wavelengths([1000.5, 1250, 1610, 2200]) == Roles()


# --- the order of the rules ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bands", "given", "expected"),
    [
        (described(names=["blue", "green", "red", "nir"]), {"rgb": (4, 3, 3)}, (4, 3, 3)),
        (described(names=["blue", "green", "red", "nir"], colours=[RED, GREEN, BLUE, NIR]), {}, (3, 2, 1)),
        (described(names=["B02", "B03", "B04", "B08"], colours=[RED, GREEN, BLUE, NIR]), {}, (3, 2, 1)),
        (described(wavelengths=[842, 665, 560, 490], colours=[RED, GREEN, BLUE, NIR]), {}, (2, 3, 4)),
        (described(names=["blue", "", "", ""], colours=[NONE, GREEN, RED, NONE]), {}, (3, 2, 1)),
        (described(names=["nir", "red", "", ""], colours=[RED, GREEN, BLUE, NONE]), {}, (1, 2, 3)),  # red is band 2
        (described(colours=[RED, GREEN, BLUE, NIR]), {"sensor": "sentinel2"}, (1, 2, 3)),
        (described(12), {"sensor": "sentinel2"}, (4, 3, 2)),
        (described(12, numbers=(8, 4, 3)), {"sensor": "sentinel2"}, (8, 4, 3)),
        (described(4, names=["swir", "green", "red", "nir"]), {"sensor": "landsat"}, (4, 3, 2)),
        (described(5), {"sensor": "sentinel2"}, (1, 2, 3)),  # no usual order
        (described(2), {}, (1, 2, 2)),
        (described(1), {"rgb": (1, 1, 1)}, (1, 1, 1)),
    ],
)
def test_colours_follow_the_first_rule_that_gives_all_three(bands, given, expected):
    assert shown(bands, **given) == expected


@pytest.mark.parametrize(
    ("sensor", "n_bands", "rgb", "red_and_nir"),
    [
        ("sentinel2", 3, (1, 2, 3), None),
        ("sentinel2", 4, (3, 2, 1), (3, 4)),
        ("sentinel2", 10, (3, 2, 1), (3, 7)),
        ("sentinel2", 12, (4, 3, 2), (4, 8)),
        ("sentinel2", 13, (4, 3, 2), (4, 8)),
        ("landsat", 4, (3, 2, 1), (3, 4)),
        ("landsat", 6, (3, 2, 1), (3, 4)),
        ("landsat", 7, (4, 3, 2), (4, 5)),
        ("landsat", 8, (4, 3, 2), (4, 5)),
        ("landsat", 11, (4, 3, 2), (4, 5)),
    ],
)
def test_colours_and_ndvi_follow_the_usual_order_of_the_sensor_and_a_note_reports_it(sensor, n_bands, rgb, red_and_nir):
    bands = described(n_bands)

    (note,) = notes(bands, sensor=sensor)

    assert (shown(bands, sensor=sensor), vegetation(bands, sensor=sensor)) == (rgb, red_and_nir)
    assert f"bands {rgb[0]}, {rgb[1]}, {rgb[2]} for red, green, blue" in note
    assert (
        f"the usual order of {n_bands} bands of {'Sentinel-2' if sensor == 'sentinel2' else 'Landsat 8 or 9'}" in note
    )
    assert red_and_nir is None or f"bands {red_and_nir[0]}, {red_and_nir[1]} for red and near infrared" in note


def test_usual_order_counts_all_bands_of_the_raster_and_not_those_in_use():
    bands = described(12, numbers=(2, 3, 4, 8))

    assert (shown(bands, sensor="sentinel2"), vegetation(bands, sensor="sentinel2")) == ((4, 3, 2), (4, 8))


def test_given_bands_replace_a_guess_and_its_note():
    bands = described(12)

    assert notes(bands, sensor="sentinel2", rgb=(4, 3, 2), red=4, nir=9) == ()
    assert vegetation(bands, sensor="sentinel2", red=4, nir=9) == (4, 9)
    assert "red, green, blue" not in notes(bands, sensor="sentinel2", rgb=(4, 3, 2))[0]


def test_first_three_bands_are_reported_where_nothing_states_the_colours():
    assert "which of the 4 bands are red, green and blue" in notes(described(4))[0]
    assert notes(described(3)) == notes(described(4, numbers=(4, 3, 2))) == ()
    assert notes(described(4, colours=[RED, GREEN, BLUE, NONE])) == ()


def test_rgb_band_that_is_not_in_use_is_refused():
    message = "--rgb 5 is not one of the bands in use (1, 2, 3, 4); give three of them."

    with pytest.raises(RasterError, match=re.escape(message)):
        shown(described(4), rgb=(5, 3, 2))


# --- files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["band", "band of GDAL 3.10", "raster"])
def test_wavelengths_in_the_metadata_of_a_file_name_its_bands(make_raster, where):
    wavelengths = [442, 493, 560, 665, 705, 842]
    path = make_raster(np.full((6, 8, 8), 9, np.uint16))
    with rasterio.open(path, "r+") as raster:
        for band, value in enumerate(wavelengths, start=1):
            if where == "band":
                raster.update_tags(band, wavelength=str(value), wavelength_units="Nanometers")
            if where == "band of GDAL 3.10":
                raster.update_tags(band, ns="IMAGERY", CENTRAL_WAVELENGTH_UM=str(value / 1000))
        if where == "raster":
            raster.update_tags(wavelengths=",".join(map(str, wavelengths)))

    scene = open_scene(path)

    assert scene.red_green_blue == (3, 2, 1)
    assert (scene.vegetation.red, scene.vegetation.nir) == (3, 5)
    assert scene.colour_rule == "by wavelength"
