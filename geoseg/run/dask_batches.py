"""Batches of tiles: how many tiles one Dask task has, and what it does on the worker."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import time
from dataclasses import dataclass

from distributed.protocol import pickle

from geoseg.errors import ConfigError
from geoseg.run.outcome import Batched, Outcome, attempt, attempt_alone, one_line

INSTALL_SAME_VERSIONS = "install the same versions of geoseg and its packages on all machines."
# Must be the same on all machines: tasks are pickled, and results depend on these packages.
SAME_PACKAGES = (
    *("python", "geoseg", "dask", "distributed", "numpy", "scipy", "scikit-image", "scikit-learn", "numba", "torch"),
    *("rasterio", "shapely"),
)
BATCH_SECONDS = 1.0  # per batch: rare enough for the scheduler (some ms each), often enough to show progress
BATCHES_PER_SLOT = 2  # one that is computed and one that waits, so that no worker waits for the scheduler

_BATCH_KEYS = 400  # 0.1 ms per tile that takes no time; 100 keys take 0.2 ms


@dataclass
class Batch:
    """Keys that are computed by one Dask task.

    Parameters
    ----------
    keys : list of int
    is_retry : bool
        Whether it is a new attempt of one key, as the only batch at the cluster.
    worker : str or None
        Address of the worker that computes it; None = not known yet.
    started : float or None
        Monotonic time at which it was first seen in computation.
    """

    keys: list[int]
    is_retry: bool = False
    worker: str | None = None
    started: float | None = None


def batch_size(n_waiting: int, n_slots: int, seconds_per_key: float | None) -> int:
    """Return the number of keys of the next batch.

    A batch is about a second of work, or one key as long as the duration is unknown, but never so large that other
    workers would be idle at the end.

    Parameters
    ----------
    n_waiting : int
        Keys that are not yet submitted.
    n_slots : int
        Keys that the cluster computes at the same time.
    seconds_per_key : float or None
        Duration of the latest keys; None if unknown.

    Examples
    --------
    >>> batch_size(8, 2, None), batch_size(100_000, 2, 0.001), batch_size(100_000, 2, 0.25), batch_size(20, 2, 0.001)
    (1, 400, 4, 5)
    """
    n_for_duration = 1 if seconds_per_key is None else BATCH_SECONDS / max(seconds_per_key, 1e-9)
    n_fair_share = n_waiting // (n_slots * BATCHES_PER_SLOT)
    return int(max(1, min(n_for_duration, n_fair_share, _BATCH_KEYS)))


@functools.cache
def installed_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that must be the same on all machines."""
    return {"python": platform.python_version()} | {name: _installed(name) for name in SAME_PACKAGES[1:]}


def release(package: str, version: str | None) -> str:
    """Return a version without its local part, or that of Python without its patch level.

    Examples
    --------
    >>> release("torch", "2.4.0+cu121"), release("python", "3.11.7"), release("numba", None)
    ('2.4.0', '3.11', 'absent')
    """
    version = version or "absent"
    return ".".join(version.split(".")[:2]) if package == "python" else version.partition("+")[0]


def run_batch(
    payload: bytes, keys: list[int], *, versions: dict[str, str] | None = None, is_alone: bool = False
) -> tuple[list[Outcome], float]:
    """Compute keys for about a second; runs on a worker.

    Parameters
    ----------
    payload : bytes
        The pickled function and context.
    keys : list of int
    versions : dict of str to str, optional
        The versions that this worker must have, which may have joined late. None = it is not checked.
    is_alone : bool
        Whether no other worker computes anything.

    Returns
    -------
    outcomes : list of Outcome
        Those of the first keys, at least one; of all keys if the function is batched.
    seconds : float
        Duration.

    Raises
    ------
    ConfigError
        If the payload cannot be unpickled here, or this worker has other versions.
    """
    begin = time.monotonic()
    if versions is not None:
        _check_versions(versions)
    try:
        function, context = pickle.loads(payload)
    except Exception as err:
        raise ConfigError(f"a worker cannot load its task ({one_line(err)}); {INSTALL_SAME_VERSIONS}") from err
    if isinstance(function, Batched):
        return list(function.function(context, keys)), time.monotonic() - begin
    outcomes: list[Outcome] = []
    compute = attempt_alone if is_alone else attempt
    # Not all keys if they take longer than those before, as the tiles after an empty margin do.
    while not outcomes or (len(outcomes) < len(keys) and time.monotonic() - begin < BATCH_SECONDS):
        outcomes.append(compute(function, context, keys[len(outcomes)]))
    return outcomes, time.monotonic() - begin


def _check_versions(expected: dict[str, str]) -> None:
    pairs = {name: (release(name, installed_versions().get(name)), release(name, expected[name])) for name in expected}
    differing = [f"{name} {found} (here {own})" for name, (found, own) in pairs.items() if found != own]
    if differing:
        raise ConfigError(f"a worker on {platform.node()} has {', '.join(differing)}; {INSTALL_SAME_VERSIONS}")


def _installed(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def is_loaded() -> bool:
    """Return True; pickled by name, so a worker that runs it has imported this module."""
    return True
