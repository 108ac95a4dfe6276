"""From pixels to classes: superpixels, the backprop method, harmonizing."""
