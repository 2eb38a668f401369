"""Training batches as a pure function of (seed, step): the loader has no state to save.

An epoch cuts a source into windows of `context` tokens from a random offset on and visits them in a random order;
both are drawn from a hash of the seed and the epoch's number, by arithmetic that no library version changes. A source
whose unique tokens are limited is cut from its start on, always alike, and only the first windows of a fixed order that
strides over the whole text are ever visited: a smaller limit has a part of the windows of a larger one.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, cast

import numpy as np

from trainer.data.corpus import Corpus
from trainer.data.manifests import Manifest
from trainer.data.mixing import GOLDEN, assign
from trainer.errors import CorpusError, SpecError
from trainer.spec import Data, RunSpec

EPOCHS_KEPT = 2
"""Orders that a source keeps: gathered steps may reach into the next epoch."""

Tokens = np.ndarray[Any, np.dtype[np.uint8] | np.dtype[np.uint16]]
Indices = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, kw_only=True)
class Stream:
    """One source as a run reads it.

    Attributes:
        name: Name of the source, part of what its order is drawn from; empty for a corpus of one source.
        tokens: Its training tokens.
        context: Tokens of a window.
        windows: Windows of an epoch.
        chosen: Numbers of the windows that are ever visited, None for all, whatever the epoch's offset.
        orders: Epochs drawn lately, by seed and number: a run reads each many times.
    """

    name: str
    tokens: Tokens
    context: int
    windows: int
    chosen: Indices | None = None
    orders: dict[tuple[int, int], tuple[Indices, int]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def unique_tokens(self) -> int:
        """Distinct training tokens that a run can see."""
        return len(self.tokens) if self.chosen is None else self.windows * self.context

    def starts(self, seed: int, ranks: Indices) -> Indices:
        """Where the windows of the given ranks begin, in the order of the seed's epochs."""
        epochs = ranks // self.windows
        starts = np.empty_like(ranks)
        for epoch in np.unique(epochs).tolist():
            here = epochs == epoch
            order, offset = self._order(seed, epoch)
            windows = order[ranks[here] % self.windows]
            if self.chosen is None:
                starts[here] = windows * self.context + offset
            else:
                starts[here] = self.chosen[windows] * self.context
        return starts

    def _order(self, seed: int, epoch: int) -> tuple[Indices, int]:
        if (seed, epoch) not in self.orders:
            while len(self.orders) >= EPOCHS_KEPT:
                del self.orders[next(iter(self.orders))]
            self.orders[seed, epoch] = _epoch(self.name, seed, epoch, self.windows, self.context)
        return self.orders[seed, epoch]


@dataclass(frozen=True, kw_only=True)
class Feed:
    """All training windows of a run, by position.

    Attributes:
        streams: Its sources.
        weights: Share of windows from each.
        seed: Seed of the run.
    """

    streams: tuple[Stream, ...]
    weights: tuple[float, ...]
    seed: int

    @property
    def unique_tokens(self) -> int:
        """Distinct training tokens that the run can see."""
        return sum(stream.unique_tokens for stream in self.streams)

    def windows(self, first: int, count: int) -> Indices:
        """Tokens of `count` windows from position `first` on, shape (count, context + 1): inputs and, one on, targets."""
        span = np.arange(self.streams[0].context + 1)
        if len(self.streams) == 1:
            starts = self.streams[0].starts(self.seed, np.arange(first, first + count))
            return cast(Indices, self.streams[0].tokens[starts[:, None] + span].astype(np.int64))
        sources, ranks = assign(self.weights, seed=self.seed, first=first, count=count)
        found = np.empty((count, len(span)), np.int64)
        for number, stream in enumerate(self.streams):
            here = sources == number
            if here.any():
                found[here] = stream.tokens[stream.starts(self.seed, ranks[here])[:, None] + span]
        return found


def feed(spec: RunSpec, corpus: Corpus) -> Feed:
    """What a run trains on.

    Raises:
        CorpusError: A source does not hold two windows.
        SpecError: The mixture weighs a source that the corpus has not, or there are fewer unique tokens than a window.
    """
    shares = source_shares(spec.data, corpus.manifest)
    streams = [
        stream(
            source.train,
            context=spec.model.context,
            name=source.name,
            unique_tokens=_limit(spec.data, shares[source.name]),
        )
        for source in corpus.sources
        if source.name in shares
    ]
    return Feed(streams=tuple(streams), weights=tuple(shares.values()), seed=spec.seed)


