"""Several settings in one sweep: each has its own curves, its own sampler and its own share, and takes its turn.

Losses of two settings are of two laws, so that nothing is learnt of one from the other. Next is the setting that has
reserved the least of its share: at any moment all have spent about alike, and a sweep that is stopped compares them fairly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from orchestrator.proposing.choosing import Choice, Ending
from orchestrator.proposing.sampler import Strategy
from orchestrator.proposing.space import Known, Space


@dataclass(frozen=True, kw_only=True)
class Part:
    """One setting.

    Attributes:
        setting: Its name.
        space: Its curves.
        strategy: Who chooses among them.
        max_flops: What its runs may cost together.
    """

    setting: str
    space: Space
    strategy: Strategy
    max_flops: float

    @cached_property
    def runs(self) -> frozenset[str]:
        """Its runs."""
        return frozenset(self.space.places)

    def known(self, known: Known) -> Known:
        """What is known of this setting."""
        return Known(
            losses={run_id: loss for run_id, loss in known.losses.items() if run_id in self.runs},
            pending=tuple(run_id for run_id in known.pending if run_id in self.runs),
            failed=tuple(run_id for run_id in known.failed if run_id in self.runs),
            too_large=known.too_large,
        )

    def share(self, known: Known) -> float:
        """Share of what it may spend that is reserved."""
        reserved = (run_id for run_id in known.used - set(known.failed) if run_id in self.runs)
        return float(sum(sorted(self.space.flops[self.space.places[run_id]] for run_id in reserved))) / self.max_flops


class BySetting:
    """Chooses for the setting that has reserved the least of its share, by that setting's own strategy."""

    def __init__(self, space: Space, parts: Sequence[Part]) -> None:
        """Choose among parts of a space.

        Args:
            space: All points.
            parts: The settings, in the order of the sweep file.
        """
        self.space = space
        self.parts = tuple(parts)

    def choose(self, known: Known) -> Choice | Ending:
        """The next run, or why no setting has one."""
        endings: list[str] = []
        for part in sorted(self.parts, key=lambda part: part.share(known)):
            chosen = part.strategy.choose(part.known(known))
            if isinstance(chosen, Choice):
                return replace(chosen, cell=self.space.places[chosen.run_id])
            endings.append(f"{part.setting}: {chosen.reason}")
        return Ending(reason="; ".join(sorted(endings)))

    def record(self, choice: Choice, known: Known) -> dict[str, Any]:
        """What a proposal was based on, and whose it is: plain values."""
        part = next(part for part in self.parts if choice.run_id in part.runs)
        mine = replace(choice, cell=part.space.places[choice.run_id])
        return {"setting": part.setting} | part.strategy.record(mine, part.known(known))
