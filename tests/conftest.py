"""Small scenes on disk, and the command line in this process."""

import contextlib
import gc
import io
import logging
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import rasterio
from affine import Affine
from filelock import FileLock

import geoseg
from geoseg.cli import main as cli
from geoseg.run.kernel_lock import share_compilation
from geoseg.synthetic.scene import SceneOptions, write_scene

from . import command_server as commands

# The examples are the same in every run: a test that fails here fails everywhere. No deadline, as machines are shared.
hypothesis.settings.register_profile("repeatable", max_examples=40, deadline=None, derandomize=True)
hypothesis.settings.load_profile("repeatable")

commands.flush_nothing()
share_compilation()  # the processes that share the tests would all compile the same functions

TRANSFORM = Affine(10, 0, 500_000, 0, -10, 5_000_000)

QUICK = """
tiles: {size: 96, halo: 16}
superpixels: {min_size: 8}
network: {kernels: [3, 1], channels: [24, 24]}
learn: {windows: 8, crop: 64, batch: 4, steps: 12}
classify: {classes: 5}
polygons: {min_pixels: 12, simplify: 0}
"""

REPORTED_OPTIONS = {"method": "kmeans", "workers": 0, "classes": 6, "tile_size": 64, "min_pixels": 12}

# Begun first: at the end, one process would compute one of these for a minute after the other has ended.
LONGEST = (
    "test_memory_estimate.py",
    "test_compile.py",
    "test_windows.py",
    "test_tutorial_pictures.py",
    "test_pages.py",
)

# For other interpreters: that of QGIS, and one that stands in for Windows. Collecting doctests would import them.
collect_ignore = ["qgis_probe.py", "windows"]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    """Move the longest tests to the beginning, and check that pytest-xdist groups tests.

    Those of one group would build the same folder at the same time.
    """
    items.sort(key=lambda item: item.path.name not in LONGEST)
    grouped = [item for item in items if item.get_closest_marker("xdist_group")]
    if config.getoption("loadgroup", default=False) and not all("@" in item.nodeid for item in grouped):
        raise pytest.UsageError("this version of pytest-xdist does not group tests with this version of pytest")


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session):  # noqa: ARG001 # the name is that of pytest
    """Let the garbage collector wait: what is imported and collected stays."""
    gc.disable()


def pytest_collection_finish(session):  # noqa: ARG001
    """Leave out of each later collection what exists now: visiting its millions of objects takes half a second."""
    gc.freeze()
    gc.enable()


def pytest_make_parametrize_id(val):
    """Shorten the names of tests of long texts, which each process sends to the others."""
    return f"{val[:20]!a} and {len(val) - 20} more" if isinstance(val, str | bytes) and len(val) > 200 else None


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code, and what it said on standard error."""

    code: int
    text: str

    @property
    def lines(self):
        return self.text.strip().splitlines()


def run_command(*arguments):
    """Run the command line in this process; only sys.exit may get out of it."""
    stderr, argv = io.StringIO(), sys.argv
    level = logging.getLogger("geoseg").level
    sys.argv = ["geoseg", *map(str, arguments)]
    try:
        with contextlib.redirect_stderr(stderr), pytest.raises(SystemExit) as ended:
            cli.main()
    finally:
        sys.argv = argv
        logging.getLogger("geoseg").setLevel(level)
    return Ended(ended.value.code, stderr.getvalue())


def output_of(code):
    """Return what a new Python process prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    return done.stdout


def write_raster(path, pixels, *, mask=None, colours=None, names=None, **profile):
    """Write (band, y, x) pixels; on a grid of 10 m in UTM unless the profile says something else."""
    pixels = np.asarray(pixels)
    shape = {"count": pixels.shape[0], "height": pixels.shape[1], "width": pixels.shape[2], "dtype": pixels.dtype}
    place = {"crs": "EPSG:32631", "transform": TRANSFORM}
    with rasterio.open(path, "w", **{"driver": "GTiff"} | shape | place | profile) as raster:
        raster.write(pixels)
        if mask is not None:
            raster.write_mask(mask)
        if colours is not None:
            raster.colorinterp = colours
        for band, name in enumerate(names or (), start=1):
            raster.set_band_description(band, name)
    return Path(path)


