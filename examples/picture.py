"""Draw a scene beside its polygons, in the colours of their classes.

python examples/picture.py SCENE.tif LABELS.gpkg PICTURE.png
"""

import sys
from pathlib import Path

import geopandas
import numpy as np
import rasterio
import rasterio.features
from affine import Affine
from numpy.typing import NDArray
from PIL import Image, ImageColor

SIDE = 600  # px of each of the two pictures
CUT = 1200  # px of the scene that are shown: the middle
FINER = 4  # the polygons are drawn larger and then reduced, so that their borders are smooth
GAP = 12  # px between the two


def main(scene: Path, labels: Path, picture: Path) -> None:
    """Write the picture; 256 colours keep it small."""
    with rasterio.open(scene) as source:
        cut = rasterio.windows.Window((source.width - CUT) // 2, (source.height - CUT) // 2, CUT, CUT)
        pixels = source.read(
            [1, 2, 3], window=cut, out_shape=(3, SIDE, SIDE), resampling=rasterio.enums.Resampling.average
        )
        transform = source.window_transform(cut)
    ground = geopandas.read_file(labels, layer="labels")
    whole = Image.new("RGB", (2 * SIDE + GAP, SIDE), "white")
    whole.paste(Image.fromarray(stretched(np.moveaxis(pixels, 0, -1))), (0, 0))
    whole.paste(drawn(ground, transform), (SIDE + GAP, 0))
    whole.quantize(256, dither=Image.Dither.NONE).save(picture, optimize=True)


def stretched(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return (y, x, 3) colours from black to white, without the outermost percent."""
    low, high = np.percentile(pixels, [1, 99])
    return (np.clip((pixels - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def drawn(ground: geopandas.GeoDataFrame, transform: Affine) -> Image.Image:
    """Return a picture of the polygons, with a fine dark line between them."""
    side = SIDE * FINER
    finer = transform @ Affine.scale(CUT / side)
    regions = rasterio.features.rasterize(
        zip(ground.geometry, ground["region"], strict=True), (side, side), transform=finer
    )
    colors = np.zeros((int(ground["region"].max()) + 1, 3), np.uint8)
    colors[ground["region"]] = [ImageColor.getrgb(color) for color in ground["color"]]
    pixels = colors[regions]
    pixels[:, 1:][regions[:, 1:] != regions[:, :-1]] //= 2
    pixels[1:][regions[1:] != regions[:-1]] //= 2
    return Image.fromarray(pixels).reduce(FINER)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
