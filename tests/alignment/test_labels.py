"""Classes, mergings, label pictures and their errors."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from smdt.alignment.labels import (
    CLASS_NAMES,
    MERGINGS,
    PALETTE,
    SemanticClass,
    colourise,
    merge_labels,
    merging_by_name,
    parse_classes,
    read_label_map,
)
from smdt.errors import DatasetError, LabelError
from smdt.world.layers import Surface

SKY, VEGETATION, ROAD, BUILDING, OBJECT, POLE, VOID = SemanticClass


def merged(label: int, label_set: str) -> int:
    return int(merge_labels(torch.tensor([[label]]), label_set))


def test_cityscapes_merges_as_published():
    groups = {
        OBJECT: (13, 14, 15, 16, 17, 18),
        ROAD: (0, 1, 9),
        POLE: (5, 6, 7, 11, 12),
        BUILDING: (2, 3, 4),
        SKY: (10,),
        VEGETATION: (8,),
        VOID: (255,),
    }
    assert sum(len(ids) for ids in groups.values()) == 20
    for wanted, ids in groups.items():
        assert {merged(one, "cityscapes") for one in ids} == {wanted}


def test_cvusa_has_four_classes_in_its_own_order():
    assert merge_labels(torch.tensor([[0, 1], [2, 3]]), "cvusa").tolist() == [
        [SKY, BUILDING],
        [ROAD, VEGETATION],
    ]


@pytest.mark.parametrize(
    ("index", "wanted"),
    [(0, BUILDING), (2, SKY), (4, VEGETATION), (6, ROAD), (9, VEGETATION), (11, ROAD), (12, OBJECT), (20, OBJECT),
     (21, VOID), (43, POLE), (80, OBJECT), (87, POLE), (93, POLE), (127, OBJECT), (136, POLE), (149, POLE)],
)  # fmt: skip
def test_ade20k_by_its_benchmark_index(index: int, wanted: SemanticClass):
    assert len(MERGINGS["ade20k"]) == 150
    assert merged(index, "ade20k") == wanted


def test_every_surface_of_the_worlds_merges():
    wanted = {
        SKY: [Surface.SKY],
        VEGETATION: [Surface.TREE, Surface.GRASS, Surface.FIELD],
        ROAD: [Surface.ROAD, Surface.PAVEMENT, Surface.PARKING, Surface.BARE],
        BUILDING: [Surface.BUILDING, Surface.FENCE],
        OBJECT: [Surface.VEHICLE, Surface.PERSON],
        POLE: [Surface.POLE],
        VOID: [Surface.WATER],
    }
    assert sorted(one for group in wanted.values() for one in group) == sorted(Surface)
    for one, group in wanted.items():
        assert {merged(surface, "worlds") for surface in group} == {one}


def test_labels_that_the_set_lacks_name_the_file_and_the_label():
    with pytest.raises(LabelError, match=r"street.png: label 4 is none of cvusa's"):
        merge_labels(torch.tensor([[0, 4]]), "cvusa", "street.png")
    with pytest.raises(LabelError, match="label -1"):
        merge_labels(torch.tensor([[-1]]), "cvusa")
    with pytest.raises(LabelError, match="label 256"):
        merge_labels(torch.tensor([[256]]), "smdt")


def test_labels_must_be_whole_numbers_of_a_known_set():
    with pytest.raises(LabelError, match="no class indices"):
        merge_labels(torch.zeros(2, 2), "cvusa")
    with pytest.raises(LabelError, match="no label set 'coco'"):
        merge_labels(torch.zeros(2, 2, dtype=torch.uint8), "coco")


def test_a_label_picture_is_read_by_its_indices_not_its_colours(tmp_path: Path):
    indices = np.array([[0, 3, 2], [1, 1, 255]], np.uint8)
    picture = Image.fromarray(indices).convert("P")
    picture.putpalette([9, 8, 7] * 256)
    picture.save(tmp_path / "labels.png")
    read = read_label_map(tmp_path / "labels.png", "cvusa", (2, 3))
    assert read.tolist() == [[SKY, VEGETATION, ROAD], [BUILDING, BUILDING, VOID]]


def test_a_colour_picture_is_no_label_picture(tmp_path: Path):
    Image.new("RGB", (3, 2)).save(tmp_path / "colour.png")
    with pytest.raises(DatasetError, match=r"colour.png: a label picture holds class indices"):
        read_label_map(tmp_path / "colour.png", "cvusa")


def test_a_label_picture_of_another_size_is_refused(tmp_path: Path):
    Image.new("L", (3, 2)).save(tmp_path / "small.png")
    with pytest.raises(LabelError, match=r"small.png: the label map has 3×2 pixels, its image 6×4"):
        read_label_map(tmp_path / "small.png", "cvusa", (4, 6))


def test_classes_by_name():
    assert parse_classes("road, Sky,road") == (ROAD, SKY)
    with pytest.raises(LabelError, match=r"--classes: there is no class 'tree'; use sky, vegetation"):
        parse_classes("sky,tree")


def test_models_that_name_their_classes():
    cityscapes = ("road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign",
                  "vegetation", "terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle",
                  "bicycle")  # fmt: skip
    assert merging_by_name(cityscapes) == MERGINGS["cityscapes"]
    assert merging_by_name(["sky", "tree; palm", "sofa", "Streetlight"]) == (SKY, VEGETATION, VOID, POLE)
    with pytest.raises(LabelError, match=r"hub:lungs: its classes \(left lung, right lung …\)"):
        merging_by_name(["left lung", "right lung"], "hub:lungs")


def test_colours_follow_the_palette():
    labels = torch.tensor([[0, 2], [6, 1]])
    picture = colourise(labels)
    assert picture.shape == (3, 2, 2)
    assert picture[:, 0, 1].tolist() == list(PALETTE[2])
    assert len(set(PALETTE)) == len(PALETTE) == len(CLASS_NAMES)
    with pytest.raises(LabelError, match="labels from 0 to 7"):
        colourise(torch.tensor([[0, 7]]))
