import math
import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from smdt.data import open_split
from smdt.data.images import PairImages, ViewSettings, source_frame
from smdt.errors import ConfigError, DatasetError
from smdt.geometry.mapping import aerial_grid, map_aerial
from smdt.geometry.sampling import bilinear_reference


def _safa_polar(pixels, height, width):
    """SAFA eq. 1 in NumPy, from the published formula."""
    side = pixels.shape[0]
    row, column = np.zeros((height, width)), np.zeros((height, width))
    for i in range(height):
        for j in range(width):
            radius = side / 2 * (height - 1 - i) / height
            row[i, j] = side / 2 + radius * math.cos(2 * math.pi * j / width)
            column[i, j] = side / 2 - radius * math.sin(2 * math.pi * j / width)
    return bilinear_reference(pixels.astype(np.float64), row, column)


def _write_polarmap(split, height, width):
    for reference in split.references:
        polar = _safa_polar(np.asarray(Image.open(reference.path)), height, width)
        reference.polar_path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.round(polar).astype(np.uint8)).save(reference.polar_path)


@pytest.mark.parametrize(("dataset", "split"), [("cvusa", "val"), ("cvact", "val"), ("cvact", "test")])
def test_mapping_on_the_fly_equals_the_polarmap_files(dataset, split, request):
    opened = open_split(dataset, request.getfixturevalue(f"{dataset}_root"), split)
    _write_polarmap(opened, 16, 64)
    on_the_fly = PairImages(opened, "reference", ViewSettings(16, 64))
    stored = PairImages(opened, "reference", ViewSettings(16, 64, use_polarmap=True))
    assert len(on_the_fly) == len(stored) == len(opened.references)
    for (mapped, _), (read, _) in zip(on_the_fly, stored, strict=True):
        assert mapped.shape == read.shape == (3, 16, 64)
        assert float((mapped - read).abs().max()) * 255 <= 0.501  # the files are rounded to 8 bits
        assert float(read.max()) > 0.5


def test_convention_north_of_the_aerial_image_is_the_centre_column(cvusa_root):
    quarters = np.zeros((40, 40, 3), dtype=np.uint8)
    quarters[:20, :] = (200, 0, 0)  # the northern half
    quarters[:, 20:, 1] = 100  # the eastern half
    for reference in open_split("cvusa", cvusa_root).references:
        Image.fromarray(quarters).save(reference.path, quality=100, subsampling=0)
    image = PairImages(open_split("cvusa", cvusa_root), "reference", ViewSettings(16, 64))[0][0] * 255
    columns = {"south-west": 8, "north-west": 24, "north-east": 40, "south-east": 56}
    seen = {name: [round(float(value), -1) for value in image[:2, 2, j]] for name, j in columns.items()}
    assert seen == {
        "south-west": [0, 0],
        "north-west": [200, 0],
        "north-east": [200, 100],
        "south-east": [0, 100],
    }


def test_cvact_panoramas_show_rows_208_to_623(cvact_root):
    split = open_split("cvact", cvact_root, "val")
    rows = np.broadcast_to((np.arange(832) % 251).astype(np.uint8)[:, None, None], (832, 1664, 3)).copy()
    rows[207] = rows[624] = 255
    split.queries[0].path.unlink()
    Image.fromarray(rows).save(split.queries[0].path, "PNG")
    image, index = PairImages(split, "query", ViewSettings(416, 1664))[0]
    assert index == 0
    assert (image[1, :, 7] * 255).round().int().tolist() == [row % 251 for row in range(208, 624)]


def test_cvusa_panoramas_are_used_whole_and_vigor_to_45_degrees(cvusa_root, vigor_root):
    whole = open_split("cvusa", cvusa_root)
    image = PairImages(whole, "query", ViewSettings(28, 154))[1][0]
    assert torch.equal((image * 255).round().byte().permute(1, 2, 0), _pixels(whole.queries[1].path))
    half = open_split("vigor", vigor_root)
    image = PairImages(half, "query", ViewSettings(16, 64))[1][0]
    assert torch.equal((image * 255).round().byte().permute(1, 2, 0), _pixels(half.queries[1].path)[8:24])


def _pixels(path):
    return torch.from_numpy(np.array(Image.open(path)))


def test_a_smaller_elevation_can_be_asked_for_but_not_a_larger_one(cvact_root, cvusa_root):
    split = open_split("cvact", cvact_root)
    narrow = PairImages(
        split, "query", ViewSettings(16, 104, elevation_deg=8 * 180 / 52)
    )  # 8 of 52 rows each way
    image = narrow[0][0]
    assert torch.equal((image * 255).round().byte().permute(1, 2, 0), _pixels(split.queries[0].path)[18:34])
    with pytest.raises(ConfigError, match=r"cvusa reach ±32\.7°, not ±45\.0°; choose a smaller"):
        PairImages(open_split("cvusa", cvusa_root), "query", ViewSettings(elevation_deg=45.0))


def test_default_size_is_128_by_512_in_zero_to_one(cvusa_root):
    split = open_split("cvusa", cvusa_root)
    for view in ("query", "reference"):
        image, index = PairImages(split, view)[2]
        assert (image.shape, image.dtype, index) == ((3, 128, 512), torch.float32, 2)
        assert 0.0 <= float(image.min()) < 0.2
        assert 0.8 < float(image.max()) <= 1.0


