"""Random changes of every kind of file that geoseg reads; only a `GeosegError` may come out."""

from __future__ import annotations

import argparse
import contextlib
import io
import shutil
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas

from fault_rows.bench import Bench, Row


def loaders(bench: Bench, options: argparse.Namespace) -> Row:
    """Change valid files at random for a time, and load each."""
    from geoseg.errors import GeosegError

    targets = _targets(bench)
    if options.fuzz_kinds:
        targets = {name: targets[name] for name in options.fuzz_kinds.split(",")}
    row = Row(f"random changes of {', '.join(targets)}: {options.fuzz_seconds:.0f} s each")
    for name, (original, load) in targets.items():
        content, end = original.read_bytes(), time.monotonic() + options.fuzz_seconds
        path = original.with_name(f"fuzzed{original.suffix}") if name not in _IN_PLACE else original
        failures: dict[str, str] = {}
        while time.monotonic() < end:
            path.write_bytes(_changed(content, bench))
            row.tried += 1
            try:
                with contextlib.redirect_stderr(io.StringIO()):
                    load(path)
            except GeosegError:
                row.survived += 1
            except Exception as err:
                where = traceback.extract_tb(err.__traceback__)[-1]
                failures.setdefault(
                    f"{name}: {type(err).__name__} at {Path(where.filename).name}:{where.lineno}", str(err)
                )
            else:
                row.survived += 1
        path.write_bytes(content)
        print(f"{name}: {row.survived} of {row.tried} so far", file=sys.stderr, flush=True)
        row.notes += [f"{place}: {text:.60}" for place, text in failures.items()]
    return row


_TILE = 512  # px
_IN_PLACE = ("run.json", "manifest", "document", "artefact")


def _targets(bench: Bench) -> dict[str, tuple[Path, Callable[[Path], Any]]]:
    """Return a valid file of each kind, and the function that reads it."""
    import rasterio.shutil

    from geoseg.config import load_config
    from geoseg.grid import Window
    from geoseg.output.model import load_model
    from geoseg.raster.label_raster import LabelInput, open_label_raster
    from geoseg.raster.scene import open_scene, read_tolerant
    from geoseg.run.folder import RunFolder, read_run_id
    from geoseg.run.manifest import open_run, read_report

    folder = bench.folder / "fuzz"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    bench.remove("fuzzed")
    bench.geoseg(*bench.tile("fuzzed", "--keep", "--save-model", folder / "model.geoseg", "--progress", "none"))
    run = RunFolder(bench.folder / "fuzzed.run", read_run_id(bench.folder / "fuzzed.run"))
    artefact = sorted((run.path / "stages" / "segment.votes").rglob("*.arrays"))[0]
    document = sorted((run.path / "documents").iterdir())[0]
    shutil.copy(bench.folder / "fuzzed.tif", folder / "labels.tif")
    shutil.copy(bench.scene, folder / "scene.tif")
    rasterio.shutil.copy(folder / "scene.tif", folder / "mosaic.vrt", driver="VRT")
    shutil.copy(bench.config, folder / "config.yaml")

    def read_scene(path: Path) -> None:
        scene = open_scene(path)
        whole = scene.geobox.window
        read_tolerant(scene, whole.intersection(Window(0, 0, _TILE, _TILE)) or whole)  # it may have become a large one

    def read_artefact(_path: Path) -> None:
        run.has("segment.votes", 0, verify=True)
        run.get("segment.votes", 0)

    def open_folder(_path: Path) -> None:
        open_run(run.path, identity={}, resume=True, overwrite=False).close()

    return {
        **_written_by_hand(bench, folder),
        **_of_classes(bench, folder),
        "config": (folder / "config.yaml", load_config),
        "run.json": (run.path / "run.json", lambda _: read_report(run)),
        "manifest": (run.path / "manifest.json", open_folder),
        "document": (document, lambda path: run.get_json(path.stem)),
        "artefact": (artefact, read_artefact),
        "model": (folder / "model.geoseg", load_model),
        "VRT": (folder / "mosaic.vrt", read_scene),
        "labels": (folder / "labels.tif", lambda path: open_label_raster(LabelInput(str(path)))),
    }


