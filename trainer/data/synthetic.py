"""A synthetic source whose entropy is known: an order-k Markov chain of which every row is a Zipf distribution.

Each context of k symbols has the same Zipf probabilities, dealt out to the symbols in an order of its own. A model can
do no better than the chain's own probabilities, so that its loss less theirs, on the same tokens, tells a leak
(below zero beyond chance), a wrong evaluation (far above zero) and how much is left to learn.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from trainer.data.manifests import Manifest
from trainer.data.mixing import GOLDEN
from trainer.errors import CorpusError

MOST_CONTEXTS = 1 << 20
BURN_IN = 64
"""Symbols drawn before a document begins, so that it begins as if from the middle of a long text; chosen."""

DOCUMENT_TOKENS = 2048
SHARES = {"train": 0.925, "heldout": 0.05, "tuning": 0.025}

Losses = np.ndarray[Any, np.dtype[np.float64]]
Hashes = np.ndarray[Any, np.dtype[np.uint64]]


@dataclass(frozen=True, kw_only=True)
class Chain:
    """A Markov chain.

    Attributes:
        order: Symbols k that the next one depends on.
        symbols: Number of symbols V.
        zipf: Exponent of the rows: the symbol of rank r has probability in proportion to r^-zipf.
        seed: Decides which symbol has which rank in each context.
    """

    order: int = 2
    symbols: int = 16
    zipf: float = 1.3
    seed: int = 0

    def __post_init__(self) -> None:
        if self.order < 1 or self.symbols < 2 or self.symbols**self.order > MOST_CONTEXTS:
            raise CorpusError(
                f"a chain of order {self.order} over {self.symbols} symbols has {self.symbols ** max(self.order, 0):,} "
                f"contexts; expected an order of 1 or more, 2 symbols or more, and at most {MOST_CONTEXTS:,} contexts. "
                "Use fewer symbols or a lower order."
            )

    @classmethod
    def of(cls, numbers: Iterable[tuple[str, float]]) -> Chain:
        """The chain that a manifest names."""
        values: dict[str, Any] = dict(numbers)
        return cls(**values)

    @property
    def numbers(self) -> tuple[tuple[str, float], ...]:
        """The chain as a manifest names it."""
        return tuple(asdict(self).items())

    def entropy(self, order: int | None = None) -> float:
        """Nats per symbol left once `order` symbols are known (the chain's own order by default), 0 for the unigrams."""
        known = _conditionals(self)[self.order if order is None else order]
        weights = _joint(self, known.ndim - 1)
        return float(-(weights[..., None] * known * np.log(known)).sum())

    def window_losses(self, tokens: Any) -> Losses:
        """Loss of the best prediction of each window, nats, summed over its targets.

        The best that anybody can do who sees the window alone: its first targets are predicted from fewer than `order`
        symbols, by the chain's own conditional probabilities of that order.

        Args:
            tokens: Windows, shape (n, T + 1): inputs and, one further on, targets.
        """
        tokens = np.asarray(tokens).astype(np.int64)
        total = np.zeros(len(tokens))
        logs = [np.log(known) for known in _conditionals(self)]
        for target in range(1, tokens.shape[1]):
            seen = min(target, self.order)
            total -= logs[seen][tuple(tokens[:, target - back] for back in range(seen, -1, -1))]
        return total

    def draw(self, documents: int, length: int, *, stream: str = "") -> np.ndarray[Any, np.dtype[np.uint16]]:
        """Documents drawn from the chain, shape (documents, length); another `stream` gives other documents."""
        cumulative = np.cumsum(_transitions(self).reshape(-1, self.symbols), axis=1)
        thresholds = np.round(cumulative[:, :-1] * 2.0**53).astype(np.uint64)
        digest = hashlib.sha256(f"isoflop chain {self.seed} {stream}".encode()).digest()
        key = np.uint64(int.from_bytes(digest[:8], "little"))
        of_document = _mixed(np.arange(documents, dtype=np.uint64) + _mixed(np.array([key])))
        context = (of_document % np.uint64(len(thresholds))).astype(np.int64)
        found = np.empty((documents, length), np.uint16)
        for step in range(-BURN_IN, length):
            uniform = _mixed(of_document + np.uint64((step + BURN_IN + 1) * GOLDEN % (1 << 64))) >> np.uint64(11)
            symbol = (uniform[:, None] >= thresholds[context]).sum(1)
            context = (context * self.symbols + symbol) % len(thresholds)
            if step >= 0:
                found[:, step] = symbol
        return found


@lru_cache(maxsize=8)
def _transitions(chain: Chain) -> Losses:
    """Probability of every symbol after every context, shape (V,) * order + (V,)."""
    V = chain.symbols
    contexts = V**chain.order
    weights = np.array([1 / math.pow(rank, chain.zipf) for rank in range(1, V + 1)])
    ranks = np.argsort(
        _mixed(np.arange(contexts * V, dtype=np.uint64) + _mixed(np.array([np.uint64(chain.seed)]))).reshape(
            contexts, V
        )
    )
    found = np.empty((contexts, V))
    np.put_along_axis(found, ranks, np.broadcast_to(weights / weights.sum(), (contexts, V)), axis=1)
    return found.reshape((V,) * (chain.order + 1))


@lru_cache(maxsize=8)
def _stationary(chain: Chain) -> Losses:
    """Probability of every context in a long text, by power iteration, shape (V,) * order."""
    transitions = _transitions(chain)
    found = np.full(transitions.shape[:-1], 1.0 / transitions[..., 0].size)
    for _ in range(10_000):
        following = (found[..., None] * transitions).sum(0)
        if float(np.abs(following - found).sum()) < 1e-14:
            break
        found = following
    return found


def _joint(chain: Chain, length: int) -> Losses:
    """Probability of every run of at most `order` symbols in a long text, shape (V,) * length."""
    found: Losses = _stationary(chain).sum(tuple(range(chain.order - length)))
    return found


@lru_cache(maxsize=8)
def _conditionals(chain: Chain) -> tuple[Losses, ...]:
    """Probability of the next symbol after 0 to `order` known ones; entry j has shape (V,) * (j + 1)."""
    joint = _stationary(chain)[..., None] * _transitions(chain)
    sums = [joint.sum(tuple(range(chain.order - known))) for known in range(chain.order + 1)]
    return tuple(one / one.sum(-1, keepdims=True) for one in sums)


def _mixed(numbers: Hashes) -> Hashes:
    """SplitMix64's finaliser."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        numbers = (numbers ^ (numbers >> np.uint64(shift))) * np.uint64(factor)
    return numbers ^ (numbers >> np.uint64(31))


def write(chain: Chain, folder: Path, *, tokens: int) -> Manifest:
    """Draw a corpus from a chain and write it; its splits are drawn one by one, so that they share nothing."""
    from trainer.data.preparing import SplitTokens, write_corpus

    parts = {}
    for split, share in SHARES.items():
        documents = max(2, round(share * tokens / DOCUMENT_TOKENS))
        drawn = chain.draw(documents, DOCUMENT_TOKENS, stream=split)
        names = [f"{split}:{number}" for number in range(documents)]
        parts[split] = SplitTokens(names=names, tokens=list(drawn), text_bytes=None)
    return write_corpus(
        folder,
        {"": parts},
        vocab=chain.symbols,
        tokenizer=f"{chain.symbols} symbols",
        about=f"Markov chain of order {chain.order} over {chain.symbols} symbols, {chain.entropy():.4f} nats per symbol",
        licence="none",
        notes={"entropies": [chain.entropy(order) for order in range(chain.order + 1)]},
        chains={"": chain.numbers},
    )
