"""Memory that a run needs, estimated before anything is computed, and its check against what there is.

The estimate is that of resident memory, libraries included. The factors were fitted to measured peaks of whole
processes; `tests/test_memory_estimate.py` compares both.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, replace

from geoseg.config import Config
from geoseg.errors import ConfigError
from geoseg.output.columns import extra_groups
from geoseg.output.polygons import INDEX_BYTES
from geoseg.output.system import can_fork
from geoseg.raster.dataset import CACHE_BYTES
from geoseg.run.cluster_options import ClusterOptions
from geoseg.run.content_cache import MOST_BYTES as KEPT_BYTES
from geoseg.run.disk_tables import IN_MEMORY
from geoseg.run.job import Task, block_grid
from geoseg.run.machine_memory import machine_memory, n_bytes
from geoseg.run.resources import choose_workers, most_in_hand, n_computing_threads
from geoseg.segment.features import REACH
from geoseg.segment.superpixels import BLOCK, BLOCK_MARGIN

_log = logging.getLogger(__name__)

_MIB = 2**20
_LIBRARIES = {True: 640 * _MIB, False: 440 * _MIB}  # with torch and without; with compiled functions
_SHARED = 130 * _MIB  # of the libraries, by a process that their fork server has forked
_COMPILER = 100 * _MIB  # of a process that computes tiles and compiles functions itself, as in a first run
_FREED = 24 * _MIB  # of a thread: what it has freed, for later
_LEARN = 230 * _MIB  # one step of training with its activations and gradients, and the crops
_SURVEY_PER_BAND = 13 * _MIB // 2  # the sample for stretch, channels and their projection
_BLOCK_PER_VALUE = 20  # bytes per pixel and band of a block while its superpixels are computed
_TILE_PER_PIXEL, _TILE_PER_VALUE = 80, 20  # bytes per pixel of a tile with its margin, and per pixel and band
_TRAINING, _TRAINING_PER_CHANNEL = 200 * _MIB, 5.5  # of training on a tile; bytes per pixel and channel of all layers
_VALUES_PER_PIXEL = 40  # bytes per pixel of a tile and layer of a raster of values
_SUPERPIXELS_PER_BLOCK, _SAMPLE_BLOCKS = 5000, 256  # of `steps.classify`
_PER_SUPERPIXEL, _PER_SUPERPIXEL_AND_VALUE = 120, 2  # bytes, of the sample; its votes and features are on the disk
_REGION_SIZE = 6  # mean pixels of a region in units of the smallest size, as in photographs
_MIN_REGION_SIZE = 64  # px
_PER_REGION, _PER_REGION_AND_BAND = 60, 60  # bytes: while regions are merged; sums that are in memory
_PER_REGION_IN_FILE = 75  # bytes: the spatial index of a GeoPackage
_PER_REGION_OF = {"shape": 200, "texture": 120, "context": 700, "votes": 80, "objects": 500}
_SMALLEST_TILE = 64  # px, that is advised


@dataclass(frozen=True)
class MemoryEstimate:
    """Estimated largest memory of the processes of a run, in bytes.

    Parameters
    ----------
    worker : int
        Of a process that computes tiles.
    main : int
        Of the process that runs the stages, where tiles are computed by workers.
    alone : int
        Of one process that does both.
    thread : int
        Of each further tile that it computes at the same time.
    tables : int
        What grows with the scene in `main` and `alone`: what is in memory of the tables of regions.

    Examples
    --------
    >>> str(MemoryEstimate(worker=2**30, main=3 * 2**29, alone=2**31, thread=2**26, tables=2**20))
    '1.0 GiB per worker and 1.5 GiB in the main process, or 2.0 GiB in one process and 64 MiB for each further thread; \
1 MiB of tables of regions'
    """

    worker: int
    main: int
    alone: int
    thread: int
    tables: int

    def __str__(self) -> str:
        return (
            f"{shown_bytes(self.worker)} per worker and {shown_bytes(self.main)} in the main process, or "
            f"{shown_bytes(self.alone)} in one process and {shown_bytes(self.thread)} for each further thread; "
            f"{shown_bytes(self.tables)} of tables of regions"
        )

    def total(self, n_workers: int) -> int:
        """Return the memory of all processes together, where workers compute."""
        return self.main + n_workers * self.worker

    def of_threads(self, n_threads: int) -> int:
        """Return the memory of one process that computes `n_threads` tiles at once."""
        return self.alone + (n_threads - 1) * self.thread


def estimate_memory(task: Task) -> MemoryEstimate:
    """Return the memory that a run needs, from the bands, the tiles, the network and the columns that are asked for."""
    config, (rows, cols) = task.config, task.scene.geobox.shape
    n_bands = len(task.scene.bands) + (0 if task.features is None else len(task.features.bands))
    has_gpu = task.device != "cpu"
    base = _LIBRARIES[config.method == "backprop"] + CACHE_BYTES + KEPT_BYTES
    block, tile = _block_bytes(task, n_bands), _tile_bytes(task, n_bands)
    is_trained = config.method == "backprop" and config.training == "scene" and task.model is None
    n_regions = rows * cols // _region_size(config)
    tables = n_regions * _region_bytes(task)
    learn, write = _LEARN if is_trained else 0, tables + _written_bytes(task, n_regions)
    stage = max(learn, _sample_bytes(task, n_bands), write)  # a stage frees what it has used
    once = _SURVEY_PER_BAND * n_bands + (tile * most_in_hand() if has_gpu else 0)
    return MemoryEstimate(
        worker=base - (_SHARED if can_fork() else 0) + _COMPILER + block + tile,
        main=base + once + stage,
        alone=base + _COMPILER + once + max(stage, learn + block, block + tile),
        thread=_FREED + block + tile,
        tables=tables,
    )


def check_budget(task: Task, cluster: ClusterOptions, memory: str | None = None) -> None:
    """Check the memory that a run needs, before anything is computed.

    Parameters
    ----------
    task : Task
    cluster : ClusterOptions
        Where to compute, from `choose_workers`. Of workers on other machines only the main process is checked, unless
        `memory` is given.
    memory : str or None
        What each process may take; None = what the machine has, for all of them together.

    Raises
    ------
    ConfigError
        If the run needs more.
    """
    estimate = estimate_memory(task)
    _log.debug("memory: about %s", estimate)
    limit = machine_memory() if memory is None else n_bytes(memory)
    more = f"more than the {shown_bytes(limit)} of this machine" if memory is None else f"more than --memory {memory}"
    if (cluster.workers == 0 and estimate.alone > limit) or (_is_checked(cluster, memory) and estimate.worker > limit):
        raise ConfigError(_tile_message(task, limit, more, serial=cluster.workers == 0))
    if cluster.workers == 0 and estimate.of_threads(cluster.n_threads) > limit:
        raise ConfigError(
            f"{cluster.n_threads} threads need about {shown_bytes(estimate.of_threads(cluster.n_threads))}, {more}. "
            f"Use --threads {affordable_threads(estimate, limit)}, or a smaller --tile-size."
        )
    if cluster.workers != 0 and estimate.main > limit:
        raise ConfigError(_main_message(estimate, more))
    n_workers = n_processes(cluster)
    if memory is None and n_workers and estimate.total(n_workers) > limit:
        raise ConfigError(
            f"{n_workers} workers need about {shown_bytes(estimate.worker)} each, and with the main process "
            f"{shown_bytes(estimate.total(n_workers))}, {more}. Use --workers {affordable_workers(estimate, limit)}, "
            "or a smaller --tile-size."
        )


def chosen_workers(given: ClusterOptions, task: Task, memory: str | None = None) -> ClusterOptions:
    """Return where to compute a scene, with as many workers or threads as the memory allows if no number is given.

    Parameters
    ----------
    given : ClusterOptions
    task : Task
    memory : str or None
        As in `check_budget`.
    """
    rows, cols = task.scene.geobox.shape
    chosen = choose_workers(given, task.device, n_pixels=rows * cols, config=task.config)
    if chosen == given:
        return chosen
    estimate = estimate_memory(task)
    if chosen.workers:
        n_workers = min(chosen.workers, affordable_workers(estimate, machine_memory()))
        if n_workers > n_computing_threads():
            return replace(chosen, workers=n_workers)
    limit = machine_memory() if memory is None else n_bytes(memory)
    return replace(given, threads=min(n_computing_threads(), affordable_threads(estimate, limit)))


def n_processes(cluster: ClusterOptions) -> int:
    """Return the number of workers on this machine."""
    return (cluster.workers or os.cpu_count() or 1) if cluster.is_local else 0


def n_at_once(cluster: ClusterOptions) -> int:
    """Return how many tiles are computed at once; 1 where that is unknown, as of workers elsewhere."""
    return cluster.n_threads if cluster.workers == 0 else n_processes(cluster) or 1


def affordable_workers(estimate: MemoryEstimate, limit: int) -> int:
    """Return how many workers fit into memory beside the main process.

    Examples
    --------
    >>> affordable_workers(MemoryEstimate(worker=10, main=20, alone=25, thread=5, tables=0), 55)
    3
    """
    return max((limit - estimate.main) // estimate.worker, 0)


def affordable_threads(estimate: MemoryEstimate, limit: int) -> int:
    """Return how many tiles one process can compute at once within its memory, at least 1.

    Examples
    --------
    >>> affordable_threads(MemoryEstimate(worker=10, main=20, alone=25, thread=5, tables=0), 36)
    3
    """
    return max((limit - estimate.alone) // estimate.thread + 1, 1)


def shown_bytes(n: int) -> str:
    """Return a number of bytes for a person to read.

    Examples
    --------
    >>> shown_bytes(3 * 2**29), shown_bytes(2**20)
    ('1.5 GiB', '1 MiB')
    """
    return f"{n / 2**30:.1f} GiB" if n >= 2**30 else f"{n / _MIB:.0f} MiB"


def _block_bytes(task: Task, n_bands: int) -> int:
    """Return the bytes of the superpixels of a block with its margin."""
    return _BLOCK_PER_VALUE * n_bands * _pixels_within(task, BLOCK + 2 * BLOCK_MARGIN)


def _tile_bytes(task: Task, n_bands: int) -> int:
    """Return the bytes of the network, the votes and the outlines of a tile."""
    config = task.config
    n_pixels = _pixels_within(task, config.tiles.size + 2 * (config.halo + REACH + config.network.reach))
    n_layers = sum(len(raster.layers) for raster in task.rasters)
    needed = n_pixels * (_TILE_PER_PIXEL + _TILE_PER_VALUE * n_bands + _VALUES_PER_PIXEL * n_layers)
    if config.method == "backprop" and config.steps and task.device == "cpu":
        needed += _TRAINING + int(_TRAINING_PER_CHANNEL * sum(config.network.channels) * n_pixels)
    return needed


def _sample_bytes(task: Task, n_bands: int) -> int:
    """Return the bytes in memory of the superpixels from which the classes are found."""
    if task.model is not None:
        return 0
    n_blocks = min(len(block_grid(task.scene.geobox.shape)), _SAMPLE_BLOCKS)
    codes = task.config.network.channels[-1] if task.config.method == "backprop" else 1
    n, n_values = n_blocks * _SUPERPIXELS_PER_BLOCK, 2 * codes + n_bands
    fitted = n * (_PER_SUPERPIXEL + _PER_SUPERPIXEL_AND_VALUE * n_values)
    if "votes" in extra_groups(task.config.polygons.attributes):
        fitted = max(fitted, 3 * 8 * n * codes)  # the votes, and two copies for their principal components
    return fitted + min(IN_MEMORY, 8 * n * n_values)


def _region_bytes(task: Task) -> int:
    """Return the bytes in memory of the tables per region."""
    groups = extra_groups(task.config.polygons.attributes)
    layers = sum(len(raster.layers) for raster in task.rasters)
    return _PER_REGION + _PER_REGION_AND_BAND * 2 * layers + sum(_PER_REGION_OF[group] for group in groups)


def _written_bytes(task: Task, n_regions: int) -> int:
    """Return the bytes in memory, while the polygons are written, that do not grow with a large scene."""
    stored = min(IN_MEMORY, n_regions * _PER_REGION_AND_BAND * len(task.scene.bands))
    return stored + min(INDEX_BYTES, n_regions * _PER_REGION_IN_FILE)


def _region_size(config: Config) -> int:
    return max(_REGION_SIZE * config.polygons.min_pixels, _MIN_REGION_SIZE)


def _pixels_within(task: Task, side: int) -> int:
    """Return the pixels of a square of the scene, or of all of the scene if it is smaller."""
    rows, cols = task.scene.geobox.shape
    return min(side, rows) * min(side, cols)


def _is_checked(cluster: ClusterOptions, memory: str | None) -> bool:
    """Return whether the limit holds for workers: not for those of other machines, unless it was given."""
    return cluster.workers != 0 and (cluster.is_local or memory is not None)


def _tile_message(task: Task, limit: int, more: str, *, serial: bool) -> str:
    needed = _of_tiles(estimate_memory(task), serial=serial)
    sizes = _smaller_tiles(task, serial=serial)
    fitting = [size for size, needed in sizes.items() if needed <= limit]
    least = shown_bytes(min([needed, *sizes.values()]))
    advice = f"Use --tile-size {fitting[0]}" if fitting else f"Give it at least {least}, or use fewer --bands"
    return (
        f"{'one process' if serial else 'a worker'} needs about {shown_bytes(needed)} for tiles of "
        f"{task.config.tiles.size} px with {len(task.scene.bands)} bands, {more}. {advice}."
    )


def _of_tiles(estimate: MemoryEstimate, *, serial: bool) -> int:
    return estimate.alone if serial else estimate.worker


def _smaller_tiles(task: Task, *, serial: bool) -> dict[int, int]:
    """Return the memory that is needed with tiles of half the size, a quarter, and so on."""
    size, config, found = task.config.tiles.size // 2, task.config, {}
    while size >= max(_SMALLEST_TILE, 2 * config.tiles.halo):
        smaller = replace(task, config=replace(config, tiles=replace(config.tiles, size=size)))
        found[size] = _of_tiles(estimate_memory(smaller), serial=serial)
        size //= 2
    return found


def _main_message(estimate: MemoryEstimate, more: str) -> str:
    advice = "fewer --attributes or a larger --min-pixels" if 2 * estimate.tables > estimate.main else "fewer --bands"
    return f"the main process needs about {shown_bytes(estimate.main)}, {more}. Give it that much, or use {advice}."
