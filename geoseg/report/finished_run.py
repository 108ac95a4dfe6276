"""What a report needs to know of a finished run: its facts and where its files are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from affine import Affine

from geoseg.config import Config, load_config
from geoseg.errors import GeosegError, RunError, shorten
from geoseg.grid import GeoBox
from geoseg.output.names_document import NamesDocument
from geoseg.output.paths import class_document_path
from geoseg.output.publication import file_digest
from geoseg.raster.regular_file import regular_file
from geoseg.report.class_document import MAX_DOCUMENT, ClassDocument, is_of_labels, read_classes
from geoseg.report.names import classes_of, find_names
from geoseg.run.folder import RunFolder
from geoseg.run.manifest import has_report, read_report
from geoseg.run.published import OutputRecord

NO_CLASS_RASTER = "The run wrote no class raster, so the map is drawn from the polygons."


@dataclass(frozen=True)
class FinishedRun:
    """A finished run.

    Parameters
    ----------
    facts : dict
        What run.json contains.
    polygons : Path
    class_raster : Path or None
        None = none was written, or it is gone.
    classes : ClassDocument or None
        None = there is none.
    scene : str or None
        Where the pixels are read; None = there are none.
    notes : tuple of str
        What the reader should know about the files, one sentence each.
    names : NamesDocument or None
        Of regions that `geoseg classify` has named; None = the report is by class.
    """

    facts: Mapping[str, Any]
    polygons: Path
    class_raster: Path | None = None
    classes: ClassDocument | None = None
    scene: str | None = None
    notes: tuple[str, ...] = ()
    names: NamesDocument | None = None

    @property
    def geobox(self) -> GeoBox:
        """The grid of the scene."""
        grid = self.facts["grid"]
        rows, cols = grid["shape"]
        return GeoBox((int(rows), int(cols)), Affine(*grid["transform"]), str(grid["crs"]))

    @property
    def config(self) -> Config:
        """The configuration of the run."""
        return load_config(self.facts["config"])


@dataclass(frozen=True)
class Places:
    """Where the files of a run are, if not where the run left them.

    Parameters
    ----------
    run_dir : Path or None
        None = beside the polygons, with the suffix .run.
    scene : str or None
        None = where it was, or beside the polygons.
    class_raster : Path or None
        None = where it was.
    """

    run_dir: Path | None = None
    scene: str | None = None
    class_raster: Path | None = None


def find_run(polygons: Path, places: Places | None = None) -> FinishedRun:
    """Return the finished run that has written polygons.

    Parameters
    ----------
    polygons : Path
    places : Places or None

    Raises
    ------
    RunError
        If the run folder does not exist, is not that of a finished run, or of a run with other outputs; or if the
        polygons are named regions whose class raster is given, or that are dissolved.
    """
    places = places or Places()
    if not polygons.is_file():
        raise RunError(f"there is no file {polygons}; expected the polygons of a finished run. Check the name.")
    names, names_note = find_names(polygons)
    source, digest = (
        _named_from(polygons) if names is None else (polygons.parent / Path(names.polygons).name, names.polygons_digest)
    )
    folder = RunFolder(places.run_dir or source.with_suffix(".run"))
    if not has_report(folder):
        raise RunError(
            f"{folder.path} contains no run.json, so the run that wrote {polygons} is not known; expected the "
            f"folder of a finished run. Give it with --run-dir, or finish the run with --resume."
        )
    facts = read_report(folder)
    _check_facts(facts, folder.path / "run.json")
    published = OutputRecord(folder).published()
    is_published = digest in published.values()
    notes = [] if is_published else _check_published(polygons if names is None else source, published, folder.path)
    scene, scene_note = _scene(facts, polygons, places.scene)
    if names is None:
        class_raster, note = _class_raster(folder.path, facts, places.class_raster)
        classes, classes_note = read_classes(class_document_path(polygons), facts)
    else:
        _check_no_class_raster(polygons, places.class_raster)
        class_raster, note = None, names_note
        classes, classes_note = classes_of(names), ""
    found = tuple(each for each in (*notes, note, scene_note, classes_note) if each)
    return FinishedRun(facts, polygons, class_raster, classes, scene, found, names)


def pixels_of(facts: Mapping[str, Any]) -> str | None:
    """Return where a run has read pixels: the scene, or the values of labels; None = it has read none."""
    path = facts.get("values") if is_of_labels(facts) else facts["scene"]
    return None if path is None else str(path)


def _check_no_class_raster(polygons: Path, given: Path | None) -> None:
    if given is not None:
        raise RunError(
            f"{given} has classes, and the report of {polygons} is by name, drawn from the polygons. Leave out "
            f"--class-raster."
        )


def _named_from(polygons: Path) -> tuple[Path, str | None]:
    """Return the polygons that `geoseg name` has read, and their digest; the polygons themselves and None = others."""
    try:
        path = regular_file(class_document_path(polygons))
        named = json.loads(path.read_text(encoding="utf-8"))["named_from"] if path.stat().st_size < MAX_DOCUMENT else {}
        return polygons.parent / Path(str(named["polygons"])).name, str(named["digest"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return polygons, None


def _check_facts(facts: Mapping[str, Any], path: Path) -> None:
    """Check that run.json has what the report uses, in the form that this version writes."""
    run = FinishedRun(facts, path)
    try:
        rows, cols = run.geobox.shape
        states = list(facts["tiles"]["states"])
        is_good = rows > 0 and cols > 0 and run.geobox.transform.determinant != 0 and bool(states)
        dict(facts["failed"]), dict(facts["versions"]), dict(facts["seconds"]), str(facts["scene"])
        [int(label) for label in dict(facts.get("categories", {}))]
        run.config  # noqa: B018 # it raises
    except (KeyError, TypeError, ValueError, GeosegError) as err:
        raise RunError(
            f"{path} is not as this version of geoseg writes it: {shorten(err)}. Make the report with the version that "
            f"ran ({shorten(facts.get('version', 'unknown'), 40)}), or repeat the run with --overwrite."
        ) from err
    if not is_good:
        raise RunError(f"{path} describes a grid of {rows} x {cols} pixels without a place. Repeat the run.")


def _check_published(polygons: Path, published: Mapping[Path, str], run_dir: Path) -> list[str]:
    full = polygons.parent.resolve() / polygons.name
    if full not in published:
        names = ", ".join(sorted(shorten(path.name, 60) for path in published)) or "nothing"
        raise RunError(
            f"{polygons} was not written by the run in {run_dir}, which wrote {names}. Give the file or the folder of "
            f"the same run."
        )
    if not polygons.is_file():
        return [f"{polygons.name}, which the run wrote, is gone."]
    if file_digest(polygons) != published[full]:
        return [f"{polygons.name} has changed since the run wrote it; its columns are shown as they are now."]
    return []


def _class_raster(run_dir: Path, facts: Mapping[str, Any], given: Path | None) -> tuple[Path | None, str]:
    if given is not None:
        return given, ""
    name = dict(facts.get("files", {})).get("class_raster")
    if name is None:
        return None, "" if is_of_labels(facts) else NO_CLASS_RASTER
    path = run_dir / str(name)
    if path.is_file():
        return path.resolve(), ""
    return None, f"The class raster {shorten(path.name, 80)} is gone, so the map is drawn from the polygons."


def _scene(facts: Mapping[str, Any], polygons: Path, given: str | None) -> tuple[str | None, str]:
    """Return where the scene is, and a note if it is nowhere."""
    if given is not None:
        return given, ""
    path = pixels_of(facts)
    if path is None:
        return None, ""
    for place in (Path(path), polygons.parent / Path(path).name):
        if place.is_file():
            return str(place), ""
    advice = "Give it with --scene to show it."
    return None, f"The scene {shorten(Path(path).name, 80)} is not found, so it is not shown. {advice}"
