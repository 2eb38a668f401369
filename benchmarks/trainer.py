"""Tokens per second of this trainer's step against a plain eager one in the manner of nanoGPT, on one CPU thread.

    OMP_NUM_THREADS=1 python benchmarks/trainer.py [--quick] [--json]

Both steps do the same work on the same tokens: forward, backward, global clipping, AdamW, at equal shapes (GELU, head
size matched, feed-forward of four widths). The plain one is modules, autograd, scaled_dot_product_attention and torch's
fused AdamW, in fp32; ours is timed eager in fp32 and in bf16, and with a compiled gradient in fp32, and in bf16 where the
processor multiplies that faster. They take turns in one process, by CPU time; each ratio is the median of seven. `ratio` is
the best compiled one at N = 1e6; with `--quick` that is the only size that is compiled. Beside them: the share of the matrix
products' own peak, measured here, and `ratio_at_peak`, which a step would have that were nothing but these products at their
peak; CPU seconds of compiling, and of finding what was compiled; what bf16 and compiling do to the loss, beside what another
seed does; and a run of a single step on a warm worker.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

sys.path.pop(0)  # this file has the package's name and would be found first

from trainer import (
    AdamW,
    Data,
    RunSpec,
    Schedule,
    Transformer,
    compiling,
    count_params,
    flops_per_token,
    optimizers,
    train,
)
from trainer.backward import gradient_function
from trainer.data.corpus import snapshot
from trainer.data.sources import TextFiles
from trainer.execution import Execution
from trainer.memory import keep_freed_memory
from trainer.models.networks import build, initialize
from trainer.spec import Precision
from trainer.state import State

SHAPES = {  # layers, width, heads, context, windows a step
    "1e4, 512 tokens": (1, 28, 1, 64, 8),
    "1e4, 1024 tokens": (1, 28, 1, 64, 16),
    "1e5, 1024 tokens": (2, 64, 2, 128, 8),
    "1e6, 1024 tokens": (5, 128, 4, 128, 8),
    "3e6, 1024 tokens": (7, 192, 6, 128, 8),
}
HEADLINE = "1e6, 1024 tokens"
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")
COMPILED = " compiled"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


class Block(nn.Module):
    """Pre-norm attention and feed-forward, as modules."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.first, self.second = nn.LayerNorm(width, bias=False), nn.LayerNorm(width, bias=False)
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.up, self.down = nn.Linear(width, 4 * width, bias=False), nn.Linear(4 * width, width, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        B, T, D = x_BTD.shape
        q, k, v = (
            part.view(B, T, self.heads, D // self.heads).transpose(1, 2)
            for part in self.qkv(self.first(x_BTD)).split(D, 2)
        )
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x_BTD = x_BTD + self.out(mixed.transpose(1, 2).reshape(B, T, D))
        return x_BTD + self.down(functional.gelu(self.up(self.second(x_BTD))))


class Plain(nn.Module):
    """A decoder-only transformer as one would write it first."""

    def __init__(self, layers: int, width: int, heads: int, context: int, vocab: int = 256) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocab, width), nn.Embedding(context, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(width, bias=False), nn.Linear(width, vocab, bias=False)

    def forward(self, tokens_BT: Tensor, targets_BT: Tensor) -> Tensor:
        x_BTD = self.tokens(tokens_BT) + self.positions(torch.arange(tokens_BT.shape[1]))
        logits = self.head(self.norm(self.blocks(x_BTD)))
        return functional.cross_entropy(logits.flatten(0, 1), targets_BT.flatten())


def plain_step(layers: int, width: int, heads: int, context: int, tokens_BT: Tensor) -> Callable[[], None]:
    model = Plain(layers, width, heads, context)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.99), fused=True)

    def step() -> None:
        loss = model(tokens_BT[:, :-1], tokens_BT[:, 1:])
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def our_step(
    layers: int, width: int, heads: int, context: int, tokens_BT: Tensor, way: str = "fp32"
) -> Callable[[], None]:
    shape = Transformer(layers=layers, width=width, heads=heads, ffn_width=4 * width, vocab=256, context=context)
    spec = RunSpec(
        model=shape,
        data=Data(corpus="none", heldout_tokens=context),
        steps=100,
        batch_contexts=len(tokens_BT),
        optimizer=AdamW(learning_rate=1e-3),
        schedule=Schedule(warmup_steps=0, decay_steps=100),
        precision=precision_of(way),
    )
    parameters = initialize(shape, spec.parametrization, 0)
    state = State(parameters=parameters, optimizer=optimizers.start(spec, parameters))
    gradient = torch.empty_like(parameters)
    update = optimizers.bind(spec, parameters, gradient, state.optimizer)
    compiled = way.endswith(COMPILED)
    gradient_of = gradient_function(spec, build(spec), state, gradient, len(tokens_BT), compiled=compiled)

    def step() -> None:
        with torch.no_grad(), torch.inference_mode(not compiled):
            gradient_of(tokens_BT)
            optimizers.clip(gradient, tokens_BT[:, 1:].numel(), 1.0)
            update(50, 0.5)

    return step


