import torch
from torch import nn

from smdt.alignment.generators import Generator
from smdt.alignment.layers import doubled, pad_one


def small(**options: object) -> Generator:
    torch.manual_seed(1)
    chosen: dict[str, object] = {"filters": 4, "encoder_blocks": 1, "decoder_blocks": 1, "dropout": 0.0}
    return Generator(3, 3, **{**chosen, **options}).eval()  # type: ignore[arg-type]


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_against_the_published_generator_the_parameters_are_as_many() -> None:
    with torch.device("meta"):
        assert count(Generator(3, 6, feedback=128)) == 79_724_102
        # 47,131,462 without feedback; a three-channel output saves 3 · (128 · 9 + 1)
        assert count(Generator(3, 3)) == 47_131_462 - 3 * (128 * 9 + 1)


def test_padding_goes_round_at_the_sides_and_not_above() -> None:
    image = torch.tensor([[[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]]])
    assert pad_one(image, "zero", True)[0, 0].tolist() == [
        [0, 0, 0, 0, 0],
        [3, 1, 2, 3, 1],
        [6, 4, 5, 6, 4],
        [0, 0, 0, 0, 0],
    ]
    assert pad_one(image, "reflect", True)[0, 0, 0].tolist() == [6, 4, 5, 6, 4]
    assert pad_one(image, "zero", False)[0, 0, 1].tolist() == [0, 1, 2, 3, 0]
    assert pad_one(image, "reflect", False)[0, 0, 1].tolist() == [2, 1, 2, 3, 2]


def test_doubling_blends_the_last_column_into_the_first_when_it_wraps() -> None:
    line = torch.tensor([[[[0.0, 4.0, 8.0]]]])
    assert doubled(line, True)[0, 0, 0].tolist() == [2, 1, 3, 5, 7, 6]
    assert doubled(line, False)[0, 0, 0].tolist() == [0, 1, 3, 5, 7, 8]


def test_turning_the_input_turns_the_output_with_wrap_and_not_without() -> None:
    image = torch.rand(1, 3, 32, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        for wrap, same in ((True, True), (False, False)):
            network = small(wrap=wrap)
            turned = torch.roll(network(torch.roll(image, 16, -1)), -16, -1)
            assert torch.allclose(turned, network(image), atol=1e-4) is same


def test_outputs_are_pictures_or_probabilities() -> None:
    image = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        made = small()(image)
        assert made.shape == (2, 3, 32, 32)
        assert float(made.abs().max()) <= 1.0
        shares = small(output="softmax")(image)
    assert torch.allclose(shares.sum(1), torch.ones(2, 32, 32), atol=1e-5)


def test_feedback_changes_the_output_in_proportion_to_its_share() -> None:
    network = small(feedback=6)
    image = torch.rand(1, 3, 32, 32)
    feedback = [torch.rand(1, 6, side, side) for side in (2, 2, 4, 8, 16)]
    with torch.no_grad():
        plain, none, some = network(image), network(image, feedback, 0.0), network(image, feedback, 0.5)
    assert torch.equal(plain, none)
    assert float((some - plain).abs().mean()) > 1e-3
