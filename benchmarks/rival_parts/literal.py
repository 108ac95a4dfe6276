"""One of the published methods as in its script, on a whole image: python literal.py SCENE LABELS.tif CONFIG STEPS.

CONFIG is configs/kanezaki2018.yaml or configs/yonv2019.yaml. The loop is that of tests/reference/backprop.py.
"""

import sys
from pathlib import Path

import numpy as np
import rasterio
from skimage.segmentation import felzenszwalb, slic

sys.path.insert(0, str(Path(__file__).parents[2]))

from geoseg.config import load_config
from geoseg.segment.network import new_network
from tests.reference import backprop

PROFILE = ("driver", "width", "height", "crs", "transform")  # kept from the scene
_SLIC_AREA = 512 * 512  # px, for which n_segments holds


def superpixels(image, options):
    if options.method == "slic":
        count = max(1, round(options.n_segments * image[..., 0].size / _SLIC_AREA))
        return slic(image, n_segments=count, compactness=options.compactness, start_label=0)
    return felzenszwalb(image, scale=options.scale, sigma=options.sigma, min_size=options.min_size)


def main() -> None:
    config = load_config(sys.argv[3])
    with rasterio.open(sys.argv[1]) as scene:
        image, profile = scene.read([1, 2, 3]), {key: scene.profile[key] for key in PROFILE}
    regions = superpixels(image.transpose(1, 2, 0), config.superpixels).astype(np.int64)
    channels, descent = image.astype(np.float32) / 255, config.backprop
    model, _ = backprop.train(
        new_network(3, config.network, seed=0),
        channels,
        regions,
        optimizer=descent.optimizer,
        learning_rate=descent.learning_rate,
        momentum=descent.momentum,
        min_labels=descent.min_labels,
        entropy_weight=descent.entropy_weight,
        steps=int(sys.argv[4]),
    )
    codes = model(backprop.torch.from_numpy(channels)[None])[0].argmax(dim=0).numpy()
    voted = backprop.refine(codes.ravel(), regions.ravel()).reshape(codes.shape)
    with rasterio.open(sys.argv[2], "w", **profile, count=1, dtype="uint8", compress="deflate") as labels:
        labels.write((voted + 1).astype(np.uint8), 1)


if __name__ == "__main__":
    main()
