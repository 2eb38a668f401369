"""Tokens per second of each model family's gradient at equal training FLOPs per token, on one CPU thread.

    OMP_NUM_THREADS=1 python benchmarks/families.py [--quick] [--json]

The reference is a transformer of one layer, width 32 and GELU; every other shape has the width that comes nearest to its FLOPs
per token. Forward and backward of 1,024 tokens are timed, all shapes in turn in one process, by CPU time; a ratio is the
median of seven, against the reference in the same round. `ratio` is that of the LSTM at a context of 64.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import torch

sys.path.pop(0)  # beside this file lies one with the package's name, which would be found first

from trainer import AdamW, Data, RunSpec, Schedule, Shape, flops_per_token
from trainer.memory import keep_freed_memory
from trainer.models.networks import build, initialize
from trainer.models.parameters import matrices
from trainer.shapes import ShapeRule

TOKENS = 1024
RULES = {
    "gelu": ShapeRule(layers=1),
    "relu2": ShapeRule(layers=1, activation="relu2"),
    "swiglu": ShapeRule(layers=1, activation="swiglu", ffn_ratio=8 / 3),
    "4 heads, QK-norm": ShapeRule(layers=1, head_size=8, qk_norm=True),
    "4 heads on 1": ShapeRule(layers=1, head_size=8, kv_heads=1),
    "learned positions": ShapeRule(layers=1, positions="learned"),
    "2 of 8 experts": ShapeRule(layers=1, experts=8, active_experts=2, ffn_ratio=2),
    "lstm": ShapeRule(layers=1, family="lstm"),
}


def matched(rule: ShapeRule, context: int) -> Shape:
    """The shape under a rule with FLOPs per token nearest to the reference's."""
    goal = flops_per_token(replace(RULES["gelu"], context=context).shape(32), "exact")
    shapes = [replace(rule, context=context).shape(width) for width in range(16, 81, 8)]
    return min(shapes, key=lambda shape: abs(flops_per_token(shape, "exact") / goal - 1))


def step(shape: Shape, *, autograd: bool = False) -> Callable[[], None]:
    """A function that takes one gradient."""
    spec = RunSpec(
        model=shape,
        data=Data(corpus="none", heldout_tokens=shape.context),
        steps=100,
        batch_contexts=TOKENS // shape.context,
        optimizer=AdamW(learning_rate=1e-3),
        schedule=Schedule(warmup_steps=0, decay_steps=100),
    )
    network, flat = build(spec), initialize(shape, spec.parametrization, 0)
    into = matrices(network, torch.empty_like(flat))
    tokens_BT = torch.randint(256, (spec.batch_contexts, shape.context + 1))
    inputs_BT, targets_BT = tokens_BT[:, :-1], tokens_BT[:, 1:]

    def by_hand() -> None:
        assert network.by_hand is not None
        with torch.inference_mode():
            network.by_hand(matrices(network, flat), into, inputs_BT, targets_BT)

    def by_autograd() -> None:
        leaf = flat.detach().requires_grad_()
        torch.autograd.grad(network.losses(matrices(network, leaf), inputs_BT, targets_BT)[1], leaf)

    return by_autograd if autograd or network.by_hand is None else by_hand


def seconds(run: Callable[[], None], least: float) -> float:
    """CPU seconds of one call, over at least `least` seconds."""
    start, count = time.process_time(), 0
    while time.process_time() - start < least:
        run()
        count += 1
    return (time.process_time() - start) / count


def measure(context: int, rounds: int, least: float) -> dict[str, dict[str, float]]:
    """Speed of every family at one context."""
    shapes = {name: matched(rule, context) for name, rule in RULES.items()}
    steps = {name: step(shape) for name, shape in shapes.items()}
    shapes["lstm by autograd"], steps["lstm by autograd"] = shapes["lstm"], step(shapes["lstm"], autograd=True)
    for run in list(steps.values()) * 2:
        run()
    times = [{name: seconds(run, least) for name, run in steps.items()} for _ in range(rounds)]
    return {
        name: {
            "width": shape.width,
            "flops_per_token": flops_per_token(shape, "exact"),
            "tokens_per_second": TOKENS / min(each[name] for each in times),
            "ratio": statistics.median(each["gelu"] / each[name] for each in times),
        }
        for name, shape in shapes.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--json", action="store_true", help="the JSON object alone")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    keep_freed_memory()
    torch.manual_seed(0)
    rounds, least = (3, 0.05) if arguments.quick else (7, 0.3)
    found = {f"context {context}": measure(context, rounds, least) for context in (64, 256)}
    if not arguments.json:
        for context, families in found.items():
            print(context)
            for name, row in families.items():
                print(
                    f"  {name:18} width {row['width']:3}  {row['flops_per_token']:7,} FLOPs a token  "
                    f"{row['tokens_per_second']:9,.0f} tokens/s  x {row['ratio']:.2f}"
                )
    print(json.dumps({"ratio": found["context 64"]["lstm"]["ratio"], "families": found}))


if __name__ == "__main__":
    main()
