"""What a sweep may still spend: reserved before a run starts, freed when it ends, as the `stop` section says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from orchestrator.prices import rate_of
from orchestrator.sweep import Sweep


@dataclass(frozen=True, kw_only=True)
class Spending:
    """FLOPs and worker seconds: spent, reserved, or predicted for one run."""

    flops: float
    seconds: float

    def __add__(self, other: Spending) -> Spending:
        return Spending(flops=self.flops + other.flops, seconds=self.seconds + other.seconds)


class Budget:
    """The limits on FLOPs, GPU hours and money."""

    def __init__(self, sweep: Sweep) -> None:
        self._stop = sweep.stop
        self._rate = rate_of(sweep)

    @property
    def limited(self) -> bool:
        """Whether there is any limit."""
        return any(limit is not None for _, limit, _ in self._measures(Spending(flops=0.0, seconds=0.0)))

    def refusal(self, spent: Spending, reserved: Iterable[Spending], wanted: Spending) -> str | None:
        """Why a run may not start, None where it may.

        Args:
            spent: What ended attempts took, failed ones included.
            reserved: What runs under way will take.
            wanted: What the run would take.
        """
        under_way = sum(reserved, Spending(flops=0.0, seconds=0.0))
        after = self._measures(spent + under_way + wanted)
        for (name, limit, total), (_, _, now) in zip(after, self._measures(spent), strict=True):
            if limit is not None and total > limit * (1 + 1e-9):
                return f"stop.{name} {limit:g} is reached: {now:.3g} are spent, and no run fits into what is left"
        return None

    def _measures(self, amount: Spending) -> Iterator[tuple[str, float | None, float]]:
        """Name, limit and amount of each measure."""
        yield "max_flops", self._stop.max_flops, amount.flops
        yield "max_gpu_hours", self._stop.max_gpu_hours, self._rate.gpu_hours(amount.seconds)
        yield "max_cost", self._stop.max_cost, self._rate.money(amount.seconds) or 0.0
