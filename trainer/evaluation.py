"""Held-out loss over fixed windows: the same tokens in every run, so that runs can be compared in pairs."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainer.batches import Indices, Tokens, source_shares
from trainer.corpus import Corpus, Split
from trainer.errors import CorpusError
from trainer.manifests import SourceManifest
from trainer.networks import Network
from trainer.parameters import matrices
from trainer.record import SourceLoss
from trainer.spec import Data
from trainer.synthetic import Chain

ORACLE, EXCESS = "oracle", "excess over oracle"
"""Names under which a synthetic source's best possible loss, and the model's distance from it, are reported."""

EVALUATION_TOKENS = 4096
"""Tokens per forward pass; chosen: their logits fit a core's cache."""

Losses = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Loss over the evaluated windows.

    Attributes:
        loss: Mean over tokens, nats; of several sources the mean by their weights.
        loss_se: Its standard error, documents as clusters: what another draw of documents would change; None with one.
        bpb: Loss in bits per byte; None where the bytes of the text are not known.
        tokens: Tokens that were predicted.
        sources: Each source by itself, where there are several or one has an oracle.
    """

    loss: float
    loss_se: float | None
    bpb: float | None
    tokens: int
    sources: tuple[SourceLoss, ...] = ()


def evaluate_corpus(
    model: Network, parameters: Tensor, corpus: Corpus, data: Data, split: str | None = None
) -> Evaluation:
    """Held-out loss of a run: the same tokens of each source in every run, each with an equal part of them.

    Args:
        model: What is evaluated.
        parameters: Its parameters.
        corpus: The corpus of the run.
        data: How many tokens, and the weights by which the sources' losses are averaged.
        split: Split to read, in place of the one that `data` names.

    Raises:
        CorpusError: A source has fewer tokens.
        SpecError: The weights are for other sources.
    """
    shares, split = source_shares(data, corpus), split or data.split
    tokens = data.heldout_tokens // len(corpus.sources)
    found = [
        evaluate(
            model, parameters, source.tokens(split), source.manifest.split(split), tokens=tokens, source=source.manifest
        )
        for source in corpus.sources
    ]
    return found[0] if len(found) == 1 else _averaged(found, list(shares.values()), corpus, split)


def evaluate(
    model: Network, parameters: Tensor, text: Tokens, split: Split, *, tokens: int, source: SourceManifest | None = None
) -> Evaluation:
    """Loss over `tokens` tokens (whole windows) of a split, strided over all of its documents.

    Raises:
        CorpusError: The split has fewer tokens.
    """
    context = model.shape.context
    starts, documents = windows(split, context=context, tokens=tokens)
    losses = window_losses(model, parameters, text, starts)
    made = _mean(losses, documents, context, split.bytes_per_token)
    if source is None:
        return made
    parts = [_part(source.name, made)] if source.name else []
    if source.chain is not None:
        best = Chain.of(source.chain).window_losses(text[starts[:, None] + np.arange(context + 1)])
        parts.append(_part(ORACLE, _mean(best, documents, context, None)))
        parts.append(_part(EXCESS, _mean(losses - best, documents, context, None)))
    return replace(made, sources=tuple(parts))


def _mean(losses: Losses, documents: Indices, context: int, bytes_per_token: float | None) -> Evaluation:
    count = len(losses) * context
    mean = float(losses.sum()) / count
    return Evaluation(
        loss=mean,
        loss_se=clustered_standard_error(losses, documents, context),
        bpb=None if bytes_per_token is None else mean / (math.log(2) * bytes_per_token),
        tokens=count,
    )


def _part(source: str, made: Evaluation) -> SourceLoss:
    return SourceLoss(source=source, loss=made.loss, loss_se=made.loss_se, bpb=made.bpb, tokens=made.tokens)


def _averaged(found: list[Evaluation], shares: list[float], corpus: Corpus, split: str) -> Evaluation:
    """Over sources by their weights; bits per byte are weighted nats over weighted bytes."""
    loss = math.fsum(share * one.loss for share, one in zip(shares, found, strict=True))
    errors = [None if one.loss_se is None else share * one.loss_se for share, one in zip(shares, found, strict=True)]
    sizes = [source.manifest.split(split).bytes_per_token for source in corpus.sources]
    size = math.fsum(share * (one or 0.0) for share, one in zip(shares, sizes, strict=True))
    return Evaluation(
        loss=loss,
        loss_se=None if None in errors else math.hypot(*(error for error in errors if error is not None)),
        bpb=None if None in sizes else loss / (math.log(2) * size),
        tokens=sum(one.tokens for one in found),
        sources=tuple(part for one in found for part in one.sources),
    )


def check_heldout(corpus: Corpus, data: Data, context: int) -> None:
    """Refuse a held-out set that the final evaluation, or one during training, could not use.

    Raises:
        CorpusError: A source has too few held-out tokens, or documents shorter than a window, or a single document.
        SpecError: The weights are for other sources.
    """
    source_shares(data, corpus)
    for split in dict.fromkeys((data.split, "tuning") if data.during else (data.split,)):
        for source in corpus.manifest.sources:
            tokens = data.heldout_tokens // len(corpus.sources)
            _, documents = windows(source.split(split), context=context, tokens=tokens, name=source.name)
            if len(np.unique(documents)) < 2:
                raise CorpusError(
                    f"{tokens:,} held-out tokens{_of(source.name)} come from {len(source.split(split).documents)} "
                    f"document(s), of which one is read; expected at least 2, for its standard error. "
                    "Use more text, or raise heldout_tokens."
                )


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


def window_losses(model: Network, parameters: Tensor, text: Tokens, starts: Indices) -> Losses:
    """Summed loss of each window, nats, in float64."""
    context = model.shape.context
    each = max(1, EVALUATION_TOKENS // context)
    sums = []
    with torch.no_grad():
        weights = matrices(model, parameters)
        for first in range(0, len(starts), each):
            tokens = text[starts[first : first + each, None] + np.arange(context + 1)].astype(np.int64)
            tokens_BT = torch.from_numpy(tokens).to(parameters.device)
            log_probs_nV = torch.log_softmax(model.logits(weights, tokens_BT[:, :-1]), -1)
            chosen_BT = log_probs_nV.gather(1, tokens_BT[:, 1:].reshape(-1, 1)).view(-1, context)
            sums.append(-chosen_BT.double().sum(1))
    losses: Losses = torch.cat(sums).cpu().numpy()
    return losses


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
