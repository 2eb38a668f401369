"""Mixture of experts: a router sends each token through a few of a block's feed-forward parts.

Shazeer et al. 2017 (arXiv:1701.06538); no token is dropped and no expert has a limit, so that the FLOPs are exactly those of
the experts that tokens go through. As in OLMoE (Muennighoff et al. 2024, arXiv:2409.02060), an expert's output counts with
its probability among all experts.

Legend: B batch, T context, n = B x T tokens, D width, E experts, k active experts, m = n x k.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from trainer.models.parameters import Matrices
from trainer.spec import Activation, Transformer

BALANCE_WEIGHT = 0.01
"""Weight of the imbalance beside the loss, in training only (Fedus et al. 2021, arXiv:2101.03961, section 2.2)."""


class _Mixed(Protocol):
    @property
    def shape(self) -> Transformer: ...


def names(shape: Transformer, layer: int) -> list[str]:
    """Of the feed-forward parts of a block; where there is one, it has the block's."""
    return [f"{layer}.{expert}" for expert in range(shape.experts)] if shape.experts > 1 else [f"{layer}"]


def mixture(
    model: _Mixed,
    weights: Matrices,
    layer: int,
    normed_nD: Tensor,
    activate: Callable[[Activation, Tensor], Tensor],
) -> tuple[Tensor, Tensor]:
    """What the experts add to the residual stream, shape (n, D), and how unevenly they are used.

    Tokens are sorted by expert, so that each expert is two matrix products.
    """
    shape, k = model.shape, model.shape.active_experts
    probs_nE = torch.softmax((normed_nD @ weights[f"router.{layer}"]).float(), -1)
    gates_nk, chosen_nk = probs_nE.topk(k, -1)
    order_m = chosen_nk.flatten().argsort(stable=True)
    sorted_mD = normed_nD.index_select(0, order_m // k)
    each = chosen_nk.flatten().bincount(minlength=shape.experts).tolist()
    outputs = [
        activate(shape.activation, x_D @ weights[f"up.{name}"]) @ weights[f"down.{name}"]
        for name, x_D in zip(names(shape, layer), torch.split(sorted_mD, each), strict=True)
    ]
    by_token_nkD = torch.cat(outputs).index_select(0, order_m.argsort()).view(-1, k, shape.width)
    return (by_token_nkD * gates_nk[:, :, None]).sum(1), imbalance(probs_nE, chosen_nk, context=shape.context)


def imbalance(probs_nE: Tensor, chosen_nk: Tensor, *, context: int) -> Tensor:
    """E x (share of choices) x (mean probability), summed over experts, taken in each window and summed over its tokens.

    It is n where use is even, and E n where all tokens go to one expert. By window, not by batch, it does not depend on how
    a batch is cut into micro-batches.
    """
    E = probs_nE.shape[-1]
    counts_BE = torch.nn.functional.one_hot(chosen_nk.view(-1, context * chosen_nk.shape[-1]), E).sum(1)
    shares_BE = counts_BE / (context * chosen_nk.shape[-1])
    return E * (shares_BE * probs_nE.view(-1, context, E).sum(1)).sum()
