"""Result of a run, and its report in the run folder."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from geoseg.output.paths import Outputs
from geoseg.progress import Note, ProgressCallback
from geoseg.run.job import tile_grid
from geoseg.run.manifest import read_report, write_report
from geoseg.run.plan import Plan
from geoseg.run.provenance import versions
from geoseg.run.published import OutputRecord
from geoseg.run.size import begin_of
from geoseg.run.stages import Stages
from geoseg.segment.class_tree import ClassTree

if TYPE_CHECKING:
    import geopandas
    import pandas as pd


@dataclass(frozen=True)
class Result:
    """Result of a run.

    Parameters
    ----------
    outputs : Outputs
        The files.
    n_regions, n_classes : int
        Number of regions and of classes in them.
    failed : dict of int to str
        Tile number → error; these tiles have no polygons.
    seconds : dict of str to float
        Wall time of each stage.
    color_distance : float or None
        CIELAB distance of the two most similar class colours; None where there are fewer than two.
    tree : ClassTree or None
        How clusters merge into classes; None for outlined labels.

    Examples
    --------
    >>> from pathlib import Path
    >>> Result(Outputs(Path("labels.gpkg")), n_regions=120, n_classes=8, failed={}, seconds={"write": 0.4})
    <Result: 120 regions of 8 classes in labels.gpkg>
    """

    outputs: Outputs
    n_regions: int
    n_classes: int
    failed: dict[int, str]
    seconds: dict[str, float]
    color_distance: float | None = None
    tree: ClassTree | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        failed = f", {len(self.failed)} tiles failed" if self.failed else ""
        return f"<Result: {self.n_regions} regions of {self.n_classes} classes in {self.outputs.polygons}{failed}>"

    def polygons(self) -> geopandas.GeoDataFrame:
        """Return the polygons of all regions, one row per region, as they are in the output file."""
        import geopandas  # here, because it takes most of a second to import

        path = self.outputs.polygons
        if path.suffix.lower() == ".parquet":
            return geopandas.read_parquet(path)
        return geopandas.read_file(path, layer="labels" if path.suffix.lower() == ".gpkg" else None)

    def classes(self) -> pd.DataFrame:
        """Return one row per class: its colour, number of regions, pixels, area (m²), and band means where known."""
        import pandas as pd  # here, because it takes a third of a second to import

        if self.outputs.classes is not None:
            document = json.loads(self.outputs.classes.read_text(encoding="utf-8"))
            return pd.DataFrame(document["classes"]).set_index("class")
        columns = {"color": ("color", "first"), "pixels": ("pixels", "sum"), "area": ("area", "sum")}
        return self.polygons().groupby("class").agg(**columns, regions=("region", "nunique"))


def report_result(plan: Plan, stages: Stages, result: Result, about: dict[str, Any]) -> Result:
    """Write the report of a run, with the entries `about`, and remove the products that are no longer needed."""
    write_report(plan.folder, run_facts(plan, stages, result, about))
    if not plan.options.keep and not result.failed:  # after a failure, --resume continues with the products
        plan.folder.clean()
    return result


def finished_result(plan: Plan, progress: ProgressCallback) -> Result:
    """Return the result of an earlier run of the same scene with the same config."""
    progress(Note(f"the run in {plan.folder.path} is finished: nothing is left to do"))
    report = read_report(plan.folder)
    tree = report.get("tree")
    return Result(
        plan.outputs,
        report["n_regions"],
        report["n_classes"],
        {int(number): text for number, text in report["failed"].items()},
        report["seconds"],
        report["color_distance"],
        None if tree is None else ClassTree(tree["n_clusters"], _merges(tree["merges"]), np.array(tree["costs"])),
    )


def _merges(merges: list[list[int]]) -> Any:
    return np.array(merges, np.int64).reshape(-1, 2)


def run_facts(plan: Plan, stages: Stages, result: Result, about: dict[str, Any]) -> dict[str, Any]:
    """Return what run.json contains, with the entries `about`."""
    record = OutputRecord(plan.folder)
    grid, processed = tile_grid(plan.scene.geobox.shape, plan.config), set(stages.tiles)
    states = ["done" if i in processed else "failed" if i in result.failed else "outside" for i in range(len(grid))]
    return {
        "begin": begin_of(plan.folder),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "scene": plan.scene.path,
        **plan.identity,
        "tiles": {"n_rows": grid.n_rows, "n_cols": grid.n_cols, "states": states},
        "failed": {str(number): text for number, text in result.failed.items()},
        "outputs": [str(path) for path in result.outputs.paths],
        "published": record.names_of(record.published()),
        "n_regions": result.n_regions,
        "n_classes": result.n_classes,
        "class_layer": result.outputs.class_layer,
        "levels": list(result.outputs.levels),
        "color_distance": result.color_distance,
        "seconds": result.seconds,
        **_names(plan, record),
        **about,
    }


def _names(plan: Plan, record: OutputRecord) -> dict[str, Any]:
    """Return the rasters and the model by path relative to the run folder, and the inputs beside the scene."""
    outputs, options = plan.outputs, plan.options
    written = {
        "class_raster": outputs.class_raster, "region_raster": outputs.region_raster, "model": outputs.model
    }  # fmt: skip
    given = {"aoi": options.aoi, "features": options.features, "model": options.model, "restretch": options.restretch}
    return {
        "files": {name: next(iter(record.names_of({path: ""}))) for name, path in written.items() if path is not None},
        "options": {name: value if value is True else str(value) for name, value in given.items() if value},
    }
