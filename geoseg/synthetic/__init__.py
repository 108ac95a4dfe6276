"""Procedural scenes with known land cover."""
