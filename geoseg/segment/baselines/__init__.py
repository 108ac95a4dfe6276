"""Classes without learning: k-means and region merging."""