def precision_of(way: str) -> Precision:
    return "bf16" if way.startswith("bf16") else "fp32"


def compile_seconds(make: Callable[[], object]) -> tuple[float, float]:
    """CPU seconds, those of the compiler included, of compiling a step, and of finding it compiled."""
    taken = []
    for _ in range(2):
        compiling.forget()
        before = os.times()
        make()
        after = os.times()
        taken.append(sum(after[:4]) - sum(before[:4]))
    return taken[0], taken[1]


def seconds(step: Callable[[], None], least: float) -> float:
    """CPU seconds of one step, over at least `least` seconds."""
    start, count = time.process_time(), 0
    while time.process_time() - start < least:
        step()
        count += 1
    return (time.process_time() - start) / count


def peak(precision: Precision) -> float:
    """FLOPs per second of a large matrix product."""
    left, right = torch.randn(1024, 512).to(DTYPES[precision]), torch.randn(512, 2048).to(DTYPES[precision])
    each = min(seconds(lambda: left @ right, 0.05) for _ in range(5))
    return 2 * 1024 * 512 * 2048 / each


def measure(
    shape: tuple[int, int, int, int, int], ways: list[str], rounds: int, least: float, peaks: dict[Precision, float]
) -> dict[str, float]:
    layers, width, heads, context, windows = shape
    torch.manual_seed(0)
    tokens_BT = torch.randint(256, (windows, context + 1))
    plain = plain_step(layers, width, heads, context, tokens_BT)
    built = Transformer(layers=layers, width=width, heads=heads, ffn_width=4 * width, vocab=256, context=context)
    tokens, counts = windows * context, count_params(built)
    found: dict[str, float] = {"params": counts.body + counts.head}
    for way in ways:
        if way.endswith(COMPILED):
            cold, warm = compile_seconds(partial(our_step, layers, width, heads, context, tokens_BT, way))
            found |= {f"{key(way)}_seconds_cold": cold, f"{key(way)}_seconds_warm": warm}
    ours = {way: our_step(layers, width, heads, context, tokens_BT, way) for way in ways}
    for step in (plain, *ours.values(), plain, *ours.values()):
        step()
    times: dict[str, list[float]] = {"plain": [], **{way: [] for way in ways}}
    for _ in range(rounds):
        times["plain"].append(seconds(plain, least))
        for way, step in ours.items():
            times[way].append(seconds(step, least))
    found["plain_tokens_per_second"] = tokens / min(times["plain"])
    per_token = flops_per_token(built, "exact")
    found["ratio_at_peak"] = max(peaks.values()) / per_token / found["plain_tokens_per_second"]
    for way in ways:
        rate = tokens / min(times[way])
        found[f"ratio_{key(way)}"] = statistics.median(a / b for a, b in zip(times["plain"], times[way], strict=True))
        found[f"tokens_per_second_{key(way)}"] = rate
        found[f"peak_share_{key(way)}"] = rate * per_token / peaks[precision_of(way)]
    return found


def key(way: str) -> str:
    return way.replace(" ", "_")


def a_spec(corpus: str, steps: int) -> RunSpec:
    return RunSpec(
        model=Transformer(layers=1, width=28, heads=1, ffn_width=112, vocab=256, context=64),
        data=Data(corpus=corpus, heldout_tokens=4096),
        steps=steps,
        batch_contexts=8,
        optimizer=AdamW(learning_rate=7e-3, embedding_multiplier=5.0, head_multiplier=3.0),
        schedule=Schedule(warmup_steps=min(10, steps - 1), decay_steps=steps - min(10, steps - 1)),
    )


