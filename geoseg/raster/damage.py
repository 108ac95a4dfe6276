"""Find damaged pixels that GDAL reads without an error.

GDAL only warns where a JPEG block is corrupt or ends early, and returns pixels nevertheless. Some formats do not even
warn when the end of the file is missing.
"""

from __future__ import annotations

import contextlib
import logging
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import rasterio

from geoseg.errors import RasterError
from geoseg.raster.ignored_warnings import ignored_warnings
from geoseg.raster.unreadable import GDAL_ERRORS

_LOGGER = "rasterio._err"  # to which rasterio passes the messages of GDAL
_SIGNALLED = "GDAL signalled an error"  # logged as information, even where the read function reports success
# Messages of the decoders of libtiff, libjpeg, libpng and others about the pixels they decode.
_OF_PIXELS = re.compile(
    r"corrupt|premature|truncat|short read|too short|not enough data|insufficient|lack of data|overrun|extraneous|bogus"
    r"|bad (code|huffman|data|block)|read(ing)? error|unexpected (end|eof)|cannot read|failed to read|decod|damaged"
    r"|inconsistent|marker|inflate|line length mismatch|checksum|crc",
    re.IGNORECASE,
)
_OF_OTHERS = re.compile(r"TIFF(Read|Fetch)\w*(Directory|Tag)|HTTP|CURL|PROJ|\.aux\.xml", re.IGNORECASE)
# First bytes of formats that notice themselves when they are cut off, and of ENVI files that are compressed as a whole.
_NOT_RAW = (b"II", b"MM", b"\xff\xd8", b"\xff\x4f", b"\0\0\0\x0c", b"EHFA", b"<", b"\x1f\x8b")
_PNG, _PNG_END, _TAIL = b"\x89PNG", b"IEND", 4096  # bytes in which the last chunk of a PNG must be


class DamageError(RasterError):
    """Pixels of a window cannot be read."""


class _Listener(logging.Filter):
    """Collects the messages about damage in the threads that listen; other messages pass as before."""

    def __init__(self) -> None:
        super().__init__()
        self.heard = threading.local()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a message is logged; those about damage are part of an error instead."""
        text = record.getMessage()
        signalled = text.startswith(_SIGNALLED)
        messages: list[str] | None = getattr(self.heard, "messages", None)
        if messages is not None and (signalled or _OF_PIXELS.search(text)) and not _OF_OTHERS.search(text):
            messages.append(" ".join(text.split()))
            return False
        return not signalled


@contextlib.contextmanager
def damage_reported() -> Iterator[list[str]]:
    """Yield a list that receives the messages of GDAL about damaged pixels in this thread."""
    logger = logging.getLogger(_LOGGER)
    listener = next((each for each in logger.filters if isinstance(each, _Listener)), None)
    if listener is None:
        listener = _Listener()
        logger.addFilter(listener)
    if logger.level == logging.NOTSET or logger.level > logging.INFO:
        logger.setLevel(logging.INFO)
    logger.disabled = False  # as `logging.config` leaves the loggers that it does not know
    messages: list[str] = []
    listener.heard.messages = messages
    try:
        yield messages
    finally:
        listener.heard.messages = None


def check_complete(src: Any, path: str) -> None:
    """Check that no PNG or ENVI file of a raster is cut off; GDAL fills what is missing with arbitrary values or zeros.

    Parameters
    ----------
    src : rasterio dataset
    path : str
        Name for the message.

    Raises
    ------
    RasterError
        If the end of a file is missing.
    """
    for file in (Path(name) for name in src.files):
        with contextlib.suppress(OSError):  # of addresses
            if _is_cut_off(file):
                raise RasterError(
                    f"{path} cannot be read: the file {file} is cut off after {file.stat().st_size} bytes. Copy or "
                    "download it again."
                )


def _is_cut_off(file: Path) -> bool:
    size = file.stat().st_size
    with file.open("rb") as content:
        head = content.read(len(_PNG))
        content.seek(max(0, size - _TAIL))
        if head == _PNG:
            return _PNG_END not in content.read()
    headers = (file.with_suffix(".hdr"), Path(f"{file}.hdr"))
    if file in headers or head.startswith(_NOT_RAW) or not any(header.is_file() for header in headers):
        return False
    try:
        with ignored_warnings(Warning), rasterio.open(file, driver="ENVI") as raw:
            return bool(size < raw.width * raw.height * sum(np.dtype(dtype).itemsize for dtype in raw.dtypes))
    except (*GDAL_ERRORS, TypeError):  # not ENVI, or a type that numpy does not have
        return False
