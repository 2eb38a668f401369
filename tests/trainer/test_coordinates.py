"""The coordinate check: it watches the model that is trained, and tells a right table from a wrong one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from trainer import RunSpec, coordinates
from trainer.coordinates import Check, Coordinate, Kind, check
from trainer.models import networks, transformer
from trainer.models.parameters import matrices


def test_watches_the_model_that_is_trained(spec: RunSpec) -> None:
    network, model = networks.build(spec), transformer.build(spec)
    flat = networks.initialize(spec.model, spec.parametrization, seed=0)
    flat += 0.1 * torch.randn(flat.shape, generator=torch.Generator().manual_seed(0))
    tokens_BT = torch.randint(256, (2, spec.model.context), generator=torch.Generator().manual_seed(1))
    weights = matrices(network, flat)
    watched = coordinates._activations(model, weights, tokens_BT)
    assert torch.equal(watched["logits"], network.logits(weights, tokens_BT))


def made(mup: float, standard: float) -> Check:
    def coordinates_of(slope: float) -> tuple[Coordinate, ...]:
        names = {"attention.0": 0.3, "stream": slope, "logits": slope / 2}
        return tuple(Coordinate(name=name, changes=(1.0, 1.0), slope=one) for name, one in names.items())

    kinds: dict[Kind, tuple[Coordinate, ...]] = {"mup": coordinates_of(mup), "standard": coordinates_of(standard)}
    return Check(optimizer="adamw", widths=(32, 64), coordinates=kinds)


@pytest.mark.parametrize(
    ("mup", "standard", "passed"), [(0.05, 1.0, True), (-0.05, 1.0, True), (-0.2, 1.0, False), (0.05, 0.08, False)]
)
def test_passes_only_where_the_standard_form_fails(mup: float, standard: float, passed: bool) -> None:
    found = made(mup, standard)
    assert found.passed is passed
    assert found.largest_slope("mup") == mup


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "muon"])
def test_two_widths_and_one_seed_tell_the_forms_apart(optimizer: str) -> None:
    found = check(optimizer, widths=(32, 128), steps=10, seeds=1)
    assert abs(found.largest_slope("standard")) > abs(found.largest_slope("mup")) + 0.2


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "muon"])
def test_the_tables_pass(optimizer: str) -> None:
    assert check(optimizer).passed


def test_a_wrong_table_does_not_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rates of the hidden matrices that do not follow width."""
    from trainer.models import parametrization

    rules = dict(parametrization.RULES["mup"])
    rules["hidden"] = rules["output"] = replace(rules["hidden"], rate_powers={"adam": 0})
    monkeypatch.setitem(parametrization.RULES, "mup", rules)
    assert abs(check("adamw", widths=(32, 128), steps=10, seeds=1).largest_slope("mup")) > 0.3
