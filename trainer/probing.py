"""A choice task made from held-out text: which of four continuations is the true one?

A question is a held-out window: its beginning is the prompt, its last tokens the true continuation, and the last tokens
of three other windows the wrong ones. Each is scored by its log-likelihood after the prompt. Accuracy jumps where
likelihoods only grow (Schaeffer et al. 2023, arXiv:2304.15004): both are given, from the same answers.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from trainer.data.batches import Indices, Tokens
from trainer.data.corpus import Corpus, OpenSource
from trainer.data.heldout import Losses, clustered_standard_error, windows
from trainer.evaluation import token_losses
from trainer.models.networks import Network
from trainer.record import Probe
from trainer.spec import Data

CHOICES = 4
CONTINUATION_TOKENS = 16
"""Length of a continuation, or half of a short context; chosen."""


def probe(model: Network, parameters: Tensor, corpus: Corpus, data: Data) -> Probe:
    """Ask `data.probe` questions, as many of each source, the same ones in every run.

    Raises:
        CorpusError: The held-out text does not give so many.
    """
    answers, documents, before = [], [], 0
    for source in corpus.sources:
        scores, of_document = _scores(model, parameters, source, data.probe // len(corpus.sources), data.split)
        answers.append(scores)
        documents.append(of_document + before)
        before += len(source.manifest.split(data.split).documents)
    return _graded(np.concatenate(answers), np.concatenate(documents))


def _scores(
    model: Network, parameters: Tensor, source: OpenSource, questions: int, split: str
) -> tuple[Losses, Indices]:
    """Log-likelihood of every choice, the true one first, shape (n, CHOICES), and the document of each question."""
    context, held = model.shape.context, source.manifest.split(split)
    length = min(CONTINUATION_TOKENS, context // 2)
    starts, documents = windows(held, context=context, tokens=questions * context, name=source.name)
    tokens = np.asarray(source.tokens(split)[starts[:, None] + np.arange(context + 1)])
    scores = [
        -_continuation_losses(model, parameters, _with_endings(tokens, choice * questions // CHOICES, length), length)
        for choice in range(CHOICES)
    ]
    return np.stack(scores, axis=1), documents


def _with_endings(tokens: Tokens, shift: int, length: int) -> Tokens:
    """The windows with the endings of those `shift` further on."""
    asked = tokens.copy()
    asked[:, -length:] = np.roll(tokens, -shift, axis=0)[:, -length:]
    return asked


def _continuation_losses(model: Network, parameters: Tensor, tokens: Tokens, length: int) -> Losses:
    batches = token_losses(model, parameters, lambda first, end: tokens[first:end], len(tokens))
    losses: Losses = torch.cat([losses_BT[:, -length:].sum(1) for losses_BT in batches]).cpu().numpy()
    return losses


def _graded(scores: Losses, documents: Indices) -> Probe:
    highest = scores.max(1, keepdims=True)
    log_probs = scores - highest - np.log(np.exp(scores - highest).sum(1, keepdims=True))
    right = (scores[:, 0] > scores[:, 1:].max(1)).astype(np.float64)
    truth = np.eye(CHOICES)[0]
    return Probe(
        questions=len(scores),
        accuracy=float(right.mean()),
        accuracy_se=clustered_standard_error(right, documents, 1),
        log_prob=float(log_probs[:, 0].mean()),
        log_prob_se=clustered_standard_error(log_probs[:, 0], documents, 1),
        brier=float(((np.exp(log_probs) - truth) ** 2).sum(1).mean()),
    )
