"""How allocations and the registry of laws are shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis import notation
from orchestrator.cli import console as terminal
from orchestrator.errors import SweepError

if TYPE_CHECKING:
    from analysis.laws.allocation import Allocation
    from analysis.laws.law import Law


def law_from_file(path: str) -> Law:
    """The law in a file that `isoflop fit --json` wrote.

    Raises:
        SweepError: Not such a file.
    """
    from analysis.forms import find_form
    from analysis.laws.law import Law

    try:
        document = json.loads(Path(path).read_text())
        document = document.get("fits", {}).get("parametric", document)
        return Law(
            name=Path(path).name,
            source=path,
            form=find_form(document["form"]),
            coefficients=document["coefficients"],
            note="" if document["certificate"]["converged"] else "The fit has not converged.",
        )
    except OSError as error:
        raise SweepError(f"--fit {path}: cannot be read ({error.strerror}); expected a file. Check the path.") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise SweepError(
            f"--fit {path}: not a parametric fit; expected the JSON of isoflop fit --method parametric. Make it anew."
        ) from None


def show(made: Allocation) -> None:
    """Print an allocation for a person."""
    console = terminal.console()
    console.print(f"{made.goal} by {made.law}, FLOPs per token: {made.shape_rule}")
    table = terminal.table("", "value", "interval", left=("",))
    shown = {
        "params": notation.count,
        "tokens": notation.count,
        "loss": notation.loss,
        "flops": notation.flops,
    }
    for name, write in shown.items():
        value = getattr(made, name)
        if value is None:
            continue
        interval = made.intervals.get(name)
        ends = [] if interval is None else [interval.low, interval.high]
        low, high = (("open" if end is None else write(end)) for end in ends) if ends else ("", "")
        table.add_row(name, write(value), f"[{low}, {high}] {interval.level:.0%}" if interval else "")
    table.add_row("tokens per param", f"{made.tokens_per_param:.1f}", "")
    if made.epochs is not None:
        table.add_row("epochs", f"{made.epochs:.2f}", "")
    console.print(table)
    if made.band:
        sizes = " to ".join(notation.count(end) for end in made.band)
        console.print(f"within .01 nats at {made.band_at}: {sizes} params")
    if made.size_costs:
        costs = terminal.table("size, of the best", "loss above the best", "FLOPs more for the same loss")
        for cost in made.size_costs:
            more = "not reached" if cost.extra_compute is None else f"{cost.extra_compute:+.1%}"
            loss = "too dear to serve" if cost.extra_loss is None else f"{cost.extra_loss:.4f}"
            costs.add_row(f"{cost.factor:g} x", loss, more)
        console.print(costs)
    if made.inference is not None:
        served = made.inference
        console.print(
            f"to serve {notation.count(served.tokens)} tokens: {notation.flops(served.total_flops)} FLOPs in all, "
            f"{served.saved:.1%} less than the train-optimal {notation.count(served.baseline_params)} params on "
            f"{notation.count(served.baseline_tokens)} tokens",
            soft_wrap=True,
        )
    for model in made.neighbours:
        tokens, ratio = notation.count(model.tokens), model.tokens / model.params
        console.print(f"near: {model.name}  {notation.count(model.params)} params, {tokens} tokens ({ratio:.0f} each)")
    for warning in made.warnings:
        console.print(f"{warning.code}: {warning.message}", soft_wrap=True)


def show_laws() -> None:
    """Print forms, published laws and rules, known models and accelerators."""
    from analysis import describe_laws

    console = terminal.console()
    document = describe_laws()
    console.print("Forms that can be fitted (isoflop fit --form NAME):")
    for form in document["forms"]:
        console.print(f"  {form['name']:<16} {form['formula']}\n{'':19}{form['source']}", soft_wrap=True)
    console.print("\nPublished laws (isoflop allocate --law NAME):")
    for law in document["laws"]:
        _show_entry(law["name"], [f"{name} {value:.6g}" for name, value in law["coefficients"].items()], law)
    console.print("\nPublished rules for learning rate, batch, steps and vocabulary (analysis.recipe):")
    for recipe in document["recipes"]:
        _show_entry(recipe["name"], [f"{name} = {_monomial(rule)}" for name, rule in recipe["outputs"].items()], recipe)
    exponents = document["exponents"]
    console.print("\nPowers of error in training data, by domain:")
    _show_entry("hestness2017", [f"{name} {value:g}" for name, value in exponents["values"].items()], exponents)
    console.print("\nKnown models, tokens per parameter:")
    for model in document["models"]:
        sizes = f"{notation.count(model['params'])} params, {notation.count(model['tokens'])} tokens"
        source = model["source"] + ("" if model["compared"] else "; from memory")
        console.print(f"  {model['name']:<18}{model['tokens_per_param']:>7.1f}  {sizes} ({source})", soft_wrap=True)
    console.print("\nAccelerators, dense bf16 peak (isoflop allocate --gpu NAME):")
    for name, device in document["accelerators"].items():
        console.print(
            f"  {name:<12}{device['flops_per_second'] / 1e12:>8.4g} TFLOP/s  {device['source']}", soft_wrap=True
        )


def _show_entry(name: str, values: list[str], entry: dict[str, Any]) -> None:
    console = terminal.console()
    console.print(f"  {name:<22} {', '.join(values)}\n{'':25}{entry['source']}", soft_wrap=True)
    if entry.get("note"):
        console.print(f"{'':25}{entry['note']}", soft_wrap=True)


def _monomial(rule: dict[str, Any]) -> str:
    units = rule["units"]
    powers = (f"({n}/{units[n]:.3g})^{p:.4g}" if n in units else f"{n}^{p:.4g}" for n, p in rule["powers"].items())
    return f"{rule['factor']:.4g} " + " ".join(powers)
