"""Options of a run that are not part of its configuration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from geoseg.run.failures import check_max_failed
from geoseg.run.machine_memory import n_bytes


@dataclass(frozen=True)
class RunOptions:
    """Options of a run that are not part of its configuration.

    Parameters
    ----------
    aoi : Path or None
        Vector file with the area of interest; pixels outside are not valid.
    features : str or None
        Features raster, whose bands take part in the classes but not in the statistics of the polygons.
    values : tuple of str
        Rasters whose statistics become columns, as for `values_option.ValuesOption.parse`.
    model : Path or None
        A saved model whose classes are used; None = a network is trained.
    restretch : bool
        Whether the stretch is fitted to the scene instead of taken from the model.
    run_dir : Path or None
        The run folder; None = beside the polygons, with the suffix .run.
    resume : bool
        Whether to continue with the products in the run folder.
    overwrite : bool
        Whether to replace the outputs and the run folder of an earlier run.
    keep : bool
        Whether to keep the products of all stages in the run folder at the end.
    device : {"auto", "cpu", "cuda", "mps"}
        "auto" = cuda where it is available.
    max_failed : int, float or None
        Largest number of failed tiles, or as float their largest share, with which results are written. None = any,
        but the run stops where ten tiles in a row fail in the same way, see `failures.FailureLimit`.
    memory : str or None
        Memory that each process may take, such as ``"2GiB"``; a run that needs more is refused. None = what the machine
        has, shared by the processes; see `budget.check_budget`.
    command : str or None
        The command, for the results, see `provenance.command_line`; None = called from Python.

    Raises
    ------
    ConfigError
        If `max_failed` is neither a number nor a share, or `memory` is no size.
    """

    aoi: Path | None = None
    features: str | None = None
    values: tuple[str, ...] = ()
    model: Path | None = None
    restretch: bool = False
    run_dir: Path | None = None
    resume: bool = False
    overwrite: bool = False
    keep: bool = False
    device: str = "auto"
    max_failed: int | float | None = None
    memory: str | None = None
    command: str | None = None

    def __post_init__(self) -> None:
        check_max_failed(self.max_failed)
        if self.memory is not None:
            n_bytes(self.memory)
