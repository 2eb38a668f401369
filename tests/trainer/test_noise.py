"""The gradient noise scale: recovered where it is known, and in a run without a trace in its result."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from trainer import RunSpec, train
from trainer.execution import Execution, Interrupted
from trainer.noise import Look, look, noise_scale


def test_is_recovered_where_it_is_known() -> None:
    """Gradients of tokens drawn around a known mean: tr S / |G|^2 comes back."""
    generator = torch.Generator().manual_seed(0)
    mean, sd, size, context = 0.05, 1.0, 400, 4
    part, looks = torch.empty(size), []

    def gradient_of(tokens_BT: torch.Tensor) -> torch.Tensor:
        tokens = tokens_BT[:, 1:].numel()
        part.copy_(tokens * mean + tokens**0.5 * sd * torch.randn(size, generator=generator))
        return part.sum()

    for step in range(400):
        found = look(torch.zeros(20, context + 1), step, gradient_of, part)
        assert found is not None
        looks.append(found)
    # One look's |G|^2 has a standard error of about 1.1 of its 1.0 here, so 400 looks' has 6 %.
    assert noise_scale(looks, 0) == pytest.approx((sd / mean) ** 2, rel=0.2)


def test_is_none_where_it_cannot_be_told() -> None:
    assert look(torch.zeros(1, 5), 0, lambda tokens_BT: tokens_BT, torch.zeros(3)) is None
    assert noise_scale([], 10) is None
    assert noise_scale([Look(step=9, variance=1.0, signal=-0.1)], 10) is None
    assert noise_scale([Look(step=1, variance=9.0, signal=0.1), Look(step=9, variance=1.0, signal=0.1)], 10) == 10.0


def test_measuring_changes_nothing_else_and_survives_an_interruption(
    spec: RunSpec, corpus: Path, tmp_path: Path
) -> None:
    plain, asked = train(spec, Execution(corpus=corpus)), replace(spec, noise_every=7)
    whole = train(asked, Execution(corpus=corpus))
    assert plain.noise_scale is None
    assert whole.noise_scale is not None
    assert whole.noise_scale > 0
    assert (whole.loss, whole.curve) == (plain.loss, plain.curve)
    stops = iter([*[False] * 40, True, *[False] * 1000])
    execution = Execution(
        corpus=corpus, checkpoints=tmp_path, poll_seconds=0.0, checkpoint_seconds=0.0, should_stop=lambda: next(stops)
    )
    with pytest.raises(Interrupted):
        train(asked, execution)
    assert train(asked, execution).noise_scale == whole.noise_scale
