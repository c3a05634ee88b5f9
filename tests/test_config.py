from dataclasses import dataclass
from pathlib import Path

import pytest

from smdt.config import load_settings
from smdt.errors import ConfigError


@dataclass(frozen=True)
class Example:
    out: Path
    steps: int = 10
    rate: float = 0.1
    seeds: tuple[int, ...] = (1,)
    fast: bool = False
    limit: float | None = None


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "settings.yaml"
    path.write_text(text)
    return path


def test_file_then_overrides_then_defaults(tmp_path: Path) -> None:
    file = written(tmp_path, "out: runs/a\nsteps: 20\nrate: 1e-4\nseeds: [3, 4]\nlimit: 2\n")
    settings = load_settings(Example, file, {"steps": 30, "rate": None})
    assert settings == Example(Path("runs/a"), 30, 1e-4, (3, 4), False, 2.0)


def test_no_file_is_needed() -> None:
    assert load_settings(Example, None, {"out": Path("x")}) == Example(Path("x"))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("out: a\nstep: 3\n", "unknown setting 'step'; known are fast, limit, out, rate, seeds, steps"),
        ("steps: 3\n", "setting 'out' is missing"),
        ("out: a\nsteps: many\n", "setting 'steps' is 'many', not int"),
        ("out: a\nsteps: 2.5\n", "setting 'steps' is 2.5, not int"),
        ("out: a\nsteps: true\n", "setting 'steps' is True, not int"),
        ("out: a\nfast: 1\n", "setting 'fast' is 1, not bool"),
        ("out: a\nseeds: [1, x]\n", "setting 'seeds' is 'x', not int"),
        ("- out\n", "is not a mapping"),
        ("out: [a\n", "is not YAML"),
    ],
)
def test_a_wrong_file_is_named_with_the_setting(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_settings(Example, written(tmp_path, text))
    assert named in str(error.value)
    assert "settings.yaml" in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.yaml: cannot be read"):
        load_settings(Example, tmp_path / "absent.yaml")
