"""Which bands are shown as red, green and blue, and from which NDVI is computed.

The first of these rules that gives all three colours is used:

1. the bands that the user gives (`BandRoles.rgb`);
2. the descriptions of the bands, by word (`band_names.roles_of_words`), by band code of Sentinel-2 or Landsat
   (`band_names.roles_of_codes`) or by wavelength, which may be in the metadata of the bands too (`wavelengths`);
3. the colour interpretation of the bands, for colours that no description names;
4. the usual order of the bands of a sensor (`BandRoles.sensor`), by the number of bands of the raster;
5. near infrared, red and green, where the bands are known and none is blue;
6. the first three bands; constant ones are left out where colours are drawn (`output.display.display_bands`).

Red and near infrared follow from rules 2 to 4 in the same order, unless they are given. Rules 4 to 6 are guesses, which
`RolesInUse.notes` reports.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rasterio.enums import ColorInterp

from geoseg.config import Config
from geoseg.errors import RasterError, shorten
from geoseg.raster.band_names import Roles, Sensor, roles_of_codes, roles_of_words
from geoseg.raster.bands import BandDescriptions, VegetationBands
from geoseg.raster.wavelengths import roles_of_wavelengths

# Sensor → name, and number of bands → numbers of red, green, blue and near infrared. Of Sentinel-2, 3 bands are a true
# colour image, 4 those of 10 m, 6 B, G, R, NIR and two of short-wave infrared, 9 and 10 those of 20 m without and with
# B8, 11 to 13 begin with B1. Of Landsat 8 and 9, 7 and more begin with B1; 4 and 6 without it have the order of
# Landsat 4 to 7 too, whose 7 bands differ.
_BGRN = Roles(3, 2, 1, 4)
_FROM_B1 = {"sentinel2": Roles(4, 3, 2, 8), "landsat": Roles(4, 3, 2, 5)}
_USUAL_ORDERS: dict[Sensor, tuple[str, dict[int, Roles]]] = {
    "sentinel2": (
        "Sentinel-2",
        {3: Roles(1, 2, 3), 4: _BGRN, 6: _BGRN, 9: Roles(3, 2, 1, 7), 10: Roles(3, 2, 1, 7)}
        | dict.fromkeys((11, 12, 13), _FROM_B1["sentinel2"]),
    ),
    "landsat": (
        "Landsat 8 or 9",
        {3: Roles(1, 2, 3), 4: _BGRN, 6: _BGRN} | dict.fromkeys(range(7, 12), _FROM_B1["landsat"]),
    ),
}
_BY_DESCRIPTION, _BY_SENSOR = "by description", "by the usual order of the sensor"
_INFRARED, FIRST_BANDS = "near infrared, red and green", "the first bands"
_MAX_LETTERS = 60  # of a list of band numbers in a message
_MANY = 4  # bands, of which a guess of the colours is reported


@dataclass(frozen=True)
class BandRoles:
    """What the user states of the bands of a raster.

    Parameters
    ----------
    rgb : tuple of int
        Numbers of the bands shown as red, green and blue, from 1. Empty = by the rules of this module.
    red, nir : int or None
        Numbers of the bands of NDVI, from 1. None = by the rules of this module.
    sensor : {"sentinel2", "landsat"} or None
        Whose usual order of bands is assumed where the raster states nothing; None = no assumption.
    """

    rgb: tuple[int, ...] = ()
    red: int | None = None
    nir: int | None = None
    sensor: Sensor | None = None

    @classmethod
    def of(cls, config: Config) -> BandRoles:
        """Return what a configuration states."""
        return cls(config.rgb, config.red, config.nir, config.sensor)


class RolesInUse(NamedTuple):
    """The roles of the bands in use.

    Parameters
    ----------
    red_green_blue : (int, int, int)
        Positions among the bands in use, from 0.
    vegetation : VegetationBands or None
        None = red or near infrared is unknown.
    rule : str
        The rule of `red_green_blue`, such as "by description".
    notes : tuple of str
        What was assumed.
    """

    red_green_blue: tuple[int, int, int]
    vegetation: VegetationBands | None
    rule: str
    notes: tuple[str, ...]


def roles_in_use(bands: BandDescriptions, source: str, given: BandRoles = BandRoles()) -> RolesInUse:
    """Return which bands are shown as red, green and blue, and from which NDVI is computed.

    Parameters
    ----------
    bands : BandDescriptions
    source : str
        Name of the raster, for messages.
    given : BandRoles

    Raises
    ------
    RasterError
        If a given band is not in use, or only one of the two bands of NDVI is known.
    """
    known = _known_roles(bands, given.sensor)
    shown, rule = _shown(bands, given.rgb, known)
    vegetation, vegetation_rule = _vegetation_bands(bands, source, given, known)
    guesses = [f"bands {_numbers(bands, shown)} for red, green, blue"] if rule == _BY_SENSOR else []
    if vegetation is not None and vegetation_rule == _BY_SENSOR:
        guesses.append(f"bands {_numbers(bands, (vegetation.red, vegetation.nir))} for red and near infrared")
    notes = [*_notes_on_colours(bands, shown, rule), *_notes_on_sensor(bands, given.sensor, guesses)]
    return RolesInUse(shown, vegetation, rule, tuple(notes))


def _known_roles(bands: BandDescriptions, sensor: Sensor | None) -> dict[str, Roles]:
    """Return rule → roles, in the order of the rules. The sensor decides only where the raster states nothing."""
    words = roles_of_words(bands.names)
    stated = {
        _BY_DESCRIPTION: words,
        "by band code": roles_of_codes(bands.names, bands.numbers, sensor),
        "by wavelength": roles_of_wavelengths(bands.wavelengths),
        "by colour interpretation": _with_interpretation(bands, words),
    }
    if sensor is None or any(position is not None for roles in stated.values() for position in roles):
        return stated
    usual = _USUAL_ORDERS[sensor][1].get(bands.n_bands, Roles())
    return {_BY_SENSOR: Roles(*(bands.numbers.index(band) if band in bands.numbers else None for band in usual))}


def _with_interpretation(bands: BandDescriptions, words: Roles) -> Roles:
    """Return the roles by words, and those of other bands by colour interpretation."""
    found = words._asdict()
    for role in Roles._fields:
        matching = [i for i, colour in enumerate(bands.colours) if colour == ColorInterp[role] and i not in words]
        if found[role] is None and matching:
            found[role] = matching[0]
    return Roles(**found)


def _shown(
    bands: BandDescriptions, rgb: tuple[int, ...], known: Mapping[str, Roles]
) -> tuple[tuple[int, int, int], str]:
    """Return the positions of the bands that are shown as red, green and blue, and the rule."""
    if rgb:
        red, green, blue = (_position(bands, band, "rgb") for band in rgb)
        return (red, green, blue), "as given"
    for rule, roles in known.items():
        if roles.red is not None and roles.green is not None and roles.blue is not None:
            return (roles.red, roles.green, roles.blue), rule
    for roles in known.values():
        if roles.nir is not None and roles.red is not None and roles.green is not None:
            return (roles.nir, roles.red, roles.green), _INFRARED
    last = len(bands.numbers) - 1
    return ((0, 1, 2) if last >= 2 else (0, min(1, last), last)), FIRST_BANDS


def _vegetation_bands(
    bands: BandDescriptions, source: str, given: BandRoles, known: Mapping[str, Roles]
) -> tuple[VegetationBands | None, str]:
    """Return red and near infrared, or None where they are unknown, and the rule."""
    given_red = None if given.red is None else _position(bands, given.red, "red")
    given_nir = None if given.nir is None else _position(bands, given.nir, "nir")
    if given_red is not None and given_nir is not None:
        return _with_scales(bands, given_red, given_nir), "as given"
    for rule, roles in known.items():
        red = roles.red if given_red is None else given_red
        nir = roles.nir if given_nir is None else given_nir
        if red is not None and nir is not None and red != nir:
            return _with_scales(bands, red, nir), rule
    if given_red is not None or given_nir is not None:
        name, band, missing = ("nir", given.nir, "red") if given_red is None else ("red", given.red, "nir")
        raise RasterError(
            f"NDVI needs two bands, and {source} does not name its {missing} band ({name} is band {band}); give "
            f"--{missing} too."
        )
    return None, ""


def _with_scales(bands: BandDescriptions, red: int, nir: int) -> VegetationBands:
    return VegetationBands(red, nir, (bands.scales[red], bands.scales[nir]), (bands.offsets[red], bands.offsets[nir]))


def _notes_on_colours(bands: BandDescriptions, shown: tuple[int, ...], rule: str) -> Iterator[str]:
    """Yield what the user should know of colours that are not natural, or may not be."""
    if rule == _INFRARED and shown != (0, 1, 2):
        yield (
            "no band is known as blue, so the colours of the classes are those of near infrared, red and green (bands "
            f"{_numbers(bands, shown)}); --rgb R,G,B changes them"
        )
    if rule == FIRST_BANDS and len(bands.numbers) >= _MANY:
        yield (
            f"nothing states which of the {len(bands.numbers)} bands are red, green and blue, so the colours of the "
            f"classes are those of the first three (bands {_numbers(bands, shown)}, or the next ones where one is "
            "constant); --rgb R,G,B changes them"
        )


def _notes_on_sensor(bands: BandDescriptions, sensor: Sensor | None, guesses: Sequence[str]) -> Iterator[str]:
    if sensor is not None and guesses:
        yield (
            f"taking {' and '.join(guesses)}: the usual order of {bands.n_bands} bands of {_USUAL_ORDERS[sensor][0]}; "
            "--rgb R,G,B, --red N and --nir N change it"
        )


def _position(bands: BandDescriptions, number: int, option: str) -> int:
    if number not in bands.numbers:
        used = _numbers(bands, range(len(bands.numbers)))
        fit = "give three of them" if option == "rgb" else "give one of them"
        raise RasterError(f"--{option} {number} is not one of the bands in use ({used}); {fit}.")
    return bands.numbers.index(number)


def _numbers(bands: BandDescriptions, positions: Iterable[int]) -> str:
    """Return band numbers as they stand in a message."""
    return shorten(", ".join(str(bands.numbers[i]) for i in positions), _MAX_LETTERS)
