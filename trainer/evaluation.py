"""Held-out loss over fixed windows: the same tokens in every run, so that runs can be compared in pairs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainer.batches import Indices, Tokens
from trainer.corpus import Split
from trainer.errors import CorpusError
from trainer.networks import Network
from trainer.parameters import matrices

EVALUATION_TOKENS = 4096
"""Tokens per forward pass; chosen: their logits fit a core's cache."""

Losses = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Loss over the evaluated windows.

    Attributes:
        loss: Mean over tokens, nats.
        loss_se: Its standard error, documents as clusters: what another draw of documents would change; None with one.
        bpb: Loss in bits per byte.
        tokens: Tokens that were predicted.
    """

    loss: float
    loss_se: float | None
    bpb: float
    tokens: int


def evaluate(
    model: Network, parameters: Tensor, text: Tokens, split: Split, *, tokens: int, bytes_per_token: float
) -> Evaluation:
    """Loss over `tokens` tokens (whole windows) of a split, strided over all of its documents.

    Raises:
        CorpusError: The split has fewer tokens.
    """
    starts, documents = windows(split, context=model.shape.context, tokens=tokens)
    losses = window_losses(model, parameters, text, starts)
    count = len(starts) * model.shape.context
    mean = float(losses.sum()) / count
    return Evaluation(
        loss=mean,
        loss_se=clustered_standard_error(losses, documents, model.shape.context),
        bpb=mean / (math.log(2) * bytes_per_token),
        tokens=count,
    )


def windows(split: Split, *, context: int, tokens: int) -> tuple[Indices, Indices]:
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
    if not 1 <= wanted <= len(documents):
        raise CorpusError(
            f"evaluation on {tokens:,} tokens takes {wanted:,} windows of {context}; the split has {len(documents):,}. "
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