def check(manifest: Manifest, data: Data, *, context: int) -> None:
    """Refuse what a run could not train on, from the manifest alone.

    Raises:
        CorpusError: As `feed`.
        SpecError: As `feed`.
    """
    shares = source_shares(data, manifest)
    for source in manifest.sources:
        if source.name in shares:
            _windows(source.train.tokens, context, source.name, _limit(data, shares[source.name]))


def source_shares(data: Data, manifest: Manifest) -> dict[str, float]:
    """Share of each source in training, in the order of the corpus; by size where the spec says nothing.

    Raises:
        SpecError: The spec weighs a source that the corpus has not.
    """
    sizes = {source.name: float(source.train.tokens) for source in manifest.sources}
    weights = dict(data.weights) or sizes
    if set(weights) - set(sizes):
        raise SpecError(
            f"the mixture weighs {', '.join(weights)}; the corpus has {', '.join(sizes)}. "
            "Expected weights of its sources: name them in data.mixture, or plan anew."
        )
    total = sum(weights.values())
    return {name: weights[name] / total for name in sizes if name in weights}


def stream(tokens: Tokens, *, context: int, name: str = "", unique_tokens: int | None = None) -> Stream:
    """A source as windows of `context` tokens, of which at most `unique_tokens` are ever seen.

    Raises:
        CorpusError: The source has fewer than two windows, or fewer tokens than `unique_tokens`.
        SpecError: `unique_tokens` is less than a window.
    """
    windows = _windows(len(tokens), context, name, unique_tokens)
    chosen = None if unique_tokens is None else _strided((len(tokens) - context) // context)[:windows]
    return Stream(name=name, tokens=tokens, context=context, windows=windows, chosen=chosen)


def _limit(data: Data, share: float) -> int | None:
    return None if data.unique_tokens is None else round(data.unique_tokens * share)


def _windows(tokens: int, context: int, name: str, unique_tokens: int | None) -> int:
    """Windows of an epoch."""
    windows = windows_per_epoch(tokens, context)
    if unique_tokens is None:
        return windows
    wanted, at = unique_tokens // context, f" in source {name}" if name else ""
    if wanted < 1:
        raise SpecError(
            f"{unique_tokens:,} unique tokens{at} are no window of {context}; expected at least {context}. "
            "Raise data.unique_tokens, or shorten the context."
        )
    if wanted > windows:
        raise CorpusError(
            f"{unique_tokens:,} unique tokens{at} are asked for, the text has {windows * context:,} in whole windows; "
            "expected no more. Lower data.unique_tokens, or use more text."
        )
    return wanted


def windows_per_epoch(tokens: int, context: int) -> int:
    """Windows that fit whatever the epoch's offset.

    Raises:
        CorpusError: Not one.
    """
    windows = (tokens - context) // context
    if windows < 1:
        raise CorpusError(
            f"a context of {context} tokens does not fit into {tokens:,} training tokens; expected at least two "
            "windows. Use a shorter context or more text."
        )
    return windows


def batch(text: Tokens, *, seed: int, step: int, batch_contexts: int, context: int) -> Indices:
    """Tokens of one step, shape (batch_contexts, context + 1): inputs and, one further on, targets."""
    (tokens,) = batches(text, seed=seed, step=step, count=1, batch_contexts=batch_contexts, context=context)
    return cast(Indices, tokens)


def batches(text: Tokens, *, seed: int, step: int, count: int, batch_contexts: int, context: int) -> Indices:
    """Tokens of `count` steps from `step` on over one source, shape (count, batch_contexts, context + 1)."""
    whole = Feed(streams=(stream(text, context=context),), weights=(1.0,), seed=seed)
    return whole.windows(step * batch_contexts, count * batch_contexts).reshape(count, batch_contexts, context + 1)


def _epoch(name: str, seed: int, epoch: int, windows: int, context: int) -> tuple[Indices, int]:
    """Order of windows and offset of the first: the windows sorted by a keyed hash (SplitMix64's finaliser)."""
    drawn_from = f"isoflop batches {seed} {epoch}" + (f" {name}" if name else "")
    key = hashlib.sha256(drawn_from.encode()).digest()
    mixed = np.arange(windows, dtype=np.uint64) * np.uint64(GOLDEN)
    mixed += np.uint64(int.from_bytes(key[:8], "little"))
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    mixed ^= mixed >> np.uint64(31)
    order: Indices = np.argsort(mixed)  # no two are equal: each operation above is one to one
    return order, int.from_bytes(key[8:16], "little") % context


@lru_cache(maxsize=2)
def _strided(windows: int) -> Indices:
    """All windows in an order of which every beginning strides over the text evenly: by (number x G) mod 2^64."""
    order: Indices = np.argsort(np.arange(windows, dtype=np.uint64) * np.uint64(GOLDEN))
    return order
