"""Which held-out windows are read: the same in every run, strided over all documents of a split. Without torch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from trainer.data.batches import source_shares
from trainer.data.manifests import Manifest, Split
from trainer.errors import CorpusError
from trainer.spec import Data

LEAST_QUESTIONS = 8
"""Fewest questions of a choice task on one source: with fewer its answers are each other's neighbours; chosen."""

Indices = np.ndarray[Any, np.dtype[np.int64]]
Losses = np.ndarray[Any, np.dtype[np.float64]]


def windows(split: Split, *, context: int, tokens: int, name: str = "") -> tuple[Indices, Indices]:
    """Where windows start, and the document of each: evenly strided over all windows that lie within one document.

    Raises:
        CorpusError: The split has fewer tokens in whole windows, or not one window was asked for.
    """
    begins = np.array(split.documents, np.int64)
    lengths = np.diff(np.append(begins, split.tokens))
    fits = np.maximum(lengths - 1, 0) // context
    documents = np.repeat(np.arange(len(begins)), fits)
    within = np.arange(len(documents)) - np.repeat(np.cumsum(fits) - fits, fits)
    wanted = tokens // context
    if len(documents) == 0:
        raise CorpusError(
            f"a context of {context} tokens does not fit into any held-out document{_of(name)}: the longest has "
            f"{split.longest_document:,} tokens; expected more than {context}. Use a shorter context, or prepare "
            "longer documents."
        )
    if not 1 <= wanted <= len(documents):
        raise CorpusError(
            f"evaluation on {tokens:,} tokens{_of(name)} takes {wanted:,} windows of {context}; the split has "
            f"{len(documents):,}. "
            f"Set heldout_tokens between {context:,} and {len(documents) * context:,}, or use more text."
        )
    chosen = (2 * np.arange(wanted) + 1) * len(documents) // (2 * wanted)
    return begins[documents[chosen]] + within[chosen] * context, documents[chosen]


def asked_of(split: Split, data: Data, *, sources: int, context: int, during: bool) -> int:
    """Tokens that an evaluation reads of one of `sources` sources; during training no more than there are."""
    tokens = data.heldout_tokens // sources
    return min(tokens, _capacity(split, context)) if during else tokens


def during_steps(steps: int, count: int) -> list[int]:
    """`count` log-spaced steps from a hundredth of a run to its end, at which it is evaluated on the tuning split."""
    shares = [100 ** (index / (count - 1) - 1) for index in range(count)] if count > 1 else [1.0] * count
    return sorted({max(1, round(share * steps)) for share in shares})


def check(manifest: Manifest, data: Data, *, context: int) -> None:
    """Refuse a held-out set that the final evaluation, one during training, or the choice task could not use.

    Raises:
        CorpusError: A source has too few held-out tokens, or documents shorter than a window, or a single document.
        SpecError: The weights are for other sources.
    """
    source_shares(data, manifest)
    for name in dict.fromkeys((data.split, "tuning") if data.during else (data.split,)):
        for source in manifest.sources:
            split, count = source.split(name), len(manifest.sources)
            tokens = asked_of(split, data, sources=count, context=context, during=name != data.split)
            _, documents = windows(split, context=context, tokens=tokens, name=source.name)
            if len(np.unique(documents)) < 2:
                raise CorpusError(
                    f"the {name} set{_of(source.name)} has {len(split.documents)} document(s), of which "
                    f"{tokens:,} tokens read one; expected at least 2, for its standard error. "
                    "Use more text, or raise data.heldout_tokens."
                )
    if data.probe:
        _check_probe(manifest, data, context)


def _check_probe(manifest: Manifest, data: Data, context: int) -> None:
    each = data.probe // len(manifest.sources)
    for source in manifest.sources:
        most = _capacity(source.split(data.split), context) // context
        if not LEAST_QUESTIONS <= each <= most:
            raise CorpusError(
                f"evaluation.probe asks {each:,} questions{_of(source.name)}; its held-out text gives {LEAST_QUESTIONS} to "
                f"{most:,}, a window of {context} tokens each. Correct evaluation.probe, or use more text."
            )


def _capacity(split: Split, context: int) -> int:
    """Tokens in whole windows that lie within one document."""
    ends = (*split.documents[1:], split.tokens)
    windows = sum(max(end - begin - 1, 0) // context for begin, end in zip(split.documents, ends, strict=True))
    return windows * context


def clustered_standard_error(losses: Losses, documents: Indices, context: int) -> float | None:
    """Standard error of the mean loss, documents as clusters (Cameron & Miller 2015, section II); None with one document."""
    residuals = losses - losses.mean()
    clusters = np.bincount(documents, weights=residuals)[np.unique(documents)]
    count = len(clusters)
    if count < 2:
        return None
    return float(math.sqrt(count / (count - 1) * (clusters**2).sum()) / (len(losses) * context))


def _of(source: str) -> str:
    return f" of source {source}" if source else ""
