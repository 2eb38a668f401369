"""The driver's proposer: the planned grid, or points chosen as results arrive, through Optuna in the driver's memory.

A study is never stored: proposals and commits are the truth, and ten thousand finished trials are put back in about a
second. A grid needs none before somebody exports it, and so its driver does not load Optuna.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.errors import SweepError
from orchestrator.planning import Plan, Point
from orchestrator.proposing.grid import GridProposals

if TYPE_CHECKING:
    from orchestrator.proposing.adaptive import AdaptiveProposals


class Proposer:
    """Hands out points; a run that is known from the store is told, not asked for."""

    def __init__(
        self,
        plan: Plan,
        *,
        losses: Mapping[str, float | None],
        proposed: Sequence[str],
        order: Sequence[str] | None = None,
        failed: Collection[str] = (),
    ) -> None:
        """Rebuild the study.

        Args:
            plan: What is to be run, or may be.
            losses: Committed runs and their loss, None for a diverged one.
            proposed: Runs that have a proposal and no result; they are not asked for again.
            order: Every run that has a proposal, by its number; needed where batches are synchronous.
            failed: Runs of `proposed` that ended without a result for good.
        """
        self._proposals: GridProposals | AdaptiveProposals
        if plan.sweep.sampler == "grid":
            self._proposals = GridProposals(plan, losses=losses, proposed=proposed, failed=failed)
            return
        from orchestrator.proposing.adaptive import AdaptiveProposals
        from orchestrator.proposing.samplers import point_sampler

        ordered = set(order or ())
        rest = [run_id for run_id in (*sorted(losses), *proposed) if run_id not in ordered]
        self._proposals = AdaptiveProposals(
            plan, point_sampler(plan), losses=losses, order=(*(order or ()), *rest), failed=failed
        )

    @property
    def left(self) -> int:
        """Points of a grid not asked for yet; of others, whether one could be had now."""
        return self._proposals.left

    @property
    def ending(self) -> str | None:
        """Why the last `ask` gave nothing: all is done, the stop is reached, or a result must come first."""
        return self._proposals.ending

    def ask(self) -> Point | None:
        """The next point. None while runs are under way may mean: ask again after a result; else all is done."""
        return self._proposals.ask()

    def tell(self, run_id: str, loss: float | None) -> None:
        """Report a committed run; None for one that diverged."""
        self._proposals.tell(run_id, loss)

    def fail(self, run_id: str, status: str) -> None:
        """Report a run that ended without a result for good (`oom`, `error`, `lost`); its FLOPs are free again."""
        self._proposals.fail(run_id, status)

    def record(self, run_id: str) -> dict[str, Any]:
        """What a proposal of this driver was based on, as plain values for its document."""
        return self._proposals.record(run_id)

    def export(self, storage: str, name: str) -> int:
        """Copy the study into an Optuna storage, for optuna-dashboard; it is never read back.

        Args:
            storage: URL such as sqlite:///study.db.
            name: The study's name there; it must be new.

        Returns:
            The number of trials.

        Raises:
            SweepError: The storage has a study of this name, or cannot be opened.
        """
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        try:
            copy = optuna.create_study(storage=storage, study_name=name, direction="minimize")
        except optuna.exceptions.DuplicatedStudyError:
            raise SweepError(f"{storage} has a study {name!r}; expected a new name. Choose another --name.") from None
        except Exception as error:  # SQLAlchemy's, which has no common base with Optuna's
            first = str(error).splitlines()[0]
            raise SweepError(
                f"{storage} cannot be opened ({first}); expected an Optuna storage. For example --optuna "
                "sqlite:///study.db."
            ) from None
        trials = self._proposals.study.trials
        copy.add_trials(trials)
        return len(trials)
