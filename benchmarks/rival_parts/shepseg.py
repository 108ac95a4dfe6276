"""Segments of pyshepseg, with Python of its own: python shepseg.py SCENE SEGMENTS.img TILE OVERLAP."""

import sys

from pyshepseg import tiling

scene, segments, tile, overlap = sys.argv[1:]
tiling.doTiledShepherdSegmentation(
    scene,
    segments,
    tileSize=int(tile),
    overlapSize=int(overlap),
    minSegmentSize=64,
    fixedKMeansInit=True,
    outputDriver="HFA",
    creationOptions=["COMPRESS=YES"],
    tempfilesDriver="GTiff",
    tempfilesExt="tif",
)
