"""From a sweep to its points: what is trained, on how much text, and why a point is left out."""

from orchestrator.planning.planner import BUDGET_TOLERANCE, plan
from orchestrator.planning.points import Corpus, DroppedPoint, Limits, Plan, Point
from orchestrator.planning.rows import point_row
from orchestrator.planning.shapes import candidate_shapes, curve_shapes, shape_rule
from orchestrator.planning.specs import batch_contexts_for
from orchestrator.planning.trunks import trunk_of

__all__ = [
    "BUDGET_TOLERANCE",
    "Corpus",
    "DroppedPoint",
    "Limits",
    "Plan",
    "Point",
    "batch_contexts_for",
    "candidate_shapes",
    "curve_shapes",
    "plan",
    "point_row",
    "shape_rule",
    "trunk_of",
]
