"""A figure as SVG inside a page: text as text, the page's own colours and ids, and a name that screen readers speak."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from analysis.figures.theme import COLOURS, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}
_FONT = "var(--figure-font,'DejaVu Sans',sans-serif)"


def inline_svg(figure: Figure, *, name: str, title: str, description: str) -> str:
    """SVG text for an HTML page.

    Colours become `var(--figure-NAME, #rrggbb)`: a page that defines them for its dark mode shows the figure in them,
    any other shows the colours for white paper.

    Args:
        figure: Drawn in the colours of `theme.COLOURS`.
        name: Prefix of every id, unique in the page.
        title: Accessible name.
        description: What the figure shows, for those who do not see it.
    """
    buffer = io.StringIO()
    with styled():
        figure.savefig(buffer, format="svg", metadata=_NO_METADATA)
    drawing = buffer.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    box = re.search(r'viewBox="([^"]+)"', drawing)
    assert box is not None
    body = drawing[drawing.index(">") + 1 :]
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r"url\(#", f"url(#{name}-", body)
    body = re.sub(r'xlink:href="#', f'href="#{name}-', body)
    body = _STYLE.sub("", body)
    body = _FAMILY.sub(f"font-family: {_FONT}", body)
    for colour, code in COLOURS.items():
        body = body.replace(code, f"var(--figure-{colour},{code})")
    labels = f'<title id="{name}-title">{escape(title)}</title><desc id="{name}-desc">{escape(description)}</desc>'
    head = f'<svg viewBox="{box.group(1)}" role="img" aria-labelledby="{name}-title {name}-desc">'
    return f"{head}{labels}{body.strip()}"


_FAMILY = re.compile(r"font-family: '[^']*'")
_STYLE = re.compile(r"<defs>\s*<style.*?</style>\s*</defs>", re.DOTALL)
"""matplotlib's rule for line joins selects `*`, which would reach the whole page; pages set it for their figures
instead."""


def write_png(figure: Figure, path: str, *, dpi: int = 200) -> None:
    """Write the figure on white paper."""
    with styled():
        figure.savefig(path, format="png", dpi=dpi, facecolor="white")
