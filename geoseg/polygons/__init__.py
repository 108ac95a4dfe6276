"""From classes to polygons: regions, outlines, attributes, files."""
