"""Settings: frozen dataclasses, read from YAML and overridden on the command line. Imports no torch."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from smdt.errors import ConfigError

Settings = TypeVar("Settings")


def load_settings(
    kind: type[Settings], file: Path | None = None, overrides: Mapping[str, Any] | None = None
) -> Settings:
    """Build a settings dataclass from a YAML file and overrides; an override wins over the file.

    Args:
        kind: a dataclass whose fields are numbers, strings, booleans, paths, tuples of them, or a mapping.
        file: a YAML file with a mapping of field names; none for defaults alone.
        overrides: values by field name; None leaves the file's or the default.

    Raises:
        ConfigError: if the file cannot be read, a key is unknown or missing, or a value has the wrong type.
    """
    values = {name: (value, None) for name, value in _read(file).items()} if file else {}
    given: dict[str, tuple[Any, str | None]] = {
        name: (value, str(file)) for name, (value, _) in values.items()
    }
    for name, value in (overrides or {}).items():
        if value is not None:
            given[name] = (value, None)
    known = {entry.name: entry for entry in fields(kind)}  # type: ignore[arg-type]
    for name, (_, where) in given.items():
        if name not in known:
            raise ConfigError(
                f"unknown setting '{name}'",
                where=where or name,
                remedy=f"known are {', '.join(sorted(known))}",
            )
    for name, entry in known.items():
        if name not in given and entry.default is MISSING and entry.default_factory is MISSING:
            raise ConfigError(
                f"setting '{name}' is missing", where=file or f"--{name}", remedy="give it a value"
            )
    hints = get_type_hints(kind)
    return kind(**{name: _fit(value, hints[name], name, where) for name, (value, where) in given.items()})


def _read(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"cannot be read ({error.strerror})", where=file, remedy="check the path given to --config"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"is not YAML ({reason})", where=file, remedy="correct it") from error
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise ConfigError("is not a mapping of settings", where=file, remedy="write lines like `steps: 1000`")
    return content


def _fit(value: Any, hint: Any, name: str, where: str | None) -> Any:  # noqa: PLR0911 - one return a type
    """The value as the type a field declares: whole numbers serve as numbers, strings as paths, lists as tuples."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        hint = next(argument for argument in arguments if argument is not type(None))
        return _fit(value, hint, name, where)
    if origin is Mapping and isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        if arguments[1] is Any:
            return dict(value)
        return {key: _fit(item, arguments[1], f"{name}, {key}", where) for key, item in value.items()}
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_fit(item, arguments[0], name, where) for item in value)
    if hint is Path and isinstance(value, str | Path):
        return Path(value)
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if hint is float and isinstance(value, str):  # YAML 1.1 reads 1e-4 as a string
        try:
            return float(value)
        except ValueError:
            pass
    if isinstance(hint, type) and isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    wanted = getattr(hint, "__name__", str(hint))
    raise ConfigError(
        f"setting '{name}' is {value!r}, not {wanted}", where=where or f"--{name.replace('_', '-')}"
    )
