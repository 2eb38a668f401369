"""Dotted paths into the values of a sweep file, such as `data.files` or `budgets.0.seeds`."""

from __future__ import annotations

from typing import Any


def put(values: dict[str, Any], path: str, value: Any) -> None:
    """Replace the value at a path, or add it; sections that are missing on the way are made.

    Raises:
        ValueError: The path leads through something that is no section, or past the end of a list; in words for a user.
    """
    target: Any = values
    *parents, last = path.split(".")
    for parent in parents:
        at = _place(target, parent)
        if isinstance(target, dict) and not isinstance(target.get(at), (dict, list)):
            target[at] = {}
        target = target[at]
    target[_place(target, last)] = value


def _place(target: Any, part: str) -> str | int:
    """Key of a section, or number of a list's entry, that one part of a path names."""
    if isinstance(target, dict):
        return part
    if isinstance(target, list) and part.isdecimal() and int(part) < len(target):
        return int(part)
    held = f"a list of {len(target)}" if isinstance(target, list) else f"{target!r}"
    expected = f"a number from 0 to {len(target) - 1}" if isinstance(target, list) else "a section or a list before it"
    raise ValueError(f"{part} lies in {held}; expected {expected}. Correct the path.")