def fields(shape=(150, 170), n_bands=3, *, seed=0, dtype=np.uint8, patch=40, noise=4):
    """Return (band, y, x) pixels of square fields in four colours, with some noise."""
    draw = np.random.default_rng(seed)
    kinds = draw.integers(0, 4, (-(-shape[0] // patch), -(-shape[1] // patch)))
    kinds = np.kron(kinds, np.ones((patch, patch), int))[: shape[0], : shape[1]]
    colours = draw.permuted(np.tile([40, 90, 150, 210], (n_bands, 1)), axis=1)
    return np.clip(colours[:, kinds] + draw.normal(0, noise, (n_bands, *shape)), 1, 254).astype(dtype)


def rest_slow(cases, *, quick=1):
    """Return the cases of a test, all but the first `quick` marked slow: `make test` runs those, CI runs all."""
    cases = list(cases)
    return [*cases[:quick], *(pytest.param(*_values(case), marks=pytest.mark.slow) for case in cases[quick:])]


def _values(case):
    return case if isinstance(case, tuple) else (case,)


@pytest.fixture
def make_raster(tmp_path):
    """Write a raster into this test's own folder: make_raster(pixels, "name.tif", **profile)."""

    def make(pixels, name="scene.tif", **profile):
        return write_raster(tmp_path / name, pixels, **profile)

    return make


@pytest.fixture(scope="session")
def make_once(tmp_path_factory):
    """Fill a folder once for all processes of pytest-xdist: make_once(name, function of the folder) → the folder."""
    own = tmp_path_factory.getbasetemp()
    base = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own

    def make(name, fill):
        folder = base / name
        with FileLock(f"{folder}.lock"):
            if not (folder / ".complete").exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                fill(folder)
                (folder / ".complete").touch()
        return folder

    return make


@pytest.fixture(scope="session")
def command_server():
    """The address of a server of commands, for `write_client`: a program of it starts without importing anything."""
    with commands.command_server() as address:
        yield address


@pytest.fixture(scope="session")
def landscape(make_once):
    """A synthetic scene of 300 × 260 pixels and 4 bands with an irregular border of nodata."""
    options = SceneOptions(shape=(260, 300), seed=4, resolution=2.0, nir=True, collar=True)
    return make_once("landscape", lambda folder: write_scene(folder / "scene.tif", options)) / "scene.tif"


def run_with_all_outputs(folder, scene, config, *options):
    """Write the polygons, the class raster and the region raster of a scene into a folder; return the folder."""
    ended = run_command(
        "tile", scene, "--out", folder / "labels.gpkg", "--class-raster", folder / "classes.tif", "--region-raster",
        folder / "regions.tif", "--config", config, "--device", "cpu", "--classes", 12, *options,
    )  # fmt: skip
    assert ended.code == 0, ended.text
    return folder


@pytest.fixture(scope="session")
def finished_run(make_once, landscape, quick_config):
    """The folder of a run of several tiles in one process, with all outputs and the work of the steps; read only."""
    options = ("--workers", 0, "--class-layer", "--keep")
    return make_once("finished", lambda folder: run_with_all_outputs(folder, landscape, quick_config, *options))


@pytest.fixture(scope="session")
def reported(make_once):
    """A folder with a run on a scene with nodata, its class raster, and its report by `tile --report`; read only."""

    def fill(folder):
        pixels = fields((150, 170), 4, seed=3)
        pixels[:, :20, :30] = 0
        scene = write_raster(folder / "scene.tif", pixels, nodata=0, names=("red", "green", "blue", "nir"))
        files = {"class_raster": folder / "classes.tif", "report": folder / "report.html"}
        geoseg.segment_scene(scene, folder / "labels.gpkg", **files, **REPORTED_OPTIONS)

    return make_once("reported", fill)


@pytest.fixture(scope="session")
def quick_config(tmp_path_factory):
    """A configuration that is quick, and whose classes are of no use."""
    path = tmp_path_factory.mktemp("config") / "quick.yaml"
    path.write_text(QUICK)
    return path


@pytest.fixture
def geoseg_tile(tmp_path, quick_config):
    """Run `geoseg tile` quickly: geoseg_tile(scene, *options) → Ended; polygons go to labels.gpkg unless told."""

    def run(scene, *options):
        out = () if "--out" in options else ("--out", tmp_path / "labels.gpkg")
        config = () if "--config" in options else ("--config", quick_config)
        workers = () if {"--workers", "--scheduler", "--scheduler-file"} & set(options) else ("--workers", "0")
        return run_command("tile", scene, *out, *config, *workers, "--device", "cpu", *options)

    return run
