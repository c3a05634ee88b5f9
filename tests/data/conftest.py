"""Tiny data sets in each published layout, drawn from a seed."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

IDS = ["0000001", "0000002", "0000003"]
PANO_IDS = [
    "_aGbjgbHAe78_VhcPtmZQa",
    "pdZmLHYEhe2PHj_8-WHMhw",
    "VAMM6sIEbYAY5E6ZD_RMKg",
    "YL81FiK9PucIvAkr1FHkpA",
]
UTM_M = np.array([[693000.0, 6090000.0], [693024.0, 6090000.0], [693026.0, 6090000.0], [694000.0, 6091000.0]])
VIGOR_CITIES = ["Chicago", "NewYork", "SanFrancisco", "Seattle"]


def noise(seed, height_px, width_px):
    return np.random.default_rng(seed).integers(0, 256, (height_px, width_px, 3), dtype=np.uint8)


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def write_cvusa(root: Path) -> Path:
    lines = []
    for k, one in enumerate(IDS):
        save(root / f"bingmap/19/{one}.jpg", noise(k, 40, 40))
        save(root / f"streetview/panos/{one}.jpg", noise(10 + k, 28, 154))
        lines.append(f"bingmap/19/{one}.jpg,streetview/panos/{one}.jpg,streetview/annotations/{one}.png")
    save(
        root / "streetview/annotations/0000001.png",
        (np.arange(28 * 154) // 1078).reshape(28, 154).astype(np.uint8),
    )
    (root / "splits").mkdir()
    (root / "splits/val-19zl.csv").write_text("\n".join(lines) + "\n")
    (root / "splits/train-19zl.csv").write_text(lines[0] + "\n")
    return root


def cvact_content():
    """What ACT_data.mat holds: names, positions, and splits as nested structs with indices from 1."""
    return {
        "panoIds": np.array(PANO_IDS),
        "utm": UTM_M,
        "trainSet": {"trainInd": np.array([[4], [1]], dtype=np.uint32)},
        "valSet": {"valInd": np.array([[2], [3]], dtype=np.uint32)},
        "valSetAll": {"valInd": np.array([[3], [1], [2]], dtype=np.uint32)},
    }


def write_cvact(root: Path, content=None) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    savemat(root / "ACT_data.mat", cvact_content() if content is None else content)
    for folder in ("ANU_data_small", "ANU_data_test"):
        for k, one in enumerate(PANO_IDS):
            save(root / folder / f"streetview/{one}_grdView.jpg", noise(20 + k, 52, 104))
            save(root / folder / f"satview_polish/{one}_satView_polish.jpg", noise(30 + k, 44, 44))
    return root


def vigor_line(pano, satellites, offsets=((23.0, -29.0), (20.0, 300.0), (-304.0, -32.0), (-307.0, 297.0))):
    labels = " ".join(
        f"{name} {rows} {columns}" for name, (rows, columns) in zip(satellites, offsets, strict=True)
    )
    return f"{pano} {labels}\n"


def write_vigor(root: Path, lists: str = "splits__corrected", suffix: str = "__corrected") -> Path:
    for k, city in enumerate(VIGOR_CITIES):
        satellites = [
            f"satellite_{41.877971796211014 + k}_{-87.68943505304125 + 0.0004 * i}.png" for i in range(5)
        ]
        panos = [
            f"L-1poX8YZAmBZVLMqBu-4w,{41.877949 + k:.6f},-87.689396,.jpg",
            f"x_{city},{41.9 + k},-87.6,.jpg",
        ]
        for i, name in enumerate(satellites):
            save(root / city / "satellite" / name, noise(40 + k + i, 32, 32))
        for i, name in enumerate(panos):
            save(root / city / "panorama" / name, noise(50 + k + i, 32, 64))
        folder = root / lists / city
        folder.mkdir(parents=True)
        (folder / "satellite_list.txt").write_text("\n".join(satellites) + "\n")
        first = vigor_line(panos[0], satellites[1:])
        second = vigor_line(panos[1], satellites[:4])
        (folder / f"same_area_balanced_train{suffix}.txt").write_text(first)
        (folder / f"same_area_balanced_test{suffix}.txt").write_text(second)
        (folder / f"pano_label_balanced{suffix}.txt").write_text(first + second)
    return root


def write_folder(root: Path) -> Path:
    for k, one in enumerate(["a", "b"]):
        save(root / f"ground/{one}.jpg", noise(60 + k, 32, 64))
        save(root / f"aerial/{one}.png", noise(70 + k, 36, 36))
    save(root / "aerial/c.png", noise(80, 36, 36))
    return root


@pytest.fixture
def cvusa_root(tmp_path):
    return write_cvusa(tmp_path / "CVUSA")


@pytest.fixture
def cvact_root(tmp_path):
    return write_cvact(tmp_path / "CVACT")


@pytest.fixture
def vigor_root(tmp_path):
    return write_vigor(tmp_path / "VIGOR")


@pytest.fixture
def folder_root(tmp_path):
    return write_folder(tmp_path / "pairs")


@pytest.fixture
def write():
    """The writers above, for tests that need another variant."""
    from types import SimpleNamespace

    return SimpleNamespace(
        cvact=write_cvact,
        vigor=write_vigor,
        cvact_content=cvact_content,
        vigor_line=vigor_line,
        save=save,
        noise=noise,
    )
