"""Held-out loss over fixed windows: the same tokens in every run, so that runs can be compared in pairs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from trainer.data.batches import Indices, Tokens, source_shares
from trainer.data.corpus import Corpus, Split
from trainer.data.heldout import Losses, asked_of, clustered_standard_error, windows
from trainer.data.manifests import SourceManifest
from trainer.data.synthetic import Chain
from trainer.models.networks import Network
from trainer.models.parameters import matrices
from trainer.record import PositionLoss, SourceLoss
from trainer.spec import Data

ORACLE, EXCESS = "oracle", "excess over oracle"
"""Names under which a synthetic source's best possible loss, and the model's distance from it, are reported."""

EVALUATION_TOKENS = 4096
"""Tokens per forward pass; chosen: their logits fit a core's cache."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Loss over the evaluated windows.

    Attributes:
        loss: Mean over tokens, nats; of several sources the mean by their weights.
        loss_se: Its standard error, documents as clusters: what another draw of documents would change; None with one.
        bpb: Loss in bits per byte; None where the bytes of the text are not known.
        tokens: Tokens that were predicted.
        sources: Each source by itself, where there are several or one has an oracle.
        positions: The loss by the context that a prediction saw, in octaves.
    """

    loss: float
    loss_se: float | None
    bpb: float | None
    tokens: int
    sources: tuple[SourceLoss, ...] = ()
    positions: tuple[PositionLoss, ...] = ()


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
    shares, split = source_shares(data, corpus.manifest), split or data.split
    found = []
    for source in corpus.sources:
        held = source.manifest.split(split)
        tokens = asked_of(
            held, data, sources=len(corpus.sources), context=model.shape.context, during=split != data.split
        )
        found.append(evaluate(model, parameters, source.tokens(split), held, tokens=tokens, source=source.manifest))
    if len(found) == 1:
        return found[0]
    return _averaged(found, [shares.get(source.name, 0.0) for source in corpus.sources], corpus, split)


def evaluate(
    model: Network, parameters: Tensor, text: Tokens, split: Split, *, tokens: int, source: SourceManifest | None = None
) -> Evaluation:
    """Loss over `tokens` tokens (whole windows) of a split, strided over all of its documents.

    Raises:
        CorpusError: The split has fewer tokens.
    """
    context = model.shape.context
    starts, documents = windows(split, context=context, tokens=tokens)
    losses, by_position = window_losses(model, parameters, text, starts)
    made = replace(
        _mean(losses, documents, context, split.bytes_per_token), positions=in_octaves(by_position / len(starts))
    )
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
        positions=tuple(
            replace(parts[0], loss=math.fsum(share * part.loss for share, part in zip(shares, parts, strict=True)))
            for parts in zip(*(one.positions for one in found), strict=True)
        ),
    )


def in_octaves(losses: Losses) -> tuple[PositionLoss, ...]:
    """Mean losses of predictions by the tokens that they saw: one, two, three to four, five to eight and so on.

    Args:
        losses: Of each position of a window, shape (context,).
    """
    ends = [2**octave for octave in range((len(losses) - 1).bit_length())] + [len(losses)]
    return tuple(
        PositionLoss(first=before + 1, last=end, loss=float(losses[before:end].mean()))
        for before, end in zip([0, *ends], ends, strict=False)
    )


def window_losses(model: Network, parameters: Tensor, text: Tokens, starts: Indices) -> tuple[Losses, Losses]:
    """Loss summed over each window, and over each position of all windows: nats, in float64."""
    span = np.arange(model.shape.context + 1)
    by_window, by_position = [], torch.zeros(model.shape.context, dtype=torch.float64)
    for losses_BT in token_losses(
        model, parameters, lambda first, end: text[starts[first:end, None] + span], len(starts)
    ):
        by_window.append(losses_BT.sum(1))
        by_position += losses_BT.sum(0).cpu()
    windows_n: Losses = torch.cat(by_window).cpu().numpy()
    positions_T: Losses = by_position.numpy()
    return windows_n, positions_T


def token_losses(
    model: Network, parameters: Tensor, read: Callable[[int, int], Tokens], count: int
) -> Iterator[Tensor]:
    """Loss of every token of some windows at a time, nats, in float64, shape (B, T).

    Args:
        model: What is evaluated.
        parameters: Its parameters.
        read: Gives the tokens of windows from a first to before an end, shape (n, context + 1).
        count: Windows in all.
    """
    context = model.shape.context
    each = max(1, EVALUATION_TOKENS // context)
    weights = matrices(model, parameters)
    for first in range(0, count, each):
        with torch.no_grad():
            tokens_BT = torch.from_numpy(read(first, first + each).astype(np.int64)).to(parameters.device)
            log_probs_nV = torch.log_softmax(model.logits(weights, tokens_BT[:, :-1]), -1)
            chosen_BT = log_probs_nV.gather(1, tokens_BT[:, 1:].reshape(-1, 1)).view(-1, context)
            yield -chosen_BT.double()
