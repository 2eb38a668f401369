"""The recurrent network against torch's own, its gradient against autograd, its counts against torch's counter."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from trainer import LSTM, RunSpec, SpecError, count_params, flops_per_token, from_dict, run_id, to_dict, train
from trainer.execution import Execution, Interrupted
from trainer.models.lstm import FORGET_OFFSET, states
from trainer.models.networks import Network, build, initialize, layout
from trainer.models.parameters import matrices


@pytest.fixture
def recurrent(spec: RunSpec) -> RunSpec:
    return replace(spec, model=LSTM(layers=2, width=16, vocab=256, context=32))


def sample(spec: RunSpec, scale: float = 0.1) -> tuple[Network, Tensor, Tensor]:
    """A network, parameters at which no gradient vanishes, and tokens."""
    generator = torch.Generator().manual_seed(0)
    flat = initialize(spec.model, spec.parametrization, seed=0)
    flat += scale * torch.randn(flat.shape, generator=generator)
    return build(spec), flat, torch.randint(256, (3, spec.model.context + 1), generator=generator)


def test_states_are_torchs() -> None:
    generator = torch.Generator().manual_seed(0)
    x_TBD = torch.randn(20, 3, 8, generator=generator)
    input_DG, state_DG = (torch.randn(8, 32, generator=generator) / 2 for _ in range(2))
    theirs = torch.nn.LSTM(8, 8)
    with torch.no_grad():
        for mine, its in ((input_DG, theirs.weight_ih_l0), (state_DG, theirs.weight_hh_l0)):
            out, into, forget, candidate = mine.t().chunk(4)
            its.copy_(torch.cat([into, forget, candidate, out]))
        theirs.bias_hh_l0.zero_()
        theirs.bias_ih_l0.zero_()[8:16] = FORGET_OFFSET
        assert torch.allclose(states(x_TBD, input_DG, state_DG), theirs(x_TBD)[0], atol=1e-6)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("bf16", 2e-2)])
def test_gradient_by_hand_equals_autograd(
    recurrent: RunSpec, layers: int, tied: bool, precision: str, tolerance: float
) -> None:
    shape = LSTM(layers=layers, width=16, vocab=256, context=32, tied_head=tied)
    model, flat, tokens_BT = sample(replace(recurrent, model=shape, precision=precision))  # type: ignore[arg-type]
    leaf = flat.clone().requires_grad_()
    loss, objective = model.losses(matrices(model, leaf), tokens_BT[:, :-1], tokens_BT[:, 1:])
    expected = torch.autograd.grad(objective, leaf)[0]
    gradient = torch.full_like(flat, torch.nan)
    into = matrices(model._replace(dtype=torch.float32), gradient)
    assert model.by_hand is not None
    with torch.inference_mode():
        by_hand = model.by_hand(matrices(model, flat), into, tokens_BT[:, :-1], tokens_BT[:, 1:])
    assert abs(float(by_hand) / float(loss.detach()) - 1) < tolerance
    assert (gradient - expected).norm() < tolerance * expected.norm()


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(("layers", "width"), [(1, 16), (3, 24)])
def test_counts_are_what_is_stored_and_what_torch_counts(
    recurrent: RunSpec, layers: int, width: int, tied: bool
) -> None:
    shape = LSTM(layers=layers, width=width, vocab=256, context=32, tied_head=tied)
    counts = count_params(shape)
    model, flat, tokens_BT = sample(replace(recurrent, model=shape))
    assert len(flat) == counts.total
    assert counts.body == sum(part.shape[0] * part.shape[1] for part in layout(shape) if part.group == "hidden")
    leaf = flat.requires_grad_()
    with FlopCounterMode(display=False) as counter:
        model.losses(matrices(model, leaf), tokens_BT[:, :-1], tokens_BT[:, 1:])[1].backward()
    counted = counter.get_flop_counts()["Global"]
    assert {str(op) for op in counted} == {"aten.mm"}  # no kernel whose products count 0
    assert all(flops > 0 for flops in counted.values())
    # The state before the first step is a constant: autograd does not take its gradient, one product of each window.
    first = 3 * layers * 2 * width * 4 * width
    assert counter.get_total_flops() == 3 * 32 * flops_per_token(shape, "exact") - first
    assert flops_per_token(shape, "exact") == flops_per_token(shape, "exact-causal")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_future_does_not_change_the_past(recurrent: RunSpec, precision: str) -> None:
    model, flat, tokens_BT = sample(replace(recurrent, precision=precision), scale=0.2)  # type: ignore[arg-type]
    changed_BT = tokens_BT.clone()
    changed_BT[:, 20:] = 255 - changed_BT[:, 20:]
    weights = matrices(model, flat)
    before, after = (model.logits(weights, t[:, :-1]).view(3, 32, -1) for t in (tokens_BT, changed_BT))
    assert torch.equal(before[:, :20], after[:, :20])
    assert not torch.allclose(before[:, 20:], after[:, 20:])


def test_the_past_reaches_the_end_of_the_window(recurrent: RunSpec) -> None:
    model, flat, tokens_BT = sample(recurrent, scale=0.3)
    changed_BT = tokens_BT.clone()
    changed_BT[:, 0] = 255 - changed_BT[:, 0]
    weights = matrices(model, flat)
    before, after = (model.logits(weights, t[:, :-1]).view(3, 32, -1)[:, -1] for t in (tokens_BT, changed_BT))
    assert not torch.equal(before, after)


def test_learns_and_an_interrupted_run_gives_equal_bits(recurrent: RunSpec, corpus: Path, tmp_path: Path) -> None:
    spec = replace(recurrent, steps=200, schedule=replace(recurrent.schedule, decay_steps=195))
    whole = train(spec, Execution(corpus=corpus))
    assert whole.loss is not None
    assert whole.loss < 3.2  # ln 16 letters is 2.8; it starts at 5.5
    stops = iter([*[False] * 60, True, *[False] * 1000])
    execution = Execution(corpus=corpus, checkpoints=tmp_path, poll_seconds=0.0, should_stop=lambda: next(stops))
    with pytest.raises(Interrupted):
        train(spec, execution)
    resumed = train(spec, execution)
    assert resumed.resumed_at_step == 61
    assert (resumed.loss, resumed.curve) == (whole.loss, whole.curve)
    parts = train(spec, Execution(corpus=corpus, micro_batch=3))
    assert parts.loss == pytest.approx(whole.loss, abs=1e-3)


def test_json_names_its_kind(recurrent: RunSpec) -> None:
    assert to_dict(recurrent)["model"]["kind"] == "lstm"
    assert from_dict(to_dict(recurrent)) == recurrent
    assert run_id(from_dict(to_dict(recurrent))) == run_id(recurrent)


def test_a_shape_without_layers_is_refused() -> None:
    with pytest.raises(SpecError, match=r"layers is 0; expected at least 1\. Choose"):
        LSTM(layers=0, width=16, vocab=256, context=32)
