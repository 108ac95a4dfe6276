"""Expected time of the stages of a run: right in its ratios, and corrected by what has been measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from geoseg.config import Config

_SURVEY, _LEARN_STEP = 2.0, 0.15  # seconds of any scene, and of one training step; see docs/benchmarks.md
# Seconds per megapixel of one process.
_SUPERPIXELS, _SEGMENT, _CLASSIFY, _LABEL, _OUTLINE = 0.3, 1.2, 0.25, 0.15, 0.3
_NETWORK_SHARE = 0.7  # of segmenting, without which colours alone are counted
_TILE_STEP = 1.0  # of one training step on a tile
_MERGE, _WRITE = 0.02, 0.08  # by the main process


def expected_seconds(
    config: Config, n_pixels: int, *, n_at_once: int = 1, has_model: bool = False, of_labels: bool = False
) -> dict[str, float]:
    """Return the expected seconds of each stage, in the order of the stages.

    Parameters
    ----------
    config : Config
    n_pixels : int
        Of the scene.
    n_at_once : int
        Tiles that are computed at once.
    has_model : bool
        Whether a saved model replaces the training.
    of_labels : bool
        Whether labels are outlined; there are three stages then, and the last writes.

    Examples
    --------
    >>> list(expected_seconds(Config(), 10**6, of_labels=True))
    ['label', 'merge', 'outline', 'write']
    """
    shared = n_pixels / 1e6 / n_at_once
    has_network = config.method == "backprop"
    trains = has_network and config.training == "scene"
    segment = _SEGMENT if has_network else (1 - _NETWORK_SHARE) * _SEGMENT
    if has_network:
        segment += _TILE_STEP * config.steps
    seconds = {} if of_labels else {"survey": _SURVEY}
    if not of_labels:
        seconds["superpixels"] = _SUPERPIXELS * shared
        if trains and not has_model:  # beside the superpixels, so that the stage is what is left then
            seconds["learn"] = max(_LEARN_STEP * config.learn.steps - seconds["superpixels"], 0.0)
        seconds |= {"segment": segment * shared, "classify": _CLASSIFY * shared}
    seconds |= {"label": _LABEL * shared, "merge": _MERGE * n_pixels / 1e6, "outline": _OUTLINE * shared}
    return seconds | {"write": _WRITE * n_pixels / 1e6}


def seconds_left_of(stages: Sequence[tuple[str, float, float | None]], expected: Mapping[str, float]) -> float | None:
    """Return the seconds left for a run of which only what is stored is known.

    Parameters
    ----------
    stages : sequence of (str, float, float or None)
        Stage, the share of it that is done, and the seconds that are left for it at its present speed; None = unknown.
    expected : mapping of str to float
        From `expected_seconds`; those of the later stages are corrected by the speed of the present one.

    Returns
    -------
    float or None
        None = no speed is known.

    Examples
    --------
    >>> seconds_left_of([("segment", 0.5, 20.0), ("outline", 0.0, None)], {"segment": 10, "outline": 5})
    40.0
    """
    known = [stage for stage in stages if stage[2] is not None and stage[0] in expected]
    if not known:
        return None
    name, done, left = known[-1]
    factor = float(left or 0.0) / (1 - done) / expected[name]
    shares = {stage: share for stage, share, _ in stages}
    names = list(expected)
    later = names[names.index(name) + 1 :]
    return float(left or 0.0) + factor * sum(expected[stage] * (1 - shares.get(stage, 0.0)) for stage in later)
