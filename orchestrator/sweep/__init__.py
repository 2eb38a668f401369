"""The sweep file: its sections as checked models, the settings that it compares, and how it is read."""

from orchestrator.sweep.machines import Command, Cost, Resources, Stop
from orchestrator.sweep.recipe import BatchRule, Counting, Ramp, Schedule
from orchestrator.sweep.sampling import SAMPLERS, Sampling
from orchestrator.sweep.sections import Section, Whole
from orchestrator.sweep.sizes import Budget, ListedShape, Seeds, SizeRange, Sizes, SizesAround, fresh_seeds, seed_list
from orchestrator.sweep.sweep import Ladder, Sweep, Variant, VariantError

__all__ = [
    "SAMPLERS",
    "BatchRule",
    "Budget",
    "Command",
    "Cost",
    "Counting",
    "Ladder",
    "ListedShape",
    "Ramp",
    "Resources",
    "Sampling",
    "Schedule",
    "Section",
    "Seeds",
    "SizeRange",
    "Sizes",
    "SizesAround",
    "Stop",
    "Sweep",
    "Variant",
    "VariantError",
    "Whole",
    "fresh_seeds",
    "seed_list",
]
