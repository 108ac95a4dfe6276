"""What the user reads when a run has not ended well, in geoseg's own words where it has some."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from .process import Ended

_KILLED = 9
_NAME = re.compile(r"--[a-z][a-z-]*|\b[A-Z]{4,}\b")  # of an option or an argument


def error_text(ended: Ended) -> str:
    """Return one sentence for a run that failed.

    Examples
    --------
    >>> error_text(Ended(1, "", ("geoseg: a.tif has no CRS. Give it one first.",), False))
    'a.tif has no CRS. Give it one first.'
    >>> error_text(Ended(2, "", ("Usage: geoseg tile SCENE", "", "Error: --halo has no effect."), False))
    '--halo has no effect.'
    """
    lines = [line.strip() for line in ended.lines if line.strip() and not line.startswith("{")]
    for prefix in ("geoseg: ", "Error: "):
        found = [line[len(prefix) :] for line in lines if line.startswith(prefix)]
        if found:
            return found[-1]
    if ended.code == -_KILLED:
        return (
            "geoseg was killed, probably because the memory is full. Close other programs, or set fewer workers or a "
            "smaller tile."
        )
    last = f": {lines[-1]}" if lines else ""
    how = f"by signal {-ended.code}" if ended.code < 0 else f"with exit code {ended.code}"
    return f"geoseg ended {how}{last}. Run the command above in a terminal with -v to see why."


def resume_text(out: str, run_dir: str | None, *, is_temporary: bool) -> str:
    """Return how to continue a cancelled run; "" if it has no run folder.

    Parameters
    ----------
    out : str
        Output file.
    run_dir : str or None
        Run folder; None = the default.
    is_temporary : bool
        Whether QGIS has chosen the output file.
    """
    folder = Path(run_dir) if run_dir else Path(out).with_suffix(".run")
    if not folder.is_dir():
        return ""
    chosen = f"choose {out} as the output file" if is_temporary else "use the same output file"
    return (
        f"The run folder {folder} keeps what is computed. To continue, {chosen} and the same parameters, check "
        f"“Continue the interrupted run”, and run the algorithm again."
    )


def with_labels(text: str, labels: Mapping[str, str]) -> str:
    """Return a help text with the labels of the dialog in place of the options of the command line.

    Examples
    --------
    >>> with_labels("Use this with --tile-steps. [required]", {"--tile-steps": "Training steps"})
    'Use this with “Training steps”.'
    >>> with_labels("Segment SCENE, a raster of any size.", {"SCENE": "Raster"})
    'Segment a raster of any size.'
    """
    text = re.sub(r"\s*\[required\]", "", text)
    text = re.sub(r"\b[A-Z]{4,}, (?=an? )", "", text)
    return _NAME.sub(lambda match: f"“{labels[match[0]]}”" if match[0] in labels else match[0], text)


def legend(text: str, labels: Mapping[str, str]) -> str:
    """Return which parameters of the dialog are the options that a message of geoseg names; "" for none.

    Examples
    --------
    >>> legend("a.gpkg exists; add --overwrite.", {"--overwrite": "Replace existing files"})
    ' In this dialog, --overwrite is “Replace existing files”.'
    """
    named = dict.fromkeys(name for name in _NAME.findall(text) if name.startswith("--") and name in labels)
    return f" In this dialog, {', '.join(f'{name} is “{labels[name]}”' for name in named)}." if named else ""


def failed_text(failed: Iterable[int]) -> str:
    """Return that tiles failed, with their numbers."""
    numbers = list(failed)
    shown = ", ".join(map(str, numbers[:20])) + (" …" if len(numbers) > 20 else "")
    what = "1 tile failed and is a hole" if len(numbers) == 1 else f"{len(numbers)} tiles failed and are holes"
    return f"{what} in the result: {shown}. The layer failed_tiles shows where and why."
