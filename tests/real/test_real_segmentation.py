"""The segmenter that ships, on five real panoramas with labels, where they are at hand beside the clone."""

from pathlib import Path

import pytest
import torch

from smdt.alignment.labels import SemanticClass, read_label_map
from smdt.alignment.segmentation import label_photo, load_segmenter
from smdt.data import open_split
from smdt.data.transforms import load_image
from smdt.geometry.panorama import PanoramaFrame

ROOT = Path(__file__).resolve().parents[3] / "shared" / "real" / "cvusa"
pytestmark = pytest.mark.skipif(not ROOT.is_dir(), reason="the real pairs are not beside this clone")


def test_sky_road_and_vegetation_are_found_on_real_panoramas():
    segmenter = load_segmenter("town")
    right = counted = 0
    for query in open_split("cvusa", ROOT, "train").queries:
        assert query.labels_path is not None
        truth = read_label_map(query.labels_path, "cvusa", (224, 1232))
        found = label_photo(segmenter, load_image(query.path), PanoramaFrame(224, 1232))
        judged = torch.isin(
            truth, torch.tensor([SemanticClass.SKY, SemanticClass.ROAD, SemanticClass.VEGETATION])
        )
        right += int((found == truth)[judged].sum())
        counted += int(judged.sum())
    assert right / counted > 0.8  # 0.858 when measured; the labels are noisy
