"""Central wavelengths of bands, from their descriptions and metadata, and the bands of colours among them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from geoseg.raster.band_names import Roles

_NUMBER = r"(\d+(?:\.\d+)?|\.\d+)"
# "665 nm", "B4_0.665um", "630 - 690 nm". A unit is required, for descriptions have other numbers too.
_WITH_UNIT = re.compile(
    rf"(?:{_NUMBER}\s*(?:-|\u2013|to)\s*)?{_NUMBER}[\s_]*(nm|nano\w*|[uµμ]m|micro\w*)(?![a-z])", re.IGNORECASE
)
_KEYS = ("wavelength", "wavelengths", "center_wavelength", "central_wavelength", "central_wavelength_um")
_MICROMETRES = 100  # numbers below are micrometres, others nanometres
_RANGE = (300.0, 15_000.0)  # nm, from ultraviolet to thermal infrared
_MIN_NUMBERS = 3  # descriptions that are numbers alone are wavelengths if there are so many
_CENTRES = {  # nm: best, lowest, highest
    "red": (660, 620, 700),
    "green": (560, 520, 600),
    "blue": (480, 430, 520),
    "nir": (850, 760, 1000),
}


def roles_of_wavelengths(wavelengths: Sequence[float | None]) -> Roles:
    """Return the bands nearest to 660, 560, 480 and 850 nm; None where none is near.

    Parameters
    ----------
    wavelengths : sequence of float or None
        In nm; None = unknown.

    Examples
    --------
    >>> roles_of_wavelengths([450.0, 490.0, None, 555.0, 665.0, 1610.0])
    Roles(red=4, green=3, blue=1, nir=None)
    """
    found = {}
    for role, (best, low, high) in _CENTRES.items():
        near = [(abs(value - best), i) for i, value in enumerate(wavelengths) if value and low <= value <= high]
        if near:
            found[role] = min(near)[1]
    return Roles(**found)


def described_wavelengths(names: Sequence[str]) -> tuple[float | None, ...]:
    """Return the wavelength in nm of each band by its description; None where it has none.

    Examples
    --------
    >>> described_wavelengths(["Band 4 (0.64-0.67 µm)", "B4, 665 nm", "B04_10m"])
    (655.0, 665.0, None)
    >>> described_wavelengths(["0.45", "0.56", "0.66"])
    (450.0, 560.0, 660.0)
    """
    numbers = [None if name.isdecimal() and len(name) < 3 else _nanometres(name) for name in names]  # 1, 2, 3: no unit
    if len(names) >= _MIN_NUMBERS and None not in numbers and len(set(numbers)) == len(numbers):
        return tuple(numbers)
    return tuple(map(_with_unit, names))


def band_wavelength(tags: Mapping[str, str]) -> float | None:
    """Return the wavelength in nm by the metadata of a band; None = it has none."""
    values = (_nanometres(value) for key, value in tags.items() if key.lower() in _KEYS)
    return next((value for value in values if value is not None), None)


def listed_wavelengths(tags: Mapping[str, Any], n_bands: int) -> tuple[float | None, ...]:
    """Return the wavelengths in nm of all bands by a list in the metadata of the raster; empty = there is none."""
    for key, text in tags.items():
        if key.lower() in _KEYS:
            values = tuple(_nanometres(part) for part in re.split(r"[\s,;]+", str(text).strip(" \t\n\r{}[]()")))
            if len(values) == n_bands and None not in values:
                return values
    return ()


def _nanometres(text: str) -> float | None:
    """Return the wavelength that a text consists of, with a unit or without one; None = it is something else."""
    matched = re.fullmatch(_NUMBER, text.strip())
    value = float(matched[1]) if matched else _with_unit(text) if _WITH_UNIT.fullmatch(text.strip()) else None
    return None if value is None else _plausible(value * 1000 if value < _MICROMETRES else value)


def _with_unit(text: str) -> float | None:
    matched = _WITH_UNIT.search(text)
    if matched is None:
        return None
    low, high, unit = matched.groups()
    value = float(high)
    if low is not None and 0.5 < float(low) / value < 1:  # a range; in "B4-665 nm", the 4 is none
        value = (float(low) + value) / 2
    return _plausible(value if unit.lower().startswith("n") else 1000 * value)


def _plausible(value: float) -> float | None:
    value = round(value, 3)
    return value if _RANGE[0] <= value <= _RANGE[1] else None
