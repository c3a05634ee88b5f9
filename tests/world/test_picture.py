import torch

from smdt.world.picture import Picture, Points, foremost


def points(pixel: list[int], depth: list[float]) -> Points:
    count = len(pixel)
    colour = torch.arange(float(count)).expand(3, -1)
    return Points(
        torch.tensor(pixel), torch.tensor(depth), colour, torch.full((count,), 5, dtype=torch.uint8)
    )


def test_the_nearest_point_of_each_pixel_wins_and_of_equals_the_first() -> None:
    shown = torch.tensor([10.0, 10.0, torch.inf, 1.0])
    several = points([1, 0, 1, 1, 2, 3], [7.0, 12.0, 3.0, 3.0, 400.0, 1.0])
    assert foremost(several.pixel, several.depth, shown).tolist() == [2, 4]


def test_a_picture_shows_what_is_nearer_than_before() -> None:
    picture = Picture.blank(4, 8, torch.device("cpu"))
    picture.paint(points([3, 1], [2.0, 20.0]))
    picture.paint_nearest(points([3, 1, 1], [5.0, 9.0, 11.0]))
    assert picture.depth.tolist() == [torch.inf, 9.0, torch.inf, 2.0]
    assert picture.colour[0].tolist() == [0.0, 1.0, 0.0, 0.0]
    assert picture.surface.tolist() == [8, 5, 8, 5]
