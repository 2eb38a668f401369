"""Rules that turn tokens D into batch, learning rate, beta2 and warm-up: smooth, so that no curve has kinks along D."""

from __future__ import annotations

import math

from trainer.identity import significant


def batch_contexts(tokens: float, context: int, *, coefficient: float, exponent: float) -> int:
    """Whole windows per step nearest to coefficient x D^exponent tokens.

    The optimal and the critical batch follow D alone: exponent .383 in nanochat, .571 in Step Law (arXiv:2503.04715).
    """
    return max(1, round(coefficient * math.pow(tokens, exponent) / context))


def learning_rate(batch_tokens: int, *, peak: float, at_batch_tokens: float, exponent: float = 0.5) -> float:
    """Peak rate at base width: peak x (batch / at_batch_tokens)^exponent; .5 is Adam's square-root rule."""
    return significant(peak * (batch_tokens / at_batch_tokens) ** exponent)


def beta2(batch_tokens: int, *, half_life_tokens: float) -> float:
    """Decay per step that halves the second moment's memory every `half_life_tokens`.

    Equal to beta2^(B'/B) of Porian et al. 2024 (arXiv:2406.19146) and Marek et al. 2025 (arXiv:2507.07101).
    """
    return significant(0.5 ** (batch_tokens / half_life_tokens))


def ramp_steps(tokens: float, batch_contexts: int, context: int, *, doublings: int, share: float) -> tuple[int, ...]:
    """Steps of each smaller batch of a ramp, the smallest first: together a share of D, in equal parts of tokens."""
    each = share * tokens / doublings / context
    return tuple(max(1, round(each / (batch_contexts >> halvings))) for halvings in range(doublings, 0, -1))


def warmup_steps(steps: int, *, share: float) -> int:
    """Steps of warm-up: a share of the run, at least one and less than all."""
    return min(math.ceil(share * steps), steps - 1)
