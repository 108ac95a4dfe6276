"""Superpixels, the backprop network and the class model; arrays in, arrays out."""
