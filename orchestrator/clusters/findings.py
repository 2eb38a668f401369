"""What a check says about a cluster file: where, what is wrong, what was expected, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]
KeyPath = tuple[str | int, ...]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One flaw of a cluster file.

    Attributes:
        severity: An `error` would fail, cost money or open the cluster; a `warning` is to be looked at.
        code: Stable name, for programs (`head_takes_work`, `min_above_max`, ...).
        where: The key it is about, as `available_node_types.gpu.max_workers`; empty for the file as a whole.
        line: Its line in the file, counted from 1; None where there is none.
        wrong: What is wrong, with its value.
        expected: What was expected.
        remedy: What to do.
    """

    severity: Severity
    code: str
    where: str = ""
    line: int | None = None
    wrong: str
    expected: str
    remedy: str

    @property
    def message(self) -> str:
        """The three parts as one text."""
        return f"{self.wrong}; expected {self.expected}. {self.remedy}"

    def __str__(self) -> str:
        place = f"line {self.line}: " if self.line is not None else ""
        return f"{self.severity}: {place}{self.where + ': ' if self.where else ''}{self.message}"


def dotted(path: KeyPath) -> str:
    """A key path as text: `setup_commands[2]`, `provider.region`."""
    text = ""
    for key in path:
        text += f"[{key}]" if isinstance(key, int) else f".{key}" if text else key
    return text


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`Did you mean 'region'?`, or a plea to remove the key where nothing known is close."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"Did you mean {close[0]!r}?" if close else "Remove it."