@pytest.mark.parametrize("mapping", ["perspective", "mixed"])
def test_geometry_settings_reach_the_mapping(vigor_root, mapping):
    split = open_split("vigor", vigor_root)
    settings = ViewSettings(32, 64, mapping, camera_height_m=1.8, join_m=9.0)
    image = PairImages(split, "reference", settings)[0][0]
    aerial = _pixels(split.references[0].path).permute(2, 0, 1)[None]
    grid = aerial_grid(mapping, 32, 32, 64, split.references[0].half_side_m, 1.8, 9.0, 45.0)
    assert torch.equal(image, (map_aerial(aerial, grid)[0] / 255.0).clamp(0, 1))
    override = PairImages(split, "reference", ViewSettings(32, 64, mapping, half_side_m=80.0))[0][0]
    assert not torch.equal(image, override)


def test_mapping_none_leaves_the_square_image(cvusa_root):
    split = open_split("cvusa", cvusa_root)
    image = PairImages(split, "reference", ViewSettings(mapping="none", aerial_side_px=40))[0][0]
    assert torch.equal((image * 255).round().byte().permute(1, 2, 0), _pixels(split.references[0].path))


def test_labels_come_in_the_frame_of_the_image(cvusa_root):
    queries = PairImages(open_split("cvusa", cvusa_root), "query", ViewSettings(28, 154))
    labels = queries.labels(0)
    assert labels.shape == (28, 154)
    assert [int(labels[row, 0]) for row in (0, 7, 14, 21)] == [0, 1, 2, 3]
    with pytest.raises(DatasetError, match=r"0000002\.jpg: there are no labels"):
        queries.labels(1)


def test_heading_turns_the_panorama_so_that_its_centre_looks_north(folder_root):
    marked = np.zeros((32, 64, 3), dtype=np.uint8)
    marked[:, 32] = 255  # the centre column, which looks east
    Image.fromarray(marked).save(folder_root / "ground/a.png")
    (folder_root / "pairs.csv").write_text("ground,aerial,heading_deg\na.png,a.png,90\n")
    image = PairImages(open_split("folder", folder_root), "query", ViewSettings(16, 64))[0][0]
    assert image[0, 8].nonzero().flatten().tolist() == [48]  # east is at 3W/4


def test_two_workers_load_the_same_as_none(cvusa_root):
    dataset = PairImages(open_split("cvusa", cvusa_root), "reference", ViewSettings(16, 64))
    images, indices = next(iter(DataLoader(dataset, batch_size=3, num_workers=2)))
    assert indices.tolist() == [0, 1, 2]
    assert torch.equal(images, torch.stack([image for image, _ in dataset]))


def test_images_can_be_pickled_and_end_where_they_should(vigor_root):
    dataset = PairImages(open_split("vigor", vigor_root), "query", ViewSettings(16, 64))
    copy = pickle.loads(pickle.dumps(dataset))
    assert len(list(copy)) == len(dataset) == 4
    assert torch.equal(copy[-1][0], dataset[3][0])
    assert copy[-1][1] == 3
    with pytest.raises(IndexError):
        dataset[4]


def test_a_non_square_aerial_image_is_named_when_loaded(cvusa_root, write):
    write.save(cvusa_root / "bingmap/19/0000002.jpg", write.noise(0, 40, 41))
    images = PairImages(open_split("cvusa", cvusa_root), "reference", ViewSettings(16, 64))
    with pytest.raises(
        DatasetError, match=r"0000002\.jpg: the aerial image of 41×40 pixels is not square; crop it"
    ):
        images[1]


def test_a_panorama_of_another_shape_is_named_when_loaded(cvact_root, write):
    split = open_split("cvact", cvact_root, "val")
    write.save(split.queries[1].path, write.noise(0, 52, 208))  # cropped to ±45° already
    with pytest.raises(DatasetError, match=r"_grdView\.jpg: the panorama has 208×52 pixels.*1664×832; use"):
        PairImages(split, "query")[1]


def test_frame_without_a_published_one_comes_from_the_shape(tmp_path):
    assert source_frame(224, 1232, None, tmp_path).top_deg == pytest.approx(32.727, abs=1e-3)
    assert source_frame(512, 1024, None, tmp_path).bottom_deg == -90.0
    with pytest.raises(
        DatasetError, match=r"photo\.jpg: a picture of 640×480 pixels is no 360° panorama; use equi"
    ):
        source_frame(480, 640, None, tmp_path / "photo.jpg")


def test_missing_polarmap_pictures_are_counted_when_asked_for(cvusa_root, vigor_root):
    split = open_split("cvusa", cvusa_root)
    with pytest.raises(
        DatasetError, match=r"polarmap/19/0000001\.png: 3 of 3 polar-mapped pictures are missing.*fly"
    ):
        PairImages(split, "reference", ViewSettings(use_polarmap=True))
    with pytest.raises(DatasetError, match="the layout of vigor has no polarmap folder; map on the fly"):
        PairImages(open_split("vigor", vigor_root), "reference", ViewSettings(use_polarmap=True))
    PairImages(split, "query", ViewSettings(use_polarmap=True))  # panoramas do not need them


def test_a_square_picture_in_the_polarmap_folder_is_named(cvusa_root, write):
    split = open_split("cvusa", cvusa_root)
    for reference in split.references:
        write.save(reference.polar_path, write.noise(0, 16, 16))
    with pytest.raises(DatasetError, match=r"polarmap/19/0000001\.png: this picture is square"):
        PairImages(split, "reference", ViewSettings(use_polarmap=True))[0]


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"mapping": "polor"}, "mapping 'polor' is unknown; choose from polar, perspective, mixed, none"),
        (
            {"mapping": "mixed", "use_polarmap": True},
            "cannot serve as mapping 'mixed'; choose the mapping polar",
        ),
        ({"height_px": 0}, "at least one row"),
        ({"elevation_deg": 0.0}, "elevation of 0.0°"),
    ],
)
def test_impossible_settings_are_refused(settings, what):
    with pytest.raises(ConfigError, match=what):
        ViewSettings(**settings)