def whole_runs(ways: list[str], seeds: int, repeats: int) -> dict[str, float]:
    """A one-step run, and losses of every way on modules of the standard library."""
    files = tuple(str(path) for path in sorted(Path(argparse.__file__).parent.glob("[a-j]*.py")))
    with tempfile.TemporaryDirectory() as folder:
        corpus = snapshot(TextFiles(paths=files), Path(folder) / "corpus").hash
        execution = Execution(corpus=Path(folder) / "corpus")
        one = a_spec(corpus, 1)
        train(one, execution)
        cpu, wall = [], []
        for seed in range(repeats):
            began = time.process_time(), time.perf_counter()
            train(replace(one, seed=seed), execution)
            cpu.append(time.process_time() - began[0])
            wall.append(time.perf_counter() - began[1])
        losses = {
            way: np.array(
                [
                    train(
                        replace(a_spec(corpus, 400), seed=seed, precision=precision_of(way)),
                        replace(execution, compile=way.endswith(COMPILED)),
                    ).loss
                    for seed in range(seeds)
                ],
                dtype=np.float64,
            )
            for way in ways
        }
    return {
        "one_step_cpu_seconds": statistics.median(cpu),
        "one_step_wall_seconds": statistics.median(wall),
        "loss_fp32": float(losses["fp32"].mean()),
        "loss_sd_of_seeds": float(losses["fp32"].std(ddof=1)),
        **{f"loss_{key(way)}_minus_fp32": float((losses[way] - losses["fp32"]).mean()) for way in ways[1:]},
        **{f"loss_{key(way)}_largest": float(abs(losses[way] - losses["fp32"]).max()) for way in ways[1:]},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="three short rounds instead of seven, one size compiled")
    parser.add_argument("--json", action="store_true", help="the JSON object alone")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    keep_freed_memory()
    peaks = {each: peak(each) for each in PRECISIONS}
    faster = PRECISIONS if peaks["bf16"] > peaks["fp32"] else PRECISIONS[:1]
    compiled = [each + COMPILED for each in faster]
    rounds, least = (3, 0.1) if options.quick else (7, 0.5)
    with tempfile.TemporaryDirectory() as cache:
        os.environ[compiling.CACHE] = cache
        found = {
            name: measure(
                shape, [*PRECISIONS, *(compiled if not options.quick or name == HEADLINE else ())], rounds, least, peaks
            )
            for name, shape in SHAPES.items()
        }
        runs = whole_runs([*PRECISIONS, *compiled], *((3, 5) if options.quick else (8, 15)))
    if not options.json:
        show(peaks, found, runs)
    ratio = max(found[HEADLINE][f"ratio_{key(way)}"] for way in compiled)
    print(json.dumps({"ratio": ratio, "peak_flops": peaks, "steps": found, **runs}))


def show(peaks: dict[Precision, float], found: dict[str, dict[str, float]], runs: dict[str, float]) -> None:
    peak_line = ", ".join(f"{each} {peaks[each] / 1e9:.0f} GFLOP/s" for each in PRECISIONS)
    print(f"peak of a matrix product: {peak_line}", file=sys.stderr)
    for name, one in found.items():
        ways = [each.removeprefix("ratio_") for each in one if each.startswith("ratio_") and each != "ratio_at_peak"]
        parts = [f"{way} {one[f'ratio_{way}']:.2f}x ({one[f'peak_share_{way}']:.0%} of peak)" for way in ways]
        parts += [f"products alone {one['ratio_at_peak']:.2f}x"]
        parts += [f"{each} {value:.1f}" for each, value in one.items() if "_seconds_" in each]
        rate = (
            f"{one['tokens_per_second_fp32'] / 1e3:.1f}k tokens/s against {one['plain_tokens_per_second'] / 1e3:.1f}k"
        )
        print(f"N = {name:<18} {one['params']:>9,} params  {'   '.join(parts)}   {rate}", file=sys.stderr)
    print(
        f"one-step run: {runs['one_step_cpu_seconds'] * 1e3:.1f} ms of CPU, {runs['one_step_wall_seconds'] * 1e3:.1f} ms "
        "of wall time",
        file=sys.stderr,
    )
    for name in [each for each in runs if each.endswith("_minus_fp32")]:
        largest = runs[name.replace("_minus_fp32", "_largest")]
        print(
            f"{name}: {runs[name]:+.2g} nats, paired by seed, {largest:.2g} at most; seeds scatter by "
            f"{runs['loss_sd_of_seeds']:.4f}",
            file=sys.stderr,
        )


if __name__ == "__main__":
    main()
