"""Results of nanochat's scaling-law sweeps, in the two layouts that its `runs/scaling_laws.sh` has had.

Until spring 2026 it wrote one `results.csv` (`flops_budget,depth,model_dim,...,val_bpb,...`); since then each model has a
folder with a `base_train.log`, whose lines `params key=value ...` and `summary key=value ...` carry the data.

Its scaling parameters are transformer matrices + lm_head, which is `blocks+head` here; its FLOPs per token are 6 N of these and
12 x heads x head size x window of attention for each layer. It measures bits per byte: without the bytes of a token the loss is
kept in nats per byte, which moves no optimum and no exponent.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import SweepError
from orchestrator.foreign.source import ForeignRuns

if TYPE_CHECKING:
    import pandas as pd

HEADER = ("flops_budget", "depth", "model_dim", "tokens_trained", "val_bpb")
"""Columns that every version of its results.csv has."""

LOG = "base_train.log"

RULE = "nanochat"
"""Its way to count FLOPs, by its own name: attention within windows, nothing else beside 6 N."""

_MAP = {"tokens": "tokens_trained", "budget": "flops_budget", "steps": "num_iterations"}
_MATRICES = ("params_transformer", "transformer_matrices")
_HEADS = ("params_lm_head", "lm_head")
_EMBEDDINGS = (("params_wte", "params_value_embeds"), ("wte", "value_embeds"))


def is_results(header: list[str]) -> bool:
    """Whether a table's columns are those of its results.csv."""
    return set(HEADER) <= set(header)


def logs_of(folder: Path) -> list[Path]:
    """Logs of base training below an experiment's folder, or in a model's own."""
    return sorted([*folder.glob(LOG), *folder.glob(f"*/{LOG}")])


def from_table(frame: pd.DataFrame, name: str) -> ForeignRuns:
    """Runs from a results.csv of any version."""
    return _foreign(frame, name)


def from_logs(folder: Path) -> ForeignRuns:
    """Runs from the logs of an experiment; a log without a `summary` is of a run that has not ended.

    Raises:
        SweepError: No log has one.
    """
    import pandas as pd

    rows, unfinished = [], 0
    for log in logs_of(folder):
        records = _records(log)
        if "summary" in records:
            rows.append({**records.get("params", {}), **records["summary"]})
        else:
            unfinished += 1
    if not rows:
        raise SweepError(f"{folder}: no {LOG} has a summary; expected runs that have ended. Wait for one.")
    frame = pd.DataFrame(rows).rename(columns={"target_flops": "flops_budget"})
    made = _foreign(frame, str(folder))
    notes = (f"{unfinished} logs have no summary yet and were left out",) if unfinished else ()
    return ForeignRuns(**{**vars(made), "notes": (*made.notes, *notes)})


def _foreign(frame: pd.DataFrame, name: str) -> ForeignRuns:
    import pandas as pd

    missing = [column for column in ("tokens_trained", "val_bpb") if column not in frame]
    if missing:
        raise SweepError(f"{name} has no {missing[0]}; expected nanochat's results with val_bpb. Evaluate at the end.")
    matrices, head = (next((column for column in names if column in frame), None) for names in (_MATRICES, _HEADS))
    convention = "blocks+head"
    if matrices and head:
        frame = frame.assign(params_body=frame[matrices], params_head=frame[head])
        frame = frame.assign(params=frame["params_body"] + frame["params_head"])
        for parts in _EMBEDDINGS:
            if set(parts) <= set(frame.columns):
                frame = frame.assign(params_embedding=frame[list(parts)].sum(axis=1))
    elif "num_scaling_params" in frame:
        frame = frame.assign(params=frame["num_scaling_params"])
    else:
        raise SweepError(
            f"{name} does not say its parameters; expected num_scaling_params or params_lm_head. Add them."
        )
    bpb = pd.to_numeric(frame["val_bpb"], errors="coerce")
    frame = frame.assign(loss=bpb * math.log(2), bpb=bpb, status=bpb.notna().map({True: "ok", False: "error"}))
    for total in ("params_total", "num_params", "total"):
        if total in frame:
            frame = frame.assign(params_total=frame[total])
            break
    if "flops_budget" in frame:
        frame = frame.assign(flops=frame["flops_budget"])
    for ours, theirs in (("layers", "depth"), ("width", "model_dim"), ("batch_tokens", "total_batch_size"),
                         ("seconds", "train_time_sec")):  # fmt: skip
        if theirs in frame:
            frame = frame.assign(**{ours: frame[theirs]})
    return ForeignRuns(
        kind="nanochat",
        name=name,
        frame=frame,
        columns={ours: theirs for ours, theirs in _MAP.items() if theirs in frame},
        params_convention=convention,
        flops_rule=RULE,
        notes=("loss is in nats per byte (val_bpb x ln 2); optima and exponents do not depend on the unit, E does",),
    )


def _records(log: Path) -> Mapping[str, dict[str, Any]]:
    """The last `params` and `summary` line of a log, as `key=value` pairs."""
    found = {}
    with log.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            tag = line.partition(" ")[0]
            if tag in ("params", "summary") and (record := _pairs(line)):
                found[tag] = record
    return found


def _pairs(line: str) -> dict[str, Any]:
    """Values of a record; empty for prose that only begins like one."""
    try:
        words = shlex.split(line)[1:]
    except ValueError:
        return {}
    if not all("=" in word for word in words):
        return {}
    return {key: _value(text) for key, _, text in (word.partition("=") for word in words)}


def _value(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
