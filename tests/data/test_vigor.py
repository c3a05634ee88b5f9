import numpy as np
import pytest

from smdt.data import open_split
from smdt.data.vigor import offset_m
from smdt.errors import DatasetError
from smdt.geometry.geodesy import distance_m


@pytest.mark.parametrize(
    ("split", "cities", "queries"),
    [
        ("same-test", ["Chicago", "NewYork", "SanFrancisco", "Seattle"], 4),
        ("same-train", ["Chicago", "NewYork", "SanFrancisco", "Seattle"], 4),
        ("cross-test", ["Chicago", "SanFrancisco"], 4),
        ("cross-train", ["NewYork", "Seattle"], 4),
    ],
)
def test_splits_take_their_cities_and_the_whole_gallery(vigor_root, split, cities, queries):
    opened = open_split("vigor", vigor_root, split)
    assert len(opened.queries) == queries
    assert len(opened.references) == 5 * len(cities)
    assert list(dict.fromkeys(one.id.split("/")[0] for one in opened.references)) == cities
    assert list(dict.fromkeys(one.id.split("/")[0] for one in opened.queries)) == cities
    assert opened.elevation_deg == 45.0


def test_labels_point_into_the_gallery_of_all_cities(vigor_root):
    opened = open_split("vigor", vigor_root, "same-train")  # each city: images 1, 2, 3, 4 of its five
    assert opened.positive.tolist() == [1, 6, 11, 16]
    assert opened.semi_positives.tolist() == [[2, 3, 4], [7, 8, 9], [12, 13, 14], [17, 18, 19]]
    test = open_split("vigor", vigor_root, "same-test")
    assert test.positive.tolist() == [0, 5, 10, 15]


def test_positions_come_from_the_file_names(vigor_root):
    opened = open_split("vigor", vigor_root, "same-train")
    query, reference = opened.queries[0], opened.references[0]
    assert (query.latitude, query.longitude) == (41.877949, -87.689396)
    assert query.path == vigor_root / "Chicago/panorama/L-1poX8YZAmBZVLMqBu-4w,41.877949,-87.689396,.jpg"
    assert (reference.latitude, reference.longitude) == (41.877971796211014, -87.68943505304125)
    assert reference.path.parent == vigor_root / "Chicago/satellite"
    assert reference.half_side_m == pytest.approx(35.6)  # 320 px · 0.1493 m · cos 41.88°


def test_convention_offset_of_plus_23_minus_29_pixels_is_south_and_east():
    # A published label: the image's centre is 41.8779718, -87.6894351, the panorama stands at 41.877949, -87.689396.
    east_m, north_m = offset_m((23.0, -29.0), 41.877971796211014)
    metres_per_px = 156543.034 * 0.744567 / 2**20  # cos 41.87797° = 0.744567
    assert east_m == pytest.approx(29 * metres_per_px, abs=1e-3)  # 3.224 m
    assert north_m == pytest.approx(-23 * metres_per_px, abs=1e-3)  # -2.557 m
    east_by_names = distance_m(41.877949, -87.689396, 41.877949, -87.68943505304125)
    south_by_names = distance_m(41.877949, -87.689396, 41.877971796211014, -87.689396)
    assert east_m == pytest.approx(float(east_by_names), abs=0.06)  # half a pixel, as labels are whole pixels
    assert -north_m == pytest.approx(float(south_by_names), abs=0.06)


def test_older_labels_count_pixels_of_fixed_degrees():
    east_m, north_m = offset_m((320.0, -320.0), 47.6, corrected=False)  # Seattle
    assert north_m == pytest.approx(-36.48, abs=0.01)  # 0.000328072° · 111194.9 m, VIGOR's 320 · 0.114 m
    assert east_m == pytest.approx(0.00043301140 * 111194.9 * 0.674302, abs=0.01)  # cos 47.6° = 0.674302


def test_offsets_of_a_split_are_those_of_the_positives(tmp_path, write):
    corrected = open_split("vigor", write.vigor(tmp_path / "new"), "same-train")
    assert corrected.query_offset_m.shape == (4, 2)
    assert corrected.query_offset_m[0] == pytest.approx([3.224, -2.557], abs=2e-3)
    older = open_split("vigor", write.vigor(tmp_path / "old", "splits", ""), "same-train")
    assert older.query_offset_m[0] == pytest.approx([3.249, -2.622], abs=2e-3)


