"""GeoPackages that also contain tables of the user: which these are, and keeping them."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from geoseg.errors import OutputError
from geoseg.output.columns import LEVELS

# The layers that geoseg writes, and columns by which they differ from layers of the same name by the user.
_OWN_LAYERS = {"labels": {"region"}, "classes": {"class", "color"}, "failed_tiles": {"tile", "message"}}
_DISSOLVED = {"regions"}  # of the layer labels that geoseg dissolve writes
_OWN_LAYERS |= {f"objects_{level}": {"object", "class", "color"} for level in LEVELS}
_SYSTEM_TABLES = ("gpkg_", "rtree_", "sqlite_")


def other_tables(path: Path) -> list[str]:
    """Return the names of the tables of a GeoPackage that geoseg does not write; empty if it is no GeoPackage.

    Raises
    ------
    OutputError
        If a layer of the user has the name of one that geoseg writes.
    """
    if path.suffix.lower() != ".gpkg" or not path.is_file():
        return []
    try:
        with closing(_connected(path)) as database:
            columns = {name: _columns(database, name) for name in _tables(database)}
    except sqlite3.DatabaseError:  # damaged, or not a database
        return []
    for name, own in _OWN_LAYERS.items():
        if name in columns and not (own <= columns[name] or (name == "labels" and columns[name] >= _DISSOLVED)):
            raise OutputError(
                f"{path} has a layer {name} that geoseg did not write, and the output has a layer of that name. Rename "
                f"the layer, or choose another file."
            )
    return sorted(set(columns) - set(_OWN_LAYERS))


def copy_other_tables(path: Path, target: Path) -> None:
    """Copy a GeoPackage without the layers of geoseg to a new file, if it has other tables.

    Parameters
    ----------
    path : Path
        The existing file, which is not changed. Nothing is copied if it is absent or no GeoPackage.
    target : Path
        The new file, to which the layers of geoseg are written next.
    """
    if not other_tables(path):
        return
    shutil.copyfile(path, target)
    with closing(sqlite3.connect(target)) as database, database:
        present = set(_tables(database, system=True))
        for layer in _OWN_LAYERS:
            for table in present & {f"rtree_{layer}_geometry", layer}:
                database.execute(f'DROP TABLE "{table}"')
        for table in present:
            for column in _columns(database, table) & {"table_name", "f_table_name"}:
                if table.startswith("gpkg_") or table == "layer_styles":
                    _delete_rows(database, table, column)


def _delete_rows(database: sqlite3.Connection, table: str, column: str) -> None:
    # Both are names of the format, not of the user.
    database.executemany(f'DELETE FROM "{table}" WHERE "{column}" = ?', [(layer,) for layer in _OWN_LAYERS])


def _connected(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)


def _tables(database: sqlite3.Connection, *, system: bool = False) -> list[str]:
    """Return the names of the tables and views; with `system`, also of those that the format itself needs."""
    names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")]
    own_system = (*_SYSTEM_TABLES, "layer_styles")
    return names if system else [name for name in names if not name.startswith(own_system)]


def _columns(database: sqlite3.Connection, table: str) -> set[str]:
    return {row[1] for row in database.execute(f"""PRAGMA table_info("{table.replace('"', '""')}")""")}
