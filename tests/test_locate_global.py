"""Locating with models that give one global descriptor, which has no turn of its own."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from smdt.geometry.panorama import PanoramaFrame, turn_panorama
from smdt.imagery.photo import load_photo, photo_to_frame
from smdt.index.store import DescriptorIndex, IndexInfo
from smdt.locate import LocateConfig, locate
from smdt.retrieval.embedding import embed_ground
from smdt.retrieval.encoder import Encoder
from smdt.retrieval.models import create_model, fingerprint

PLACES, TRUE, HEADING_DEG = 4, 2, 90.0


@pytest.fixture(scope="module")
def model() -> Encoder:
    torch.manual_seed(0)
    made = create_model("transformer", {"variant": "tiny-patch", "name": "global"}).eval()
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if name.endswith("positions"):
                parameter.mul_(50.0)  # so that it matters where in the circle something stands
    return made


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A panorama of blocks of colour, looking north."""
    blocks = torch.randint(0, 256, (3, 8, 32), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)
    picture = blocks.repeat_interleave(4, 1).repeat_interleave(4, 2).permute(1, 2, 0)
    path = tmp_path_factory.mktemp("photos") / "panorama.png"
    Image.fromarray(picture.numpy()).save(path)
    return path


def framed(photo: Path, model: Encoder) -> Tensor:
    frame = PanoramaFrame(model.config.height_px, model.config.width_px)
    return photo_to_frame(load_photo(photo), frame, panorama=True).image


def index_of(model: Encoder, photo: Path) -> DescriptorIndex:
    """Tiles 1.1 km apart; the true one looks like the photo once its heading of 90° is taken away."""
    generator = torch.Generator().manual_seed(1)
    pictures = torch.rand(PLACES, 3, 32, 128, generator=generator)
    pictures[TRUE] = turn_panorama(framed(photo, model), -HEADING_DEG)
    strips = embed_ground(model, pictures)
    info = IndexInfo(1, "global", fingerprint(model), "none", "none", 60.0, 20.0, 64, (0.0, 0.0, 1.0, 1.0))
    places = torch.arange(PLACES, dtype=torch.float64) * 0.01
    return DescriptorIndex(info, strips.half(), places, places, torch.zeros(strips.shape[1:]))


def test_an_unknown_heading_is_tried_and_found(model: Encoder, photo: Path) -> None:
    [found] = locate([photo], index_of(model, photo), model, LocateConfig(panorama=True))
    assert found.candidates[0].tile == TRUE
    assert found.candidates[0].heading_deg == HEADING_DEG
    assert found.candidates[0].score == pytest.approx(1.0, abs=2e-2)


def test_a_known_heading_turns_the_photo_before_it_is_embedded(model: Encoder, photo: Path) -> None:
    index = index_of(model, photo)
    scores = {}
    for heading_deg in (HEADING_DEG, HEADING_DEG + 180.0):
        [found] = locate([photo], index, model, LocateConfig(heading_deg=heading_deg, panorama=True))
        best = next(place for place in found.candidates if place.tile == TRUE)
        scores[heading_deg] = best.score
        assert best.heading_deg == heading_deg % 360
    assert scores[HEADING_DEG] == pytest.approx(1.0, abs=2e-2)
    assert scores[HEADING_DEG + 180.0] < 0.98 * scores[HEADING_DEG]


@pytest.mark.parametrize("beyond", ["black", "mirror"])
@pytest.mark.parametrize("columns", [1, 8])
def test_a_flat_photo_is_embedded_with_what_the_model_wants_beyond_its_edges(
    photo: Path, monkeypatch: pytest.MonkeyPatch, beyond: str, columns: int
) -> None:
    settings: dict[str, object] = {"backbone": "test_efficientnet", "height_px": 32, "width_px": 128}
    family = "siamese"
    if columns == 1:
        family, settings = "transformer", {"variant": "tiny-patch"}
    model = create_model(family, {**settings, "name": "own", "beyond": beyond}).eval()
    embedded = []

    def strips(images: Tensor, view: str) -> Tensor:
        embedded.append(images[0])
        return torch.ones(len(images), model.channels, model.columns)

    monkeypatch.setattr(model, "strips", strips)
    places = torch.arange(PLACES, dtype=torch.float64) * 0.01
    shape = (model.channels, model.columns)
    info = IndexInfo(1, "own", fingerprint(model), "none", "none", 60.0, 20.0, 64, (0.0, 0.0, 1.0, 1.0))
    index = DescriptorIndex(info, torch.rand(PLACES, *shape).half(), places, places, torch.zeros(shape))
    [found] = locate([photo], index, model, LocateConfig(field_of_view_deg=90.0, heading_deg=0.0))
    assert found.field_of_view_deg == 90.0
    black = float((embedded[0].amax((0, 1)) == 0).float().mean())
    assert black == 0.0 if beyond == "mirror" else 0.7 <= black <= 0.8
    above_and_below = float((embedded[0].amax(0) == 0).float().mean()) - black
    assert above_and_below == 0.0 if beyond == "mirror" else above_and_below > 0.05


def test_a_heading_known_within_degrees_is_tried_around_itself(model: Encoder, photo: Path) -> None:
    index = index_of(model, photo)
    config = LocateConfig(heading_deg=70.0, heading_within_deg=20.0, panorama=True)
    [found] = locate([photo], index, model, config)
    assert found.candidates[0].tile == TRUE
    assert found.candidates[0].heading_deg == HEADING_DEG
    assert all(50.0 <= one.heading_deg <= 90.0 for one in found.candidates)
