"""Verbs about fits: fit, backtest, allocate, compare, laws, report. They need no store of ours: a CSV will do."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from orchestrator.cli import app
from orchestrator.errors import SweepError

if TYPE_CHECKING:
    from analysis import Runs

SourceArgument = Annotated[
    str, typer.Argument(metavar="SOURCE", help="A store, a Parquet file or folder, CSV, JSON or JSON lines.")
]
MapOption = Annotated[
    str | None, typer.Option("--map", metavar="params=COL,...", help="Columns for params, tokens, flops, budget, loss.")
]
CountOption = Annotated[
    str | None, typer.Option("--count", metavar="CONVENTION", help="Count N as blocks+head, blocks or total.")
]
SettingOption = Annotated[
    str | None, typer.Option("--setting", metavar="NAME", help="Runs of this setting alone, of a sweep with several.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


@app.command()
def fit(
    source: SourceArgument,
    columns: MapOption = None,
    setting: SettingOption = None,
    method: Annotated[str, typer.Option(help="all, envelope, isoflop or parametric.")] = "all",
    form: Annotated[str, typer.Option(help="Form of the parametric fit; isoflop laws lists them.")] = "additive",
    count: CountOption = None,
    objective: Annotated[str, typer.Option(help="huber:auto, huber:DELTA, lad or squares.")] = "huber:auto",
    space: Annotated[str, typer.Option(help="Residuals of the log or linear loss.")] = "log",
    fix: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Hold a coefficient, such as E=1.69.")
    ] = None,
    allow_mixed: Annotated[
        list[str] | None, typer.Option(help="Mix on purpose: count, flops_rule, evaluation, decay or trunks.")
    ] = None,
    duplicates: Annotated[str, typer.Option(help="A run that occurs twice: refuse, drop or keep.")] = "refuse",
    drop_highest: Annotated[int, typer.Option(help="Leave out this many of the highest losses.")] = 0,
    bootstrap: Annotated[
        int | None,
        typer.Option(min=2, help="Errors and intervals from so many bootstrap replicates, not from the profile."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the search and the bootstrap.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Fit scaling laws: three approaches, certified, with intervals."""
    from orchestrator.cli import fitting

    choice = fitting.Choice(
        method=method,
        form=form,
        objective=objective,
        space=space,
        fixed=fixed_values(fix or []),
        drop_highest=drop_highest,
        bootstrap=bootstrap,
        seed=seed,
    )
    runs = read(source, columns, count, setting=setting, allow_mixed=allow_mixed or (), duplicates=duplicates)
    document = fitting.fit(runs, choice)
    if as_json:
        print_json(document)
    else:
        fitting.show(document)


