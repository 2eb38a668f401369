"""From a sweep file, or a preset's name, to a checked `Sweep`; every mistake in it is named with its line."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from orchestrator.errors import SweepError
from orchestrator.sweep import Sweep, VariantError
from orchestrator.sweep.data import Data, TextSource
from orchestrator.sweep.paths import put

Location = tuple[str | int, ...]


class _Loader(yaml.SafeLoader):
    """Safe YAML in which 1e18 is a number: PyYAML follows YAML 1.1, which wants 1.0e+18."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def load_sweep(source: str | Path, overrides: Sequence[str] = ()) -> Sweep:
    """Read and check a sweep.

    Args:
        source: Path of a YAML file, or the name of a preset that ships with the package.
        overrides: `KEY=VALUE` settings that replace a value of the file; KEY is a dotted path such as `data.files`,
            VALUE is YAML. An entry of a list goes by its number: `budgets.0.seeds`.

    Raises:
        SweepError: The file is missing or torn, a key is unknown, a value is out of range. One line per mistake.
    """
    path, text = _find(source)
    lines, values = _parse(text, path)
    for override in overrides:
        _override(values, override)
    try:
        sweep = Sweep.model_validate(values)
    except ValidationError as error:
        raise SweepError("\n".join(_explain(detail, path, lines, values) for detail in error.errors())) from None
    data = _resolved(sweep.data, Path(path).resolve().parent)
    return sweep if data == sweep.data else sweep.model_copy(update={"data": data})


def _resolved(data: Data, folder: Path) -> Data:
    """The section with paths that do not depend on the working folder."""
    mixture = {name: part.model_copy(update=_paths(part, folder)) for name, part in data.mixture.items()}
    return data.model_copy(update=_paths(data, folder) | {"mixture": mixture})


def _paths(source: TextSource, folder: Path) -> dict[str, Any]:
    files = [str(folder / name) for name in source.files]
    return {"files": files, "path": None if source.path is None else str(folder / source.path)}


def presets() -> list[str]:
    """Names of the sweeps that ship with the package."""
    folder = resources.files("orchestrator") / "presets"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def _find(source: str | Path) -> tuple[str, str]:
    name = str(source)
    if name in presets():
        return f"{name}.yaml", (resources.files("orchestrator") / "presets" / f"{name}.yaml").read_text()
    try:
        return name, Path(source).read_text(encoding="utf-8")
    except FileNotFoundError:
        close = difflib.get_close_matches(name, presets(), n=1)
        hint = f' Did you mean "{close[0]}"?' if close else ""
        raise SweepError(
            f"{name}: no such sweep file, nor a preset.{hint} Give a path, or one of: {', '.join(presets())}."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SweepError(f"{name}: cannot be read ({error}); expected a YAML text file. Check the path.") from None


def _parse(text: str, path: str) -> tuple[dict[Location, int], dict[str, Any]]:
    """Line of every key, and the values."""
    try:
        node = yaml.compose(text, Loader=_Loader)
        values = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader with one more number format
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "not readable"
        raise SweepError(f"{path}{where} is not YAML: {problem}. Check the indentation and brackets there.") from None
    if not isinstance(values, dict):
        raise SweepError(
            f"{path}: holds {type(values).__name__}; expected keys such as name and budgets. See a preset."
        )
    return dict(_lines(node, ())), values


def _lines(node: yaml.Node | None, at: Location) -> list[tuple[Location, int]]:
    found: list[tuple[Location, int]] = []
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            found.append(((*at, key.value), key.start_mark.line + 1))
            found.extend(_lines(value, (*at, key.value)))
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            found.append(((*at, index), value.start_mark.line + 1))
            found.extend(_lines(value, (*at, index)))
    return found


def _override(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise SweepError(f"--set {override}: no value; expected KEY=VALUE, for example --set data.allow_epochs=4.")
    try:
        value = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader with one more number format
    except yaml.YAMLError:
        raise SweepError(
            f"--set {override}: the value is not YAML; expected for example budgets=[1e10,3e10]."
        ) from None
    try:
        put(values, key, value)
    except ValueError as error:
        raise SweepError(f"--set {override}: {error}") from None


def _explain(detail: ErrorDetails, path: str, lines: Mapping[Location, int], values: Mapping[str, Any]) -> str:
    """One mistake as `file:line key: what, expected, do`; of a setting, each of its own on a line."""
    found = detail.get("ctx", {}).get("error")
    if isinstance(found, VariantError):
        setting = found.name.split(" ")[0]
        line = lines.get(("settings", setting)) or lines.get(("axes",))
        where = f"{path}:{line}" if line else path
        return "\n".join(_explain(inner, f"{where} setting {found.name}:", {}, found.values) for inner in found.details)
    location = _in_file(detail["loc"], values)
    line = next((lines[location[:n]] for n in range(len(location), 0, -1) if location[:n] in lines), None)
    where = f"{path}:{line}" if line else path
    key = ".".join(str(part) for part in location)
    if detail["type"] == "extra_forbidden":
        known = _known_keys(location[:-1], detail["loc"])
        close = difflib.get_close_matches(str(location[-1]), known, n=1)
        advice = f'Did you mean "{close[0]}"?' if close else f"Known here: {', '.join(known)}."
        return f"{where} {key}: unknown key. {advice}"
    if detail["type"] == "missing":
        return f"{where} {key}: missing; expected a value. Add it, as in the presets (isoflop plan quickstart)."
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "value_error":
        return f"{where} {key}: {message}" if key else f"{where} {message}"
    given = detail["input"]
    shown = f'"{given}" (text)' if isinstance(given, str) else repr(given)
    return f"{where} {key}: {shown}; {message[0].lower()}{message[1:]}. Correct the value."


def _in_file(location: Location, values: Any) -> Location:
    """The location without pydantic's names of union branches, which the file does not hold."""
    kept: list[str | int] = []
    for index, part in enumerate(location):
        last = index == len(location) - 1
        inside = (isinstance(values, Mapping) and part in values) or (
            isinstance(values, list) and isinstance(part, int) and part < len(values)
        )
        if inside:
            kept.append(part)
            values = values[part]
        elif last and isinstance(values, Mapping) and str(part).isidentifier():
            kept.append(part)
    return tuple(kept)


def _known_keys(location: Location, branches: Location) -> list[str]:
    """Keys of the section at `location`; of several kinds, of the one that `branches`, pydantic's location, names."""
    section: type[BaseModel] = Sweep
    for part in location:
        if isinstance(part, int):
            continue
        field = section.model_fields.get(part)
        inner = _sections_in(field.annotation) if field else []
        if not inner:
            break
        section = next((one for one in inner if _kind(one) in branches), inner[0])
    return sorted(section.model_fields)


def _kind(section: type[BaseModel]) -> object:
    """The name by which a section is told from others in its place; None where it has no others."""
    field = section.model_fields.get("name")
    return field.default if field else None


def _sections_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for part in getattr(annotation, "__args__", ()) for found in _sections_in(part)]
