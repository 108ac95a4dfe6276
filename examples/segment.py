"""Make a scene, segment it, and say what the ground is made of.

    python examples/segment.py [FOLDER] [SIDE]

FOLDER (default: demo/example) gets scene.tif and labels.gpkg; SIDE (default: 1024) is that of the scene in pixels.
"""

import sys
from pathlib import Path

import geopandas
import pandas as pd

from geoseg.config import load_config
from geoseg.pipeline import segment_scene
from geoseg.run.executors import ClusterOptions
from geoseg.run.run import RunOptions
from geoseg.synthetic.scene import SceneOptions, write_scene


def main(folder: Path, side: int) -> None:
    """Go the whole way, from pixels to a table."""
    folder.mkdir(parents=True, exist_ok=True)
    scene, labels = folder / "scene.tif", folder / "labels.gpkg"
    scene.unlink(missing_ok=True)  # geoseg replaces no scene: it might be a picture that was flown for
    write_scene(scene, SceneOptions(shape=(side, side), seed=1))

    result = segment_scene(
        scene,
        labels,
        load_config("aerial", classify__classes=8),
        options=RunOptions(overwrite=True),
        cluster=ClusterOptions(workers=0),  # all in this process: a scene as small as this one is not worth workers
    )

    print(f"{result.n_regions} regions of {result.n_classes} classes in {labels}")
    print(ground(labels).to_string())


def ground(labels: Path) -> pd.DataFrame:
    """Return one row per class: its regions, their area in hectares, their mean colour, and its kin in the tree."""
    frame = geopandas.read_file(labels, layer="labels")
    by_class = frame.groupby("class")
    return pd.DataFrame(
        {
            "regions": by_class.size(),
            "hectares": (by_class["area"].sum() / 10_000).round(2),
            "color": by_class["color"].first(),
            "class_2": by_class["class_2"].first(),
        }
    )


if __name__ == "__main__":  # needed where there are workers: they are new processes that import this file
    arguments = dict(enumerate(sys.argv[1:]))
    main(Path(arguments.get(0, "demo/example")), int(arguments.get(1, 1024)))
