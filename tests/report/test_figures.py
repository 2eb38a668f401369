"""Figures: no global state, no store's text taken for mathematics, colours that a page can change."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import numpy as np
import pytest

from analysis import notation
from analysis.figures.frontier import frontier_figure
from analysis.figures.isoflop import LeftOut, isoflop_figure
from analysis.figures.lines import Band
from analysis.figures.svg import inline_svg
from analysis.figures.theme import COLOURS, STEPS, round_ticks, step_colour
from analysis.report import Report


def test_settings_of_the_user_are_left_alone_and_pyplot_is_not_touched() -> None:
    program = """
        import sys
        import matplotlib as mpl
        mpl.rcParams["font.size"] = 31
        mpl.rcParams["axes.facecolor"] = "red"
        before = {key: mpl.rcParams[key] for key in mpl.rcParams if key != "backend"}
        import numpy as np
        from analysis.figures.frontier import frontier_figure
        from analysis.figures.lines import Band
        from analysis.figures.svg import inline_svg
        C = np.geomspace(1e10, 1e13, 5)
        band = Band(name="a", colour="blue", flops=C, values=C**0.5)
        text = inline_svg(frontier_figure([band], label="N"), name="x", title="t", description="d")
        assert "31px" not in text
        assert {key: mpl.rcParams[key] for key in before} == before
        assert "matplotlib.pyplot" not in sys.modules
        """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True)


def test_svg_is_named_themed_and_escaped() -> None:
    C = np.geomspace(1e10, 1e13, 5)
    band = Band(name="<b>$\\frac</b>", colour="orange", flops=C, values=C**0.5, low=C**0.4, high=C**0.6)
    figure = frontier_figure([band], label="N & D")
    text = inline_svg(figure, name="mine", title="a < b", description='"quoted"')
    assert text.startswith('<svg viewBox="')
    assert '<title id="mine-title">a &lt; b</title>' in text
    assert "<b>" not in text
    assert "&lt;b&gt;$\\frac&lt;/b&gt;" in text
    assert f"var(--figure-orange,{COLOURS['orange']})" in text
    assert 'id="mine-figure_1"' in text
    assert "xlink" not in text


def test_two_drawings_are_equal(report: Report) -> None:
    summary = report.summary
    texts = {inline_svg(isoflop_figure(summary.minima), name="n", title="t", description="d") for _ in range(2)}
    assert len(texts) == 1


def test_excluded_runs_are_drawn_hollow_and_named(report: Report) -> None:
    minima = report.summary.minima
    left_out = [
        LeftOut(name="a", budget=minima[0].budget, size=5e3, loss=2.5, reason="another setting is lower"),
        LeftOut(name="b", budget=1.0, size=9e3, loss=None, reason="diverged"),
    ]
    axes = isoflop_figure(minima, left_out).axes[0]
    hollow = [line for line in axes.lines if line.get_markerfacecolor() == "none" and line.get_marker() == "o"]
    assert len(hollow) == 1
    assert {"another setting is lower", "diverged"} <= {text.get_text() for text in axes.texts}


@pytest.mark.parametrize(("low", "high"), [(1.0, 1.5), (3e10, 3e11), (768, 49_000), (1e3, 1e14)])
def test_ticks_are_round_few_and_inside(low: float, high: float) -> None:
    ticks = round_ticks(low, high, 6)
    assert len(ticks) <= 6
    assert all(low <= tick <= high for tick in ticks)
    if high / low > 3:
        assert len(ticks) >= 2


def test_step_colours_span_the_scale() -> None:
    assert step_colour(0, 5) == COLOURS["step0"]
    assert step_colour(4, 5) == COLOURS[f"step{STEPS - 1}"]
    assert len({step_colour(i, STEPS) for i in range(STEPS)}) == STEPS
    assert len(set(COLOURS.values())) == len(COLOURS)


def _luminance(code: str) -> float:
    channels = [int(code[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_marks_stand_out_from_white_paper() -> None:
    marks = [code for name, code in COLOURS.items() if name not in ("rule", "paper", "step0")]
    assert min(1.05 / (_luminance(code) + 0.05) for code in marks) >= 3


def test_notation_of_intervals() -> None:
    from analysis.results import Interval

    assert notation.interval(Interval(4700, 5300), notation.count) == "4.7k to 5.3k"
    assert notation.interval(Interval(None, 5300), notation.count) == "below 5.3k"
    assert notation.interval(Interval(4700, None), notation.count) == "above 4.7k"
    assert notation.interval(None, notation.count) == "not bounded"
    assert notation.percent(0.0423, signed=True) == "+4.2 %"
    assert notation.percent(0.9) == "90 %"
    assert notation.number(None) == ""
