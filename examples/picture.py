"""Draw a scene next to its polygons in the colours of their classes.

python examples/picture.py SCENE.tif LABELS.gpkg PICTURE.png [RED,GREEN,BLUE]
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

SIDE = 600  # px, side of each of the two pictures
CROP = 1200  # px, side of the central square of the scene that is shown, if it is as large
OVERSAMPLING = 4  # the polygons are drawn larger and then reduced, so that their borders are smooth
GAP = 12  # px, between the two pictures


def main(scene: Path, labels: Path, picture: Path, bands: str = "1,2,3") -> None:
    """Write the picture; a .png has 256 colours, which keeps the file small."""
    with rasterio.open(scene) as source:
        side = min(CROP, source.width, source.height)
        crop = rasterio.windows.Window((source.width - side) // 2, (source.height - side) // 2, side, side)
        pixels = source.read(
            [int(band) for band in bands.split(",")],
            window=crop,
            out_shape=(3, SIDE, SIDE),
            resampling=rasterio.enums.Resampling.average,
        )
        transform = source.window_transform(crop)
    polygons = geopandas.read_file(labels, layer="labels")
    whole = Image.new("RGB", (2 * SIDE + GAP, SIDE), "white")
    whole.paste(Image.fromarray(stretched(np.moveaxis(pixels, 0, -1))), (0, 0))
    whole.paste(drawn(polygons, transform, side), (SIDE + GAP, 0))
    if picture.suffix == ".png":
        whole = whole.quantize(256, dither=Image.Dither.NONE)
    whole.save(picture, optimize=True, quality=85)


def stretched(pixels: NDArray[np.uint8 | np.uint16]) -> NDArray[np.uint8]:
    """Return (y, x, 3) colours stretched between the 1st and the 99th percentile."""
    low, high = np.percentile(pixels, [1, 99])
    return (np.clip((pixels - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def drawn(polygons: geopandas.GeoDataFrame, transform: Affine, crop: int) -> Image.Image:
    """Return a picture of the polygons in a square of so many pixels, with thin dark lines between them."""
    side = SIDE * OVERSAMPLING
    fine_transform = transform @ Affine.scale(crop / side)
    regions = rasterio.features.rasterize(
        zip(polygons.geometry, polygons["region"], strict=True), (side, side), transform=fine_transform
    )
    colors = np.zeros((int(polygons["region"].max()) + 1, 3), np.uint8)
    colors[polygons["region"]] = [ImageColor.getrgb(color) for color in polygons["color"]]
    pixels = colors[regions]
    pixels[:, 1:][regions[:, 1:] != regions[:, :-1]] //= 2
    pixels[1:][regions[1:] != regions[:-1]] //= 2
    return Image.fromarray(pixels).reduce(OVERSAMPLING)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]), *sys.argv[4:5])
