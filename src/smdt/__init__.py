"""SMDT: cross-view geo-localization with image alignment and a Transformer."""

__version__ = "0.1.0"
