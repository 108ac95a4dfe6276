"""Which band is red, green, blue or near infrared, by the words and band codes of the descriptions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

Sensor = Literal["sentinel2", "landsat"]


class Roles(NamedTuple):
    """Positions, from 0, of the bands that measure these parts of the spectrum; None = unknown."""

    red: int | None = None
    green: int | None = None
    blue: int | None = None
    nir: int | None = None


# One name for what is written in several ways. The order matters: "near infrared" contains "infrared", which contains
# "red".
_SYNONYMS = (
    (r"infra[\W_]*red", "ir"),
    (r"\bnear[\W_]*ir\b", "nir"),
    (r"\b(short|mid|middle|medium|far|long|thermal)\w*[\W_]*(wave\w*)?[\W_]*ir\b", "swir"),
    (r"\bir\b", "nir"),
    (r"\bred[\W_]*edge", "rededge"),
)
_LETTERS = {"r": "red", "g": "green", "b": "blue", "n": "nir"}  # if a description is nothing but one of them
_OTHERS = {"rededge", "swir", "mask"}  # not in the description of one of the four
_MAX_CODE = 12  # of the bands of Sentinel-2 and Landsat

# "B04", "SR_B4", "Band 4", "T32TPT_20200101_B8A_10m"; what precedes a code must not be a letter or a digit.
_CODE = re.compile(r"(?:^|[^a-z0-9])(?:b|band)[ _-]?0*([1-9]\d?)(a?)(?![a-z0-9])")
_LANDSAT_LEVEL_2 = re.compile(r"(?:^|[^a-z0-9])(?:sr|st)_b\d")
_LANDSAT_PRODUCT = re.compile(r"(?:^|[^a-z0-9])l[cteo]0([4-9])_")
_CODES = {  # codes of red, green, blue and near infrared; of the last one, the first that is there
    "sentinel2": ("4", "3", "2", ("8", "8a")),
    "landsat": ("4", "3", "2", ("5",)),  # Landsat 8 and 9
    "landsat 4 to 7": ("3", "2", "1", ("4",)),
    "": ("4", "3", "2", ()),  # Sentinel-2 or Landsat 8 and 9, which differ in the near infrared
}


def roles_of_words(names: Sequence[str]) -> Roles:
    """Return the roles of bands by words such as "Red", "red band", "B4: NIR" or "near-infrared".

    Where several descriptions have the word, the one with the fewest words counts: "green" rather than "green_i",
    "blue" rather than "coastal blue".

    Examples
    --------
    >>> roles_of_words(["Coastal Blue", "Blue", "Green", "Red Edge", "Red (665 nm)", "NIR-1"])
    Roles(red=4, green=2, blue=1, nir=5)
    """
    found: dict[str, tuple[int, int]] = {}  # role → number of words, position
    for position, name in enumerate(names):
        words = _words(name)
        roles = {word for word in words if word in Roles._fields}
        if len(roles) == 1 and not _OTHERS & set(words):
            (role,) = roles
            found[role] = min(found.get(role, (len(words), position)), (len(words), position))
    return Roles(**{role: position for role, (_, position) in found.items()})


def roles_of_codes(names: Sequence[str], numbers: Sequence[int], sensor: Sensor | None = None) -> Roles:
    """Return the roles of bands by the codes of Sentinel-2 and Landsat, such as "B04" or "SR_B4".

    Codes that are the numbers of the bands in the raster state nothing, unless another part of the descriptions belongs
    to one of the two.

    Parameters
    ----------
    names : sequence of str
    numbers : sequence of int
        Numbers of the bands in the raster.
    sensor : {"sentinel2", "landsat"} or None
        Of which the codes are if they may be of both.

    Examples
    --------
    >>> roles_of_codes(["B02", "B03", "B04", "B08"], [1, 2, 3, 4])
    Roles(red=2, green=1, blue=0, nir=3)
    >>> roles_of_codes(["Band 1", "Band 2", "Band 3", "Band 4"], [1, 2, 3, 4])
    Roles(red=None, green=None, blue=None, nir=None)
    """
    positions: dict[str, int] = {}
    for position, name in enumerate(names):
        if matches := _CODE.findall(name.lower()):
            positions.setdefault("".join(matches[-1]), position)
    family = _certain_family(" ".join(names).lower(), positions)
    if family is None:
        are_numbers = all(code == str(numbers[position]) for code, position in positions.items())
        family = None if are_numbers else _likely_family(positions, sensor)
    if family is None:
        return Roles()
    red, green, blue, nir = _CODES[family]
    infrared = next((positions[code] for code in nir if code in positions), None)
    return Roles(positions.get(red), positions.get(green), positions.get(blue), infrared)


def _words(name: str) -> list[str]:
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[a-zA-Z])(?=\d)|_", " ", name).lower()  # RedEdge, NIR1, red_band
    if spaced.strip() in _LETTERS:
        return [_LETTERS[spaced.strip()]]
    for pattern, word in _SYNONYMS:
        spaced = re.sub(pattern, f" {word} ", spaced)
    return re.findall(r"[^\W_]+", spaced)


def _certain_family(text: str, codes: Mapping[str, int]) -> str | None:
    """Return the key of `_CODES` that descriptions name by more than numbers; None = none of them."""
    product = _LANDSAT_PRODUCT.search(text)
    if product:
        return "landsat" if product[1] in "89" else "landsat 4 to 7"
    if _LANDSAT_LEVEL_2.search(text):  # only Landsat 8 and 9 have SR_B6
        return "landsat 4 to 7" if ("1" in codes and "6" not in codes) or "st_b6" in text else "landsat"
    return "sentinel2" if "8a" in codes else None


def _likely_family(codes: Mapping[str, int], sensor: Sensor | None) -> str | None:
    if any(int(code.rstrip("a")) > _MAX_CODE for code in codes):
        return None
    if sensor is not None:
        return sensor
    if "12" in codes or {"4", "8"} <= codes.keys():
        return "sentinel2"
    return "" if {"2", "3", "4"} <= codes.keys() else None
