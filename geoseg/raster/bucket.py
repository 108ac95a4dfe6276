"""Identity of the content of rasters in buckets, whose servers only GDAL has the keys to."""

from __future__ import annotations

import hashlib
import math

import numpy as np
from rasterio.windows import Window

from geoseg.raster.dataset import opened
from geoseg.raster.names import BUCKETS

_MAX_BLOCKS, _MAX_READ = 4096, 16


def bucket_state(address: str) -> dict[str, str]:
    """Return what identifies the content of a raster in a bucket, without reading all of it.

    rasterio does not hand on the ETag that GDAL receives, and the keys of a bucket are known to GDAL alone. So the
    identity is a digest of where the blocks of a TIFF begin and how many bytes they have, which differ for nearly
    every other content if it is compressed, and of the pixels of a few blocks.

    Parameters
    ----------
    address : str
        s3://, gs:// or az://. Nothing is opened for another, and nothing is returned.

    Returns
    -------
    dict of str to str
        `blocks`, the digest.

    Raises
    ------
    RasterError
        If it cannot be read.
    """
    if not address.startswith(BUCKETS):
        return {}
    digest = hashlib.blake2b(digest_size=16)
    with opened(address) as src:
        digest.update(repr((src.shape, src.count, src.dtypes, src.nodatavals, src.tags())).encode())
        height, width = src.block_shapes[0]
        rows, cols = -(-src.height // height), -(-src.width // width)
        shape = (src.count, rows, cols)
        for band, row, col in _spread(shape, _MAX_BLOCKS):
            place = (src.get_tag_item(f"BLOCK_{what}_{col}_{row}", "TIFF", bidx=band) for what in ("OFFSET", "SIZE"))
            digest.update(repr((band, row, col, *place)).encode())
        for band, row, col in _spread(shape, _MAX_READ):
            window = Window(col * width, row * height, width, height).intersection(Window(0, 0, src.width, src.height))
            digest.update(np.ascontiguousarray(src.read(band, window=window)).tobytes())
    return {"blocks": digest.hexdigest()}


def _spread(shape: tuple[int, int, int], most: int) -> list[tuple[int, int, int]]:
    """Return (band from 1, row, col) of at most `most` blocks, evenly spread, the first and the last among them."""
    n = math.prod(shape)
    chosen = np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(np.int64))
    return [
        (int(band) + 1, int(row), int(col)) for band, row, col in zip(*np.unravel_index(chosen, shape), strict=True)
    ]
