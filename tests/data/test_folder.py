import pytest

from smdt.data import open_split
from smdt.errors import DatasetError


def test_pictures_of_the_same_stem_are_a_pair(folder_root):
    opened = open_split("folder", folder_root)
    assert [query.id for query in opened.queries] == ["a", "b"]
    assert [reference.id for reference in opened.references] == ["a", "b", "c"]  # c is a distractor
    assert opened.positive.tolist() == [0, 1]
    assert opened.queries[1].path == folder_root / "ground/b.jpg"
    assert opened.references[1].path == folder_root / "aerial/b.png"
    assert opened.elevation_deg == 45.0  # full-sphere panoramas


def test_other_files_are_left_alone(folder_root):
    (folder_root / "ground/notes.txt").write_text("x")
    (folder_root / "ground/._a.jpg").write_bytes(b"x")
    assert len(open_split("folder", folder_root).queries) == 2


def test_narrow_panoramas_are_used_as_far_as_they_reach(folder_root, write):
    for one in ("a", "b"):
        write.save(folder_root / f"ground/{one}.jpg", write.noise(0, 28, 154))
    assert open_split("folder", folder_root).elevation_deg == pytest.approx(32.727, abs=1e-3)


def test_a_table_names_pairs_places_and_headings(folder_root):
    (folder_root / "pairs.csv").write_text(
        "ground,aerial,latitude,longitude,heading_deg\nb.jpg,c.png,-35.28,149.13,90\nground/a.jpg,aerial/a.png,,,\n"
    )
    opened = open_split("folder", folder_root)
    first, second = opened.queries
    assert (first.latitude, first.longitude, first.heading_deg) == (-35.28, 149.13, 90.0)
    assert (second.latitude, second.longitude, second.heading_deg) == (None, None, 0.0)
    assert second.path == folder_root / "ground/a.jpg"
    assert [reference.id for reference in opened.references] == ["c.png", "aerial/a.png"]
    assert (opened.references[0].latitude, opened.references[0].longitude) == (-35.28, 149.13)


def test_panoramas_at_two_places_may_share_an_aerial_image(folder_root):
    (folder_root / "pairs.csv").write_text(
        "ground,aerial,latitude,longitude\na.jpg,c.png,-35.28,149.13\nb.jpg,c.png,-35.29,149.13\n"
    )
    opened = open_split("folder", folder_root)
    assert opened.positive.tolist() == [0, 0]
    assert len(opened.references) == 1
    assert opened.references[0].latitude is None  # it is centred on neither


def _error(root):
    with pytest.raises(DatasetError) as error:
        open_split("folder", root)
    text = str(error.value)
    assert "\n" not in text
    assert error.value.remedy
    return text


def test_missing_folders_and_partners_are_named(folder_root, write):
    assert _error(folder_root.parent).endswith(f"--root is one folder too high: give {folder_root}")
    lone = write.save(folder_root / "ground/z.jpg", write.noise(0, 32, 64))
    assert _error(folder_root).startswith(f"{lone}: this panorama has no aerial image of the same name; add")
    opened = open_split("folder", folder_root, skip_missing=True)
    assert ([query.id for query in opened.queries], opened.left_out) == (["a", "b"], 1)
    assert [reference.id for reference in opened.references] == ["a", "b", "c"]
    (folder_root / "aerial").rename(folder_root / "sky")
    assert f"{folder_root / 'aerial'}: this is missing" in _error(folder_root)


def test_two_pictures_of_one_stem_are_named(folder_root, write):
    write.save(folder_root / "ground/a.png", write.noise(0, 32, 64))
    assert "ground/a.png: this picture and a.jpg have the same stem; rename" in _error(folder_root)


def test_an_empty_folder_is_named(folder_root):
    for path in (folder_root / "ground").iterdir():
        path.unlink()
    assert _error(folder_root).startswith(f"{folder_root}: split all lists no query")


@pytest.mark.parametrize(
    "header", ["aerial,ground", "ground", "ground,aerial,heading", "ground,aerial,latitude,latitude", ""]
)
def test_a_wrong_header_is_named(folder_root, header):
    (folder_root / "pairs.csv").write_text(header + "\n" if header else "")
    assert "pairs.csv:1: this line is not of the form 'ground,aerial[,latitude" in _error(folder_root)


@pytest.mark.parametrize(
    "line",
    [
        "b.jpg",
        "b.jpg,b.png,north,149",
        "b.jpg,b.png,-35",
        "b.jpg,b.png,95,149",
        "b.jpg,b.png,1,2,3",
        "b.jpg,b.png,nan,1",
    ],
)
def test_a_malformed_row_is_named_with_its_number(folder_root, line):
    (folder_root / "pairs.csv").write_text(f"ground,aerial,latitude,longitude\na.jpg,a.png,1,2\n{line}\n")
    assert "pairs.csv:3: this line is not of the form 'ground,aerial,latitude,longitude'" in _error(
        folder_root
    )


def test_a_listed_picture_that_is_missing_is_named(folder_root):
    (folder_root / "pairs.csv").write_text("ground,aerial\na.jpg,a.png\nq.jpg,b.png\n")
    assert _error(folder_root).startswith(
        f"{folder_root / 'ground/q.jpg'}: this picture of split all is missing"
    )


def test_a_flat_photo_among_the_panoramas_is_named(folder_root, write):
    write.save(folder_root / "ground/a.jpg", write.noise(0, 48, 64))
    assert "ground/a.jpg: a picture of 64×48 pixels is no 360° panorama" in _error(folder_root)
