"""Where the tiles of a run are computed."""

from __future__ import annotations

from dataclasses import dataclass

from geoseg.errors import ConfigError


@dataclass(frozen=True)
class ClusterOptions:
    """Where the tiles are computed.

    Parameters
    ----------
    workers : int, optional
        Number of worker processes on this machine. 0 computes in this process; None starts one worker per core.
    scheduler : str, optional
        Address of a running Dask scheduler, such as ``tcp://host:8786``. Excludes `workers`.
    scheduler_file : str, optional
        File with the address of a running Dask scheduler. Excludes `workers` and `scheduler`.
    dashboard : bool
        Serve Dask's dashboard on this machine's loopback address. Local workers only.
    memory_limit : str, optional
        Memory of one local worker, such as ``"4GiB"``; a worker that exceeds it is restarted. None divides the memory
        of the machine by the number of workers.
    timeout : float
        Seconds to wait for a scheduler and its first worker.
    tile_timeout : float, optional
        Seconds after which the worker of a tile is restarted and the tile tried again, once. None derives them from
        the tiles that have finished: 20 times their median, but at least 10 minutes.
    cluster : str, optional
        YAML file with a cluster to start, see `geoseg.run.cluster_file`. Excludes the three other places.

    Raises
    ------
    ConfigError
        If `workers` is negative, or more than one of `workers`, `scheduler` and `scheduler_file` is given.
    """

    workers: int | None = None
    scheduler: str | None = None
    scheduler_file: str | None = None
    dashboard: bool = False
    memory_limit: str | None = None
    timeout: float = 60.0
    tile_timeout: float | None = None
    cluster: str | None = None

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 0:
            raise ConfigError(f"workers ({self.workers}) must be 0 (compute in this process) or more.")
        if sum(place is not None for place in (self.workers, self.scheduler, self.scheduler_file)) > 1:
            raise ConfigError("--workers, --scheduler and --scheduler-file exclude each other; give one of them.")

    @property
    def is_local(self) -> bool:
        """True if the workers are processes that geoseg starts on this machine."""
        return self.scheduler is None and self.scheduler_file is None and self.workers != 0
