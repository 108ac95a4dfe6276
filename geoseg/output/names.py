"""Names of output files that a file system or a driver does not take, found before the work starts."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import numpy as np
import pyogrio
import rasterio
import shapely
from affine import Affine
from pyogrio.util import vsi_path

from geoseg.errors import OutputError
from geoseg.output.failure import write_failure
from geoseg.output.system import is_read_only, name_refused
from geoseg.raster.names import name_problem, quoted

_ADDED = 64  # bytes that the names of unfinished files and of files beside an output have more than its own
_MAX_NAME, _MAX_PATH = 255, 4096  # bytes, where the system gives no limit
_POLYGONS = {".gpkg": "GPKG", ".fgb": "FlatGeobuf"}
_RASTERS = (".tif", ".tiff")


def check_output_name(path: Path) -> None:
    """Check that a file of this name can be written; the folder and an existing file are not changed.

    Parameters
    ----------
    path : Path
        The output file.

    Raises
    ------
    OutputError
        If the name is empty, has a suffix only, is too long for its folder, is not UTF-8 or contains control
        characters; or if there is a device, a pipe or a link to a missing file.
    """
    problem = _problem(path)
    if problem is not None:
        raise OutputError(f"the output {quoted(str(path))} {problem}. Choose another name.")


def check_folder_name(path: Path) -> None:
    """Check that a folder of this name can be made, or is there.

    Raises
    ------
    OutputError
        If it cannot.
    """
    problem = name_problem(str(path)) or name_refused(path.name) or _length_problem(path) or _place_problem(path)
    if problem is not None:
        raise OutputError(f"the folder {quoted(str(path))} {problem}. Choose another name.")


def check_writable_folder(folder: Path) -> None:
    """Check that files can be made in a folder, as far as that is known without making one.

    Raises
    ------
    OutputError
        If its file system is read-only, or this user may not write to it.
    """
    read_only = is_read_only(folder)
    if read_only or not os.access(folder, os.W_OK | os.X_OK):
        reason = "is on a read-only file system" if read_only else "is not writable for this user"
        raise OutputError(
            f"the folder {folder} {reason}. Make it writable, or choose another place for --out or --run-dir."
        )


def check_outside(paths: Iterable[Path], run_dir: Path) -> None:
    """Check that outputs are not in the run folder, whose files the run removes.

    Raises
    ------
    OutputError
        If one of them is.
    """
    folder = run_dir.resolve()
    for path in paths:
        resolved = path.resolve()
        if folder == resolved or folder in resolved.parents:
            raise OutputError(
                f"the output {quoted(str(path))} is in the run folder {quoted(str(run_dir))}, whose files belong to "
                f"the run. Choose another place for the output or for --run-dir."
            )


def check_driver(path: Path) -> None:
    """Check that GDAL writes a file of this name by writing a very small one.

    Parameters
    ----------
    path : Path
        A file in a temporary folder, with the name of the output.

    Raises
    ------
    OutputError
        If GDAL takes the name for an address, an archive or options, or its driver refuses it.
    """
    suffix = path.suffix.lower()
    if suffix not in (*_POLYGONS, *_RASTERS):
        return
    name = quoted(path.name)
    if suffix in _POLYGONS and vsi_path(str(path)) != str(path):
        raise OutputError(
            f"the path of the output {name} has characters that GDAL takes for an archive or an address, so another "
            f"file would be written. Choose a name and a folder without ! ; and control characters."
        )
    try:
        _write_polygon(path) if suffix in _POLYGONS else _write_pixel(path)
    except OSError:
        raise  # a full or read-only disk, which has nothing to do with the name
    except Exception as err:  # pyogrio, rasterio and GDAL raise many kinds
        raise OutputError(
            f"{name} cannot be written: {write_failure(err, path)}. Choose another name or a shorter path, or free "
            f"space on the disk."
        ) from err
    if not path.is_file():
        raise OutputError(f"GDAL writes another file than {name}. Choose a name of letters, digits and - _ .")


def _problem(path: Path) -> str | None:
    name = path.name
    problem = name_problem(str(path))
    if problem is not None:
        return problem
    if not path.stem.strip(". ") or (name.startswith(".") and "." not in name.lstrip(".")):
        return "has no name before its suffix"
    if not name.isprintable():
        return "contains control characters"
    return name_refused(name) or _length_problem(path) or _place_problem(path)


def _length_problem(path: Path) -> str | None:
    longest = _limit(path.parent, "PC_NAME_MAX", _MAX_NAME) - _ADDED
    n_bytes = len(path.name.encode())
    if n_bytes > longest:
        return f"has a name of {n_bytes} bytes, and with those of unfinished files {longest} fit here"
    longest = _limit(path.parent, "PC_PATH_MAX", _MAX_PATH) - _ADDED - n_bytes
    n_bytes = len(os.fsencode(path.absolute()))
    return f"has a path of {n_bytes} bytes, and {longest} fit here" if n_bytes > longest else None


def _place_problem(path: Path) -> str | None:
    """Return what is wrong with what is at a path."""
    try:
        path.resolve()
        if path.is_symlink() and not path.exists():
            return "is a link to something that does not exist"
        if path.exists() and not (path.is_file() or path.is_dir()):
            return "is a device, a pipe or a socket, not a file"
    except (OSError, RuntimeError) as err:  # RuntimeError: links that form a circle
        return f"cannot be used: {getattr(err, 'strerror', None) or err}"
    return None


def _limit(folder: Path, name: str, default: int) -> int:
    try:
        return os.pathconf(folder, name)
    except (AttributeError, OSError, ValueError):  # Windows, no such folder, or no such limit
        return default


def _write_polygon(path: Path) -> None:
    square = np.array([shapely.to_wkb(shapely.box(0, 0, 1, 1))], object)
    options = {"VERSION": "1.2"} if path.suffix.lower() == ".gpkg" else {}
    pyogrio.raw.write(
        path,
        geometry=square,
        field_data=[],
        fields=[],
        layer="labels",
        driver=_POLYGONS[path.suffix.lower()],
        geometry_type="Polygon",
        crs="EPSG:32631",
        dataset_options=options,
    )
    if path.suffix.lower() == ".gpkg":  # the styles are written by SQLite, which takes shorter paths than GDAL
        with closing(sqlite3.connect(path)) as database:
            database.execute("SELECT table_name FROM gpkg_contents").fetchall()


def _write_pixel(path: Path) -> None:
    profile = {"driver": "GTiff", "width": 1, "height": 1, "count": 1, "dtype": "uint8"}
    with rasterio.open(path, "w", **profile, crs="EPSG:32631", transform=Affine(1, 0, 0, 0, -1, 1)) as raster:
        raster.write(np.ones((1, 1, 1), np.uint8))
