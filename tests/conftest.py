"""Small models and towns that several tests share."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from smdt.retrieval.models import save_model
from smdt.retrieval.siamese import Siamese, SiameseConfig
from smdt.world.layers import BuildingTable, Place, Street, Surface
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


@dataclass(frozen=True)
class Crossroads:
    """A place source for tests: 200 m, two streets of 8 m that cross in the middle, coloured blocks between them."""

    name: str = "test crossroads"
    seed: int = 0
    longitude_deg: float = -30.0

    @property
    def key(self) -> str:
        return f"crossroads {self.seed}"

    def open(self) -> Place:
        rng = np.random.default_rng(self.seed)
        blocks = rng.integers(40, 220, (20, 20, 3)).repeat(20, 0).repeat(20, 1).astype(np.uint8)
        surface = np.full((400, 400), Surface.GRASS, np.uint8)
        height = np.zeros((400, 400), np.float32)
        for row, column in rng.integers(0, 36, (40, 2)) * 10 + 10:
            surface[row : row + 12, column : column + 12] = Surface.TREE
            height[row : row + 12, column : column + 12] = rng.uniform(3, 9)
        for road in (np.s_[192:208], np.s_[:, 192:208]):
            surface[road], height[road], blocks[road] = Surface.ROAD, 0.0, 90
        nothing = np.zeros((0, 2), np.float32)
        empty = nothing[:, 0]
        line = np.array([[0.0, 100.0], [100.0, 100.0], [200.0, 100.0]])
        return Place(
            name=self.name,
            colour=blocks,
            height_m=height,
            surface=surface,
            object_id=np.zeros((400, 400), np.int32),
            buildings=BuildingTable(nothing, nothing, empty, np.zeros((0, 3), np.float32), empty),
            streets=(Street(line, 8.0), Street(line[:, ::-1].copy(), 8.0)),
            pixel_m=0.5,
            latitude_deg=45.0,
            longitude_deg=self.longitude_deg,
        )


@pytest.fixture(scope="session")
def crossroads() -> Callable[..., Crossroads]:
    return Crossroads
