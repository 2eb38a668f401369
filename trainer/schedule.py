"""Learning-rate schedules as pure functions of the step."""

from __future__ import annotations

import math

from trainer.spec import Schedule


def learning_rate_factor(schedule: Schedule, step: int, steps: int) -> float:
    """Factor of the peak rate after `step` of `steps` optimiser steps; the next step uses it.

    Warm-up takes equal steps from 1 / warmup_steps to 1. The decay ends at `final_fraction` exactly at `steps`, so
    every step that is taken moves the parameters. `wsd` decays as 1 - sqrt(progress) (Hägele et al. 2024,
    arXiv:2405.18392, section 4).
    """
    if step < schedule.warmup_steps:
        return (step + 1) / schedule.warmup_steps
    start = steps - schedule.decay_steps
    if step < start or schedule.decay_steps == 0:
        return 1.0
    progress = (step - start) / schedule.decay_steps
    shapes = {"linear": 1 - progress, "cosine": (1 + math.cos(math.pi * progress)) / 2, "wsd": 1 - math.sqrt(progress)}
    return schedule.final_fraction + (1 - schedule.final_fraction) * shapes[schedule.kind]
