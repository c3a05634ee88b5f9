"""Descriptors of aerial tiles with their coordinates, on disk: build, open, search."""