def _written_by_hand(bench: Bench, folder: Path) -> dict[str, tuple[Path, Callable[[Path], Any]]]:
    """Return files that users write beside the configuration."""
    from geoseg.classify.name_table import read_names
    from geoseg.classify.read_samples import read_samples
    from geoseg.raster.aoi import read_aoi
    from geoseg.raster.scene import open_scene
    from geoseg.run.cluster_file import read_cluster_file

    geobox = open_scene(bench.scene).geobox
    _write_points(folder / "samples.geojson", bench)
    frame = geopandas.read_file(folder / "samples.geojson")
    frame.set_geometry(frame.buffer(60)).to_file(folder / "area.geojson")
    (folder / "names.csv").write_text("class,name,color\n1,open water,#4477aa\n2,built-up,\n", encoding="utf-8")
    (folder / "cluster.yaml").write_text("type: slurm\nworkers: 4\ncores: 2\nmemory: 8GiB\nwalltime: '01:00:00'\n")
    return {
        "names": (folder / "names.csv", read_names),
        "cluster file": (folder / "cluster.yaml", lambda path: read_cluster_file(str(path))),
        "area of interest": (folder / "area.geojson", lambda path: read_aoi(path, geobox)),
        "samples": (folder / "samples.geojson", lambda path: read_samples(path, geobox.crs, field="name")),
    }


def _of_classes(bench: Bench, folder: Path) -> dict[str, tuple[Path, Callable[[Path], Any]]]:
    """Return the files about classes that geoseg writes and reads: the class document, and a forest of names."""
    from geoseg.classify.forest_file import load_forest
    from geoseg.output.paths import class_document_path
    from geoseg.report.finished_run import read_classes

    polygons = bench.folder / "fuzzed.gpkg"
    shutil.copy(class_document_path(polygons), folder / "classes.json")
    bench.geoseg(
        *("classify", polygons, "--samples", folder / "samples.geojson", "--out", folder / "named.gpkg"),
        *("--save-model", folder / "names.forest", "--no-validation"),
    )
    return {
        "class document": (folder / "classes.json", lambda path: read_classes(path, {})),
        "forest": (folder / "names.forest", load_forest),
    }


def _write_points(path: Path, bench: Bench) -> None:
    """Write a point with one of two names in every tenth polygon of the run."""
    regions = geopandas.read_file(bench.folder / "fuzzed.gpkg", layer="labels").iloc[::10]
    points = regions.set_geometry(regions.representative_point())[["geometry"]]
    points.assign(name=["water" if at % 2 else "land" for at in range(len(points))]).to_file(path)


def _changed(content: bytes, bench: Bench) -> bytes:
    """Flip, insert, delete or repeat bytes of a content, or cut it."""
    damaged, draw = bytearray(content), bench.random
    for _ in range(draw.choice((1, 1, 2, 8, 40))):
        at, length = draw.randrange(len(damaged) + 1), draw.choice((1, 1, 2, 4, 16, 64))
        kind = draw.randrange(6)
        if kind == 0:
            damaged[at : at + length] = draw.randbytes(length)
        elif kind == 1:
            damaged[at:at] = draw.randbytes(length)
        elif kind == 2:
            del damaged[at : at + length]
        elif kind == 3:
            damaged[at:at] = damaged[at : at + length] * draw.choice((1, 2, 50))
        elif kind == 4:
            damaged[at : at + length] = bytes(draw.choice(b"0123456789-.eE{}[]\"'&*<>:,/ \n") for _ in range(length))
        elif draw.random() < 0.2:
            del damaged[at:]
    return bytes(damaged)
