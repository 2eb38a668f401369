"""A run's spec as JSON, and the identity that follows from it."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
from collections.abc import Sequence
from typing import Any

from trainer.errors import SpecError
from trainer.spec import LSTM, SGD, AdamW, Data, Muon, Parametrization, RunSpec, Schedule, Transformer

KINDS: dict[str, dict[str, type]] = {
    "model": {"transformer": Transformer, "lstm": LSTM},
    "optimizer": {"adamw": AdamW, "sgd": SGD, "muon": Muon},
}
"""Parts of a spec that may be of several types, by the `kind` that JSON names; the first of a part goes without."""

PARTS: dict[str, type] = {"data": Data, "schedule": Schedule, "parametrization": Parametrization}
"""Parts of one type."""

_PART_TYPES = frozenset([*PARTS.values(), *(each for kinds in KINDS.values() for each in kinds.values())])


def to_dict(spec: RunSpec) -> dict[str, Any]:
    """The spec as JSON-ready nested dictionaries, without the `later` fields that have their default."""
    return _fields(spec)


def from_dict(values: dict[str, Any]) -> RunSpec:
    """Inverse of `to_dict`.

    Raises:
        SpecError: A part or field is missing or unknown, or a value is out of range.
    """
    try:
        return RunSpec(**{key: _part(key, value) for key, value in values.items()})
    except TypeError as error:
        raise SpecError(
            f"not a run spec: {error}. Use the JSON that `isoflop plan --json` or a commit holds."
        ) from None


def run_id(spec: RunSpec) -> str:
    """Identity of a run: 16 hexadecimal digits of the SHA-256 of its canonical JSON.

    Canonical JSON has sorted keys, no spaces, and floats in Python's shortest round-trip form, so that the
    identity is the same on every machine and Python version.
    """
    return run_ids(spec, [spec.seed])[0]


def run_ids(spec: RunSpec, seeds: Sequence[int]) -> list[str]:
    """Identities of runs that differ from `spec` in their seeds alone; see `run_id`."""
    values = to_dict(spec)
    before = _canonical({name: value for name, value in values.items() if name < "seed"})
    after = _canonical({name: value for name, value in values.items() if name > "seed"})
    begun = hashlib.sha256(f'{before[:-1]},"seed":'.encode())
    found = []
    for seed in seeds:
        digest = begun.copy()
        digest.update(f"{seed},{after[1:]}".encode())
        found.append(digest.hexdigest()[:16])
    return found


def _canonical(values: dict[str, Any]) -> str:
    return json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)


def kind_of(part: str, value: Any) -> str:
    """Which of `KINDS` the value of a spec's part is, such as "adamw" of its "optimizer"."""
    return next(kind for kind, each in KINDS[part].items() if each is value.__class__)


def significant(value: float, digits: int = 6) -> float:
    """`value` to a number of significant decimal digits.

    Values from a power rule pass through here before they enter a spec: C libraries differ in the last bit of `pow`,
    and the identity of a run must not.
    """
    if value == 0 or not math.isfinite(value):
        return value
    return float(f"{value:.{digits - 1}e}")


def _fields(value: Any) -> dict[str, Any]:
    """`dataclasses.asdict`, which copies every leaf, in a fortieth of its time: a sweep calls it for every run."""
    kind, later = _traits(value.__class__)
    found: dict[str, Any] = {} if kind is None else {"kind": kind}
    for name, part in vars(value).items():
        if name not in later or part != later[name]:
            found[name] = _fields(part) if part.__class__ in _PART_TYPES else part
    return found


@functools.cache
def _traits(part: type) -> tuple[str | None, dict[str, Any]]:
    """The kind that JSON names for a type, and the defaults of its `later` fields."""
    kinds = {each: kind for known in KINDS.values() for kind, each in list(known.items())[1:]}
    later = {each.name: each.default for each in dataclasses.fields(part) if each.metadata.get("later")}
    return kinds.get(part), later


def _part(name: str, values: Any) -> Any:
    if name in PARTS:
        return PARTS[name](**values)
    if name not in KINDS:
        return tuple(values) if isinstance(values, list) else values
    kinds, rest = KINDS[name], dict(values)
    kind = rest.pop("kind", next(iter(kinds)))
    if kind not in kinds:
        raise SpecError(f"{name} is of kind {kind!r}; expected one of {', '.join(kinds)}. Correct it.")
    return kinds[kind](**rest)
