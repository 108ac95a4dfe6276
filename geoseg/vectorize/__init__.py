"""Regions, shared borders and polygons of label arrays."""
