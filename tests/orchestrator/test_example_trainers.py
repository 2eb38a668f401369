"""The trainers of examples/trainers work as their page shows."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator import load_sweep, run
from orchestrator.running import Options
from trainer import AdamW, Data, RunSpec, Schedule, Transformer, count_params, to_dict
from trainer.data.corpus import snapshot
from trainer.data.sources import TextFiles
from trainer.execution import Execution, Interrupted

EXAMPLES = Path(__file__).resolve().parents[2] / "examples/trainers"


@pytest.fixture
def examples(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Stand in the folder of the examples, as their page says."""
    path, modules = list(sys.path), set(sys.modules)
    monkeypatch.chdir(EXAMPLES)
    yield EXAMPLES
    sys.path[:] = path
    for name in {"gpt", "function_trainer"} & (set(sys.modules) - modules):
        del sys.modules[name]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.txt"
    path.write_text("".join(f"line {i * i % 9973} of words {i}\n" * 3 for i in range(20_000)))
    return path


@pytest.mark.parametrize("kind", ["function", "command"])
def test_a_sweep_with_it_runs(kind: str, examples: Path, text: Path, tmp_path: Path) -> None:
    settings = [
        "budgets=[4e8, 8e8]",
        "sizes.shapes=[{width: 8}]",
        f"data={{source: text, files: [{text}], heldout_tokens: 8192}}",
    ]
    result = run(load_sweep(f"{kind}.yaml", settings), tmp_path / "store", Options(inline=True))
    assert result.counts == {"ok": 2}
    from analysis import read_runs

    losses = read_runs(tmp_path / "store").frame.sort_values("budget")["loss"].tolist()
    assert losses[1] < losses[0] < 5.0  # it learns: untrained is log 256 = 5.5


def test_its_parameters_are_those_that_the_sweep_counts(examples: Path) -> None:
    sys.path.insert(0, str(examples))
    from gpt import GPT  # type: ignore[import-not-found]

    for width, layers in ((8, 1), (48, 3)):
        shape = replace(_spec().model, width=width, layers=layers, heads=2, ffn_width=3 * width)
        stored = sum(matrix.numel() for matrix in GPT(to_dict(replace(_spec(), model=shape))["model"]).parameters())
        assert stored == count_params(shape).total


def test_a_stopped_run_goes_on_with_the_same_numbers(examples: Path, text: Path, tmp_path: Path) -> None:
    sys.path.insert(0, str(examples))
    from function_trainer import train  # type: ignore[import-not-found]

    manifest = snapshot(TextFiles(paths=(str(text),)), tmp_path / "corpus")
    spec = _spec(manifest.hash)
    execution = Execution(corpus=tmp_path / "corpus", checkpoints=tmp_path / "checkpoints")
    whole = train(spec, replace(execution, checkpoints=None))
    calls = iter(range(1000))
    with pytest.raises(Interrupted):
        train(spec, replace(execution, should_stop=lambda: next(calls) >= 5))
    resumed = train(spec, execution)
    assert resumed.resumed_at_step == 5
    assert resumed.loss == whole.loss


def _spec(corpus: str = "c") -> RunSpec:
    return RunSpec(
        model=Transformer(layers=1, width=8, heads=1, ffn_width=32, vocab=256, context=64),
        data=Data(corpus=corpus, heldout_tokens=4096),
        steps=20,
        batch_contexts=2,
        optimizer=AdamW(learning_rate=0.01),
        schedule=Schedule(warmup_steps=2, decay_steps=18),
    )
