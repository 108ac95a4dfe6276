"""Superpixels of scikit-image's SLIC of a whole scene: python slic.py SCENE LABELS.tif."""

import sys

import numpy as np
import rasterio
from skimage.segmentation import slic

PIXELS_PER_SEGMENT = 1000
PROFILE = ("driver", "width", "height", "crs", "transform")  # kept from the scene

with rasterio.open(sys.argv[1]) as scene:
    image, profile = scene.read([1, 2, 3]).transpose(1, 2, 0), {key: scene.profile[key] for key in PROFILE}
segments = slic(image, n_segments=image[..., 0].size // PIXELS_PER_SEGMENT, compactness=10, start_label=1)
with rasterio.open(sys.argv[2], "w", **profile, count=1, dtype="int32", compress="deflate") as labels:
    labels.write(segments.astype(np.int32), 1)
