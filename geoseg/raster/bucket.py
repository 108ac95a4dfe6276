"""Identity of the content of rasters in buckets, whose servers only GDAL has the keys to."""

from __future__ import annotations

import hashlib
from itertools import product
from typing import Any

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
        places = list(product(range(1, src.count + 1), range(rows), range(cols)))
        for band, row, col in _spread(places, _MAX_BLOCKS):
            place = (src.get_tag_item(f"BLOCK_{what}_{col}_{row}", "TIFF", bidx=band) for what in ("OFFSET", "SIZE"))
            digest.update(repr((band, row, col, *place)).encode())
        for band, row, col in _spread(places, _MAX_READ):
            window = Window(col * width, row * height, width, height).intersection(Window(0, 0, src.width, src.height))
            digest.update(np.ascontiguousarray(src.read(band, window=window)).tobytes())
    return {"blocks": digest.hexdigest()}


def _spread(places: list[Any], most: int) -> list[Any]:
    """Return at most `most` of some places, evenly spread, the first and the last among them."""
    chosen = np.unique(np.linspace(0, len(places) - 1, min(len(places), most)).round().astype(int))
    return [places[i] for i in chosen]
