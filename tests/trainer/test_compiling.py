"""Compiled gradients: the same function as the eager ones, said in the numerics, and refused without a compiler."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from trainer import LSTM, CompilerError, RunSpec, compiling, train
from trainer.backward import sizes_of
from trainer.execution import Execution, Interrupted
from trainer.models import transformer
from trainer.models.networks import build, initialize
from trainer.models.parameters import matrices

Reshape = Callable[..., RunSpec]

SHAPES: list[dict[str, object]] = [
    {"heads": 1, "layers": 2},
    {"heads": 4, "kv_heads": 2, "qk_norm": True, "activation": "swiglu"},
    {"positions": "learned", "tied_head": True, "activation": "relu2"},
]


@pytest.mark.parametrize("changes", SHAPES, ids=str)
@pytest.mark.parametrize("way", [compiling.by_hand, compiling.by_autograd])
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("bf16", 2e-2)])  # as in test_gradient.py
def test_what_is_compiled_is_the_gradient(
    spec: RunSpec, with_shape: Reshape, changes: dict[str, object], way: Any, precision: Any, tolerance: float
) -> None:
    """With real rotations in place of complex ones, and as a graph, before a compiler has seen it."""
    from torch.fx.experimental.proxy_tensor import make_fx

    spec = replace(with_shape(spec, **changes), precision=precision)
    generator = torch.Generator().manual_seed(0)
    flat = initialize(spec.model, spec.parametrization, seed=0)
    flat += 0.1 * torch.randn(flat.shape, generator=generator)
    tokens_BT = torch.randint(spec.model.vocab, (3, spec.model.context + 1), generator=generator)
    model, expected = build(spec), torch.empty_like(flat)
    into = matrices(model._replace(dtype=torch.float32), expected)
    assert model.by_hand is not None
    expected_loss = model.by_hand(matrices(model, flat), into, tokens_BT[:, :-1], tokens_BT[:, 1:])

    graph = make_fx(lambda *given: way(compiling.in_reals(transformer.build(spec)), *given))(
        torch.zeros_like(flat), torch.zeros_like(tokens_BT)
    )
    loss, gradient = graph(flat, tokens_BT)
    assert float(loss) == pytest.approx(float(expected_loss), rel=tolerance)
    assert (gradient - expected).norm() < tolerance * expected.norm()


@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++ here")
def test_a_compiled_run_learns_what_an_eager_one_does(
    spec: RunSpec, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rounding apart: within a hundredth of what another seed does, on the same data."""
    monkeypatch.setenv(compiling.CACHE, str(tmp_path))
    eager, other = train(spec, Execution(corpus=corpus)), train(replace(spec, seed=2), Execution(corpus=corpus))
    compiled = train(spec, Execution(corpus=corpus, compile=True))
    execution = Execution(corpus=corpus, compile=True, checkpoints=tmp_path / "run", poll_seconds=0.0)
    with pytest.raises(Interrupted):
        train(spec, replace(execution, should_stop=iter([*[False] * 6, True]).__next__))
    again = train(spec, execution)
    assert eager.loss is not None
    assert other.loss is not None
    assert compiled.loss == pytest.approx(eager.loss, abs=abs(other.loss - eager.loss) / 100)
    assert again.resumed_at_step == 7
    assert compiled.loss == again.loss
    assert compiled.curve == again.curve
    assert [record.numerics.compiled for record in (eager, compiled)] == [False, True]
    assert compiled.numerics.signature.endswith(" compiled")


def test_other_models_stay_eager_and_say_so(spec: RunSpec, corpus: Path, with_shape: Reshape) -> None:
    lstm = replace(spec, model=LSTM(layers=1, width=8, vocab=256, context=32))
    assert not train(lstm, Execution(corpus=corpus, compile=True)).numerics.compiled
    assert not compiling.is_served(with_shape(spec, experts=2))
    assert compiling.is_served(spec)


def test_no_compiler_is_said_before_training(spec: RunSpec, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(
        CompilerError, match=r"no C\+\+ compiler here \('no-such-compiler' does not run\).*Install g\+\+"
    ):
        train(spec, Execution(corpus=corpus, compile=True))


def test_every_size_of_batch_is_known_before_the_first_step(spec: RunSpec) -> None:
    spec = replace(spec, batch_contexts=12, ramp_steps=(5, 5))  # batches of 3, 6 and 12
    assert sizes_of(spec, 12) == [3, 6, 12]
    assert sizes_of(spec, 5) == [1, 2, 3, 5]  # 3; 5 and 1; 5, 5 and 2
    taken = {spec.windows_of(step) for step in range(spec.steps)}
    for micro_batch in range(1, 13):
        parts = {len(part) for size in taken for part in torch.split(torch.zeros(size), micro_batch)}
        assert set(sizes_of(spec, micro_batch)) >= parts


def test_kernels_are_kept_for_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert compiling.cache_folder() == tmp_path / "isoflop/compiled"
