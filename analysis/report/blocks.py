"""What a report is made of: sections of paragraphs, tables and figures, all plain values that the template lays out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from analysis.report.outcome import Failed

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A table of text.

    Attributes:
        caption: What it shows.
        header: Names of the columns.
        rows: Cells, each row as long as the header.
        text_columns: How many of the first columns hold words and are set left; numbers are set right.
        words_last: Whether the last column holds words too.
        folded: Whether it is shown only when asked for.
    """

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    text_columns: int = 1
    words_last: bool = False
    folded: bool = False
    kind: Literal["grid"] = field(default="grid", init=False)


@dataclass(frozen=True, kw_only=True)
class Exhibit:
    """A figure with the numbers that it shows.

    Attributes:
        name: Its name in file names and ids, such as `isoflop-curves`.
        title: Accessible name.
        description: What is to be seen, in words.
        draw: Makes the figure.
        data: Its numbers.
        main: Whether it is also written as a picture of its own.
    """

    name: str
    title: str
    description: str
    draw: Callable[[], Figure]
    data: Grid
    main: bool = False
    kind: Literal["exhibit"] = field(default="exhibit", init=False)


@dataclass(frozen=True, kw_only=True)
class Text:
    """A paragraph, the law, a list of items, commands, or a notice that something is missing."""

    text: str = ""
    items: tuple[str, ...] = ()
    kind: Literal["text", "law", "list", "numbered", "commands", "missing"] = "text"


Block = Grid | Exhibit | Text


@dataclass(frozen=True, kw_only=True)
class Section:
    """A section of the report.

    Attributes:
        name: Its anchor.
        title: Its heading.
        blocks: Its content, in order.
        answers: The sentences that the terminal repeats at the end of a run.
    """

    name: str
    title: str
    blocks: tuple[Block, ...]
    answers: tuple[str, ...] = ()


def capitalized(text: str) -> str:
    """The text with a capital at its start, as a sentence of its own has."""
    return text[:1].upper() + text[1:]


def missing(what: str, outcome: Failed) -> Text:
    """The notice that `what` could not be computed."""
    return Text(kind="missing", text=f"{capitalized(what)}: {outcome.reason}")


def grid(
    caption: str,
    header: Iterable[str],
    rows: Iterable[Iterable[str]],
    *,
    text_columns: int = 1,
    words_last: bool = False,
) -> Grid:
    """A table from any iterables."""
    return Grid(
        caption=caption,
        header=tuple(header),
        rows=tuple(tuple(row) for row in rows),
        text_columns=text_columns,
        words_last=words_last,
    )
