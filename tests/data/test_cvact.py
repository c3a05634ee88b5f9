import numpy as np
import pytest

from smdt.data import open_split
from smdt.errors import DatasetError
from smdt.retrieval.metrics import nearby_references

NAMES = [
    "_aGbjgbHAe78_VhcPtmZQa",
    "pdZmLHYEhe2PHj_8-WHMhw",
    "VAMM6sIEbYAY5E6ZD_RMKg",
    "YL81FiK9PucIvAkr1FHkpA",
]


@pytest.mark.parametrize(
    ("split", "folder", "indices"),
    [
        ("train", "ANU_data_small", [3, 0]),
        ("val", "ANU_data_small", [1, 2]),
        ("test", "ANU_data_test", [2, 0, 1]),
    ],
)
def test_each_split_takes_the_names_its_indices_from_one_say(cvact_root, split, folder, indices):
    opened = open_split("cvact", cvact_root, split)
    assert [query.id for query in opened.queries] == [NAMES[k] for k in indices]
    name = NAMES[indices[0]]
    base = cvact_root / folder
    assert opened.queries[0].path == base / f"streetview/{name}_grdView.jpg"
    assert opened.references[0].path == base / f"satview_polish/{name}_satView_polish.jpg"
    assert opened.references[0].polar_path == base / f"polarmap/{name}_satView_polish.png"
    assert opened.positive.tolist() == list(range(len(indices)))
    assert opened.elevation_deg == 45.0
    assert opened.references[0].half_side_m == pytest.approx(73.1, abs=0.1)  # 600 px · 0.1493 m · cos 35.28°


def test_only_test_counts_references_within_25_m(cvact_root):
    test = open_split("cvact", cvact_root, "test")
    assert test.hit_radius_m == 25.0
    # the queries stand at 26, 0 and 24 m east on one line: those 24 and 2 m apart are hits, those 26 m apart are not
    assert test.query_xy_m[:, 0].tolist() == [693026.0, 693000.0, 693024.0]
    assert np.array_equal(test.query_xy_m, test.reference_xy_m)
    rows, found = nearby_references(test.query_xy_m, test.reference_xy_m, test.hit_radius_m)(slice(0, 3))
    assert sorted(zip(rows.tolist(), found.tolist(), strict=True)) == [
        (0, 0),
        (0, 2),
        (1, 1),
        (1, 2),
        (2, 0),
        (2, 1),
        (2, 2),
    ]
    assert open_split("cvact", cvact_root, "val").hit_radius_m is None


def test_the_mat_file_may_lie_beside_the_small_pictures(cvact_root):
    (cvact_root / "ACT_data.mat").rename(cvact_root / "ANU_data_small/ACT_data.mat")
    assert len(open_split("cvact", cvact_root).queries) == 2


def test_names_in_a_cell_array_and_a_single_index_are_read(tmp_path, write):
    content = write.cvact_content()
    content["panoIds"] = np.array(NAMES, dtype=object)[:, None]
    content["valSet"] = {"valInd": np.array([[4.0]])}
    opened = open_split("cvact", write.cvact(tmp_path / "cells", content))
    assert [query.id for query in opened.queries] == [NAMES[3]]


def _error(root, split="val"):
    with pytest.raises(DatasetError) as error:
        open_split("cvact", root, split)
    text = str(error.value)
    assert "\n" not in text
    assert error.value.remedy
    return text


def test_a_missing_mat_file_is_named_and_a_wrong_root_told(cvact_root):
    assert _error(cvact_root.parent).endswith(f"--root is one folder too high: give {cvact_root}")
    assert _error(cvact_root / "ANU_data_small").endswith(f"--root is one folder too low: give {cvact_root}")
    (cvact_root / "ACT_data.mat").unlink()
    assert _error(cvact_root).startswith(
        f"{cvact_root / 'ACT_data.mat'}: this is missing; give --root the folder"
    )


def test_a_missing_picture_folder_is_named(cvact_root):
    (cvact_root / "ANU_data_test").rename(cvact_root / "other")
    assert f"{cvact_root / 'ANU_data_test'}: this is missing" in _error(cvact_root, "test")
    assert len(open_split("cvact", cvact_root, "val").queries) == 2


