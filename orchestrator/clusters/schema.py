"""Ray's own schema of cluster files, read from the installed Ray without importing it."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orchestrator.clusters.document import Document
from orchestrator.clusters.findings import Finding, KeyPath, did_you_mean, dotted

_TYPES = {
    "object": "a mapping",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "nothing",
}


def installed_ray() -> str | None:
    """The version of the installed Ray; None without one. Ray itself is not imported: that takes half a second."""
    try:
        return importlib.metadata.version("ray")
    except importlib.metadata.PackageNotFoundError:
        return None


@functools.cache
def ray_schema() -> dict[str, Any] | None:
    """Ray's JSON schema of cluster files; None where the installed Ray has none."""
    spec = importlib.util.find_spec("ray")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        try:
            schema = json.loads((Path(folder) / "autoscaler" / "ray-schema.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(schema, dict):
            return schema
    return None


def check_schema(document: Document) -> Iterator[Finding]:
    """What Ray's own schema refuses, in words.

    Ray checks a file after filling in its defaults; here the file is checked as it is written, so a missing cluster
    name or provider is reported instead of being called `default` or ending in a KeyError.
    """
    schema = ray_schema()
    if schema is None:
        yield document.warning(
            "no_schema",
            (),
            wrong="the installed Ray brings no schema of cluster files",
            expected="ray/autoscaler/ray-schema.json",
            remedy="Install Ray here to have every key checked; the other checks ran.",
        )
        return
    from jsonschema import Draft7Validator

    # Ray drops a `min_workers` at the top before it looks at its schema.
    written = {key: value for key, value in document.root.items() if key != "min_workers"}
    reported: set[tuple[KeyPath, str]] = set()
    for error in Draft7Validator(schema).iter_errors(written):
        for finding in _explain(document, error):
            if (key := (tuple(error.absolute_path), finding.wrong)) not in reported:
                reported.add(key)
                yield finding


def _explain(document: Document, error: Any) -> Iterator[Finding]:
    path: KeyPath = tuple(error.absolute_path)
    place, rule = dotted(path) or "the file", error.validator_value
    if error.validator == "additionalProperties":
        known = list(error.schema.get("properties", {}))
        for name in [name for name in error.instance if name not in known]:
            yield document.error(
                "unknown_key",
                (*path, name),
                wrong=f"{name!r} is no key of {place}",
                expected="one that Ray knows",
                remedy=did_you_mean(name, known),
            )
    elif error.validator == "required":
        for name in [name for name in rule if name not in error.instance]:
            yield document.error(
                "missing_key",
                path,
                wrong=f"{name!r} is missing from {place}",
                expected="a value, since Ray requires it",
                remedy=f"Add {name!r}.",
            )
    else:
        expected, remedy = _expectation(error.validator, rule)
        yield document.error(
            "wrong_value",
            path,
            wrong=f"{place} is {shown(error.instance)}",
            expected=expected,
            remedy=remedy,
        )


def _expectation(rule: str, value: object) -> tuple[str, str]:
    if rule == "type":
        names = value if isinstance(value, list) else [value]
        remedy = "Write one entry a line, each after '- '." if "array" in names else "Correct the value."
        return " or ".join(_TYPES.get(str(name), str(name)) for name in names), remedy
    if rule == "minimum":
        return f"at least {value}", "Correct the value."
    if rule == "enum" and isinstance(value, list):
        return f"one of {', '.join(map(str, value))}", "Choose one of them."
    return f"what Ray's schema asks for ({rule}: {shown(value)})", "Correct the value."


def shown(value: object) -> str:
    """A value for a message, cut to some words."""
    text = "empty" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
