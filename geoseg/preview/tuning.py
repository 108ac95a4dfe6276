"""The result of a tuning: the scores of every combination of parameters, and the lines of the best one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from geoseg.evaluate.candidates import Candidate
from geoseg.grid import Window


@dataclass(frozen=True)
class Trial:
    """One combination of parameters and its scores over the windows.

    Parameters
    ----------
    scale : float
        ``superpixels.scale``, or ``superpixels.n_segments`` with slic.
    min_pixels : int
    classes : int or "auto"
    regions : int
        In all windows.
    mean_pixels : float
        Mean size of a region.
    variance : float
        Variance within regions, mean over the bands, in squared units of the stretch; all windows together.
    moran : float or None
        Moran's I, mean over the bands and windows; None = not defined in any of them.
    score : Candidate or None
        Normalised scores among all trials; None = Moran's I is not defined.
    """

    scale: float
    min_pixels: int
    classes: int | Literal["auto"]
    regions: int
    mean_pixels: float
    variance: float
    moran: float | None
    score: Candidate | None

    @property
    def f(self) -> float:
        """Johnson's F; 0 where it is not defined."""
        return 0.0 if self.score is None else self.score.f


@dataclass(frozen=True, repr=False)
class Tuning:
    """Scores of combinations of parameters on some windows of a scene; `yaml` has the lines of the best one.

    Parameters
    ----------
    scene : str
    windows : tuple of Window
    trials : tuple of Trial
    default : int
        Position of the trial with the parameters of the configuration.
    scale_name : {"scale", "n_segments"}
        Option of the superpixels that was varied.
    weight : float
        The weight a of F.
    seconds : float
        Duration.
    path : Path or None
        The chart.

    Examples
    --------
    >>> trials = (Trial(32.0, 64, 16, 9, 29.0, 0.2, 0.1, Candidate(0, 1, 1, 0.0)),
    ...           Trial(16.0, 64, 16, 30, 9.0, 0.1, 0.2, Candidate(1, 0.5, 1.5, 0.67)))
    >>> tuning = Tuning("scene.tif", (Window(0, 0, 16, 16),), trials, 0, "scale", weight=1.0, seconds=3.0, path=None)
    >>> print(tuning.yaml)
    # geoseg tune: F 0.670, with the present values 0.000 (best of 2 combinations, 1 window)
    superpixels:
      scale: 16
    """

    scene: str
    windows: tuple[Window, ...]
    trials: tuple[Trial, ...]
    default: int
    scale_name: Literal["scale", "n_segments"]
    weight: float
    seconds: float
    path: Path | None

    @property
    def best(self) -> Trial:
        """The trial with the largest F; of equal ones the present values, else the first."""
        return max(self.trials, key=lambda trial: (trial.f, trial is self.present))

    @property
    def present(self) -> Trial:
        """The trial with the parameters of the configuration."""
        return self.trials[self.default]

    @property
    def changes(self) -> dict[str, dict[str, Any]]:
        """The values of the best trial that differ from the configuration, as a config."""
        best, present = self.best, self.present
        changes: dict[str, dict[str, Any]] = {}
        if best.scale != present.scale:
            whole = int(best.scale) if best.scale.is_integer() else best.scale
            changes["superpixels"] = {self.scale_name: whole}
        if best.classes != present.classes:
            changes["classify"] = {"classes": best.classes}
        if best.min_pixels != present.min_pixels:
            changes["polygons"] = {"min_pixels": best.min_pixels}
        return changes

    @property
    def yaml(self) -> str:
        """The lines of a configuration file that give the best trial."""
        n = len(self.windows)
        of = f"best of {len(self.trials)} combinations, {n} window{'s' if n > 1 else ''}"
        if not self.changes:
            return f"# geoseg tune: the present values have the largest F, {self.present.f:.3f} ({of})"
        lines = [f"# geoseg tune: F {self.best.f:.3f}, with the present values {self.present.f:.3f} ({of})"]
        for section, values in self.changes.items():
            lines += [f"{section}:", *(f"  {name}: {value}" for name, value in values.items())]
        return "\n".join(lines)

    def ranked(self) -> list[Trial]:
        """Return the trials, that with the largest F first."""
        return sorted(self.trials, key=lambda trial: -trial.f)

    def table(self) -> list[tuple[str, ...]]:
        """Return the head and a row of text for each trial, that with the largest F first."""
        head = (self.scale_name, "min_pixels", "classes", "regions", "mean px", "variance", "Moran's I", "F")
        return [head, *(_row(trial) for trial in self.ranked())]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values for JSON."""
        rows = [vars(trial) | {"score": None if trial.score is None else vars(trial.score)} for trial in self.trials]
        return {
            "scene": self.scene,
            "windows": [list(window) for window in self.windows],
            "weight": self.weight,
            "seconds": round(self.seconds, 3),
            "superpixel_option": self.scale_name,
            "present": self.default,
            "best": next(i for i, trial in enumerate(self.trials) if trial is self.best),
            "config": self.changes,
            "trials": rows,
        }

    def __repr__(self) -> str:
        return f"<Tuning of {self.scene}: F {self.best.f:.3f}, with the present values {self.present.f:.3f}>"


def _row(trial: Trial) -> tuple[str, ...]:
    values = (f"{trial.scale:.4g}", str(trial.min_pixels), str(trial.classes), str(trial.regions))
    moran = "-" if trial.moran is None else f"{trial.moran:.3f}"
    return (*values, f"{trial.mean_pixels:.0f}", f"{trial.variance:.3g}", moran, f"{trial.f:.3f}")
