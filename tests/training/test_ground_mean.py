"""The mean of a model's ground strips over simulated panoramas."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from smdt.errors import ConfigError
from smdt.retrieval.embedding import embed_ground
from smdt.retrieval.siamese import Siamese
from smdt.training import ground_mean as subject
from smdt.training.ground_mean import ground_mean, write_ground_mean
from smdt.world.dataset import HELD_OUT_SEEDS


class Panoramas:
    """Stands for a simulated town: each batch is the first pictures of a generator."""

    def __init__(self, seeds: tuple[int, ...], *, config: object) -> None:
        self.seeds, self.config, self.ground = seeds, config, torch.empty(0)

    def batch(self, size: int, rng: object) -> "Panoramas":
        self.ground = torch.rand(size, 3, 32, 128, generator=torch.Generator().manual_seed(1))
        return self


@pytest.mark.parametrize("mirrored", [False, True])
def test_it_is_the_mean_over_panoramas_azimuths_and_mirror_images(
    tiny_model: Siamese, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mirrored: bool
) -> None:
    monkeypatch.setattr(subject, "PairSource", Panoramas)
    model = Siamese(replace(tiny_model.config, mirrored=mirrored)).eval()
    model.load_state_dict(tiny_model.state_dict())
    seen: list[tuple[int, int]] = []
    mean = ground_mean(model, (5,), 20, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(16, 20), (32, 32)]
    pictures = Panoramas((), config=None).batch(16, None).ground
    strips = embed_ground(tiny_model, pictures)
    if mirrored:
        strips = torch.cat([strips, embed_ground(tiny_model, pictures.flip(-1))])
    torch.testing.assert_close(mean, strips.mean((0, 2)), rtol=1e-3, atol=1e-4)
    write_ground_mean(mean, tmp_path / "mean.safetensors")
    assert torch.equal(load_file(tmp_path / "mean.safetensors")["ground_mean"], mean)


def test_towns_of_the_benchmark_are_refused(tiny_model: Siamese) -> None:
    with pytest.raises(ConfigError, match="is held out for judging"):
        ground_mean(tiny_model, (min(HELD_OUT_SEEDS),), 1)
