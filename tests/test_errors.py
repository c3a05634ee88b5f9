"""The form of a message: file or option, what failed, what to do, in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from smdt import errors
from smdt.errors import ConfigError, GeometryError, SmdtError

CHILDREN = [
    value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, SmdtError)
]


def test_where_what_and_remedy_make_one_line() -> None:
    error = ConfigError("is not a number", where="--fov-deg", remedy="give degrees between 1 and 179")
    assert str(error) == "--fov-deg: is not a number; give degrees between 1 and 179"


def test_parts_left_out_leave_no_punctuation() -> None:
    assert str(SmdtError("no images")) == "no images"
    assert str(SmdtError("no images", where="photos")) == "photos: no images"
    assert str(SmdtError("no images", remedy="give some")) == "no images; give some"


def test_parts_can_be_read_one_by_one() -> None:
    error = GeometryError("is not square", where=Path("city") / "tile.png", remedy="crop it")
    assert (error.what, error.where, error.remedy) == ("is not square", str(Path("city/tile.png")), "crop it")
    assert str(error) == f"{Path('city/tile.png')}: is not square; crop it"
    assert SmdtError("x").where is None
    assert SmdtError("x").remedy is None


@pytest.mark.parametrize("kind", CHILDREN)
def test_every_kind_is_caught_as_a_mistake_of_the_user(kind: type[SmdtError]) -> None:
    with pytest.raises(SmdtError, match=r"^a\.tif: is damaged; copy it again$"):
        raise kind("is damaged", where="a.tif", remedy="copy it again")
    assert kind.__doc__


def test_there_are_children() -> None:
    assert {"ConfigError", "GeometryError", "DatasetError", "ModelError"} <= {
        kind.__name__ for kind in CHILDREN
    }
