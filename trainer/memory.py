"""What a run needs of memory, by a formula; and the process's allocator.

The formula is for the path that a GPU takes: autograd over the model's functions, one flat vector of P parameters.
With n = micro-batch x context tokens, width D, L blocks and c bytes of the matrix products' dtype it adds up

- parameters, 4 P, and their copy in bf16, 2 P, where products are in bf16;
- optimiser state: 8 P for AdamW, 4 P for SGD, 4 P of the blocks and 8 P of the rest for Muon;
- the gradient, 4 P, as much again where a batch goes through in parts, and twice as much where its noise is measured;
- activations, what autograd keeps from the forward pass for the backward one: per block and token the residual stream
  twice, the two normed inputs, queries, keys, values and what attention gave, and the feed-forward part's inputs and
  outputs; at the end the last state and the logarithms of V probabilities;
- working memory: two more copies of the logits, or two more of the gradient (autograd keeps that of each
  matrix until it joins them into one vector), or an evaluation's logits, whichever is largest;
- tables and tokens.

Tests compare every part with the bytes of torch's own tensors on a CPU. A CPU keeps the attention scores, which
a GPU's fused kernel does not: `fused` says which. On a CPU the sum was .96 to 1.3 of a step's peak. It was never
compared with a GPU.
"""

from __future__ import annotations

import ctypes
import logging
import sys
from dataclasses import dataclass
from functools import cache

from trainer.counting import count_params
from trainer.spec import LSTM, SGD, Muon, RunSpec, Transformer

FP32 = 4
"""Bytes of what stays in fp32 whatever the precision: parameters, optimiser state, gradients, the residual stream."""

TOKEN = 8
"""Bytes of a token id on the device."""

TOKENS_AHEAD = 32
"""Steps whose tokens lie on the device at once, as in `trainer.training`."""

EVALUATION_TOKENS = 4096
"""Tokens that an evaluation takes at once, at least a window, as in `trainer.evaluation`."""

FUSED_HEAD_MULTIPLE = 8
"""Head sizes that torch's fused attention takes without padding are multiples of this; others may materialise the
scores, and are counted so (assumed from its documentation, not measured)."""

CONTEXT = 600 * 1024**2
"""Bytes that a process takes on a GPU before its first tensor: CUDA's context and its libraries (assumed, not measured)."""

MARGIN = 1.2
"""Factor on the formula for what the allocator cannot use (chosen)."""

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3  # glibc's malloc.h

_log = logging.getLogger(__name__)


