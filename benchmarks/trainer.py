"""Tokens per second of this trainer's step against a plain eager one in the manner of nanoGPT, on one CPU thread.

    OMP_NUM_THREADS=1 python benchmarks/trainer.py [--quick] [--json]

Both steps do the same work on the same tokens: forward, backward, global clipping, AdamW, at equal shapes (GELU, head
size matched, feed-forward of four widths). The plain one is modules, autograd, scaled_dot_product_attention and torch's
fused AdamW. They are timed in turn in one process, by CPU time; each ratio is the median of seven. `ratio` is the one at
N = 1e4 with 512 tokens a step.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

sys.path.pop(0)  # this file has the package's name and would be found first

from trainer import AdamW, Data, RunSpec, Schedule, Transformer, count_params, optimizers
from trainer.memory import keep_freed_memory
from trainer.networks import build, initialize
from trainer.training import State, _gradient_function

SHAPES = {  # layers, width, heads, context, windows a step
    "1e4, 512 tokens": (1, 28, 1, 64, 8),
    "1e4, 1024 tokens": (1, 28, 1, 64, 16),
    "1e5, 1024 tokens": (2, 64, 2, 128, 8),
    "1e6, 1024 tokens": (5, 128, 4, 128, 8),
    "3e6, 1024 tokens": (7, 192, 6, 128, 8),
}
HEADLINE = "1e4, 512 tokens"


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


def our_step(layers: int, width: int, heads: int, context: int, tokens_BT: Tensor) -> Callable[[], None]:
    shape = Transformer(layers=layers, width=width, heads=heads, ffn_width=4 * width, vocab=256, context=context)
    spec = RunSpec(
        model=shape,
        data=Data(corpus="none", heldout_tokens=context),
        steps=100,
        batch_contexts=len(tokens_BT),
        optimizer=AdamW(learning_rate=1e-3),
        schedule=Schedule(warmup_steps=0, decay_steps=100),
    )
    parameters = initialize(shape, spec.parametrization, 0)
    state = State(parameters=parameters, optimizer=optimizers.start(spec, parameters))
    gradient = torch.empty_like(parameters)
    update = optimizers.bind(spec, parameters, gradient, state.optimizer)
    gradient_of = _gradient_function(spec, build(spec), state, gradient, len(tokens_BT))

    def step() -> None:
        with torch.inference_mode():
            gradient_of(tokens_BT)
            optimizers.clip(gradient, tokens_BT[:, 1:].numel(), 1.0)
            update(50, 0.5)

    return step


def seconds(step: Callable[[], None], least: float) -> float:
    """CPU seconds of one step, over at least `least` seconds."""
    start, count = time.process_time(), 0
    while time.process_time() - start < least:
        step()
        count += 1
    return (time.process_time() - start) / count


def measure(shape: tuple[int, int, int, int, int], rounds: int, least: float) -> dict[str, float]:
    layers, width, heads, context, windows = shape
    torch.manual_seed(0)
    tokens_BT = torch.randint(256, (windows, context + 1))
    theirs, ours = (make(layers, width, heads, context, tokens_BT) for make in (plain_step, our_step))
    for step in (theirs, ours, theirs, ours):
        step()
    pairs = [(seconds(theirs, least), seconds(ours, least)) for _ in range(rounds)]
    counts = count_params(
        Transformer(layers=layers, width=width, heads=heads, ffn_width=4 * width, vocab=256, context=context)
    )
    return {
        "params": counts.body + counts.head,
        "ratio": statistics.median(plain / mine for plain, mine in pairs),
        "plain_tokens_per_second": windows * context / min(plain for plain, _ in pairs),
        "tokens_per_second": windows * context / min(mine for _, mine in pairs),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three short rounds instead of seven")
    parser.add_argument("--json", action="store_true", help="the JSON object alone")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    keep_freed_memory()
    found = {
        name: measure(shape, 3 if options.quick else 7, 0.1 if options.quick else 0.5) for name, shape in SHAPES.items()
    }
    if not options.json:
        for name, one in found.items():
            rate = f"{one['tokens_per_second'] / 1e3:.0f}k tokens/s against {one['plain_tokens_per_second'] / 1e3:.0f}k"
            print(f"N = {name:<18} {one['params']:>9,} params  {one['ratio']:.2f}x  {rate}", file=sys.stderr)
    print(json.dumps({"ratio": found[HEADLINE]["ratio"], "steps": found}))


if __name__ == "__main__":
    main()