@pytest.mark.parametrize("damage", ["truncated", "text", "hdf5"])
def test_a_damaged_mat_file_is_named(cvact_root, damage):
    path = cvact_root / "ACT_data.mat"
    content = path.read_bytes()
    damaged = {
        "truncated": content[: len(content) // 2],
        "text": b"<html>not found</html>" * 20,
        "hdf5": b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(600),
    }
    path.write_bytes(damaged[damage])
    text = _error(cvact_root)
    assert text.startswith(f"{path}: this .mat file cannot be read (")
    assert "copy the file anew" in text


@pytest.mark.parametrize(
    ("name", "split"), [("panoIds", "val"), ("utm", "train"), ("valSet", "val"), ("valSetAll", "test")]
)
def test_a_mat_file_that_lacks_a_variable_is_named(tmp_path, write, name, split):
    content = write.cvact_content()
    del content[name]
    root = write.cvact(tmp_path / "lacking", content)
    assert f"{root / 'ACT_data.mat'}: the file lacks {name}; copy" in _error(root, split)


def test_a_struct_that_lacks_its_field_is_named(tmp_path, write):
    content = write.cvact_content() | {"valSet": {"trainInd": np.array([[1]])}}
    assert "ACT_data.mat: the file lacks valSet.valInd; copy" in _error(
        write.cvact(tmp_path / "field", content)
    )


@pytest.mark.parametrize(("index", "shown"), [(0, "0"), (5, "5"), (1.5, "1.5"), (-1, "-1")])
def test_an_index_out_of_range_is_named(tmp_path, write, index, shown):
    content = write.cvact_content() | {"valSet": {"valInd": np.array([[1.0], [index], [index]])}}
    text = _error(write.cvact(tmp_path / "range", content))
    assert (
        f"ACT_data.mat: valSet.valInd(2) is {shown}, not an index from 1 to 4 (2 wrong in all); copy" in text
    )


def test_the_last_index_is_in_range(tmp_path, write):
    content = write.cvact_content() | {"valSet": {"valInd": np.array([[4], [1]])}}
    opened = open_split("cvact", write.cvact(tmp_path / "last", content))
    assert [query.id for query in opened.queries] == [NAMES[3], NAMES[0]]


def test_positions_that_do_not_fit_the_names_are_named(tmp_path, write):
    content = write.cvact_content()
    content["utm"] = content["utm"][:3]
    assert "utm has 3 positions for 4 panoIds" in _error(write.cvact(tmp_path / "short", content))
    content = write.cvact_content()
    content["utm"] = content["utm"].copy()
    content["utm"][1] = np.nan
    root = write.cvact(tmp_path / "nan", content)
    assert f"utm has no position for {NAMES[1]}" in _error(root, "test")
    assert open_split("cvact", root, "val").query_xy_m is None


def test_a_repeated_index_an_empty_split_and_a_missing_picture_are_named(tmp_path, write):
    content = write.cvact_content() | {"valSet": {"valInd": np.array([[2], [2]])}}
    assert f"query {NAMES[1]} is listed more than once" in _error(write.cvact(tmp_path / "twice", content))
    content = write.cvact_content() | {"valSet": {"valInd": np.zeros((0, 1))}}
    assert "split val lists no query" in _error(write.cvact(tmp_path / "empty", content))
    root = write.cvact(tmp_path / "missing")
    path = root / f"ANU_data_small/satview_polish/{NAMES[2]}_satView_polish.jpg"
    path.unlink()
    assert _error(root).startswith(f"{path}: this picture of split val is missing; complete {path.parent}")


def test_skip_missing_keeps_positions_beside_their_pictures(cvact_root):
    (cvact_root / f"ANU_data_test/satview_polish/{NAMES[0]}_satView_polish.jpg").unlink()
    test = open_split("cvact", cvact_root, "test", skip_missing=True)
    assert [query.id for query in test.queries] == [NAMES[2], NAMES[1]]
    assert test.query_xy_m[:, 0].tolist() == [693026.0, 693024.0]
    assert test.reference_xy_m[:, 0].tolist() == [693026.0, 693024.0]
