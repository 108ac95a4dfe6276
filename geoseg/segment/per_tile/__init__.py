"""Aligning the codes of networks that were trained on one tile each."""
