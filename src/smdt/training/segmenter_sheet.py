"""Sample sheets of a segmenter's training."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from smdt.alignment.labels import colourise
from smdt.alignment.segmenter_network import NATIVE_MERGING
from smdt.files import write_whole


def write_sheet(path: Path, images: Tensor, labels: Tensor, found: Tensor) -> None:
    """Write panoramas, their labels and what was found, one below the other.

    Args:
        path: picture to write.
        images: (B, 3, H, W) in [0, 1].
        labels: (B, H, W) of native classes.
        found: (B, H, W) of native classes.
    """
    merging = torch.tensor(NATIVE_MERGING)
    pictures = (images.clamp(0, 1) * 255).round().byte()
    rows = torch.stack([pictures, colourise(merging[labels]), colourise(merging[found])], 1)
    sheet = rows.permute(0, 1, 3, 4, 2).flatten(0, 2)
    write_whole(path, Image.fromarray(sheet.numpy()).save)
