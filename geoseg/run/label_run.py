"""A run that outlines labels: what is looked at before the first tile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from geoseg.config import Config
from geoseg.errors import ConfigError
from geoseg.output.columns import check_attributes
from geoseg.output.paths import Outputs
from geoseg.progress import StageReporter
from geoseg.raster.label_raster import LabelInput, check_same_grid, open_label_raster
from geoseg.raster.scene import open_scene
from geoseg.run.run import RunOptions, Work, check_places, identity_of, run_of, tiles_of
from geoseg.steps.label_raster import LabelJob


@contextmanager
def open_label_work(
    source: LabelInput, outputs: Outputs, config: Config, options: RunOptions, progress: StageReporter
) -> Iterator[Work]:
    """Look at everything that can be known before the first tile, and open the run folder.

    Raises
    ------
    GeosegError : something will not work; nothing has been touched then
    """
    _refuse_the_rest(outputs, config, options, with_values=source.values is not None)
    labels = open_label_raster(source, aoi=options.aoi)
    values = None if source.values is None else open_scene(source.values, bands=config.bands)
    if values is not None:
        check_same_grid(values, labels)
    bands = () if values is None else values.bands
    check_attributes(config.polygons.attributes, bands=bands, ndvi=False, segmented=False)
    scene, also_read = labels.grid, () if values is None else values.files
    check_places(scene, outputs, options, also_read=also_read)
    identity = identity_of(scene, config, options, also_read=also_read)
    identity["labels"] = {"band": labels.band, "nodata": labels.nodata}
    with run_of(outputs, options, identity) as (run, finished):
        tiles = tiles_of(scene, config)
        work = Work(run, identity, scene, config, None, options, progress, "cpu", tiles, [], finished)
        work.job = LabelJob(run, config, labels, values)
        yield work


def _refuse_the_rest(outputs: Outputs, config: Config, options: RunOptions, *, with_values: bool) -> None:
    """Refuse what has a meaning only where classes are found: never silently less than was asked for."""
    asked = {
        "a class raster": outputs.class_raster is not None,
        "a model to keep": outputs.model is not None,
        "a model": options.model is not None or options.restretch,
    }
    if wrong := [what for what, is_asked in asked.items() if is_asked]:
        raise ConfigError(f"outlining labels finds no classes, so {wrong[0]} has no meaning here; leave it out.")
    if config.bands and not with_values:
        raise ConfigError("bands are those of the values, and there are none; give --values too, or leave --bands out.")
