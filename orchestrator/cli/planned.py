"""How a plan is shown."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from analysis import notation
from orchestrator.cli import console as terminal
from orchestrator.planning import DroppedPoint, Plan, Point
from orchestrator.prices import rate_of
from trainer import LSTM, Shape, to_dict

CONVENTIONS = {
    "blocks+head": "blocks + head",
    "blocks": "blocks",
    "total": "all parameters",
    "active": "blocks + head in use",
}


def show(made: Plan) -> None:
    """Print every curve and point, the totals, and what was left out."""
    console = terminal.console()
    console.print(headline(made), soft_wrap=True)
    columns = ("budget", "N", "shape", "D", "D/N", "steps", "batch", "FLOPs", "lr", "seeds", "each")
    words = [column for column in ("setting", "tuned") if _says(made, column)]
    table = terminal.table(*words, *columns, left=("setting", "tuned", "shape"))
    previous = None
    for group in _by_point(made):
        point = group[0]
        spec, shape = point.spec, point.spec.model
        table.add_row(
            *(getattr(point, column) or "" for column in words),
            notation.flops(point.budget) if point.curve != previous else "",
            notation.count(point.params),
            _described(shape),
            notation.count(spec.tokens),
            f"{spec.tokens / point.params:.1f}",
            f"{spec.steps:,}",
            f"{spec.batch_tokens:,}",
            f"{point.flops:.4g}",
            f"{spec.optimizer.learning_rate:.2g}",
            str(len(group)),
            notation.duration(point.seconds),
        )
        previous = point.curve
    console.print(table)
    for drop in made.dropped:
        console.print(
            f"dropped: {notation.flops(drop.budget)} x {notation.count(drop.params)} -> {drop.reason}", soft_wrap=True
        )
    about = "" if made.corpus.exact else "about "
    text = f"{about}{notation.count(made.corpus.train_tokens)} training tokens"
    console.print(
        f"total {_runs(made)}, {notation.flops(made.flops)} FLOPs, "
        f"{about}{notation.duration(made.seconds)} of one worker "
        f"(first guess){_priced(made, made.seconds)}{_shared(made)}; text: {text}. Nothing was spent.",
        soft_wrap=True,
    )


def _priced(made: Plan, seconds: float) -> str:
    """Money and energy of so many worker seconds, where the sweep file says what they cost."""
    text = rate_of(made.sweep).text(seconds)
    return f", {text}" if text else ""


def _shared(made: Plan) -> str:
    """What runs of one trunk need not train twice."""
    return (
        f"; {notation.flops(made.flops_saved)} FLOPs more are shared by runs of one trunk" if made.flops_saved else ""
    )


def _says(made: Plan, column: str) -> bool:
    """Whether a point of the plan has a setting, or values that are tuned over."""
    return any(getattr(point, column) is not None for point in made.points)


def _described(shape: Shape) -> str:
    """Layers and width, and what else sizes a model."""
    size = f"{shape.layers} x {shape.width}"
    if isinstance(shape, LSTM):
        return f"{size}, LSTM"
    shared = f" on {shape.key_heads}" if shape.key_heads < shape.heads else ""
    heads = f", {shape.heads} heads{shared}" if shape.heads > 1 else ""
    return size + heads + (f", {shape.active_experts} of {shape.experts} experts" if shape.experts > 1 else "")


def headline(made: Plan) -> str:
    """One line about the sweep."""
    budgets = " ".join(notation.flops(flops) for flops in sorted({point.budget for point in made.points}))
    return (
        f"sweep {made.sweep.name}   {_runs(made)}   budgets {budgets} FLOPs ({made.sweep.counting.flops})   "
        f"N counts {CONVENTIONS[made.sweep.counting.params]}"
    )


def _runs(made: Plan) -> str:
    """How many runs; where a sampler chooses, of how many."""
    if made.limits is None:
        return f"{len(made.points)} runs"
    if made.sweep.sampler == "grid":
        tries = sum(not point.retrained for point in made.points)
        return f"{tries} runs, and at most {made.runs - tries} that train the best tries again"
    return f"at most {made.runs} of {len(made.points)} runs, by {made.sweep.sampler}"


def announce(made: Plan, left: Sequence[Point], workers: int, store: str) -> None:
    """Say what will be spent, before it is spent.

    Args:
        made: The plan.
        left: Its points that are not committed yet.
        workers: Runs that fit at once.
        store: Where the results go.
    """
    terminal.say(headline(made))
    done = len(made.points) - len(left)
    if not left:
        terminal.say(f"all {done} runs are done   store {store}")
        return
    flops = math.fsum(point.share * point.flops for point in left)
    working = math.fsum(point.seconds for point in left)
    seconds = max(working / workers, *(point.seconds for point in left))
    if made.limits is not None:  # of what is left, as much as the sampler may still spend
        spent = math.fsum(point.share * point.flops for point in made.points) - flops
        share = max(made.flops - spent, 0.0) / flops
        flops, seconds, working = flops * share, seconds * share, working * share
    already = f"{done} runs are done; " if done else ""
    plural = "worker" if workers == 1 else "workers"
    most = "at most " if made.limits is not None else ""
    terminal.say(
        f"{already}will spend {most}{notation.flops(flops)} FLOPs, about {notation.duration(seconds)} on {workers} "
        f"{plural}{_priced(made, working)}   store {store}   (repeat the command to resume)"
    )
    for drop in made.dropped:
        terminal.say(_dropped(drop))


def _dropped(drop: DroppedPoint) -> str:
    return f"dropped: {notation.flops(drop.budget)} x {notation.count(drop.params)} -> {drop.reason}"


def document(made: Plan) -> dict[str, Any]:
    """The plan as one JSON document."""
    return {
        "sweep": made.sweep.name,
        "hash": made.sweep.content_hash,
        "flops": made.flops,
        "flops_shared": made.flops_saved,
        "seconds": made.seconds,
        "cost": rate_of(made.sweep).document(made.seconds),
        "train_tokens": made.corpus.train_tokens,
        "corpus_is_exact": made.corpus.exact,
        "points": [
            {
                "run_id": point.run_id if made.corpus.exact else None,
                "curve": point.curve,
                "budget": point.budget,
                "setting": point.setting,
                "tuned": point.tuned,
                "retrained": point.retrained,
                "params": point.params,
                "tokens": point.spec.tokens,
                "steps": point.spec.steps,
                "flops": point.flops,
                "share": point.share,
                "seconds": point.seconds,
                "seed": point.spec.seed,
                "spec": to_dict(point.spec),
            }
            for point in made.points
        ],
        "dropped": [{"budget": drop.budget, "params": drop.params, "reason": drop.reason} for drop in made.dropped],
    }


def _by_point(made: Plan) -> list[list[Point]]:
    """Runs that differ in their seed alone, together."""
    groups: dict[str, list[Point]] = {}
    for point in made.points:
        if point.retrained:
            continue
        key = json.dumps({**to_dict(point.spec), "seed": 0, "curve": point.curve}, sort_keys=True)
        groups.setdefault(key, []).append(point)
    return list(groups.values())
