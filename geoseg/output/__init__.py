"""Files that a run writes: polygons, rasters, styles, documents, models."""
