"""Baseline methods without a network: k-means and region merging."""
