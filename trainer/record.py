"""What a training run gives back, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """One entry of the training curve, recorded at log-spaced steps.

    Attributes:
        tokens: Training tokens seen.
        train_loss: Smoothed training loss in nats per token.
        lr: Learning rate of the hidden matrices at that step, at base width.
        heldout_loss: Loss on the tuning split at that step; None where it was not looked at.
    """

    tokens: int
    train_loss: float
    lr: float
    heldout_loss: float | None = None


@dataclass(frozen=True, kw_only=True)
class SourceLoss:
    """Held-out loss on one source of a mixture, or of what it is compared with.

    Attributes:
        source: Name of the source; `oracle` is the best that any model can do on a synthetic source, and
            `excess over oracle` the model's loss less that, paired by window.
        loss: Mean over tokens, nats.
        loss_se: Its standard error, documents as clusters; None with one document.
        bpb: Loss in bits per byte of text; None where the bytes are not known.
        tokens: Tokens that were predicted.
    """

    source: str
    loss: float
    loss_se: float | None
    bpb: float | None
    tokens: int


@dataclass(frozen=True, kw_only=True)
class PositionLoss:
    """Held-out loss of the tokens in one part of every window: what a model makes of that much context.

    Attributes:
        first: Fewest tokens that a prediction of this part saw, from 1.
        last: Most.
        loss: Mean over these tokens, nats; of several sources the mean by their weights.
    """

    first: int
    last: int
    loss: float


@dataclass(frozen=True, kw_only=True)
class Best:
    """The best of the evaluations during training, chosen on the tuning split.

    Attributes:
        tokens: Training tokens seen.
        tuning_loss: Loss on the tuning split, by which it was chosen.
        loss: Held-out loss there, nats per token.
        loss_se: Its standard error.
    """

    tokens: int
    tuning_loss: float
    loss: float
    loss_se: float | None


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Score on a choice task: the true continuation of held-out text among four, chosen by its likelihood.

    Attributes:
        questions: Questions asked.
        accuracy: Share of questions whose true continuation was the likeliest: the discontinuous metric.
        accuracy_se: Its standard error.
        log_prob: Mean log-probability of the true continuation among the four, nats: the continuous metric.
        log_prob_se: Its standard error.
        brier: Mean squared distance of the four probabilities from the truth, 0 to 2.
    """

    questions: int
    accuracy: float
    accuracy_se: float | None
    log_prob: float
    log_prob_se: float | None
    brier: float


@dataclass(frozen=True, kw_only=True)
class Numerics:
    """What results depend on beside the spec: runs with equal signatures must agree bit for bit.

    Attributes:
        device: Kind of device and its name.
        torch: Version of torch.
        threads: Threads of one process.
        micro_batch: Windows per forward pass.
        compiled: Whether torch.compile made the step.
    """

    device: str
    torch: str
    threads: int
    micro_batch: int
    compiled: bool = False

    @property
    def signature(self) -> str:
        """One line that equals another's only where the numerics are the same."""
        compiled = "compiled" if self.compiled else "eager"
        return f"{self.device} torch={self.torch} threads={self.threads} micro={self.micro_batch} {compiled}"


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """The result of one run.

    Attributes:
        status: `ok`, or `diverged` when the training loss was not finite or stayed above its start.
        tokens: Training tokens seen; the spec's D for a run that is `ok`.
        loss: Held-out loss at D, nats per token; None for a diverged run.
        loss_se: Its standard error, clustered by held-out document.
        bpb: Held-out loss in bits per byte.
        heldout_tokens: Tokens that were evaluated.
        curve: Training curve.
        unique_tokens: Distinct training tokens available to the run.
        seconds: Wall time of training and evaluation in this attempt.
        evaluation_seconds: Share of `seconds` that the evaluation took.
        resumed_at_step: Step of the checkpoint that this attempt started from, 0 for none.
        numerics: What the result depends on beside the spec.
        reason: Why a run counts as diverged.
        sources: Held-out loss of each source, where the corpus has several or an oracle.
        positions: Held-out loss by the context that a prediction saw, in octaves; together they make `loss`.
        best: The best evaluation during training, where there were any.
        probe: Score on the choice task, where it was asked.
        noise_scale: Gradient noise scale over the second half of the run, tokens, where it was asked and could be told.
    """

    status: Literal["ok", "diverged"]
    tokens: int
    loss: float | None
    loss_se: float | None
    bpb: float | None
    heldout_tokens: int
    curve: tuple[CurvePoint, ...]
    unique_tokens: int
    seconds: float
    evaluation_seconds: float
    resumed_at_step: int
    numerics: Numerics
    reason: str | None = None
    sources: tuple[SourceLoss, ...] = ()
    positions: tuple[PositionLoss, ...] = ()
    best: Best | None = None
    probe: Probe | None = None
    noise_scale: float | None = None
