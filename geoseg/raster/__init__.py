"""Reading rasters, areas of interest and mosaics."""
