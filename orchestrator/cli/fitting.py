"""How fits are made for the command line, and shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from analysis import notation
from orchestrator.cli import console as terminal
from orchestrator.errors import SweepError

if TYPE_CHECKING:
    from analysis import Runs

METHODS = ("all", "envelope", "isoflop", "parametric")
SPACES = ("log", "linear")
SHOWN_WARNINGS = 6


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What `isoflop fit` was asked for; see its options."""

    method: str
    form: str
    objective: str
    space: str
    fixed: Mapping[str, float]
    drop_highest: int
    bootstrap: int | None
    seed: int


def fit(runs: Runs, choice: Choice) -> dict[str, Any]:
    """Fit, as one JSON-ready document.

    Args:
        runs: The runs.
        choice: What to fit and how.
    """
    import analysis
    from analysis.fitting.objective import parse_objective

    if choice.method not in METHODS:
        raise SweepError(f"--method {choice.method}: not known; expected one of {', '.join(METHODS)}.")
    if choice.space not in SPACES:
        raise SweepError(f"--space {choice.space}: not known; expected log or linear.")
    runs = analysis.drop_highest(runs, choice.drop_highest)
    if choice.method in ("isoflop", "envelope"):
        _refuse_parametric_options(choice)
    if choice.method == "isoflop":
        return dict(analysis.fit_isoflop(runs).to_json())
    if choice.method == "envelope":
        return dict(analysis.fit_envelope(runs).to_json())
    objective = parse_objective(choice.objective)
    if choice.method == "all":
        fits = analysis.fit_all(
            runs, form=choice.form, objective=objective, space=choice.space, fixed=choice.fixed, seed=choice.seed
        )
        document = dict(fits.to_json())
        if choice.bootstrap is not None and fits.parametric is not None:
            resamples = fits.parametric.bootstrap(choice.bootstrap, seed=choice.seed)
            document["fits"]["parametric"] = fits.parametric.to_json(resamples)
        return document
    fitted = analysis.fit_form(
        runs, form=choice.form, objective=objective, space=choice.space, fixed=choice.fixed, seed=choice.seed
    )
    resamples = None if choice.bootstrap is None else fitted.bootstrap(choice.bootstrap, seed=choice.seed)
    return dict(fitted.to_json(resamples))


def _refuse_parametric_options(choice: Choice) -> None:
    given = [name for name, value in (("--fix", choice.fixed), ("--bootstrap", choice.bootstrap)) if value]
    if given:
        raise SweepError(
            f"{' and '.join(given)} with --method {choice.method}: expected --method parametric or all, since only the "
            "parametric fit takes it. Leave it out, or change the method."
        )


def show(document: Mapping[str, Any]) -> None:
    """Print one fit, or all of them with what weakens them."""
    console = terminal.console()
    fits = document.get("fits") or {document["method"]: document}
    for name, one in fits.items():
        if one is None:
            console.print(f"{name}: no result\n")
        else:
            _show_fit(console, one)
    warnings = document["warnings"]
    for warning in warnings[:SHOWN_WARNINGS]:
        console.print(f"{warning['code']}: {warning['message']}", soft_wrap=True)
    if len(warnings) > SHOWN_WARNINGS:
        console.print(f"and {len(warnings) - SHOWN_WARNINGS} more; see --json")


def _show_fit(console: Any, document: Mapping[str, Any]) -> None:
    console.print(_headline(document), soft_wrap=True)
    table = terminal.table("", "value", "se", "interval", left=("",))
    for name, value in document["coefficients"].items():
        if value is None:
            continue
        table.add_row(
            name, f"{value:.6g}", _number(document["se"].get(name)), _interval(document["interval"].get(name))
        )
    for name, value in document["exponents"].items():
        if value is not None and name not in document["coefficients"]:
            table.add_row(f"exponent {name}", f"{value:.4f}", "", "")
    console.print(table)
    console.print()


def _headline(document: Mapping[str, Any]) -> str:
    words = [f"{document['method']}", f"{document['n']} runs"]
    if document.get("form"):
        words.insert(1, document["form"])
    objective = document.get("objective")
    if objective and objective["value"] is not None:
        delta = "" if objective.get("delta") is None else f" delta={objective['delta']:.3g}"
        words.append(f"{objective['kind']}{delta} on {objective['space']} residuals = {objective['value']:.6g}")
    certificate = document.get("certificate")
    if certificate:
        words.append(f"converged: {str(certificate['converged']).lower()}")
    if document["dropped"]:
        words.append(f"{len(document['dropped'])} left out")
    return ", ".join(words)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _interval(interval: Mapping[str, Any] | None) -> str:
    if interval is None:
        return ""
    if interval["low"] is None and interval["high"] is None:
        return "not bounded"
    low = "-inf" if interval["low"] is None else f"{interval['low']:.4g}"
    high = "inf" if interval["high"] is None else f"{interval['high']:.4g}"
    return f"[{low}, {high}] {interval['level']:.0%}"


def show_backtest(document: Mapping[str, Any]) -> None:
    """Print how well small budgets predicted larger ones."""
    console = terminal.console()
    table = terminal.table(
        "fitted up to",
        "predicted",
        "method",
        "mean error",
        "rms error",
        "in interval",
        "best N, ratio",
        left=("method",),
    )
    previous = None
    for score in document["scores"]:
        first = score["target"] != previous
        table.add_row(
            notation.flops(max(score["fitted_on"])) if first else "",
            notation.flops(score["target"]) if first else "",
            score["method"],
            _signed(score["error"] if score["error"] is not None else score["loss_error"]),
            "" if score["rmse"] is None else f"{score['rmse']:.4f}",
            "" if score["covered"] is None else f"{score['covered']:.0%} of {score['points']}",
            notation.plain(score["params_ratio"]),
        )
        previous = score["target"]
    console.print(table)
    console.print(
        f"errors in nats, predicted minus observed; intervals at {document['level']:.0%}. "
        f"Inner folds choose {document['chosen']}; approach 2 is scored at each curve's own minimum.",
        soft_wrap=True,
    )


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.4f}"


def show_comparison(document: Mapping[str, Any], name_a: str, name_b: str) -> None:
    """Print how two sweeps compare."""
    console = terminal.console()
    console.print(f"a: {name_a}\nb: {name_b}", soft_wrap=True)
    through = {"isoflop": "IsoFLOP minima", "parametric": "fitted forms"}[document["method"]]
    console.print(f"at {notation.flops(document['flops'])} FLOPs, through {through}:")
    table = terminal.table("", "b against a", "interval", "would be seen from", left=("",))
    for key, label in (
        ("multiplier", "compute that a needs, for b's loss"),
        ("offset", "loss, nats"),
        ("slope_difference", "slope of log loss"),
    ):
        interval, detectable = document[f"{key}_interval"], document[f"{key}_detectable"]
        table.add_row(label, notation.plain(document[key]), _interval(interval), notation.plain(detectable))
    console.print(table)
    for at in document["at"]:
        value = f"{notation.plain(at['multiplier'])} {_interval(at['interval'])}"
        console.print(f"compute multiplier at {notation.flops(at['flops'])} FLOPs: {value}")
    for warning in document["warnings"]:
        console.print(f"{warning['code']}: {warning['message']}", soft_wrap=True)
