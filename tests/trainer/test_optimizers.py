"""Update rules against torch's own, against their definitions, and through an interruption."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from trainer import SGD, AdamW, Muon, Parametrization, RunSpec, from_dict, optimizers, run_id, to_dict, train
from trainer.execution import Execution, Interrupted
from trainer.models.networks import build as build_model
from trainer.models.networks import initialize, layout, rate_spans
from trainer.models.parameters import matrices
from trainer.optimizers.muon import orthogonalized, scale
from trainer.spec import Optimizer

Reshape = Callable[..., RunSpec]

ALL: list[Optimizer] = [
    AdamW(learning_rate=1e-2, weight_decay=0.01),
    SGD(learning_rate=0.3, weight_decay=0.01),
    SGD(learning_rate=0.3, nesterov=True),
    Muon(learning_rate=2e-2, adam_learning_rate=1e-2, weight_decay=1e-3, decay_rule="independent"),
    Muon(learning_rate=1e-2, adam_learning_rate=1e-2, scale="adamw-rms", nesterov=False),
]
FACTORS = (0.5, 1.0, 0.7, 0.2)


def name(optimizer: Optimizer) -> str:
    return f"{type(optimizer).__name__}-{getattr(optimizer, 'scale', getattr(optimizer, 'nesterov', ''))}"


def ours(spec: RunSpec, gradients: list[Tensor]) -> Tensor:
    """Parameters after a step on each gradient."""
    parameters = initialize(spec.model, spec.parametrization, seed=0)
    state, gradient = optimizers.start(spec, parameters), torch.empty_like(parameters)
    update = optimizers.bind(spec, parameters, gradient, state)
    for step, each in enumerate(gradients):
        gradient.copy_(each)
        update(step, FACTORS[step])
    return parameters


def gradients_of(spec: RunSpec) -> list[Tensor]:
    generator = torch.Generator().manual_seed(5)
    size = len(initialize(spec.model, spec.parametrization, seed=0))
    return [torch.randn(size, generator=generator) for _ in FACTORS]


def theirs(spec: RunSpec, gradients: list[Tensor], make: Callable[[list[Tensor]], torch.optim.Optimizer]) -> Tensor:
    """The same by an optimiser of torch, its rate set anew for every step."""
    parameters = initialize(spec.model, spec.parametrization, seed=0).requires_grad_()
    optimizer = make([parameters])
    peak = optimizer.param_groups[0]["lr"]
    for factor, gradient in zip(FACTORS, gradients, strict=True):
        optimizer.param_groups[0]["lr"] = peak * factor
        parameters.grad = gradient.clone()
        optimizer.step()
    return parameters.detach()


@pytest.fixture
def flat_rates(spec: RunSpec) -> RunSpec:
    """A spec whose parameters all have one rate, as torch's optimisers do."""
    return replace(spec, parametrization=Parametrization(kind="standard"))


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_adamw_is_torchs(flat_rates: RunSpec, weight_decay: float) -> None:
    spec = replace(flat_rates, optimizer=AdamW(learning_rate=1e-2, epsilon=1e-6, weight_decay=weight_decay))
    gradients = gradients_of(spec)
    expected = theirs(
        spec, gradients, lambda p: torch.optim.AdamW(p, 1e-2, (0.9, 0.99), eps=1e-6, weight_decay=weight_decay)
    )
    assert torch.allclose(ours(spec, gradients), expected, rtol=1e-5, atol=1e-6)


