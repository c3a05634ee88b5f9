"""Angles, coordinates, panoramas and the aerial mappings: pure functions, no files, no state."""
