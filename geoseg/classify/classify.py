"""Give regions names by samples, or by a forest that was trained with the samples of another scene."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS
from pyproj.exceptions import CRSError

from geoseg.classify.document import write_document
from geoseg.classify.forest import Forest, TrainingSet, group_importance, importance
from geoseg.classify.forest_file import FOREST_SUFFIXES, load_forest, save_forest
from geoseg.classify.learn import Learned, learn, name_regions
from geoseg.classify.named_layer import Named
from geoseg.classify.read_regions import Regions, read_regions
from geoseg.classify.read_samples import read_samples
from geoseg.classify.region_table import Features, RegionTable
from geoseg.classify.result import Classification, NameScore, scores_of
from geoseg.classify.sample_points import TABLE_SUFFIXES
from geoseg.classify.samples import Samples, joined
from geoseg.classify.suggest import suggestions
from geoseg.classify.training import label_regions
from geoseg.classify.validation import Validation, advice, cross_validate, mean_iou, spatial_folds
from geoseg.classify.write_named import suggestions_path, write_dissolved, write_named, write_suggestions
from geoseg.errors import ConfigError, ModelError, shorten
from geoseg.output.files import check_output
from geoseg.output.input_files import check_no_input
from geoseg.output.names_document import NAMES_SUFFIXES, names_document_path
from geoseg.output.polygons import CLASS_STYLE, POLYGON_SUFFIXES, sidecars
from geoseg.output.publication import Publication
from geoseg.report.polygon_file import PolygonFile, open_polygons
from geoseg.run.lock import locked_outputs

FileName = str | Path
_MAX_SUGGESTIONS = 10_000


@dataclass(frozen=True)
class Task:
    """What is to be done, with checked values.

    Parameters
    ----------
    labels, out : Path
    samples : tuple of Path
        Empty = the names come from `model`.
    field : str
        Of the samples.
    layer, crs : str or None
    model, save_model : Path or None
    min_probability : float
    dissolve : bool
    suggest : int
        Number of suggestions.
    validate : bool
    """

    labels: Path
    out: Path
    samples: tuple[Path, ...] = ()
    field: str = ""
    layer: str | None = None
    crs: str | None = None
    model: Path | None = None
    save_model: Path | None = None
    min_probability: float = 0.0
    dissolve: bool = False
    suggest: int = 0
    validate: bool = True

    def given(self) -> dict[str, Any]:
        """Return the options that are not the default, by the names of the command."""
        options = {each.name: each.default for each in fields(self) if each.default is not MISSING}
        options["field"] = self.field if self.model is not None and not self.suggest else "name"
        found = {name: getattr(self, name) for name, default in options.items() if getattr(self, name) != default}
        return found if found.pop("validate", True) else found | {"no_validation": True}


def classify_regions(
    labels: FileName,
    out: FileName,
    *,
    samples: FileName | Sequence[FileName] = (),
    field: str = "name",
    layer: str | None = None,
    crs: str | None = None,
    model: FileName | None = None,
    save_model: FileName | None = None,
    min_probability: float = 0,
    dissolve: bool = False,
    suggest: int = 0,
    validate: bool = True,
    overwrite: bool = False,
) -> Classification:
    """Name the regions of a finished run by samples, and write them with the columns `name`, `probability`, `second`.

    A forest is trained with the attributes of the regions that have samples, of their neighbours and of their classes;
    the scene is not read. See docs/classify.md.

    Parameters
    ----------
    labels : str or Path
        Polygons that `segment_scene` or `outline_labels` has written.
    out : str or Path
        Polygon file to write, .gpkg, .fgb or .parquet.
    samples : str, Path or sequence of them
        Vector files with points or polygons whose names are known, in any CRS, or tables of text with the columns
        `lon` and `lat`, or `x` and `y`. A polygon names the regions that it covers by more than half.
    field : str
        Field of the samples with their names.
    layer : str or None
        Layer of the samples; None = the only one.
    crs : str or None
        CRS of the coordinates in a .csv, such as "EPSG:25832"; None = EPSG:4326 for `lon` and `lat`, that of the
        regions for `x` and `y`.
    model : str, Path or None
        File of ``save_model`` to use instead of samples.
    save_model : str, Path or None
        Also write the forest to this .forest file.
    min_probability : float
        Regions whose name is less probable are named `unknown`, 0 to 1.
    dissolve : bool
        Unite adjacent regions of one name.
    suggest : int
        Also write so many regions whose name would teach most, to OUT with the suffix .suggestions and that of `out`.
    validate : bool
        Cross-validate the samples by spatial blocks, which takes some seconds.
    overwrite : bool
        Replace existing files.

    Returns
    -------
    Classification

    Raises
    ------
    ConfigError
        If options contradict each other or are out of range.
    RasterError
        If the regions or the samples cannot be read, or the samples do not fit.
    ModelError
        If the forest cannot be read or needs other columns.
    OutputError
        If a file exists and may not be replaced, or cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> import geopandas, shapely
    >>> folder = Path(tempfile.mkdtemp())
    >>> boxes = [shapely.box(x, 0, x + 1, 1) for x in range(8)]
    >>> columns = {"region": range(1, 9), "class": [1, 2] * 4, "mean_1": [10.0, 90.0] * 4}
    >>> regions = geopandas.GeoDataFrame(columns, geometry=boxes, crs="EPSG:32632")
    >>> regions.to_file(folder / "labels.gpkg", layer="labels")
    >>> points = regions.iloc[:4].assign(name=["water", "road"] * 2, geometry=regions.geometry.iloc[:4].centroid)
    >>> points[["name", "geometry"]].to_file(folder / "samples.gpkg")
    >>> result = classify_regions(folder / "labels.gpkg", folder / "named.gpkg", samples=folder / "samples.gpkg")
    >>> list(geopandas.read_file(result.path, layer="labels")["name"])
    ['water', 'road', 'water', 'road', 'water', 'road', 'water', 'road']
    """
    given = [samples] if isinstance(samples, str | os.PathLike) else list(samples)
    task = Task(
        _path("labels", labels),
        _path("out", out),
        tuple(_path("samples", each) for each in given),
        field,
        layer,
        crs,
        None if model is None else _path("model", model),
        None if save_model is None else _path("save_model", save_model),
        float(min_probability),
        dissolve,
        int(suggest),
        validate,
    )
    _check_task(task)
    publications = _check_outputs(task, overwrite=overwrite)
    with locked_outputs(publications), open_polygons(task.labels) as file:
        return _classify(task, file, publications)


def _path(name: str, value: FileName) -> Path:
    if not isinstance(value, str | os.PathLike) or not str(value):
        raise ConfigError(f"{name} is {value!r}; expected the path of a file. Give it as a str or a Path.")
    return Path(value)


def _check_task(task: Task) -> None:
    if bool(task.samples) == (task.model is not None):
        raise ConfigError(
            "names come from samples or from a saved forest; expected one of the two. Give --samples or --model."
        )
    if task.model is not None and task.save_model is not None:
        raise ConfigError("--save-model has no effect with --model, which trains no forest; leave out one.")
    if not 0 <= task.min_probability <= 1:
        raise ConfigError(f"--min-probability is {task.min_probability}; expected a number from 0 to 1, such as 0.5.")
    if not 0 <= task.suggest <= _MAX_SUGGESTIONS:
        raise ConfigError(f"--suggest is {task.suggest}; expected a number of regions up to {_MAX_SUGGESTIONS}.")
    if task.crs is not None:
        _check_crs(task)
    if not isinstance(task.field, str) or not task.field:
        raise ConfigError("the field of the samples has no name; give it with --field.")


def _check_crs(task: Task) -> None:
    if not any(path.suffix.lower() in TABLE_SUFFIXES for path in task.samples):
        raise ConfigError("--crs is that of the coordinates in a .csv, and there is none among the samples; omit it.")
    try:
        CRS.from_user_input(task.crs)
    except CRSError as err:
        raise ConfigError(f"--crs is {shorten(task.crs, 60)!r}; expected a CRS such as EPSG:25832.") from err


def _check_outputs(task: Task, *, overwrite: bool) -> dict[Path, Publication]:
    """Check that all outputs can be written before the work starts."""
    outputs: dict[Path, tuple[tuple[str, ...], list[Path]]] = {}
    for path in (task.out, suggestions_path(task.out) if task.suggest else None):
        if path is not None:
            outputs[path] = (POLYGON_SUFFIXES, sidecars(path, (CLASS_STYLE, "regions")))
    if task.save_model is not None:
        outputs[task.save_model] = (FOREST_SUFFIXES, [])
    outputs[names_document_path(task.out)] = (NAMES_SUFFIXES, [])
    inputs = [each for each in (task.labels, task.model, *task.samples) if each is not None]
    check_no_input([path for out, (_, beside) in outputs.items() for path in (out, *beside)], inputs)
    return {
        path: check_output(path, overwrite=overwrite, suffixes=suffixes, sidecars=beside)
        for path, (suffixes, beside) in outputs.items()
    }


def _classify(task: Task, file: PolygonFile, publications: dict[Path, Publication]) -> Classification:
    samples = _read_samples(task, file)
    in_one_scene = task.model is None and task.save_model is None
    regions = read_regions(file, samples, in_one_scene=in_one_scene)
    learned = _load(task.model, regions.table) if task.model is not None else _learn(samples, regions)
    forest, table = learned.forest, learned.table
    predicted = name_regions(learned)
    named = Named.of(forest.names, predicted.probabilities, task.min_probability)
    write = write_dissolved if task.dissolve else write_named
    colors = write(task.out, file, regions, named, publications[task.out])
    if task.save_model is not None:
        save_forest(task.save_model, forest, overwrite=publications[task.save_model])
    if task.suggest:
        labelled = learned.labelled
        known = np.empty(0, np.int64) if labelled is None else np.unique(labelled.rows[labelled.is_covered])
        of_regions = predicted.probabilities, learned.features, table.sizes, table.centres
        rows = suggestions(*of_regions, known, task.suggest)
        path = suggestions_path(task.out)
        write_suggestions(path, file, (rows, named), task.field, publications[path])
    result = _validated(task, learned, predicted.shares, _result(task, forest.names, named, table))
    write_document(result, colors, task.labels, task.given(), publications[names_document_path(task.out)])
    return result


def _validated(task: Task, learned: Learned, shares: NDArray[np.float64], result: Classification) -> Classification:
    """Return a result with what is known of the samples."""
    if learned.labelled is None:
        return result
    forest, table = learned.forest, learned.table
    training = learned.labelled.training_set(learned.features, len(forest.names))
    folds = spatial_folds(table.centres[learned.labelled.rows], training.weights)
    checked = cross_validate(training, folds, shares) if task.validate else None
    return _with_validation(replace(result, notes=learned.notes), checked, training, forest)


def _load(model: Path, table: RegionTable) -> Learned:
    forest = load_forest(model)
    chosen = _columns_of(table, forest, model)
    return Learned(forest, chosen, Features(chosen, forest.medians))


def _learn(samples: Samples | None, regions: Regions) -> Learned:
    if samples is None:
        raise ConfigError("there are neither samples nor a saved forest. Give --samples or --model.")
    labelled, notes = label_regions(samples, regions.located)
    return replace(learn(labelled, regions.table, samples.names), notes=tuple(notes))


def _read_samples(task: Task, file: PolygonFile) -> Samples | None:
    if not task.samples:
        return None
    crs = file.crs()
    return joined([read_samples(path, crs, field=task.field, layer=task.layer, crs=task.crs) for path in task.samples])


def _columns_of(table: RegionTable, forest: Forest, path: Path) -> RegionTable:
    """Return a table with the columns with which a forest was trained."""
    missing = [name for name in forest.attributes if name not in table.attributes]
    missing += [name for name in forest.levels if name not in table.levels]
    if missing:
        raise ModelError(
            f"{path} needs the column {shorten(', '.join(missing), 120)}, which the regions lack, or which cannot be "
            f"compared between scenes. Segment the scene with the same bands and --attributes, or train another forest."
        )
    columns = [table.attributes.index(name) for name in forest.attributes]
    levels = {name: table.levels[name] for name in forest.levels}
    return replace(table, attributes=forest.attributes, values=table.values[:, columns], levels=levels)


def _result(task: Task, names: tuple[str, ...], named: Named, table: RegionTable) -> Classification:
    n = len(named.names)
    regions = np.bincount(named.first, minlength=n)
    areas = np.bincount(named.first, table.sizes, minlength=n) / max(float(table.sizes.sum()), 1e-300)
    shown = [i for i in range(n) if i < len(names) or regions[i]]
    scores = tuple(NameScore(named.names[i], 0, int(regions[i]), float(areas[i])) for i in shown)
    path = suggestions_path(task.out) if task.suggest else None
    return Classification(task.out, len(table), scores, suggestions=path)


def _with_validation(
    result: Classification, checked: Validation | None, training: TrainingSet, forest: Forest
) -> Classification:
    n = training.n_names
    counts = np.bincount(training.names, training.weights, minlength=n)
    scores = []
    for i, score in enumerate(result.scores):
        if i < n:
            found = (None, None, None) if checked is None else scores_of(checked.confusion, i)
            score = replace(score, samples=int(counts[i]), recall=found[0], precision=found[1], iou=found[2])
        scores.append(score)
    ranked = group_importance(importance(training, forest.trees), forest.attributes, forest.levels)
    result = replace(result, scores=tuple(scores), importance=tuple(ranked))
    if checked is None:
        return result
    if checked.n_folds < 2:
        note = "all samples are in one place, so there is no cross-validation by spatial blocks."
        return replace(result, notes=(*result.notes, note))
    total = checked.confusion.sum()
    return replace(
        result,
        accuracy=float(np.trace(checked.confusion) / total),
        miou=mean_iou(checked.confusion),
        confusion=tuple(tuple(round(value) for value in row) for row in checked.confusion.tolist()),
        curve=checked.curve,
        advice=advice(checked.gains, forest.names),
    )
