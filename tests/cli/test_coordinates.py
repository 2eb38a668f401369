"""`isoflop coord-check`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from analysis.figures.coordinates import coordinates_figure
from analysis.figures.svg import write_png

COMMAND = [sys.executable, "-c", "from orchestrator.cli import main; main()", "coord-check"]


def test_a_figure_of_another_format_is_refused_before_anything_runs(tmp_path: Path) -> None:
    done = subprocess.run([*COMMAND, "-o", str(tmp_path / "figure.pdf")], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "expected .png or .svg" in done.stderr.replace("\n", " ")


def test_the_figure_has_a_panel_for_each_form(tmp_path: Path) -> None:
    changes = {"stream": (1.0, 1.1), "logits": (3.0, 3.1), "attention.0": (0.1, 0.1)}
    figure = coordinates_figure((32, 64), {"mup": changes, "standard": changes}, judged=("stream", "logits"))
    assert [axes.get_title("left") for axes in figure.axes] == ["mup", "standard"]
    write_png(figure, str(tmp_path / "figure.png"))
    assert (tmp_path / "figure.png").stat().st_size > 1000


@pytest.mark.slow
def test_passes_as_a_command_and_says_so_as_json(tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "--json", "-o", str(tmp_path / "figure.svg")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    found = json.loads(done.stdout)
    assert found["passed"] is True
    assert abs(found["largest_slope"]["mup"]) <= found["tolerance"] < abs(found["largest_slope"]["standard"])
    assert (tmp_path / "figure.svg").exists()
