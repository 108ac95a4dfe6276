"""Evaluation of class rasters against a reference.

`scores`, `boundaries` and `evaluation` compute with arrays; `class_raster`, `reference`, `report` and `evaluate` use
files.
"""
