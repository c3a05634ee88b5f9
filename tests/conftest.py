"""Small models and towns that several tests share."""

from pathlib import Path

import pytest
import torch

from smdt.retrieval.models import save_model
from smdt.retrieval.siamese import Siamese, SiameseConfig
from smdt.world.layers import Place
from smdt.world.town import TownConfig, build_town

torch.set_num_threads(1)  # many small operations: more threads are slower, and sums depend on their number


@pytest.fixture(scope="session")
def small_town() -> Place:
    return build_town(TownConfig(seed=5, side_m=240.0, pixel_m=0.5, style="organic"))


@pytest.fixture(scope="session")
def tiny_model() -> Siamese:
    """A siamese network with random weights: fast, and not good at anything."""
    torch.manual_seed(0)
    config = SiameseConfig(
        name="tiny",
        backbone="test_efficientnet",
        strip_channels=8,
        height_px=32,
        width_px=128,
        tile_side_m=60.0,
        tile_px=64,
    )
    return Siamese(config).eval()


@pytest.fixture(scope="session")
def tiny_model_folder(tiny_model: Siamese, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(tiny_model, folder, {"made": "by a test"})
    return folder
