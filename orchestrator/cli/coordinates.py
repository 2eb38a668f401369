"""The verb `coord-check`."""

from __future__ import annotations

import json
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli import app

if TYPE_CHECKING:
    from trainer.coordinates import Check

FAILED = 2
"""Exit code of a check that did not pass: it ran, and its result is not the one that was hoped for."""

FORMATS = (".png", ".svg")


class OptimizerName(Enum):
    """The optimisers that have a table."""

    adamw = "adamw"
    sgd = "sgd"
    muon = "muon"


@app.command("coord-check")
def coord_check(
    optimizer: Annotated[OptimizerName, typer.Option(help="Update rule whose table is checked.")] = OptimizerName.adamw,
    output: Annotated[Path | None, typer.Option("-o", "--output", metavar="FIGURE", help="A .png or .svg.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Whether changes of activations are the same at every width."""
    if output is not None and output.suffix not in FORMATS:
        raise typer.BadParameter(f"{output} ends in {output.suffix!r}; expected .png or .svg. Rename the figure.")
    from trainer.coordinates import check

    found = check(optimizer.value)
    if output is not None:
        _draw(found, output)
    if as_json:
        json.dump(_document(found), sys.stdout, indent=2, allow_nan=False)
        sys.stdout.write("\n")
    else:
        _show(found)
    sys.exit(0 if found.passed else FAILED)


def _document(found: Check) -> dict[str, Any]:
    from trainer.coordinates import JUDGED, SEEDS, STEPS, TOLERANCE

    return {
        "passed": found.passed,
        "optimizer": found.optimizer,
        "widths": list(found.widths),
        "steps": STEPS,
        "seeds": SEEDS,
        "tolerance": TOLERANCE,
        "judged": list(JUDGED),
        "largest_slope": {kind: found.largest_slope(kind) for kind in found.coordinates},
        "coordinates": {
            kind: {one.name: {"slope": one.slope, "changes": list(one.changes)} for one in each}
            for kind, each in found.coordinates.items()
        },
    }


def _show(found: Check) -> None:
    from analysis import notation
    from orchestrator.cli import console as terminal
    from trainer.coordinates import JUDGED, SEEDS, STEPS, TOLERANCE

    columns = ("form", "quantity", *(f"width {width}" for width in found.widths), "slope")
    table = terminal.table(*columns, left=columns[:2])
    for kind, each in found.coordinates.items():
        for one in each:
            marked = f"{one.name} *" if one.name in JUDGED else one.name
            changes = (notation.number(change) for change in one.changes)
            table.add_row(kind, marked, *changes, f"{one.slope:+.3f}")
    console = terminal.console()
    console.print(
        f"root mean square change over {STEPS} steps of {found.optimizer} near the best rate, {SEEDS} seeds "
        f"(* is judged: |slope| at most {TOLERANCE} passes)"
    )
    console.print(table)
    mup, standard = found.largest_slope("mup"), found.largest_slope("standard")
    terminal.say(f"maximal update: largest slope {mup:+.3f}; standard form: {standard:+.3f}. {_verdict(found)}")


def _verdict(found: Check) -> str:
    from trainer.coordinates import TOLERANCE

    if found.passed:
        return "Passed: changes keep their size under maximal update, and the standard form fails in the same run."
    if abs(found.largest_slope("mup")) > TOLERANCE:
        return (
            "Failed: changes follow width under maximal update. Look at the table in trainer/models/parametrization.py."
        )
    return "Failed: the standard form passes too, so that the check shows nothing. Its rate is too small."


def _draw(found: Check, output: Path) -> None:
    from analysis.figures.coordinates import coordinates_figure
    from analysis.figures.svg import write_png
    from trainer.coordinates import JUDGED

    changes = {str(kind): {one.name: one.changes for one in each} for kind, each in found.coordinates.items()}
    figure = coordinates_figure(found.widths, changes, judged=JUDGED)
    if output.suffix == ".svg":
        figure.savefig(output, format="svg")
    else:
        write_png(figure, str(output))
