import math

import torch

from smdt.alignment.adversarial import REAL, belonging, discriminator_loss, generator_loss, patch_loss
from smdt.alignment.discriminators import FeaturePyramidDiscriminator, Judgement


def judgement(score: float, feature: tuple[float, float]) -> Judgement:
    scores = tuple(torch.full((1, 1, 2, 2), score) for _ in range(2))
    features = tuple(torch.tensor(feature)[None, :, None, None].expand(1, 2, 2, 2) for _ in range(2))
    return Judgement(scores, features, ())


def cross_entropy(logit: float, label: float) -> float:
    share = 1 / (1 + math.exp(-logit))
    return -label * math.log(share) - (1 - label) * math.log(1 - share)


def test_against_the_published_discriminator_the_parameters_are_as_many() -> None:
    with torch.device("meta"):
        network = FeaturePyramidDiscriminator(6)
        assert sum(one.numel() for one in network.parameters()) == 4_147_073


def test_five_scales_from_half_the_size_to_a_sixteenth_twice() -> None:
    network = FeaturePyramidDiscriminator(6, filters=4)
    judged = network(torch.rand(2, 3, 32, 64), torch.rand(2, 3, 32, 64))
    sizes = [(16, 32), (8, 16), (4, 8), (2, 4), (2, 4)]
    assert [tuple(one.shape) for one in judged.scores] == [(2, 1, *size) for size in sizes]
    assert [tuple(one.shape) for one in judged.features] == [(2, 4, *size) for size in sizes]
    assert [tuple(one.shape) for one in judged.feedback] == [(2, 4, *size) for size in sizes[::-1]]
    assert not any(one.requires_grad for one in judged.feedback)


def test_turning_both_pictures_turns_the_scores_with_wrap() -> None:
    network = FeaturePyramidDiscriminator(6, filters=4, wrap=True)
    first, second = torch.rand(1, 3, 32, 64), torch.rand(1, 3, 32, 64)
    with torch.no_grad():
        scores = network(first, second).scores
        turned = network(first.roll(32, -1), second.roll(32, -1)).scores
    for one, other in zip(scores, turned, strict=True):
        assert torch.allclose(one.roll(one.shape[-1] // 2, -1), other, atol=1e-4)


def test_belonging_is_the_product_of_features_summed_over_channels() -> None:
    agreed = belonging(judgement(0.0, (1.0, 2.0)), judgement(0.0, (3.0, -0.5)))
    assert len(agreed) == 2
    assert torch.equal(agreed[0], torch.full((1, 1, 2, 2), 2.0))


def test_patch_loss_is_the_binary_cross_entropy_of_the_sum() -> None:
    scores, added = [torch.full((1, 1, 2, 2), 0.25)], [torch.full((1, 1, 2, 2), 0.5)]
    assert math.isclose(float(patch_loss(scores, added, REAL)), cross_entropy(0.75, 0.9), rel_tol=1e-6)
    assert math.isclose(float(patch_loss(scores, None, 0.0)), cross_entropy(0.25, 0.0), rel_tol=1e-6)


def test_losses_by_hand_join_each_made_thing_with_the_real_other() -> None:
    real = (judgement(1.0, (1.0, 0.0)), judgement(2.0, (0.5, 1.0)))
    made = (judgement(-1.0, (0.0, 1.0)), judgement(-2.0, (2.0, 0.0)))
    together, image, labels = 0.5, 2.0, 1.0  # real·real, real labels·made image, made labels·real image
    judged = (
        cross_entropy(1 + together, 0.9)
        + cross_entropy(2 + together, 0.9)
        + cross_entropy(-1 + labels, 0.0)
        + cross_entropy(-2 + image, 0.0)
    )
    assert math.isclose(float(discriminator_loss(real, made)), judged / 2, rel_tol=1e-6)
    fooled = cross_entropy(-1 + labels, 0.9) + cross_entropy(-2 + image, 0.9)
    assert math.isclose(float(generator_loss(real, made)), fooled, rel_tol=1e-6)
    alone = cross_entropy(-1, 0.9) + cross_entropy(-2, 0.9)
    assert math.isclose(float(generator_loss(real, made, aligned=False)), alone, rel_tol=1e-6)
