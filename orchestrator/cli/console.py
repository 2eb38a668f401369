"""The console that every verb prints to: no markup from data, no colours of its own, lines as long as they are."""

from __future__ import annotations

import shutil
import sys
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

PIPED_WIDTH = 160
"""Columns for tables where the output is not a terminal (chosen)."""


def console() -> Console:
    """A console on stdout; text from a store is printed as it is, never read as markup."""
    from rich.console import Console

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else PIPED_WIDTH
    return Console(highlight=False, markup=False, width=width)


def say(line: str) -> None:
    """Print a line; on a terminal it is broken between words, and goes on below its own beginning."""
    if sys.stdout.isatty():
        indent = len(line) - len(line.lstrip()) + 2
        width = max(40, shutil.get_terminal_size().columns)
        line = textwrap.fill(
            line, width, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False
        ) or line  # fmt: skip
    print(line)


def table(*columns: str, left: tuple[str, ...] = ()) -> Table:
    """A table without lines; columns are right-aligned but for `left`."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        made.add_column(name, justify="left" if name in left else "right", no_wrap=name not in left)
    return made
