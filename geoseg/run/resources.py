"""Resources of a run: the device and the workers that compute it, and the memory and disk space that it needs."""

from __future__ import annotations

import math
import os
import shutil
from dataclasses import replace
from pathlib import Path

from geoseg.config import Config
from geoseg.errors import ConfigError, OutputError, shorten
from geoseg.output.names import check_writable_folder
from geoseg.output.system import may_have_gpu, n_usable_cores
from geoseg.raster.scene import Scene
from geoseg.run.cluster_options import ClusterOptions
from geoseg.segment.patch import MAX_BATCH

_MAX_THREADS = 16  # that prepare tiles; more wait for each other, and for the GPU
_MOST_COMPUTING = 4  # threads that compute tiles; more wait for each other where Python itself runs
_WORKER_SECONDS = 8.0  # of one thread, that each worker needs to pay for its start, and that all of them must save
_SECONDS_PER_PIXEL = 1.5e-6  # of processor time for the stages of tiles
_SECONDS_PER_STEP = 1e-6  # per pixel and training step on a tile
_BYTES_PER_VALUE = 4  # of a band of a pixel, float32
_MAX_BYTES = 8 * 2**30  # of the values that are read or computed at once
_BYTES_PER_PIXEL = 5  # of the run folder and the outputs together; see docs/benchmarks.md
_TABLES_PER_PIXEL, _MAX_TABLES = 8, 640 * 2**20  # bytes of the superpixels that classes are found from, for a while


def pick_device(wanted: str, config: Config) -> str:
    """Return "cpu", "cuda" or "mps"; "auto" becomes one of the first two.

    Raises
    ------
    ConfigError
        If a GPU is wanted but not available, or the method does not use it, or it does not agree with the CPU.
    """
    if wanted in ("cuda", "mps") and config.method != "backprop":
        raise ConfigError(
            f"device is {wanted}, but method {config.method} does not use a GPU. Use --device cpu or auto."
        )
    if wanted == "cpu" or config.method != "backprop" or (wanted == "auto" and not may_have_gpu()):
        return "cpu"
    from geoseg.segment.network import gpu_is_available  # here, because torch takes seconds to import

    device = "mps" if wanted == "mps" else "cuda"
    if not gpu_is_available(device):
        if wanted == "auto":
            return "cpu"
        raise ConfigError(f"device is {wanted}, but torch finds no GPU that it can use. Use --device cpu or auto.")
    if device == "mps":
        _check_agreement(device)
    return device


def _check_agreement(device: str) -> None:
    """Check that a device computes the same codes as the CPU, but for rounding."""
    from geoseg.segment import device_check  # here, because torch takes seconds to import

    try:
        share = device_check.agreement(device)
    except (RuntimeError, TypeError) as err:  # an operation or a type that torch lacks there
        raise ConfigError(f"device {device} cannot compute the codes ({shorten(err)}). Use --device cpu.") from err
    if not share >= device_check.LEAST_AGREEMENT:
        raise ConfigError(
            f"device {device} gives {share:.0%} of the pixels of a small tile the same code as the CPU; expected at "
            f"least {device_check.LEAST_AGREEMENT:.0%}. Use --device cpu, or another version of torch."
        )


def choose_workers(cluster: ClusterOptions, device: str, *, n_pixels: int, config: Config) -> ClusterOptions:
    """Return where to compute if nothing is specified.

    This process computes as many tiles at once as it may use cores, up to `_MOST_COMPUTING`. A worker process imports
    and loads what this process has already, and takes its memory again. So workers are started where there are more
    cores than that, and a scene so large that they save time: as many as have enough to do, at most one per core. A GPU
    is used by this process alone, and workers compute superpixels and outlines.

    Parameters
    ----------
    cluster : ClusterOptions
        Returned as it is if it states a place, or an option of workers.
    device : {"cpu", "cuda", "mps"}
    n_pixels : int
        Pixels of the scene.
    config : Config

    Examples
    --------
    >>> chosen = choose_workers(ClusterOptions(), "cpu", n_pixels=10**6, config=Config())
    >>> chosen.workers, chosen.threads == n_computing_threads()
    (0, True)
    """
    options = (*cluster.places, cluster.memory_limit, cluster.tile_timeout)
    if cluster.dashboard or any(option is not None for option in options):
        return cluster
    n_workers = min(n_usable_cores(), int(n_pixels / pixels_per_worker(config, device)))
    is_worth_it = n_pixels >= least_pixels(config, device)
    return replace(cluster, workers=n_workers) if is_worth_it else replace(cluster, threads=n_computing_threads())


