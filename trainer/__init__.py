"""Small language-model trainings: one `RunSpec` in, one `RunRecord` out.

Importing this package gives the plain-data vocabulary from the standard library alone; torch is imported by `train`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainer.counting import (
    FLOPS_RULES,
    PARAM_CONVENTIONS,
    FlopsRule,
    ParamConvention,
    ParamCounts,
    count_params,
    flops_per_token,
)
from trainer.errors import (
    CheckpointError,
    CompilerError,
    CorpusError,
    DeviceError,
    DeviceOutOfMemory,
    SpecError,
    TrainerError,
)
from trainer.identity import from_dict, run_id, significant, to_dict
from trainer.record import CurvePoint, Numerics, RunRecord
from trainer.spec import (
    LSTM,
    RECIPE_OF_OTHERS,
    RECIPE_VERSION,
    SGD,
    AdamW,
    Data,
    Muon,
    Parametrization,
    RunSpec,
    Schedule,
    Shape,
    Transformer,
)
from trainer.trunk import branch_step, trunk_id

if TYPE_CHECKING:
    from trainer.execution import Execution


def train(spec: RunSpec, execution: Execution) -> RunRecord:
    """Train and evaluate one run; see `trainer.training.train`."""
    from trainer.training import train as train_with_torch

    return train_with_torch(spec, execution)


__all__ = [
    "FLOPS_RULES",
    "LSTM",
    "PARAM_CONVENTIONS",
    "RECIPE_OF_OTHERS",
    "RECIPE_VERSION",
    "SGD",
    "AdamW",
    "CheckpointError",
    "CompilerError",
    "CorpusError",
    "CurvePoint",
    "Data",
    "DeviceError",
    "DeviceOutOfMemory",
    "FlopsRule",
    "Muon",
    "Numerics",
    "ParamConvention",
    "ParamCounts",
    "Parametrization",
    "RunRecord",
    "RunSpec",
    "Schedule",
    "Shape",
    "SpecError",
    "TrainerError",
    "Transformer",
    "branch_step",
    "count_params",
    "flops_per_token",
    "from_dict",
    "run_id",
    "significant",
    "to_dict",
    "train",
    "trunk_id",
]
