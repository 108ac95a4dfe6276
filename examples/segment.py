"""Make a synthetic scene, segment it, and print the area of each class.

    python examples/segment.py [FOLDER] [SIDE]

FOLDER (default: demo/example) receives scene.tif and labels.gpkg. SIDE (default: 1024) is that of the scene in pixels.
"""

import sys
from pathlib import Path

import geopandas
import pandas as pd

import geoseg
from geoseg.synthetic.scene import SceneOptions, write_scene


def main(folder: Path, side: int) -> None:
    """Write a scene and its polygons, and print a table of the classes."""
    folder.mkdir(parents=True, exist_ok=True)
    scene, labels = folder / "scene.tif", folder / "labels.gpkg"
    scene.unlink(missing_ok=True)  # write_scene replaces no file: it could be a real image
    write_scene(scene, SceneOptions(shape=(side, side), seed=1))

    result = geoseg.segment_scene(
        scene,
        labels,
        classes=8,
        config="aerial",
        workers=0,  # everything in this process: a scene as small as this one does not need workers
        overwrite=True,
    )

    polygons = result.polygons()
    print(f"{len(polygons)} regions of {polygons['class'].nunique()} classes in {labels}")
    print(class_table(polygons).to_string())


def class_table(polygons: geopandas.GeoDataFrame) -> pd.DataFrame:
    """Return one row per class: number of regions, hectares, mean colour, and class at the level of two classes."""
    by_class = polygons.groupby("class")
    return pd.DataFrame(
        {
            "regions": by_class.size(),
            "hectares": (by_class["area"].sum() / 10_000).round(2),
            "color": by_class["color"].first(),
            "class_2": by_class["class_2"].first(),
        }
    )


if __name__ == "__main__":  # needed with workers: they are new processes that import this file
    arguments = dict(enumerate(sys.argv[1:]))
    main(Path(arguments.get(0, "demo/example")), int(arguments.get(1, 1024)))