@cache
def keep_freed_memory() -> None:
    """Have glibc keep freed buffers for the next step instead of giving them back to the kernel.

    A step frees and asks again for the same few megabytes; the page faults cost up to a third of it at N = 1e4.
    Elsewhere than on Linux with glibc this does nothing.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # musl has none
        return
    for option, size in ((_M_MMAP_THRESHOLD, 1 << 30), (_M_TRIM_THRESHOLD, 1 << 30), (_M_TOP_PAD, 1 << 24)):
        if not mallopt(option, size):
            _log.debug("mallopt(%d, %d) was refused", option, size)


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """Bytes that a run takes on its device.

    Attributes:
        parameters: Parameters, and their copy for matrix products.
        optimizer: State of the update rule.
        gradient: Gradients that last over a step.
        activations: What the forward pass keeps for the backward one.
        working: Temporary tensors at their largest.
        tables: Tokens that lie ready, and the model's constant tables.
    """

    parameters: int
    optimizer: int
    gradient: int
    activations: int
    working: int
    tables: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.parameters + self.optimizer + self.gradient + self.activations + self.working + self.tables


def footprint(spec: RunSpec, micro_batch: int | None = None, *, fused: bool = True) -> Footprint:
    """What a run of this project's trainer needs.

    Args:
        spec: The run.
        micro_batch: Windows per forward pass; None for the whole batch.
        fused: Whether attention keeps no scores, as torch's fused kernel on a GPU.
    """
    shape, windows = spec.model, min(micro_batch or spec.batch_contexts, spec.batch_contexts)
    P, c = count_params(shape).total, 2 if spec.precision == "bf16" else FP32
    n = windows * shape.context
    scaled_head = shape.vocab * shape.width * c if shape.tied_head else 0
    logits = n * shape.vocab * FP32
    evaluated = max(EVALUATION_TOKENS, shape.context) * (2 * shape.vocab + 6 * shape.width) * FP32
    in_parts = windows < spec.batch_contexts
    return Footprint(
        parameters=P * FP32 + (P * c if c != FP32 else 0),
        optimizer=_optimizer_bytes(spec),
        gradient=P * FP32 * (1 + in_parts + (2 if spec.noise_every else 0)),
        activations=_block_bytes(spec, n, c, fused=fused)
        + n * (_last_bytes(spec, c) + shape.vocab * FP32 + 2 * TOKEN)
        + scaled_head,
        working=max(2 * logits, 2 * P * FP32, evaluated),
        tables=_table_bytes(spec, c),
    )


def device_bytes(spec: RunSpec, micro_batch: int | None = None) -> float:
    """Bytes of a GPU that one run should be given, with its process and a margin."""
    return CONTEXT + MARGIN * footprint(spec, micro_batch).total


def largest_micro_batch(spec: RunSpec, gpu_memory: float) -> int | None:
    """The whole batch, halved as often as a GPU of so many bytes needs; None where not even one window fits."""
    windows = spec.batch_contexts
    while device_bytes(spec, windows) > gpu_memory:
        if windows == 1:
            return None
        windows //= 2
    return windows


def _optimizer_bytes(spec: RunSpec) -> int:
    counts = count_params(spec.model)
    rest = counts.total - counts.body
    if isinstance(spec.optimizer, SGD):
        return counts.total * FP32
    if isinstance(spec.optimizer, Muon):
        return (counts.body + 2 * rest) * FP32
    return 2 * counts.total * FP32


def _last_bytes(spec: RunSpec, c: int) -> int:
    """Per token: the residual stream after the last block, its scale, and it normed."""
    return spec.model.width * (FP32 + c) + FP32


def _block_bytes(spec: RunSpec, n: int, c: int, *, fused: bool) -> int:
    """What all blocks keep of n tokens."""
    shape = spec.model
    if isinstance(shape, LSTM):
        per_token = shape.width * (FP32 + c + 7 * FP32 + (c if c != FP32 else 0)) + FP32
        return shape.layers * n * per_token
    return shape.layers * n * (_attention_bytes(shape, c, fused=fused) + _feed_forward_bytes(shape, c))


def _attention_bytes(shape: Transformer, c: int, *, fused: bool) -> int:
    """Per token and block: stream and scale, normed input, queries, keys and values, and what attention gave."""
    D, keys = shape.width, shape.key_heads * shape.head_size
    kept = D * FP32 + FP32 + D * c + (D + 2 * keys) * c + D * c
    if shape.qk_norm:
        kept += (D + keys) * FP32 + (shape.heads + shape.key_heads) * FP32
    if shape.key_heads == 1 < shape.groups:  # views of the whole projection, queries included
        kept += D * c
    scores = shape.heads * shape.context * c
    if not fused:
        return kept + scores
    kept += D * c + shape.heads * FP32 + 2 * (D - keys) * c  # its output, its normaliser, keys for every query
    return kept + (2 * scores if shape.head_size % FUSED_HEAD_MULTIPLE else 0)


def _feed_forward_bytes(shape: Transformer, c: int) -> int:
    """Per token and block: stream and scale, normed input, and the inputs and outputs of the non-linearity."""
    D, F = shape.width, shape.ffn_width
    inner = (4 if shape.activation == "swiglu" else 2) * F
    if shape.experts == 1:
        return D * FP32 + FP32 + D * c + inner * c
    k = shape.active_experts
    routed = shape.experts * FP32 * 2 + k * (3 * TOKEN + FP32)
    return D * FP32 + FP32 + D * c + k * (inner + 2 * D) * c + routed


def _table_bytes(spec: RunSpec, c: int) -> int:
    shape = spec.model
    tokens = TOKENS_AHEAD * spec.batch_contexts * (shape.context + 1) * TOKEN
    if not isinstance(shape, Transformer):
        return tokens
    mask = shape.groups * shape.context**2 * c
    rotary = 2 * shape.context * (shape.groups + 2) * shape.head_size // 2 * 8
    return tokens + mask + (rotary if shape.positions == "rotary" else 0)