@app.command()
def backtest(
    source: SourceArgument,
    columns: MapOption = None,
    setting: SettingOption = None,
    count: CountOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fit on the small budgets, score the larger ones."""
    import analysis
    from orchestrator.cli import fitting

    document = analysis.backtest(read(source, columns, count, setting=setting)).to_json()
    if as_json:
        print_json(document)
    else:
        fitting.show_backtest(document)


@app.command()
def compare(
    source_a: SourceArgument,
    source_b: Annotated[
        str | None, typer.Argument(metavar="[SOURCE_B]", help="The other sweep; none compares two settings of one.")
    ] = None,
    columns: MapOption = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--setting", metavar="NAME", help="Twice: a setting of SOURCE, and of SOURCE_B or the same."),
    ] = None,
    evaluated_on: Annotated[
        str | None, typer.Option(metavar="NAME", help="Compare losses on this source of a mixture.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Two sweeps or settings: offset, slope, effective compute."""
    import analysis
    from analysis.settings import on_source
    from orchestrator.cli import fitting

    wanted = settings or []
    if len(wanted) not in (0, 2) or (source_b is None and not wanted):
        raise SweepError(
            f"one source with {len(wanted)} settings; expected two sources, or --setting twice. "
            "For example isoflop compare STORE --setting gelu --setting swiglu."
        )
    names = list(zip([source_a, source_b or source_a], [*wanted, None, None][:2], strict=True))
    runs = [read(source, columns, None, setting=setting) for source, setting in names]
    if evaluated_on is not None:
        runs = [on_source(each, evaluated_on) for each in runs]
    document = analysis.compare(*runs).to_json()
    if as_json:
        print_json(document)
    else:
        fitting.show_comparison(document, *(" ".join(filter(None, name)) for name in names))


@app.command()
def allocate(
    flops: Annotated[float | None, typer.Option(help="Training budget in FLOPs.")] = None,
    match_size: Annotated[
        float | None, typer.Option(help="Reach the loss of a compute-optimal model of this size.")
    ] = None,
    gpu: Annotated[str | None, typer.Option(help="Accelerator, such as h100, with --gpus, --days, --mfu.")] = None,
    gpus: Annotated[int, typer.Option(help="Number of accelerators.")] = 1,
    days: Annotated[float | None, typer.Option(help="Days of training.")] = None,
    mfu: Annotated[float, typer.Option(help="Share of peak that training reaches.")] = 0.4,
    law: Annotated[str | None, typer.Option(help="A published law; isoflop laws lists them.")] = None,
    fit_file: Annotated[str | None, typer.Option("--fit", help="A fit saved by isoflop fit --json.")] = None,
    source: Annotated[str | None, typer.Option(help="Fit these runs first.")] = None,
    columns: MapOption = None,
    setting: SettingOption = None,
    inference_tokens: Annotated[float | None, typer.Option(help="Tokens that the model will serve.")] = None,
    unique_tokens: Annotated[float | None, typer.Option(help="Distinct training tokens that there are.")] = None,
    as_json: JsonOption = False,
) -> None:
    """The size and data of the big run, for a budget."""
    import analysis
    from orchestrator.cli import allocating

    chosen = [name for name, value in (("--law", law), ("--fit", fit_file), ("--source", source)) if value]
    if len(chosen) > 1:
        raise SweepError(f"{' and '.join(chosen)} are both given; expected one law. Leave out all but one.")
    if source is not None:
        surface: Any = analysis.fit_form(read(source, columns, None, setting=setting))
    elif fit_file is not None:
        surface = allocating.law_from_file(fit_file)
    else:
        surface = law or "besiroglu2024"
    made = analysis.allocate(
        surface,
        flops=flops,
        match_size=match_size,
        inference_tokens=inference_tokens,
        unique_tokens=unique_tokens,
        gpu=gpu,
        gpus=gpus,
        days=days,
        mfu=mfu,
    )
    if as_json:
        print_json(made.to_json())
    else:
        allocating.show(made)


@app.command()
def laws(as_json: JsonOption = False) -> None:
    """Forms that can be fitted, published laws and rules, known models and accelerators."""
    from analysis import describe_laws
    from orchestrator.cli import allocating

    if as_json:
        print_json(describe_laws())
    else:
        allocating.show_laws()


@app.command()
def report(
    source: SourceArgument,
    setting: SettingOption = None,
    output: Annotated[str, typer.Option("-o", "--output", help="File to write.")] = "report.html",
) -> None:
    """Write the report: one HTML file that opens offline."""
    from analysis.report import summarize, write_report

    write_report(summarize(source, setting=setting), Path(output))
    typer.echo(f"report: {output}")


def read(
    source: str,
    columns: str | None,
    count: str | None,
    *,
    setting: str | None = None,
    allow_mixed: Collection[str] = (),
    duplicates: str = "refuse",
) -> Runs:
    """Read runs with the columns that `--map` names, of one setting where it is given."""
    from analysis import read_runs
    from analysis.conventions import MIX_KINDS

    for name, value, known in (
        *(("--allow-mixed", kind, MIX_KINDS) for kind in allow_mixed),
        ("--duplicates", duplicates, ("refuse", "drop", "keep")),
    ):
        if value not in known:
            raise SweepError(f"{name} {value}: not known; expected one of {', '.join(known)}.")

    runs = read_runs(
        source,
        columns=column_map(columns),
        count=count,
        allow_mixed=cast(Collection[Any], allow_mixed),
        duplicates=cast(Any, duplicates),
    )
    return runs if setting is None else runs.where(setting=setting)


def fixed_values(pairs: Sequence[str]) -> dict[str, float]:
    """Coefficients to hold, from `NAME=VALUE`."""
    fixed = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        try:
            fixed[name] = float(value)
        except ValueError:
            raise SweepError(f"--fix {pair}: no number; expected NAME=VALUE, for example --fix E=1.69.") from None
    return fixed


def column_map(columns: str | None) -> dict[str, str]:
    """Source column of each canonical one, from `--map`."""
    mapping = {}
    for pair in filter(None, (columns or "").split(",")):
        name, equals, column = pair.partition("=")
        if not equals:
            raise SweepError(f"--map {pair}: no column; expected NAME=COLUMN, for example --map loss=val_loss.")
        mapping[name.strip()] = column.strip()
    return mapping


def print_json(document: Any) -> None:
    """One JSON document on stdout; NaN and infinity are a bug, not a value."""
    json.dump(document, sys.stdout, indent=2, allow_nan=False)
    sys.stdout.write("\n")
