"""The way of the data, from a raster to polygons.

    scene.tif ─ survey ─ learn ─ superpixels ─ segment ─ harmonize ─ label ─ join ─ outline ─ write ─ labels.gpkg
                once     once    per block     per tile  once        per tile once  per tile  once

Labels that are there already come in half-way:

    labels.tif ─ (look) ─ label ─ join ─ outline ─ write ─ outlines.gpkg
                 per tile  per tile once  per tile  once

A run is a folder. What a step has finished for a tile is in it, complete or absent, never half; so stopping and going
on, on this machine or another, is the normal case and not a repair.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from geoseg.config import Config, load_config
from geoseg.output.paths import Outputs
from geoseg.progress import ProgressCallback, StageReporter, ignore
from geoseg.raster.label_raster import LabelInput
from geoseg.run.executors import ClusterOptions, open_executor
from geoseg.run.label_run import open_label_work
from geoseg.run.run import RunOptions, open_work
from geoseg.steps import align_codes, label_raster, segment, write, write_labels
from geoseg.steps.write import Result


def segment_scene(
    scene: str | Path,
    outputs: Outputs | str | Path,
    config: Config | None = None,
    *,
    options: RunOptions | None = None,
    cluster: ClusterOptions | None = None,
    progress: ProgressCallback = ignore,
) -> Result:
    """Segment a raster of any size and write its polygons.

    Parameters
    ----------
    scene : GeoTIFF, or another raster that GDAL reads; a .vrt for a mosaic
    outputs : where the results go, or just the polygon file: .gpkg, .fgb or .parquet
    config : what is done; None = the defaults, or what the model has settled
    options : the run folder, the area of interest, a kept network, going on with an earlier run
    cluster : who works; None = one process per core of this machine
    progress : ProgressCallback
        Receives the progress events; see `geoseg.progress`.

    Returns
    -------
    Result : what was written, and which tiles failed

    Raises
    ------
    GeosegError : one line says what is wrong and what to do; nothing that was there before is lost
    """
    outputs = outputs if isinstance(outputs, Outputs) else Outputs(Path(outputs))
    with open_work(str(scene), outputs, config, options or RunOptions(), StageReporter(progress)) as work:
        if work.finished:
            return write.of_finished_run(outputs, work)
        with open_executor(work.places(cluster or ClusterOptions())) as work.executor:
            job = work.survey()
            work.learn()
            work.each_block("superpixels", segment.make_superpixels)
            work.each_tile("segment", segment.segment_tile, "votes")
            align_codes.forget_later_steps(job, work.tiles)
            align_codes.translate_codes(job, work.tiles)
            work.each_block("ground", segment.gather_block)
            if job.config.method == "rag":
                work.each_block("merged", segment.merge_block)
            class_model = work.find_classes()
            work.each_tile("label", segment.label_tile, "pieces")
            regions = align_codes.join_regions(job, work.tiles)
            work.each_tile("outline", segment.outline_tile, "outlines")
            return write.write(job, outputs, class_model, regions, work)


def outline_labels(
    labels: LabelInput | str | Path,
    outputs: Outputs | str | Path,
    config: Config | None = None,
    *,
    options: RunOptions | None = None,
    cluster: ClusterOptions | None = None,
    progress: ProgressCallback = ignore,
) -> Result:
    """Outline a raster of labels of any size: whole numbers, from any program.

    Parameters
    ----------
    labels : the raster, or that with a second one whose values are told of each region
    outputs : where the results go, or just the polygon file: .gpkg, .fgb or .parquet
    config : its `tiles`, its `polygons`, and the `bands` of the values; None = every region is kept, and its outline
        follows the pixels (`min_pixels` and `simplify` 0)
    options, cluster, progress : as in `segment_scene`

    Returns
    -------
    Result : what was written, and which tiles failed

    Raises
    ------
    GeosegError : one line says what is wrong and what to do; nothing that was there before is lost
    """
    source = labels if isinstance(labels, LabelInput) else LabelInput(str(labels))
    outputs = outputs if isinstance(outputs, Outputs) else Outputs(Path(outputs))
    outputs = replace(outputs, class_file=False)  # labels have no tree that it could tell of
    config = config or load_config(polygons__min_pixels=0, polygons__simplify=0)
    with open_label_work(source, outputs, config, options or RunOptions(), StageReporter(progress)) as work:
        if work.finished:
            return write.of_finished_run(outputs, work)
        with open_executor(cluster or ClusterOptions()) as work.executor:
            job, features = work.job, None
            if job.uses_features:
                work.each_tile("look", label_raster.measure_tile, "sights")
                label_raster.forget_later_steps(job, work.tiles)
                features = label_raster.share_features(job, work.tiles)
            work.each_tile("label", label_raster.find_pieces, "pieces")
            with work.timed("join", 1):
                regions, values = label_raster.join_labels(job, work.tiles, features)
            work.each_tile("outline", label_raster.outline_piece_tile, "outlines")
            return write_labels.write(job, outputs, regions, values, work)
