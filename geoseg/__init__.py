"""Unsupervised segmentation of rasters too large for memory into seamless, georeferenced polygons."""

__version__ = "0.1.0"
