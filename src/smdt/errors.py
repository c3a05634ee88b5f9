"""Errors a user can act on: each names the file or option, says what failed, and what to do."""

from __future__ import annotations

from pathlib import Path


class SmdtError(Exception):
    """A mistake the user can mend. The command line prints it in one line and exits with 2.

    Args:
        what: what failed, without a full stop.
        where: the file or option it concerns.
        remedy: what the user can do about it.
    """

    def __init__(self, what: str, *, where: str | Path | None = None, remedy: str | None = None) -> None:
        self.what = what
        self.where = None if where is None else str(where)
        self.remedy = remedy
        text = what if where is None else f"{where}: {what}"
        super().__init__(text if remedy is None else f"{text}; {remedy}")


class ConfigError(SmdtError):
    """A setting or option is unknown, of the wrong type, or impossible together with another."""


class GeometryError(SmdtError):
    """An image or angle does not fit the geometry asked for."""


class ImageryError(SmdtError):
    """An image or map file cannot be read, or has no coordinates."""


class DatasetError(SmdtError):
    """A data set is incomplete, or not in its published layout."""


class LabelError(SmdtError):
    """A label map or mask does not hold the classes it should, or does not fit its image."""


class ModelError(SmdtError):
    """A model is unknown, or its weights do not fit it."""


class DescriptorIndexError(SmdtError):
    """An index folder is damaged, incomplete, or made by another model."""


class TrainingError(SmdtError):
    """A training cannot start or go on."""


class ExportError(SmdtError):
    """A model cannot be converted for another framework."""
