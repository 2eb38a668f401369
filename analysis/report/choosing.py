"""How points were chosen: the planned grid's rule, or what a sampler proposed, why, and how its target's interval shrank."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis import notation
from analysis.figures.history import history_figure
from analysis.report.blocks import Block, Exhibit, Grid, Text, grid
from analysis.report.origin import Origin, Step

SHOWN = 200
"""Proposals whose reason is listed (chosen); the others are in the store."""

STAGES = {
    "bracket": "bracket the optimum of the cheapest curves",
    "learn": "teach most about the target per FLOP",
    "floor": "complete a curve that is reported",
    "tune": "find the best of the tuned values at a point",
    "retrain": "train the best try of a point again",
    "symmetric": "bracket each curve, since law and parabolas disagree",
}
"""Rules of the sampler isoflop, in words."""


def choosing_blocks(origin: Origin, rows: pd.DataFrame) -> list[Block]:
    """What is known of how points were chosen; empty for a source that does not say."""
    if origin.sampler is None:
        return []
    if origin.sampler == "grid":
        return [Text(text=_grid_text(origin.sweep))]
    blocks: list[Block] = [Text(text=_sampler_text(origin))]
    for setting in dict.fromkeys(step.setting for step in origin.history):
        steps = [step for step in origin.history if step.setting == setting]
        if len(steps) > 1:
            blocks.append(_history(origin, steps, setting))
    if origin.proposals:
        blocks.append(_reasons(origin, rows))
    return blocks


def _grid_text(sweep: Mapping[str, Any]) -> str:
    budgets = sweep.get("budgets") or []
    rules = {_sizes_text(budget.get("sizes") or sweep.get("sizes") or {}) for budget in budgets}
    return (
        "All points were planned before the first run, cheap curves first, and no result moved any of them: "
        f"{'; '.join(sorted(rules))}. {_batch_text(sweep)}"
    )


def _sizes_text(sizes: Mapping[str, Any]) -> str:
    """The rule of one curve's sizes."""
    if sizes.get("shapes"):
        return f"{len(sizes['shapes'])} shapes listed by hand"
    if sizes.get("range"):
        span = sizes["range"]
        ends = f"{notation.count(span['min'])} to {notation.count(span['max'])}"
        return f"{span['count']} sizes evenly in log N from {ends} parameters"
    around = sizes.get("around") or {}
    if not around:
        return "sizes as the sweep file says"
    expected = f"{notation.count(around['params'])} parameters at {notation.flops(around['at'])} FLOPs"
    return (
        f"{around['count']} sizes evenly in log N within a factor {around['factor']:g} of an expected optimum of {expected}, "
        f"growing as C^{around['exponent']:g}"
    )


def _batch_text(sweep: Mapping[str, Any]) -> str:
    batch = sweep.get("batch")
    least = f"Points with fewer than {sweep.get('min_steps')} steps were dropped."
    if isinstance(batch, Mapping):
        return f"Tokens per step follow {batch['coefficient']:g} · D^{batch['exponent']:g}. {least}"
    return f"Every step takes {batch} tokens. {least}" if batch else least


def _sampler_text(origin: Origin) -> str:
    """Who proposed how many points, by which rules, for what."""
    sampling = origin.sweep.get("sampling") or {}
    counts = Counter(one.stage for one in origin.proposals if one.stage in STAGES)
    by = "; ".join(f"{count} to {STAGES[stage]}" for stage, count in counts.most_common())
    target = sampling.get("target_flops") or origin.target.get("flops")
    aim = ""
    if origin.sampler == "isoflop":
        what = {"params": "N*", "exponent": "the exponent of N*", "loss": "the loss"}[sampling.get("target", "params")]
        aim = f" Its target was {what} at {notation.flops(target)} FLOPs." if target else f" Its target was {what}."
    return (
        f"Points were proposed as results arrived, by the sampler {origin.sampler}: {len(origin.proposals)} in all"
        f"{f' ({by})' if by else ''}.{aim} Which points there are depends on the results: intervals that take the points as "
        "given are a little too narrow."
    )


def _history(origin: Origin, steps: Sequence[Step], setting: str | None) -> Exhibit:
    flops, value, low, high = (
        np.array([getattr(step, name) for step in steps], dtype=np.float64)
        for name in ("flops", "value", "low", "high")
    )
    quantity = str(origin.target.get("quantity"))
    write: Callable[[float], str] = notation.count if quantity == "params" else notation.number
    label = {"params": "N*", "exponent": "exponent of N*", "loss": "loss"}.get(quantity, quantity)
    label = f"{label} at {notation.flops(origin.target['flops'])} FLOPs"
    first, last = (f"{write(low[i])} to {write(high[i])}" for i in (0, -1))
    table = [
        (notation.flops(step.flops), write(step.value), f"{write(step.low)} to {write(step.high)}") for step in steps
    ]
    return Exhibit(
        name="target-history" if setting is None else f"target-history-{_plain(setting)}",
        title=f"The target's interval against FLOPs reserved: {label}" + (f", {setting}" if setting else ""),
        description=(
            f"From {first} at {notation.flops(flops[0])} FLOPs to {last} at {notation.flops(flops[-1])}, by the sampler's own "
            f"law ({notation.percent(origin.level)}). That law may bend with scale, so that its interval is wider than those "
            "above, which take a power law as given."
        ),
        draw=lambda: history_figure(flops, value, low, high, label=label, write=write, log=quantity == "params"),
        data=grid(
            "The target as it was known at each proposal",
            ("FLOPs reserved", "value", "interval"),
            table,
            text_columns=0,
        ),
    )


def _plain(setting: str) -> str:
    """A setting's name as part of a file's."""
    return re.sub(r"[^A-Za-z0-9]+", "-", setting)


def _reasons(origin: Origin, rows: pd.DataFrame) -> Grid:
    """Why each point was chosen, folded."""
    places = dict(_places(rows))
    cells = tuple(
        (str(one.seq), *places.get(one.run_id, ("", "", "", "")), one.why) for one in origin.proposals[:SHOWN]
    )
    more = f"; the first {SHOWN} of {len(origin.proposals)}" if len(origin.proposals) > SHOWN else ""
    return Grid(
        caption=f"Why each point was chosen{more}",
        header=("number", "budget", "params", "seed", "loss", "why"),
        rows=cells,
        text_columns=0,
        words_last=True,
        folded=True,
    )


def _places(rows: pd.DataFrame) -> Iterator[tuple[str, tuple[str, str, str, str]]]:
    if not {"run_id", "budget", "params", "seed", "loss"} <= set(rows.columns):
        return
    for row in rows[["run_id", "budget", "params", "seed", "loss"]].to_dict("records"):
        known = {name: value for name, value in row.items() if not pd.isna(value)}
        yield (
            str(row["run_id"]),
            (
                notation.flops(known["budget"]) if "budget" in known else "",
                notation.count(known["params"]) if "params" in known else "",
                f"{known['seed']:.0f}" if "seed" in known else "",
                notation.loss(known.get("loss")),
            ),
        )
