"""Labels of panoramas by a segmenter, made once: a folder of PNGs by the picture's content and the segmenter."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from smdt.alignment.segmentation import NetworkSegmenter, Segmenter, label_images, load_segmenter
from smdt.files import write_whole
from smdt.geometry.panorama import PanoramaFrame


class PanoramaLabels:
    """The method's class of every pixel of panoramas, by a segmenter.

    Args:
        name: of the segmenter, see :func:`smdt.alignment.segmentation.load_segmenter`.
        cache: a folder that keeps what was labelled; None: nothing is kept.

    Attributes:
        fingerprint: of the segmenter.
        made: panoramas labelled since the beginning.
        found: panoramas whose labels were there.

    Raises:
        ModelError: if there is no such segmenter.
    """

    def __init__(self, name: str, cache: Path | None = None) -> None:
        self.segmenter = load_segmenter(name)
        self.fingerprint = segmenter_fingerprint(self.segmenter, name)
        self.folder = None if cache is None else cache / self.fingerprint
        self.made = self.found = 0

    def of_panorama(self, image: Tensor, elevation_deg: float) -> Tensor:
        """Labels of one panorama.

        Args:
            image: (3, H, W) uint8, 360° wide.
            elevation_deg: it reaches this far above and below the horizon.

        Returns:
            (H, W) uint8 of :class:`smdt.alignment.labels.SemanticClass`.

        Raises:
            SmdtError: if the cache cannot be written.
        """
        path = self._path(image, elevation_deg)
        there = None if path is None else _read(path, (image.shape[1], image.shape[2]))
        if there is not None:
            self.found += 1
            return there
        frame = PanoramaFrame(image.shape[1], image.shape[2], elevation_deg, -elevation_deg)
        labels = label_images(self.segmenter, image[None], frame)[0].cpu()
        self.made += 1
        if path is not None:
            write_whole(path, Image.fromarray(labels.numpy()).save)
        return labels

    def _path(self, image: Tensor, elevation_deg: float) -> Path | None:
        if self.folder is None:
            return None
        digest = hashlib.sha256(f"{tuple(image.shape)} {elevation_deg:.3f}".encode())
        digest.update(image.contiguous().numpy().tobytes())
        name = digest.hexdigest()[:32]
        return self.folder / name[:2] / f"{name}.png"


def _read(path: Path, size: tuple[int, int]) -> Tensor | None:
    """Stored labels, or None where there are none that can be read."""
    try:
        with Image.open(path) as picture:
            labels = np.asarray(picture)
    except (OSError, SyntaxError, ValueError):
        return None
    return torch.from_numpy(labels.copy()) if labels.shape == size and labels.dtype == np.uint8 else None


def segmenter_fingerprint(segmenter: Segmenter, name: str) -> str:
    """Sixteen hexadecimal digits: of config and weights, or of the name of one of the hub."""
    digest = hashlib.sha256()
    if isinstance(segmenter, NetworkSegmenter):
        digest.update(json.dumps(asdict(segmenter.network.config), sort_keys=True).encode())
        for key, tensor in sorted(segmenter.network.state_dict().items()):
            digest.update(key.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    else:
        digest.update(name.encode())
    return digest.hexdigest()[:16]