def test_corrected_lists_are_preferred_and_may_lie_in_splits(tmp_path, write):
    both = write.vigor(tmp_path / "both", "splits", "")
    write.vigor(both)
    assert open_split("vigor", both).listing == both / "splits__corrected"
    moved = write.vigor(tmp_path / "moved", "splits", "__corrected")
    opened = open_split("vigor", moved, "same-train")
    assert opened.listing == moved / "splits"
    assert opened.query_offset_m[0] == pytest.approx([3.224, -2.557], abs=2e-3)


def _error(root, split="same-test"):
    with pytest.raises(DatasetError) as error:
        open_split("vigor", root, split)
    text = str(error.value)
    assert "\n" not in text
    assert error.value.remedy
    return text


def test_a_wrong_root_and_missing_lists_are_named(vigor_root):
    assert _error(vigor_root.parent).endswith(f"--root is one folder too high: give {vigor_root}")
    assert _error(vigor_root / "Seattle").endswith(f"--root is one folder too low: give {vigor_root}")
    labels = vigor_root / "splits__corrected/NewYork/same_area_balanced_test__corrected.txt"
    labels.unlink()
    assert _error(vigor_root) == f"{labels}: this is missing; copy it there from the published data set"
    listing = vigor_root / "splits__corrected/Chicago/satellite_list.txt"
    listing.unlink()
    assert _error(vigor_root).startswith(f"{listing}: this is missing; copy")


@pytest.mark.parametrize("edit", ["short", "word", "name"])
def test_a_malformed_label_is_named_with_its_line(vigor_root, edit):
    path = vigor_root / "splits__corrected/Seattle/pano_label_balanced__corrected.txt"
    lines = path.read_text().splitlines()
    fields = lines[1].split()
    fields = {"short": fields[:10], "word": [*fields[:2], "x", *fields[3:]], "name": ["p.jpg", *fields[1:]]}[
        edit
    ]
    path.write_text("\n".join([lines[0], " ".join(fields)]))
    text = _error(vigor_root, "cross-train")
    assert text.startswith(f"{path}:2: this line is not of the form 'ID,LATITUDE,LONGITUDE,.jpg")


@pytest.mark.parametrize("name", ["satellite_41.8.png", "satellite_41.8_west.png", "tile_41.8_-87.6.png"])
def test_a_malformed_satellite_name_is_named_with_its_line(vigor_root, name):
    path = vigor_root / "splits__corrected/Chicago/satellite_list.txt"
    path.write_text(path.read_text() + name + "\n")
    assert _error(vigor_root).startswith(
        f"{path}:6: this line is not of the form 'satellite_LATITUDE_LONGITUDE.png'"
    )


def test_a_label_of_an_unlisted_satellite_image_is_named(vigor_root):
    listing = vigor_root / "splits__corrected/Chicago/satellite_list.txt"
    names = listing.read_text().splitlines()
    listing.write_text("\n".join(names[:3]))
    text = _error(vigor_root)
    assert text.startswith(str(listing.parent / "same_area_balanced_test__corrected.txt:1: ") + names[3])
    assert "both lists from the same copy" in text


def test_repeated_names_and_missing_pictures_are_named(vigor_root):
    path = vigor_root / "splits__corrected/Chicago/same_area_balanced_test__corrected.txt"
    path.write_text(path.read_text() * 2)
    assert "query Chicago/x_Chicago is listed more than once" in _error(vigor_root)
    path.write_text(path.read_text().splitlines()[0])
    lost = vigor_root / "Seattle/panorama/x_Seattle,44.9,-87.6,.jpg"
    lost.unlink()
    assert _error(vigor_root).startswith(
        f"{lost}: this picture of split same-test is missing; complete {lost.parent}"
    )


def test_skip_missing_renumbers_what_is_left(vigor_root):
    opened = open_split("vigor", vigor_root, "same-train")
    opened.references[0].path.unlink()  # a distractor of the first city
    opened.references[2].path.unlink()  # a semi-positive of the first query
    opened.references[6].path.unlink()  # the positive of the second query
    left = open_split("vigor", vigor_root, "same-train", skip_missing=True)
    assert [query.id for query in left.queries] == [opened.queries[k].id for k in (0, 2, 3)]
    assert [left.references[k].id for k in left.positive] == [opened.references[k].id for k in (1, 11, 16)]
    assert left.semi_positives.tolist()[0] == [-1, 1, 2]
    assert [left.references[k].id for k in left.semi_positives[1]] == [
        opened.references[k].id for k in (12, 13, 14)
    ]
    assert np.array_equal(left.query_offset_m, opened.query_offset_m[[0, 2, 3]])
    assert (len(left.references), left.left_out) == (17, 1)
