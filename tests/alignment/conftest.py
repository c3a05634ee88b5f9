"""A small segmenter with random weights."""

from pathlib import Path

import pytest
import torch

from smdt.alignment.segmentation import save_network
from smdt.alignment.segmenter_network import SegmentationNetwork, SegmenterConfig


@pytest.fixture(scope="session")
def tiny_network() -> SegmentationNetwork:
    """A network that is fast, and not good at anything; its statistics are those of noise, so that nothing is flat."""
    torch.manual_seed(0)
    config = SegmenterConfig("tiny", "test_efficientnet", channels=8, height_px=32, width_px=128)
    network = SegmentationNetwork(config).train()
    for _ in range(3):
        network(torch.rand(2, 3, 64, 128))
    return network.eval()


@pytest.fixture(scope="session")
def tiny_segmenter_folder(
    tiny_network: SegmentationNetwork, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("segmenters") / "tiny"
    save_network(tiny_network, folder, {"made": "by a test"})
    return folder
