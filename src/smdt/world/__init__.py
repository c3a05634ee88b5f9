"""Simulated places: raster layers with coordinates, and the views a street camera has of them."""
