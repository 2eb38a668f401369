"""Section on predictions that were written before their runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from analysis import notation
from analysis.figures.ladder import ladder_figure
from analysis.ladder import LAW, Score, score_predictions
from analysis.posterior import INDEPENDENT
from analysis.report.blocks import Block, Exhibit, Section, Text, grid, missing
from analysis.report.outcome import Failed, attempt
from analysis.report.summary import Summary


def ladder_section(summary: Summary) -> Section | None:
    """Predictions and their score; None where nothing was predicted."""
    if not summary.predictions:
        return None
    name, document = summary.predictions[-1]
    flops = np.median([target["flops"] for target in document["targets"]])
    lead = (
        f"{len(document['targets'])} points at {notation.flops(float(flops))} FLOPs were predicted from "
        f"{len(document['fitted'])} runs at smaller budgets. The predictions are the object predictions/{name}.json, written "
        f"at {document.get('written_at', 'an unknown time')}, before the first of these runs was proposed; its name is the "
        "hash of what it says, and every proposal of a predicted run names it. "
        f"The law is {document['form']}{_chosen(document)}."
    )
    made = attempt(lambda: score_predictions(document, summary.rows))
    if isinstance(made, Failed):
        blocks: tuple[Block, ...] = (Text(text=lead), missing("Not scored yet", made))
        return Section(name="ladder", title="Predicted, then trained", blocks=blocks)
    scores, table = made
    data = grid("Predicted and observed losses", *_table(document, table.to_dict("records")))
    blocks = (
        Text(text=lead),
        Text(text=sentence(scores, document["level"])),
        _scores_grid(scores),
        Exhibit(
            name="ladder", main=True, title="Predicted and observed losses",
            description=_SHOWN, draw=lambda: ladder_figure(table), data=data,
        ),
    )  # fmt: skip
    answers = (sentence(scores, document["level"]),)
    return Section(name="ladder", title="Predicted, then trained", blocks=blocks, answers=answers)


def _chosen(document: dict[str, Any]) -> str:
    """How the form was averaged or chosen."""
    averaged = document.get("averaged")
    if averaged:
        (low, high), (least, most) = averaged["E"], averaged["gamma"]
        return (
            f", averaged over what the runs leave open of it: E from {low:.2f} to {high:.2f} nats, gamma from {least:.2f} to "
            f"{most:.2f} (central {notation.percent(document['level'])}){_unfinished(averaged['autocorrelations'])}"
        )
    scores = document.get("backtests") or {}  # until the average, a form was chosen
    if not scores:
        return ""
    listed = ", ".join(f"{form} {score:.3f}" for form, score in sorted(scores.items(), key=lambda pair: pair[1]))
    return f", which predicted the sweep's own larger budgets best (interval scores in nats: {listed})"


def _unfinished(autocorrelations: float) -> str:
    """That a chain was too short for its quantiles to be trusted, where it was."""
    if autocorrelations >= INDEPENDENT / 2:
        return ""
    return f"; its draws have not converged (a chain of {autocorrelations:.0f} autocorrelation times)"


def sentence(scores: Sequence[Score], level: float) -> str:
    """How the law did, and whether it was worth having."""
    by_method = {score.method: score for score in scores}
    law, others = by_method[LAW], [score for score in scores if score.method != LAW]
    verdict = " and ".join(
        f"{'better' if law.interval_score < score.interval_score else 'worse'} than that of the {score.method}"
        for score in others
    )
    return (
        f"The law's errors are {law.mean_absolute:.3f} nats in size on average, worth a factor "
        f"{notation.number(float(np.median(law.compute)))} of compute (median); {law.hits} of {len(law.errors)} points lie in "
        f"their {notation.percent(level)} intervals of ±{law.half_width:.3f} nats. "
        f"Its interval score is {verdict}."
    )


_SHOWN = "Stars are means over the seeds that were trained afterwards; bars are the predictions' intervals."

_SCORES = (
    "Scores in nats, an error being predicted minus observed. The interval score charges width and misses; lower is better. "
    "The power law has no floor; the local slope is a straight line through the two largest minima in log L and log C."
)


def _scores_grid(scores: Sequence[Score]) -> Block:
    header = (
        "method",
        "mean error",
        "mean absolute error",
        "worth in compute",
        "inside",
        "of",
        "half-width",
        "interval score",
    )
    rows = (
        (
            score.method,
            f"{np.mean(score.errors):+.3f}",
            notation.loss(score.mean_absolute),
            f"{np.median(score.compute):.2f}x",
            str(score.hits),
            str(len(score.errors)),
            notation.loss(score.half_width),
            notation.loss(score.interval_score),
        )
        for score in scores
    )
    return grid(_SCORES, header, rows)


def _table(document: dict[str, Any], rows: Sequence[dict[Any, Any]]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    methods = list(document["targets"][0]["predictions"])
    header = ("N", "D", "runs", "loss", *(word for method in methods for word in (method, "±")))
    made = [
        (
            notation.count(row["params"]),
            notation.count(row["tokens"]),
            str(row["runs"]),
            notation.loss(row["loss"]),
            *(notation.loss(row[key]) for method in methods for key in (method, f"{method} ±")),
        )
        for row in rows
    ]
    return header, made
