"""Files that belong to an input, which no output replaces."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from geoseg.errors import OutputError
from geoseg.output.system import file_key

_ENDS = (".aux.xml", ".ovr", ".msk")  # after the name of a raster
_SUFFIXES = (".qml", ".regions.qml", ".classes.json", ".names.json")  # in place of the suffix


def files_beside(source: Path) -> list[Path]:
    """Return an input and the files that GDAL, QGIS and geoseg read with it.

    Examples
    --------
    >>> [path.name for path in files_beside(Path("a.fgb"))][:3]
    ['a.fgb', 'a.qml', 'a.regions.qml']
    """
    real = source.resolve()
    named = [real.with_name(f"{real.stem}{suffix}") for suffix in _SUFFIXES]
    return [real, *named, *(real.with_name(f"{real.name}{end}") for end in _ENDS)]


def check_no_input(outputs: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Check that no output, and no existing file that is replaced with it, is an input or belongs to one.

    Parameters
    ----------
    outputs : iterable of Path
        The outputs and the files that are replaced or removed with them.
    inputs : iterable of Path
        The files that are read.

    Raises
    ------
    OutputError
        If one of them is.
    """
    sources = list(inputs)
    read = {file_key(source) for source in sources}
    belonging = {file_key(path) for source in sources for path in files_beside(source)}
    for path in outputs:
        key = file_key(path)
        if key in read:
            raise OutputError(f"{path} is a file that is read; give the output file another name.")
        if key in belonging and path.exists():
            raise OutputError(
                f"{path} belongs to an input, and an output of that name would replace it. Choose another name for the "
                "output."
            )