def least_pixels(config: Config, device: str = "cpu") -> float:
    """Return the pixels of a scene from which workers save `_WORKER_SECONDS`; infinite if threads use all cores."""
    n_threads = n_computing_threads()
    n_workers = min(n_usable_cores(), 2 * n_threads)  # twice as many as threads halve what threads take
    saved = 1 / n_threads - 1 / n_workers  # share of the time of one thread
    return pixels_per_worker(config, device) / saved if saved > 0 else math.inf


def pixels_per_worker(config: Config, device: str = "cpu") -> float:
    """Return the pixels that keep a worker busy for `_WORKER_SECONDS`."""
    return _WORKER_SECONDS / _seconds_per_pixel(config, device)


def _seconds_per_pixel(config: Config, device: str) -> float:
    n_steps = config.steps if device == "cpu" else 0  # a GPU trains in this process
    return _SECONDS_PER_PIXEL + _SECONDS_PER_STEP * n_steps


def n_computing_threads() -> int:
    """Return how many tiles this process computes at once: by its cores, and by OMP_NUM_THREADS where that is set."""
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    most = int(asked) if asked.isdecimal() and int(asked) > 0 else _MOST_COMPUTING
    return min(n_usable_cores(), most, _MOST_COMPUTING)


def n_preparing_threads() -> int:
    """Return the number of threads that read and store tiles for a GPU: the cores that this process may use."""
    return min(n_usable_cores(), _MAX_THREADS)


def most_in_hand() -> int:
    """Return the number of tiles that are in memory at once beside a GPU: read ahead, computed, and stored behind."""
    return 2 * (n_preparing_threads() + MAX_BATCH) + 2 * MAX_BATCH


def why_no_workers(given: ClusterOptions, chosen: ClusterOptions, config: Config, device: str = "cpu") -> str | None:
    """Return a note for the user if there are more cores than tiles that are computed at once; None = as asked for."""
    if given.workers is not None or chosen.workers != 0 or n_usable_cores() <= chosen.n_threads:
        return None
    threads = "1 thread computes" if chosen.n_threads == 1 else f"{chosen.n_threads} threads compute"
    if chosen.n_threads < n_computing_threads():
        return f"{threads} this scene, because there is no memory for more"
    least = least_pixels(config, device) / 1e6
    return f"{threads} this scene, because workers pay from {least:.2g} Mpx on; -j sets the number of workers"


def check_memory(scene: Scene, config: Config) -> None:
    """Check the memory of one tile and of the training sample against `_MAX_BYTES`, before any pixel is read.

    Raises
    ------
    ConfigError
        If the pixels of a tile or of the sample do not fit.
    """
    n_bands, side = max(len(scene.bands), 1), config.tiles.size + 2 * config.halo
    rows, cols = (min(side, length) for length in scene.geobox.shape)
    learn, channels = config.learn, max(config.network.channels)
    needs = {
        f"a tile of {rows} x {cols} px with {n_bands} bands": (rows * cols * n_bands, "tiles.size or fewer bands"),
        f"{learn.windows} windows of {learn.crop} px with {n_bands} bands": (
            learn.windows * learn.crop**2 * n_bands,
            "learn.windows or learn.crop",
        ),
        f"{learn.batch} crops of {learn.crop} px with {channels} channels": (
            learn.batch * learn.crop**2 * channels,
            "learn.batch or learn.crop",
        ),
    }
    for what, (n_values, advice) in needs.items():
        if _BYTES_PER_VALUE * n_values > _MAX_BYTES:
            raise ConfigError(
                f"{what} needs {_BYTES_PER_VALUE * n_values / 2**30:.0f} GiB in memory; expected at most "
                f"{_MAX_BYTES / 2**30:.0f} GiB. Give a smaller {advice}."
            )


def disk_needed(scene: Scene) -> int:
    """Return the bytes that the run folder and the outputs of a scene need, approximately."""
    rows, cols = scene.geobox.shape
    return rows * cols * _BYTES_PER_PIXEL + min(rows * cols * _TABLES_PER_PIXEL, _MAX_TABLES)


def check_room(scene: Scene, folders: set[Path]) -> None:
    """Check that there is room for the outputs and the run folder of a scene.

    Raises
    ------
    OutputError
        If a folder is not writable or its disk is too full.
    """
    rows, cols = scene.geobox.shape
    needed = disk_needed(scene)
    for folder in sorted(folders):
        existing = next(path for path in (folder, *folder.parents) if path.is_dir())
        check_writable_folder(existing)  # a read-only file system has no free space either
        free = shutil.disk_usage(existing).free
        if free < needed:
            raise OutputError(
                f"{existing} has {free / 1e9:.1f} GB of free space, and a scene of {rows * cols / 1e6:.0f} Mpx needs "
                f"about {needed / 1e9:.1f} GB. Free some space, or choose another place for --out or --run-dir."
            )
