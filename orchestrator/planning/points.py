"""A plan as plain values: the points that are run, and those that are not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.sweep import Sweep
from trainer import Data, RunSpec
from trainer.data.manifests import Manifest


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """What planning must know of the text.

    Attributes:
        hash: Content hash of the snapshot; empty before there is one.
        train_tokens: Distinct training tokens; an estimate before there is a snapshot.
        exact: Whether a snapshot was read.
        vocab: Number of token ids.
        sizes: Distinct training tokens of each source of a mixture, by name.
        manifest: What the snapshot says of itself, where there is one.
    """

    hash: str
    train_tokens: int
    exact: bool
    vocab: int = 256
    sizes: tuple[tuple[str, int], ...] = ()
    manifest: Manifest | None = None

    def epoch_tokens(self, data: Data) -> float:
        """Training tokens after which a run has read the first of its sources to the end."""
        sizes = dict(self.sizes) or {"": self.train_tokens}
        shares = dict(data.weights) or {name: size / sum(sizes.values()) for name, size in sizes.items()}
        limit = math.inf if data.unique_tokens is None else float(data.unique_tokens)
        return min(min(sizes.get(name, 0) / share, limit) for name, share in shares.items())


@dataclass(frozen=True, kw_only=True)
class Point:
    """One run to be made: a point (N, D) of a curve, with its seed.

    Attributes:
        run_id: Identity of the run.
        curve: Number of the curve, from 0 at the smallest budget.
        budget: FLOPs intended.
        params: N under the sweep's convention.
        flops: FLOPs of the training, under the sweep's rule.
        spec: Everything that decides the result.
        seconds: Predicted wall time on one worker.
        setting: The setting that it is of; None for a sweep of one.
        tuned: Its values of the axes that are tuned over; None without such axes.
        target: Whether it is of a budget that is predicted before it is run.
        share: Share of its steps that the run makes itself; the rest another run of its trunk has made before.
        retrained: Whether it would train the best try of its point again, on a fresh seed.
    """

    run_id: str
    curve: int
    budget: float
    params: int
    flops: float
    spec: RunSpec
    seconds: float
    setting: str | None = None
    tuned: str | None = None
    target: bool = False
    share: float = 1.0
    retrained: bool = False


@dataclass(frozen=True, kw_only=True)
class DroppedPoint:
    """A point that is not run.

    Attributes:
        budget: FLOPs of its curve.
        params: N under the sweep's convention.
        reason: Why, with what to do.
    """

    budget: float
    params: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Share:
    """What one setting may spend.

    Attributes:
        runs: Runs at most.
        flops: FLOPs at most.
    """

    runs: int
    flops: float


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a sampler may spend where the plan's points are candidates.

    Attributes:
        runs: Runs at most.
        flops: FLOPs at most.
        centres: Middle size N of the planned grid on each curve: where its optimum is expected.
        shares: What each setting may spend of it, as its planned grid would in proportion.
    """

    runs: int
    flops: float
    centres: Mapping[int, float]
    shares: Mapping[str | None, Share]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All points of a sweep, cheapest curves first, and those left out.

    With a sampler other than `grid` the points are candidates, of which `limits` says how many are run; so are those that
    would train a point's best try again. With a ladder `predictions` names those of its target, once they are made.
    """

    sweep: Sweep
    corpus: Corpus
    points: tuple[Point, ...]
    dropped: tuple[DroppedPoint, ...]
    limits: Limits | None = None
    predictions: str | None = None

    @property
    def runs(self) -> int:
        """Runs that will be made, at most."""
        return len(self.points) if self.limits is None else self.limits.runs

    @property
    def flops(self) -> float:
        """Training FLOPs of all runs that will be made, at most."""
        return self._all_flops if self.limits is None else min(self.limits.flops, self._all_flops)

    @property
    def seconds(self) -> float:
        """Predicted worker seconds of these; of candidates, in proportion to FLOPs."""
        return math.fsum(point.seconds for point in self.points) * self.flops / self._all_flops

    @property
    def flops_saved(self) -> float:
        """Training FLOPs that runs of one trunk share."""
        return math.fsum((1 - point.share) * point.flops for point in self.points)

    @property
    def _all_flops(self) -> float:
        return math.fsum(point.share * point.flops for point in self.points)
