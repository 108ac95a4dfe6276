"""Where the tiles of a run are computed."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from geoseg.config_parser import shown
from geoseg.errors import ConfigError, shorten
from geoseg.raster.regular_file import regular_file

_WORKERS_PER_CORE, _MIN_LIMIT = 8, 64  # more processes are a mistake; each takes 0.3 GB
_MAX_TIMEOUT = 1e7  # s, four months
_SIZE = re.compile(r"auto|0*[1-9]\d{0,15}(\.\d+)?\s*([kmgtp]i?)?b?|0?\.\d+\s*[kmgtp]i?b?", re.IGNORECASE)


@dataclass(frozen=True)
class ClusterOptions:
    """Where the tiles are computed.

    Parameters
    ----------
    workers : int, optional
        Number of worker processes on this machine. 0 computes in this process; None starts one worker per core, or
        as many as `resources.choose_workers` sets here.
    threads : int, optional
        Tiles that this process computes at once; implies that `workers` is 0. None is 1 if `workers` is 0, and
        otherwise what `resources.choose_workers` sets here.
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
    tls_ca_file, tls_cert, tls_key : str, optional
        PEM files for a scheduler at a ``tls://`` address: the certificate of the authority that signed the others, and
        this process's certificate and private key. All three or none. Local workers have a key pair of their own.

    Raises
    ------
    ConfigError
        If `workers` or `threads` is not a number that this machine can start, `timeout` is no duration, `memory_limit`
        no size, or more than one of `workers`, `scheduler`, `scheduler_file` and `cluster` is given, or `threads` with
        one of them; or if the TLS files are incomplete, missing, or given without a scheduler at a ``tls://`` address.
    """

    workers: int | None = None
    threads: int | None = None
    scheduler: str | None = None
    scheduler_file: str | None = None
    dashboard: bool = False
    memory_limit: str | None = None
    timeout: float = 60.0
    tile_timeout: float | None = None
    cluster: str | None = None
    tls_ca_file: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None

    def __post_init__(self) -> None:
        _check_number("workers", self.workers, least=0)
        _check_number("threads", self.threads, least=1)
        if not 0 < self.timeout < _MAX_TIMEOUT:  # not NaN either
            raise ConfigError(f"timeout is {self.timeout} s; it must be more than 0 and less than {_MAX_TIMEOUT} s.")
        if self.memory_limit is not None and not _SIZE.fullmatch(self.memory_limit.strip()):
            raise ConfigError(f"memory_limit is {shown(self.memory_limit)}; expected a size such as '4GiB'.")
        if self.tile_timeout is not None and not 0 < self.tile_timeout < _MAX_TIMEOUT:
            raise ConfigError(
                f"tile_timeout is {self.tile_timeout} s; it must be more than 0 and less than {_MAX_TIMEOUT} s."
            )
        if sum(place is not None for place in self.places) > 1:
            raise ConfigError(
                "--workers, --scheduler, --scheduler-file and --cluster exclude each other; give one of them."
            )
        if self.threads is not None and any(self.places):
            raise ConfigError("--threads is for tiles that this process computes; omit it, or the option for workers.")
        if self.threads is not None:
            object.__setattr__(self, "workers", 0)
        self._check_tls()

    @property
    def n_threads(self) -> int:
        """Tiles that this process computes at once, if there are no workers."""
        return self.threads or 1

    @property
    def places(self) -> tuple[int | str | None, ...]:
        """The options that choose where to compute, of which one at most is given."""
        return self.workers, self.scheduler, self.scheduler_file, self.cluster

    @property
    def is_local(self) -> bool:
        """True if the workers are processes that geoseg starts on this machine."""
        return self.workers != 0 and all(place is None for place in self.places[1:])

    @property
    def certificates(self) -> tuple[str, str, str] | None:
        """The authority's certificate, this process's certificate and its key; None = no TLS options."""
        if self.tls_ca_file is None or self.tls_cert is None or self.tls_key is None:
            return None
        return self.tls_ca_file, self.tls_cert, self.tls_key

    def _check_tls(self) -> None:
        options = {"--tls-ca-file": self.tls_ca_file, "--tls-cert": self.tls_cert, "--tls-key": self.tls_key}
        given = {name: path for name, path in options.items() if path is not None}
        is_tls = self.scheduler is not None and self.scheduler.startswith("tls://")
        if len(given) != (len(options) if given or is_tls else 0):
            missing = [name for name in options if name not in given]
            raise ConfigError(
                f"a scheduler at a tls:// address needs {', '.join(options)}; {' and '.join(missing)} "
                f"{'is' if len(missing) == 1 else 'are'} missing. Give all three."
            )
        if given and not is_tls and self.scheduler_file is None:
            place = "no scheduler is given" if self.scheduler is None else f"--scheduler is {shorten(self.scheduler)}"
            raise ConfigError(
                f"{', '.join(options)} are for a scheduler at a tls:// address, but {place}. Give "
                "--scheduler tls://host:8786 or --scheduler-file, or omit them."
            )
        for name, path in given.items():
            try:
                regular_file(Path(path)).read_bytes()
            except (OSError, ValueError) as err:
                raise ConfigError(f"{name} {shorten(path)} cannot be read ({err}); give a PEM file.") from err


def _check_number(name: str, n: int | None, *, least: int) -> None:
    most = max(_WORKERS_PER_CORE * (os.cpu_count() or 1), _MIN_LIMIT)
    if n is not None and n < least:
        expected = "0 (compute in this process) or more" if least == 0 else f"{least} or more"
        raise ConfigError(f"{name} ({n}) must be {expected}.")
    if n is not None and n > most:
        raise ConfigError(f"{name} ({shown(n)}) must be at most {most} on this machine; one per core is best.")
