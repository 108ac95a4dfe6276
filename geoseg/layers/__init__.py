"""Layers derived from finished polygon files."""
