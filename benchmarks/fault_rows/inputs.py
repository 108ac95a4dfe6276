"""Inputs that change, and inputs that are corrupted."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import geopandas
import numpy as np
import rasterio
import rasterio.shutil
import shapely

from fault_rows.bench import Bench, Row, SkippedError

_COPIES = 20  # of each of the three formats


def changed(bench: Bench, _options: argparse.Namespace) -> Row:
    """Change every kind of input before a run is resumed, and while it runs."""
    row = Row("scene, mask, VRT member, area or its CRS changed before `--resume` and during the run")
    folder = bench.folder / "changing"
    for name in _INPUTS:
        for when in ("before", "during"):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            scene, options, change = _INPUTS[name](bench, folder)
            bench.remove("changed")
            command = bench.tile("changed", *options, "--progress", "json", scene=scene)
            with bench.started(*command) as process:
                bench.wait_for(process, "segment" if when == "during" else "merge")
                if when == "during":
                    change()
                    ended = bench.end(process)
            if when == "before":
                change()
                ended = bench.geoseg(*command, "--resume")
            # The area is read once, at the start: changing it later changes nothing.
            refused = ended.code == 1 and not (bench.folder / "changed.gpkg").exists()
            as_before = ended.code == 0 and when == "during" and name.startswith("area")
            row.add(f"{name} {when}: exit {ended.code}", survived=ended.is_clean and (refused or as_before))
    return row


def _scene(bench: Bench, folder: Path) -> tuple[Path, list[object], Callable[[], None]]:
    scene = Path(shutil.copy(bench.scene, folder / "scene.tif"))
    return scene, [], lambda: _flip_pixels(scene)


def _mask(bench: Bench, folder: Path) -> tuple[Path, list[object], Callable[[], None]]:
    scene = Path(shutil.copy(bench.scene, folder / "scene.tif"))
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(scene, "r+") as raster:
        raster.write_mask(np.broadcast_to(np.arange(raster.width) < raster.width - 40, raster.shape))
    return scene, [], lambda: _flip_pixels(folder / "scene.tif.msk")


def _member(bench: Bench, folder: Path) -> tuple[Path, list[object], Callable[[], None]]:
    part = Path(shutil.copy(bench.scene, folder / "part.tif"))
    rasterio.shutil.copy(part, folder / "mosaic.vrt", driver="VRT")
    return folder / "mosaic.vrt", [], lambda: _flip_pixels(part)


def _area(bench: Bench, folder: Path) -> tuple[Path, list[object], Callable[[], None]]:
    path = folder / "area.gpkg"
    _write_area(bench, path, 0.8)
    return bench.scene, ["--aoi", path], lambda: _write_area(bench, path, 0.6)


def _area_crs(bench: Bench, folder: Path) -> tuple[Path, list[object], Callable[[], None]]:
    path = folder / "area.shp"
    _write_area(bench, path, 0.8)
    crs = folder / "area.prj"
    text = crs.read_text()
    other = text.replace("500000.0", "500010.0")
    assert other != text
    return bench.scene, ["--aoi", path], lambda: crs.write_text(other) and None


_INPUTS = {"scene": _scene, "mask": _mask, "member": _member, "area": _area, "area's CRS": _area_crs}


def _write_area(bench: Bench, path: Path, share: float) -> None:
    with rasterio.open(bench.scene) as raster:
        left, bottom, right, top = raster.bounds
        box = shapely.box(left, bottom, left + share * (right - left), top)
        geopandas.GeoDataFrame(geometry=[box], crs=raster.crs.to_string()).to_file(path)


def _flip_pixels(path: Path) -> None:
    """Change bytes of a file, and keep its size and its time of change."""
    status, content = path.stat(), bytearray(path.read_bytes())
    for at in range(len(content) // 2, min(len(content) // 2 + 2000, len(content))):
        content[at] ^= 0x55
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def corrupted(bench: Bench, _options: argparse.Namespace) -> Row:
    """Segment damaged copies of rasters of three formats."""
    row = Row(f"{3 * _COPIES} corrupted copies: GeoTIFF, JPEG in TIFF, VRT")
    folder = bench.folder / "corrupted"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    plain, jpeg, mosaic = (
        Path(shutil.copy(bench.scene, folder / "plain.tif")),
        folder / "jpeg.tif",
        folder / "mosaic.vrt",
    )
    rasterio.shutil.copy(plain, jpeg, driver="GTiff", compress="JPEG", tiled=True, blockxsize=128, blockysize=128)
    rasterio.shutil.copy(plain, mosaic, driver="VRT")
    codes: dict[int | None, int] = {}
    for original in (plain, jpeg, mosaic):
        for i in range(_COPIES):
            copy = folder / f"copy{original.suffix}"
            copy.write_bytes(_corrupted(original.read_bytes(), bench, i))
            bench.remove("corrupt")
            ended = bench.geoseg(*bench.tile("corrupt", "--method", "kmeans", "--progress", "none", scene=copy))
            codes[ended.code] = codes.get(ended.code, 0) + 1
            row.add(f"{original.name} {i}: exit {ended.code} {ended.text[-120:]}", survived=ended.is_clean)
    row.notes.append(", ".join(f"exit {code}: {n}" for code, n in sorted(codes.items(), key=str)))
    return row


def _corrupted(content: bytes, bench: Bench, i: int) -> bytes:
    """Cut a content, flip bytes of its head, flip bytes anywhere, or empty a stretch of it."""
    damaged, draw = bytearray(content), bench.random
    if i % 4 == 0:
        return content[: draw.randrange(len(content))]
    if i % 4 == 3:
        begin = draw.randrange(len(content))
        damaged[begin : begin + 4000] = bytes(len(damaged[begin : begin + 4000]))
        return bytes(damaged)
    reach = 600 if i % 4 == 1 else len(content)
    for _ in range(draw.choice((1, 8, 64))):
        damaged[draw.randrange(min(reach, len(content)))] = draw.randrange(256)
    return bytes(damaged)


def practice(bench: Bench, _options: argparse.Namespace) -> Row:
    """Segment odd files, and those that generators of situations from practice write, where these are at hand."""
    data = Path(__file__).parents[3] / "shared" / "data"
    if not data.is_dir():
        raise SkippedError("the odd files and the generators are not at hand")
    row = Row("odd files, and inputs from practice")
    folder = bench.folder / "practice"
    shutil.rmtree(folder, ignore_errors=True)
    for generator in sorted((data / "field").glob("[!c]*.py")):  # without common.py
        target = folder / generator.stem
        subprocess.run([sys.executable, str(generator), str(target)], check=False, capture_output=True)
    rasters = [path for path in sorted((data / "odd").iterdir()) if path.suffix != ".msk"]
    rasters += [
        path for path in sorted(folder.rglob("*")) if path.suffix in (".tif", ".vrt") and ".run" not in str(path)
    ]
    codes: dict[int | None, int] = {}
    for path in rasters:
        bench.remove("practice")
        command = bench.tile("practice", "--method", "kmeans", "--min-pixels", 4, "--progress", "none", scene=path)
        ended = bench.geoseg(*command)
        codes[ended.code] = codes.get(ended.code, 0) + 1
        row.add(f"{path.parent.name}/{path.name}: exit {ended.code} {ended.text[-120:]}", survived=ended.is_clean)
    row.notes.append(", ".join(f"exit {code}: {n}" for code, n in sorted(codes.items(), key=str)))
    return row
