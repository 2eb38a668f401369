"""Rules that follow D."""

from __future__ import annotations

import pytest

from trainer.recipe import batch_contexts, beta2, learning_rate, warmup_steps


def test_batch_follows_tokens_in_whole_windows() -> None:
    assert batch_contexts(1e6, 64, coefficient=2.0, exponent=0.4) == 8  # 502 tokens
    assert batch_contexts(10, 64, coefficient=2.0, exponent=0.4) == 1
    sizes = [batch_contexts(10**power, 64, coefficient=2.0, exponent=0.4) for power in range(4, 12)]
    assert sizes == sorted(sizes)


def test_rate_and_memory_follow_the_batch() -> None:
    assert learning_rate(2048, peak=0.01, at_batch_tokens=512) == 0.02
    assert beta2(1000, half_life_tokens=1000) == 0.5
    assert beta2(256, half_life_tokens=32_000) ** 4 == pytest.approx(beta2(1024, half_life_tokens=32_000), rel=1e-5)


def test_warmup_is_a_share_of_the_run() -> None:
    assert warmup_steps(1000, share=0.05) == 50
    assert warmup_steps(10, share=0.05) == 1
    assert warmup_steps(1, share=0.05) == 0
