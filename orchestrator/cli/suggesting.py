"""The verb `suggest`: which runs of one's own list to make, in which order."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import app
from orchestrator.errors import SweepError

if TYPE_CHECKING:
    from analysis.design.pool import Suggestion


@app.command()
def suggest(
    pool: Annotated[str, typer.Argument(metavar="POOL", help="Table of runs that could be made; losses are not read.")],
    spend: Annotated[str, typer.Option(help="What may be spent: a share of the pool's cost (5%), or FLOPs.")],
    target: Annotated[str | None, typer.Option(help="Table of rows whose loss is to be predicted.")] = None,
    target_flops: Annotated[float | None, typer.Option(help="Budget whose optimal size is wanted.")] = None,
    law: Annotated[
        str, typer.Option("--law", "--form", help="A form, or a published law of one; isoflop laws lists them.")
    ] = "additive",
    observed: Annotated[str | None, typer.Option(help="Runs that are known, with their losses.")] = None,
    columns: Annotated[
        str | None, typer.Option("--map", metavar="params=COL,...", help="Columns for params, tokens, flops, ....")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Order candidate runs by what they teach per FLOP about a target."""
    from analysis.design.pool import suggest as choose
    from orchestrator.cli.fits import column_map

    if (target is None) == (target_flops is None):
        given = "neither" if target is None else "both"
        raise SweepError(f"{given} of --target and --target-flops are given; expected one. Say what the runs are for.")
    made = choose(
        pool,
        law_name=law,
        target=target if target is not None else float(target_flops or 0),
        spend=spend,
        observed=observed,
        columns=column_map(columns),
    )
    if as_json:
        json.dump(made.to_json(), sys.stdout, indent=2, allow_nan=False)
        sys.stdout.write("\n")
    else:
        _show(made)


def _show(made: Suggestion) -> None:
    """Print a suggestion for a person."""
    from analysis import notation
    from orchestrator.cli import console as terminal

    console = terminal.console()
    console.print(
        f"{made.form}, for {made.target}; known: {made.prior}; standard error now {made.se_before:.3g}", soft_wrap=True
    )
    names = list(made.picks[0].columns)
    table = terminal.table("row", *names, "FLOPs", "spent", "standard error", f"{made.level:.0%} interval of N*")
    for pick in made.picks:
        ends = (
            "" if pick.low is None or pick.high is None else f"{notation.count(pick.low)} - {notation.count(pick.high)}"
        )
        values = [notation.count(pick.columns[name]) for name in names]
        table.add_row(
            str(pick.row), *values, notation.flops(pick.flops), notation.flops(pick.spent), f"{pick.se:.3g}", ends
        )
    console.print(table)
    share = made.picks[-1].spent / made.flops_pool
    console.print(f"{len(made.picks)} runs, {notation.flops(made.picks[-1].spent)} FLOPs, {share:.1%} of the pool")
