"""Training of the segmenter: labels move with their pixels, steps are repeatable, the model is written."""

from pathlib import Path

import numpy as np
import pytest
import torch

from smdt.alignment.segmentation import imagenet_network, load_network
from smdt.alignment.segmenter_network import NATIVE_CLASSES
from smdt.config import load_settings
from smdt.errors import ConfigError
from smdt.training.segmenter import SegmenterTrainable, SegmenterTraining, _Batches, train_segmenter
from smdt.training.segmenter_augmentation import augment, light, move, recolour
from smdt.world.layers import Place

TINY = {
    "steps": 3, "batch": 2, "height_px": 32, "width_px": 128, "channels": 8, "town_seeds": (5,), "workers": 0,
    "log_every": 1, "plain_share": 0.5, "accelerator": "cpu",
}  # fmt: skip


@pytest.fixture(autouse=True)
def one_town(small_town: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The town that is built already, whatever seed is asked for."""
    monkeypatch.setattr("smdt.training.segmenter.build_town", lambda config: small_town)


def settings(out: Path, **changes: object) -> SegmenterTraining:
    return load_settings(SegmenterTraining, None, {"out": out, **TINY, **changes})


def scenes(size: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels in blocks, and images whose red channel is the label."""
    rng = np.random.default_rng(0)
    labels = torch.from_numpy(rng.integers(0, len(NATIVE_CLASSES), (size, 8, 16))).repeat_interleave(4, 1)
    labels = labels.repeat_interleave(8, 2)
    images = torch.stack([labels / 20.0, torch.rand(labels.shape), torch.rand(labels.shape)], 1)
    return images, labels


def test_labels_move_with_their_pixels():
    images, labels = scenes()
    moved_images, moved_labels = move(images, labels, torch.Generator().manual_seed(1))
    assert torch.equal(moved_images[:, 0], moved_labels / 20.0)
    assert not torch.equal(moved_labels, labels)


def test_colours_and_light_change_every_picture_and_no_shape():
    images, labels = scenes()
    for change in (recolour, light):
        changed = change(images, labels, torch.Generator().manual_seed(2))
        assert changed.shape == images.shape
        assert bool(torch.isfinite(changed).all())
        assert bool(((changed - images).abs().amax((1, 2, 3)) > 0.01).all())


def test_augmentation_gives_pictures_and_the_seed_decides():
    images, labels = scenes()
    once = augment(images, labels, np.random.default_rng(3))
    again = augment(images, labels, np.random.default_rng(3))
    other = augment(images, labels, np.random.default_rng(4))
    assert torch.equal(once[0], again[0])
    assert torch.equal(once[1], again[1])
    assert not torch.equal(once[0], other[0])
    assert 0.0 <= float(once[0].min()) <= float(once[0].max()) <= 1.0
    assert once[1].dtype == torch.int64


def test_a_batch_depends_on_seed_rank_and_step_alone(tmp_path: Path):
    from_first = iter(_Batches(settings(tmp_path), 0, 1))
    next(from_first)
    second = next(from_first)
    straight = next(iter(_Batches(settings(tmp_path), 0, 2)))
    other_rank = next(iter(_Batches(settings(tmp_path), 1, 2)))
    assert torch.equal(second.images, straight.images)
    assert torch.equal(second.labels, straight.labels)
    assert second.names == straight.names
    assert not torch.equal(straight.images, other_rank.images)


def test_training_writes_a_model_whose_first_blocks_are_imagenets(tmp_path: Path):
    out = tmp_path / "segmenter"
    seen = []
    network = train_segmenter(
        settings(out, picture_every=3), lambda step, figures: seen.append((step, figures))
    )
    loaded = load_network(out)
    start = imagenet_network(network.config).state_dict()
    state = loaded.state_dict()
    for name in ("encoder.conv_stem.weight", "encoder.blocks.1.0.conv_pw.weight", "encoder.bn1.running_mean"):
        assert torch.equal(state[name], start[name].half().float())
    changed = (
        state["encoder.blocks.4.0.conv_pw.weight"] - start["encoder.blocks.4.0.conv_pw.weight"].half().float()
    )
    assert float(changed.abs().max()) > 0
    assert [step for step, _ in seen] == [1, 2, 3]
    assert np.isfinite(seen[-1][1]["loss"])
    assert (out / "training.json").is_file()
    assert len(list((out / "pictures").rglob("segmenter.png"))) == 1


def test_the_detail_alone_can_learn_and_corrects_nothing_at_first(tmp_path: Path):
    first = train_segmenter(settings(tmp_path / "first")).state_dict()
    chosen = {"start": tmp_path / "first", "detail_channels": 4, "encoder_share": 0.0, "decoder_share": 0.0}
    trainable = SegmenterTrainable(settings(tmp_path / "detail", **chosen))
    images = torch.rand(2, 3, 32, 128, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        started = load_network(tmp_path / "first")(images)
        assert torch.equal(trainable.network.eval()(images), started)
    network = train_segmenter(settings(tmp_path / "detail", **chosen))
    state = network.state_dict()
    for name, tensor in first.items():
        stored = tensor.half().float() if tensor.is_floating_point() else tensor
        assert torch.equal(state[name], stored), name
    assert float(state["detail.correct.weight"].abs().max()) > 0
    with torch.inference_mode():
        assert not torch.equal(network(images), started)
        turned = network(images.roll(-32, -1)).roll(32, -1)
        torch.testing.assert_close(turned, network(images), atol=1e-4, rtol=1e-4)
    again = load_network(tmp_path / "detail")
    assert again.config.detail_channels == 4
    plain = load_network(tmp_path / "detail", detail_channels=0)
    with torch.inference_mode():
        torch.testing.assert_close(plain(images), started, atol=1e-3, rtol=1e-3)


def test_a_decoder_learns_at_a_share_of_its_rate(tmp_path: Path):
    train_segmenter(settings(tmp_path / "first"))
    trainable = SegmenterTrainable(
        settings(
            tmp_path / "next",
            start=tmp_path / "first",
            detail_channels=4,
            encoder_share=0.0,
            decoder_share=0.25,
        )
    )
    groups = trainable.optimisers["segmenter"].param_groups
    assert [round(group["initial_lr"] / 3e-3, 6) for group in groups] == [0.25, 1.0]
    assert not any(one.requires_grad for one in trainable.network.encoder.parameters())


def test_settings_that_cannot_train_are_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="town seed 2025 is held out"):
        settings(tmp_path, town_seeds=(1, 2025))
    with pytest.raises(ConfigError, match="panoramas of 100×128 pixels do not fit"):
        settings(tmp_path, height_px=100)
    with pytest.raises(ConfigError, match="a batch of 1"):
        settings(tmp_path, batch=1)
    with pytest.raises(ConfigError, match="learn nothing"):
        settings(tmp_path, encoder_share=0.0, decoder_share=0.0)
    with pytest.raises(ConfigError, match="no town is given"):
        settings(tmp_path, town_seeds=())


def test_the_configs_of_what_ships_load(tmp_path: Path):
    for name in ("segmenter", "segmenter-detail"):
        file = Path(__file__).parents[2] / "configs" / f"{name}.yaml"
        loaded = load_settings(SegmenterTraining, file, {"out": tmp_path})
        assert loaded.steps > 100
