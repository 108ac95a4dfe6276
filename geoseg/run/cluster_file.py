"""YAML files that describe a cluster to start: dask-jobqueue on Slurm or PBS, or dask-cuda on this machine.

::

    type: slurm         # slurm, pbs, cuda or local
    workers: 8          # jobs; of cuda and local, processes
    memory: 8GB         # this and everything else is passed to the class, here SLURMCluster
    queue: normal
    walltime: "08:00:00"
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from geoseg.config_parser import check_unique, shown
from geoseg.errors import ConfigError, shorten
from geoseg.raster.regular_file import regular_file

_MAX_BYTES = 2**16
_MAX_WORKERS = 10_000


@dataclass(frozen=True)
class ClusterType:
    """A class of clusters.

    Parameters
    ----------
    module, name : str
        Where the class is.
    extra : str
        The extra of geoseg that installs it; "" = it is always installed.
    is_batch : bool
        Whether its workers are jobs of a batch system, which may wait in a queue.
    """

    module: str
    name: str
    extra: str
    is_batch: bool


CLUSTER_TYPES = {
    "slurm": ClusterType("dask_jobqueue", "SLURMCluster", "slurm", is_batch=True),
    "pbs": ClusterType("dask_jobqueue", "PBSCluster", "slurm", is_batch=True),
    "cuda": ClusterType("dask_cuda", "LocalCUDACluster", "cuda", is_batch=False),
    "local": ClusterType("distributed", "LocalCluster", "", is_batch=False),
}


@dataclass(frozen=True)
class ClusterFile:
    """Content of a cluster file.

    Parameters
    ----------
    path : str
    type : ClusterType
    workers : int or None
        Number of jobs or processes; None = as many as the class starts by itself.
    arguments : dict of str to object
        Keyword arguments of the class.
    """

    path: str
    type: ClusterType
    workers: int | None
    arguments: dict[str, Any]

    def load_class(self) -> Any:
        """Return the class of the cluster.

        Raises
        ------
        ConfigError
            If it is not installed.
        """
        try:
            return getattr(importlib.import_module(self.type.module), self.type.name)
        except (ImportError, AttributeError) as err:
            raise ConfigError(
                f"{self.path} needs {self.type.name} of {self.type.module}, which cannot be imported "
                f"({shorten(err)}); install it with pip install 'geoseg[{self.type.extra}]'."
            ) from err


def read_cluster_file(path: str) -> ClusterFile:
    """Return the content of a cluster file.

    Raises
    ------
    ConfigError
        If it cannot be read, or has no known type or no number of workers where it needs one.
    """
    values = _read(Path(path))
    kind, workers = values.pop("type", None), values.pop("workers", None)
    if not isinstance(kind, str) or kind not in CLUSTER_TYPES:
        raise ConfigError(f"{path} has the type {shown(kind)}; expected one of {', '.join(CLUSTER_TYPES)}.")
    is_number = isinstance(workers, int) and not isinstance(workers, bool) and 1 <= workers <= _MAX_WORKERS
    may_be_absent = workers is None and kind == "cuda"
    if not (is_number or may_be_absent):
        raise ConfigError(f"{path} has workers: {shown(workers)}; expected a number from 1 to {_MAX_WORKERS}.")
    return ClusterFile(path, CLUSTER_TYPES[kind], workers, values)


def _read(path: Path) -> dict[str, Any]:
    try:
        with regular_file(path).open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise ConfigError(f"{path} is longer than {_MAX_BYTES} bytes; expected a short cluster file.")
        text = content.decode("utf-8")
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
            raise ConfigError(f"{path} has YAML aliases (*name); write their values instead.")
        check_unique(yaml.compose(text, Loader=yaml.SafeLoader), path)
        values = yaml.safe_load(text)
    except ConfigError:
        raise
    except (yaml.YAMLError, ValueError, RecursionError, OSError) as err:
        raise ConfigError(f"{path} is not a readable YAML file: {shorten(err)}") from err
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise ConfigError(f"{path} contains {shown(values)}; expected names with values, such as 'type: slurm'.")
    return values
