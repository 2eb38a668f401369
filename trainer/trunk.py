"""Trunks: runs that differ only in when they decay, and so share every step before that.

Under `wsd` the rate stays at its peak until the decay, and batches are a function of (seed, step): two runs of one shape
that differ in length alone are equal, bit for bit, until the shorter one begins to decay. The state there is worth
keeping: the longer one goes on from it, and its result is the one that it would have had alone.
"""

from __future__ import annotations

import hashlib
import json

from trainer.identity import to_dict
from trainer.spec import RunSpec


def branch_step(spec: RunSpec) -> int:
    """Steps done when the decay begins: until then a run is its trunk's."""
    return spec.steps - spec.schedule.decay_steps


def trunk_id(spec: RunSpec) -> str:
    """Identity of what a run shares with those of other lengths: 16 hexadecimal digits.

    It covers everything of the spec but the steps, the decay's steps and where the decay ends.
    """
    values = to_dict(spec)
    del values["steps"]
    values["schedule"] = {
        name: value for name, value in values["schedule"].items() if name not in ("decay_steps", "final_fraction")
    }
    text = json.dumps({"trunk": values}, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
