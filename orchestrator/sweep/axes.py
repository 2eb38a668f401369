"""Settings and axes of a sweep: which variants of it are planned, what each overrides, and what it is called."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.sweep.data import SYNTHETIC
from orchestrator.sweep.paths import put

Overrides = Mapping[str, Any]
"""Values by the dotted path of the key that they replace, such as {"model.activation": "swiglu"}."""

SHARED = (
    "name", "settings", "axes", "tune", "retrain", "ladder", "sampler", "sampling", "counting", "resources", "stop",
    "cost", "schedule.trunks",
    "data.source", "data.files", "data.package", "data.path", *(f"data.{key}" for key in SYNTHETIC),
)  # fmt: skip
"""Keys that all variants of a sweep share: they say how the sweep is run or read, not what one of its runs is."""

OWN_AXES = "axes"
"""Key under which a setting has values of its own for an axis, such as the rates of another optimiser."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One variant: a setting, and a value of every axis.

    Attributes:
        setting: What it is called, axes that are tuned over left out; None for a sweep of one setting.
        tuned: Values of the axes that are tuned over, as `key=value` with a space between; None without such axes.
        overrides: What it replaces.
    """

    setting: str | None
    tuned: str | None
    overrides: Overrides


def cells(
    settings: Mapping[str, Overrides], axes: Mapping[str, Sequence[Any]], tune: Collection[str]
) -> Iterator[Cell]:
    """Every setting crossed with every value of every axis, in the order of the file."""
    for setting, overrides in (settings or {"": {}}).items():
        mine = _axes_of(overrides, axes)
        names = _short_names(mine)
        plain = {key: value for key, value in overrides.items() if key != OWN_AXES}
        for values in itertools.product(*mine.values()):
            chosen = dict(zip(mine, values, strict=True))
            words = [setting, *(f"{names[key]}={_shown(chosen[key])}" for key in mine if key not in tune)]
            tuned = [f"{names[key]}={_shown(chosen[key])}" for key in mine if key in tune]
            yield Cell(
                setting=" ".join(filter(None, words)) or None,
                tuned=" ".join(tuned) or None,
                overrides={**plain, **chosen},
            )


def _axes_of(overrides: Overrides, axes: Mapping[str, Sequence[Any]]) -> Mapping[str, Sequence[Any]]:
    """The axes of one setting: the sweep's, with its own values of an axis in their place."""
    return {**axes, **overrides.get(OWN_AXES, {})}


def overridden(values: Mapping[str, Any], overrides: Overrides) -> dict[str, Any]:
    """`values` with a value replaced, or added, at every dotted path.

    Raises:
        ValueError: A path leads nowhere; in words for a user.
    """
    changed = copy.deepcopy(dict(values))
    for path, value in overrides.items():
        try:
            put(changed, path, value)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
    return changed


def refusal(settings: Mapping[str, Overrides], axes: Mapping[str, Sequence[Any]], tune: Collection[str]) -> str | None:
    """What is wrong with the settings and axes of a file beside the values in them, None for nothing."""
    for name, overrides in settings.items():
        if wrong := _wrong_setting(overrides, axes, tune):
            return f"setting {name}: {wrong}"
    if not settings and (found := _wrong_axes(axes, tune)):
        return found
    return None


def _wrong_setting(overrides: Overrides, axes: Mapping[str, Sequence[Any]], tune: Collection[str]) -> str | None:
    own = overrides.get(OWN_AXES, {})
    if not isinstance(own, Mapping) or any(not isinstance(values, list) for values in own.values()):
        return f"axes is {own!r}; expected keys with lists of values, as in the sweep's axes. Correct it."
    if key := next((key for key in overrides if key != OWN_AXES and _is_shared(key)), None):
        return f"it replaces {key}, which all settings share. Make a sweep of its own for another {key}."
    mine = _axes_of(overrides, axes)
    if key := next((key for key in overrides if key in mine), None):
        return f"it and axes both replace {key}; expected one of them. Leave it out of one."
    return _wrong_axes(mine, tune)


def _wrong_axes(axes: Mapping[str, Sequence[Any]], tune: Collection[str]) -> str | None:
    for key, values in axes.items():
        if _is_shared(key):
            return f"axes replace {key}, which all settings share. Make a sweep of its own for another {key}."
        if len({_shown(value) for value in values}) < len(values) or not values:
            return f"axis {key} has the values {list(values)}; expected at least one, each once. Correct the list."
    if key := next((key for key in tune if key not in axes), ""):
        return f"tune names {key}, which is no axis; expected one of {', '.join(axes) or 'no key'}. Add it to axes."
    for key in tune:
        if wrong := [value for value in axes[key] if not _is_positive(value)]:
            return f"tuned axis {key} has the value {wrong[0]!r}; expected positive numbers. Compare it as a setting."
    return None


def _is_shared(key: str) -> bool:
    return any(key == shared or key.startswith(f"{shared}.") for shared in SHARED) or key == "data"


def _is_positive(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0


def _short_names(axes: Mapping[str, Any]) -> dict[str, str]:
    """The last part of every axis's path, or all of it where two axes end alike."""
    lasts = [key.rpartition(".")[2] for key in axes]
    return {key: last if lasts.count(last) == 1 else key for key, last in zip(axes, lasts, strict=True)}


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), default=str)