def test_independent_decay_does_not_know_the_rate(spec: RunSpec) -> None:
    optimizer = AdamW(learning_rate=1e-2, head_multiplier=3.0, weight_decay=0.1, decay_rule="independent")
    spec = replace(spec, optimizer=optimizer)
    begun = initialize(spec.model, spec.parametrization, seed=0)
    ended = ours(spec, [torch.zeros_like(begun)] * len(FACTORS))
    expected = begun * math.prod(1 - 0.1 * factor for factor in FACTORS)
    assert torch.allclose(ended, expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
def test_sgd_is_torchs(flat_rates: RunSpec, momentum: float, nesterov: bool) -> None:
    weight_decay = 0.0 if momentum else 0.1  # torch adds it to the gradient: the same without momentum only
    settings = {"momentum": momentum, "nesterov": nesterov, "weight_decay": weight_decay}
    spec = replace(flat_rates, optimizer=SGD(learning_rate=0.1, **settings))  # type: ignore[arg-type]
    gradients = gradients_of(spec)
    expected = theirs(spec, gradients, lambda p: torch.optim.SGD(p, 0.1, **settings))  # type: ignore[arg-type]
    assert torch.allclose(ours(spec, gradients), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize(("rule", "adjust"), [("spectral", "original"), ("adamw-rms", "match_rms_adamw")])
@pytest.mark.parametrize("activation", ["gelu", "swiglu"])
def test_muon_is_torchs(
    flat_rates: RunSpec, with_shape: Reshape, rule: str, adjust: str, nesterov: bool, activation: str
) -> None:
    """Every matrix of the blocks, of which torch knows the transpose; torch iterates in bf16."""
    optimizer = Muon(
        learning_rate=0.05,
        adam_learning_rate=0.02,
        weight_decay=0.1,
        nesterov=nesterov,
        scale=rule,  # type: ignore[arg-type]
    )
    spec = replace(with_shape(flat_rates, layers=2, activation=activation), optimizer=optimizer)
    gradients = gradients_of(spec)
    found = matrices(build_model(spec), ours(spec, gradients))
    begun = matrices(build_model(spec), initialize(spec.model, spec.parametrization, seed=0))
    given = [matrices(build_model(spec), gradient) for gradient in gradients]
    for part in layout(spec.model):
        widths = list(part.joined or part.shape[1:])
        for index in range(len(widths)):
            before, after, *each = (
                one[part.name].split(widths, 1)[index].t().contiguous() for one in (begun, found, *given)
            )
            leaf = before.clone().requires_grad_()
            if part.group in ("embedding", "head"):
                by_torch: torch.optim.Optimizer = torch.optim.AdamW(
                    [leaf], 0.02, (0.9, 0.99), eps=1e-9, weight_decay=0.1
                )
            else:
                by_torch = torch.optim.Muon([leaf], 0.05, 0.1, nesterov=nesterov, adjust_lr_fn=adjust)
            peak = by_torch.param_groups[0]["lr"]
            for factor, gradient in zip(FACTORS, each, strict=True):
                by_torch.param_groups[0]["lr"] = peak * factor
                leaf.grad = gradient.clone()
                by_torch.step()
            assert (after - leaf).norm() < 0.02 * (leaf - before).norm()  # 2^-8 a rounding, five iterations of three


@pytest.mark.parametrize("shape", [(8, 8), (8, 32)])
def test_orthogonalization_acts_on_singular_values_alone(shape: tuple[int, int]) -> None:
    """By an independent method: the polynomial on the singular values, in float64."""
    given = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u, values, v = torch.linalg.svd(given / torch.linalg.matrix_norm(given)[:, None, None], full_matrices=False)
    a, b, c = optimizers.muon.COEFFICIENTS
    for _ in range(5):
        values = a * values + b * values**3 + c * values**5
    assert torch.allclose(orthogonalized(given, 5), u * values[:, None] @ v, atol=1e-9)
    assert values.min() > 0.6
    assert values.max() < 1.3
    assert torch.equal(orthogonalized(torch.zeros(1, 4, 4), 5), torch.zeros(1, 4, 4))


def test_scales_are_those_of_their_papers() -> None:
    assert scale("spectral", 16, 64) == 2.0
    assert scale("spectral", 64, 16) == 1.0
    assert scale("adamw-rms", 16, 64) == scale("adamw-rms", 64, 16) == pytest.approx(1.6)


@pytest.mark.parametrize("optimizer", ALL, ids=name)
def test_decay_is_coupled_to_the_rate_or_follows_the_schedule_alone(spec: RunSpec, optimizer: Optimizer) -> None:
    """Without a gradient parameters shrink and nothing else happens: by the rate, or by the same at every rate."""
    zero = [torch.zeros_like(initialize(spec.model, spec.parametrization, seed=0))] * 2
    begun = initialize(spec.model, spec.parametrization, seed=0)

    def after(**changes: object) -> Tensor:
        return ours(replace(spec, optimizer=replace(optimizer, weight_decay=0.1, **changes)), zero)  # type: ignore[arg-type]

    kept = (1 - 0.1 * FACTORS[0]) * (1 - 0.1 * FACTORS[1])
    assert torch.allclose(after(decay_rule="independent"), kept * begun)
    assert torch.allclose(after(decay_rule="independent", learning_rate=0.5), kept * begun)
    coupled, faster = after(decay_rule="coupled"), after(decay_rule="coupled", learning_rate=0.5)
    used = begun != 0
    assert (coupled[used].abs() < begun[used].abs()).all()
    assert coupled[used].abs().sum() > faster[used].abs().sum() > kept * begun.abs().sum()


@pytest.mark.parametrize("optimizer", ALL, ids=name)
def test_learns_and_continues_with_equal_bits(
    spec: RunSpec, corpus: Path, tmp_path: Path, optimizer: Optimizer
) -> None:
    spec = replace(spec, optimizer=optimizer)
    whole = train(spec, Execution(corpus=corpus))
    assert whole.loss is not None
    assert whole.loss < 4.2  # it starts at 5.5
    stops = iter([*[False] * 20, True, *[False] * 1000])
    execution = Execution(
        corpus=corpus, checkpoints=tmp_path, poll_seconds=0.0, checkpoint_seconds=0.0, should_stop=lambda: next(stops)
    )
    with pytest.raises(Interrupted):
        train(spec, execution)
    resumed = train(spec, execution)
    assert resumed.resumed_at_step == 21
    assert (resumed.loss, resumed.curve) == (whole.loss, whole.curve)


@pytest.mark.parametrize("optimizer", ALL, ids=name)
def test_has_an_identity_that_json_keeps(spec: RunSpec, optimizer: Optimizer) -> None:
    spec = replace(spec, optimizer=optimizer)
    assert from_dict(to_dict(spec)) == spec
    others = {run_id(replace(spec, optimizer=other)) for other in ALL}
    assert len(others) == len(ALL)
    assert run_id(spec) in others


def test_rates_of_each_follow_width_by_its_own_rule(spec: RunSpec, with_shape: Reshape) -> None:
    wide = with_shape(spec, width=64)

    def rates(optimizer: Optimizer) -> dict[str, float]:
        network, parametrization = build_model(wide), Parametrization(kind="mup", base_width=16)
        flat = torch.full((sum(math.prod(part.shape) for part in network.parts),), math.nan)
        for span, rate in rate_spans(wide.model, parametrization, optimizer):
            flat[span] = rate
        return {part: float(each.mean()) for part, each in matrices(network, flat).items()}

    sgd = rates(SGD(learning_rate=1.0))
    assert (sgd["embedding"], sgd["qkv.0"], sgd["head"]) == (4.0, 1.0, 0.25)
    muon = rates(Muon(learning_rate=1.0, adam_learning_rate=0.5))
    assert (muon["embedding"], muon["qkv.0"], muon["head"]) == (0.5, 1.0, 0.125)
    assert rates(Muon(learning_rate=1.0, adam_learning_rate=0.5, scale="adamw-rms"))["down.0"] == 0.5
