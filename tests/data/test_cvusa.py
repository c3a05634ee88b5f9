import pytest

from smdt.data import SPLITS, open_split
from smdt.errors import ConfigError, DatasetError


def test_val_and_train_are_read_as_listed(cvusa_root):
    val = open_split("cvusa", cvusa_root)
    assert (val.dataset, val.split, len(val.queries), len(val.references)) == ("cvusa", "val", 3, 3)
    assert [query.id for query in val.queries] == ["0000001", "0000002", "0000003"]
    assert val.queries[1].path == cvusa_root / "streetview/panos/0000002.jpg"
    assert val.references[1].path == cvusa_root / "bingmap/19/0000002.jpg"
    assert val.references[1].polar_path == cvusa_root / "polarmap/19/0000002.png"
    assert val.positive.tolist() == [0, 1, 2]
    assert (val.semi_positives, val.query_xy_m, val.hit_radius_m, val.left_out) == (None, None, None, 0)
    assert (val.ground_frame.width_px, val.ground_frame.height_px) == (1232, 224)
    assert val.elevation_deg == pytest.approx(32.727, abs=1e-3)
    assert all(query.heading_deg == 0.0 for query in val.queries)
    assert len(open_split("cvusa", cvusa_root, "train").queries) == 1


def test_labels_are_named_only_where_they_exist(cvusa_root):
    labelled = [query.labels_path for query in open_split("cvusa", cvusa_root).queries]
    assert labelled == [cvusa_root / "streetview/annotations/0000001.png", None, None]


def test_windows_line_ends_and_blank_lines_are_read(cvusa_root):
    listing = cvusa_root / "splits/val-19zl.csv"
    listing.write_bytes(b"\xef\xbb\xbf" + listing.read_bytes().replace(b"\n", b"\r\n") + b"\r\n")
    assert len(open_split("cvusa", cvusa_root).queries) == 3


def _error(root, split=None, kind=DatasetError):
    with pytest.raises(kind) as error:
        open_split("cvusa", root, split)
    text = str(error.value)
    assert "\n" not in text
    assert error.value.remedy
    return text


def test_a_missing_root_or_a_file_as_root_is_named(cvusa_root):
    assert _error(cvusa_root / "no") == (
        f"{cvusa_root / 'no'}: there is no such folder; give --root the folder that holds splits/, bingmap/ and "
        "streetview/"
    )
    listing = cvusa_root / "splits/val-19zl.csv"
    assert "a file, not a folder" in _error(listing)


def test_a_missing_split_file_is_named(cvusa_root):
    (cvusa_root / "splits/val-19zl.csv").unlink()
    text = _error(cvusa_root)
    assert text.startswith(f"{cvusa_root / 'splits/val-19zl.csv'}: this is missing; give --root the folder")


def test_a_root_one_folder_too_high_or_low_is_told(cvusa_root):
    assert _error(cvusa_root.parent).endswith(f"--root is one folder too high: give {cvusa_root}")
    assert _error(cvusa_root / "splits").endswith(f"--root is one folder too low: give {cvusa_root}")


@pytest.mark.parametrize(
    "line",
    [
        "bingmap/19/1.jpg,streetview/panos/1.jpg",
        "bingmap/19/1.jpg,,streetview/annotations/1.png",
        "streetview/panos/1.jpg,bingmap/19/1.jpg,streetview/annotations/1.png",
    ],
)
def test_a_malformed_line_is_named_with_its_number(cvusa_root, line):
    listing = cvusa_root / "splits/val-19zl.csv"
    lines = listing.read_text().splitlines()
    listing.write_text("\n".join([lines[0], "", line, lines[1]]))
    assert f"{listing}:3: this line is not of the form 'bingmap/19/ID.jpg," in _error(cvusa_root)


def test_a_list_that_is_no_text_is_named(cvusa_root):
    listing = cvusa_root / "splits/val-19zl.csv"
    listing.write_bytes(b"\xff\xfe\x00bing")
    assert f"{listing}: this list cannot be read" in _error(cvusa_root)


def test_an_empty_split_is_named(cvusa_root):
    (cvusa_root / "splits/val-19zl.csv").write_text("\n")
    assert "val-19zl.csv: split val lists no query; use the published file" in _error(cvusa_root)


def test_a_repeated_id_is_named(cvusa_root):
    listing = cvusa_root / "splits/val-19zl.csv"
    listing.write_text(listing.read_text() + listing.read_text().splitlines()[1])
    assert f"{listing}: query 0000002 is listed more than once; remove" in _error(cvusa_root)


def test_missing_pictures_are_counted_and_the_first_named(cvusa_root):
    (cvusa_root / "streetview/panos/0000002.jpg").unlink()
    text = _error(cvusa_root)
    assert text.startswith(
        f"{cvusa_root}/streetview/panos/0000002.jpg: this picture of split val is missing; complete"
    )
    (cvusa_root / "bingmap/19/0000001.jpg").unlink()
    text = _error(cvusa_root)
    assert "0000002.jpg: this picture of split val is missing, and so are 1 more of 6; complete" in text
    assert "--skip-missing" in text


def test_skip_missing_leaves_both_halves_of_a_pair_out(cvusa_root):
    (cvusa_root / "streetview/panos/0000002.jpg").unlink()
    split = open_split("cvusa", cvusa_root, skip_missing=True)
    assert [query.id for query in split.queries] == ["0000001", "0000003"]
    assert [reference.id for reference in split.references] == ["0000001", "0000003"]
    assert split.positive.tolist() == [0, 1]
    assert split.left_out == 1
    for one in ("0000001", "0000003"):
        (cvusa_root / f"bingmap/19/{one}.jpg").unlink()
    with pytest.raises(DatasetError, match="not one pair of split val is complete"):
        open_split("cvusa", cvusa_root, skip_missing=True)


def test_unknown_data_sets_and_splits_list_the_known_ones(cvusa_root):
    with pytest.raises(ConfigError, match="--dataset: data set 'cvusb' is unknown; choose from cvusa, cvact"):
        open_split("cvusb", cvusa_root)
    assert "--split: cvusa has no split 'test'; choose from val, train" in _error(
        cvusa_root, "test", ConfigError
    )
    assert set(SPLITS) == {"cvusa", "cvact", "vigor", "folder"}


def test_a_simulated_set_says_where_its_pairs_are_and_how_wide(cvusa_root):
    assert not open_split("cvusa", cvusa_root, "val").simulated
    ids = [one.id for one in open_split("cvusa", cvusa_root, "val").queries]
    header = "id,latitude_deg,longitude_deg,aerial_latitude_deg,aerial_longitude_deg\n"
    rows = [f"{one},{45 + i},7.5,{45.5 + i},8.5\n" for i, one in enumerate(ids)]
    (cvusa_root / "metadata.csv").write_text(header + "".join(reversed(rows)))
    assert not open_split("cvusa", cvusa_root, "val").simulated  # a table alone may be anybody's
    (cvusa_root / "plan.json").write_text('{"settings": {"tile_side_m": 130.0}}')
    split = open_split("cvusa", cvusa_root, "val")
    assert split.simulated
    assert [(q.latitude, q.longitude) for q in split.queries] == [(45.0 + i, 7.5) for i in range(len(ids))]
    assert [(r.latitude, r.longitude) for r in split.references] == [(45.5 + i, 8.5) for i in range(len(ids))]
    assert {r.half_side_m for r in split.references} == {65.0}
    (cvusa_root / "metadata.csv").write_text(header + rows[0])
    assert "metadata.csv: this file does not fit" in _error(cvusa_root, "val")
