"""The CVUSA reader over ten real pairs, where they are at hand beside the clone."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from smdt.data import open_split
from smdt.data.images import PairImages, ViewSettings
from smdt.geometry.mapping import polar_profile
from smdt.geometry.sampling import bilinear_reference

ROOT = Path(__file__).resolve().parents[3] / "shared" / "real" / "cvusa"
pytestmark = pytest.mark.skipif(not ROOT.is_dir(), reason="the real pairs are not beside this clone")


def test_val_has_ten_pairs_and_train_five_with_labels():
    val, train = open_split("cvusa", ROOT, "val"), open_split("cvusa", ROOT, "train")
    assert (len(val.queries), len(val.references), len(train.queries)) == (10, 10, 5)
    assert [query.id for query in val.queries] == [reference.id for reference in val.references]
    assert [query.labels_path is not None for query in val.queries].count(True) == 5
    assert all(query.labels_path is not None for query in train.queries)


def test_every_picture_loads_at_the_default_size():
    val = open_split("cvusa", ROOT)
    for view in ("query", "reference"):
        for image, _ in PairImages(val, view):
            assert image.shape == (3, 128, 512)
            assert 0.0 <= float(image.min()) < 0.3 < float(image.max()) <= 1.0


def test_labels_show_sky_at_the_top_and_road_at_the_bottom():
    queries = PairImages(open_split("cvusa", ROOT, "train"), "query")
    labels = torch.stack([queries.labels(index) for index in range(5)])
    assert set(labels.unique().tolist()) == {0, 1, 2, 3}
    top, bottom = labels[:, :32], labels[:, -32:]  # the labels are noisy: a tenth of the bottom is sky, too
    assert float((top == 0).float().mean()) > 0.6
    assert float((top == 2).float().mean()) < 0.01
    assert float((bottom == 2).float().mean()) > 0.3


def test_polar_mapping_of_a_real_tile_equals_the_formula():
    split = open_split("cvusa", ROOT)
    mapped = PairImages(split, "reference", ViewSettings(112, 616))[3][0]
    pixels = np.asarray(Image.open(split.references[3].path)).astype(np.float64)
    radius = 375.0 * polar_profile(112).numpy()[:, None]
    angle = 2 * np.pi * np.arange(616) / 616
    expected = bilinear_reference(pixels, 375.0 + radius * np.cos(angle), 375.0 - radius * np.sin(angle))
    assert torch.allclose(mapped.permute(1, 2, 0).double() * 255, torch.from_numpy(expected), atol=1e-4)
