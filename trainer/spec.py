"""What a training run is, as plain data: everything that decides its result, and nothing else.

A `RunSpec` holds no path, no device and no worker: those are `Execution`, and equal specs must give equal
losses wherever they run (bit for bit under equal numerics signatures).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from trainer.errors import SpecError

RECIPE_VERSION = 2
"""Bumped whenever a change of the trainer changes the losses of an unchanged spec."""

RECIPE_OF_OTHERS = 1
"""Recipe of runs that a trainer of the user's own makes: no change of this trainer gives them another identity."""

Activation = Literal["gelu", "swiglu", "relu2"]
Positions = Literal["rotary", "learned", "none"]
Precision = Literal["fp32", "bf16"]
ScheduleKind = Literal["linear", "cosine", "wsd"]
DecayRule = Literal["coupled", "independent"]
MuonScale = Literal["spectral", "adamw-rms"]


def later(default: Any) -> Any:
    """A field that came after recipe 1: a spec's JSON leaves it out at its default, so that known runs keep their identity."""
    return field(default=default, metadata={"later": True})


@dataclass(frozen=True, kw_only=True)
class Transformer:
    """Shape of a decoder-only transformer: pre-norm, RMSNorm without gains, no biases.

    Attributes:
        layers: Number of blocks L.
        width: Residual width d.
        heads: Attention heads; must divide `width`, with an even head size (rotary pairs).
        ffn_width: Hidden width of the feed-forward part (for SwiGLU: of each of its two branches), or of each expert.
        vocab: Number of token ids V.
        context: Tokens per window T.
        activation: Feed-forward non-linearity; `relu2` is the square of ReLU (So et al. 2021, arXiv:2109.08668).
        tied_head: Whether the head is the embedding matrix.
        kv_heads: Heads of keys and values, each shared by heads / kv_heads queries (Ainslie et al. 2023,
            arXiv:2305.13245); None for as many as `heads`.
        positions: Where the network learns a token's place from: rotations of queries and keys, an embedding of each
            position, or the causal mask alone.
        qk_norm: Whether queries and keys are normed, each head by itself (Henry et al. 2020, arXiv:2010.04245).
        experts: Feed-forward parts of each block that a router chooses among; 1 for none.
        active_experts: Experts that each token goes through.
    """

    layers: int
    width: int
    heads: int
    ffn_width: int
    vocab: int
    context: int
    activation: Activation = "gelu"
    tied_head: bool = False
    kv_heads: int | None = later(None)
    positions: Positions = later("rotary")
    qk_norm: bool = later(False)
    experts: int = later(1)
    active_experts: int = later(1)

    def __post_init__(self) -> None:
        _at_least_one(self, "layers", "width", "heads", "ffn_width", "vocab", "context", "experts", "active_experts")
        if self.width % self.heads or (self.width // self.heads) % 2:
            raise SpecError(
                f"width {self.width} with {self.heads} heads gives a head size of {self.width / self.heads:g}; "
                "expected an even whole number. Choose a width that is a multiple of twice the heads."
            )
        if self.kv_heads is not None and (self.kv_heads < 1 or self.heads % self.kv_heads):
            raise SpecError(
                f"{self.heads} heads share {self.kv_heads} kv_heads; expected a divisor of the heads. "
                "Choose kv_heads that divides them."
            )
        if self.active_experts > self.experts:
            raise SpecError(
                f"active_experts is {self.active_experts} of {self.experts} experts; expected no more than there are. "
                "Choose fewer active_experts or more experts."
            )

    @property
    def head_size(self) -> int:
        """Width of a head K."""
        return self.width // self.heads

    @property
    def key_heads(self) -> int:
        """Heads of keys and of values."""
        return self.kv_heads or self.heads

    @property
    def groups(self) -> int:
        """Queries that share a key."""
        return self.heads // self.key_heads


@dataclass(frozen=True, kw_only=True)
class LSTM:
    """Shape of a recurrent network: long short-term memory cells (Hochreiter & Schmidhuber 1997), as wide as the stream.

    Each layer reads the normed sum of the embedding and of the layers below (residual, as in the transformer) and adds its
    own state. No biases; a constant of 1 opens the forget gate (Jozefowicz et al. 2015). The state is
    zero at the start of every window.

    Attributes:
        layers: Number of layers L.
        width: Width d of the cells and of the residual stream.
        vocab: Number of token ids V.
        context: Tokens per window T.
        tied_head: Whether the head is the embedding matrix.
    """

    layers: int
    width: int
    vocab: int
    context: int
    tied_head: bool = False

    def __post_init__(self) -> None:
        _at_least_one(self, "layers", "width", "vocab", "context")


def _at_least_one(shape: Transformer | LSTM, *names: str) -> None:
    for name in names:
        if getattr(shape, name) < 1:
            raise SpecError(f"{name} is {getattr(shape, name)}; expected at least 1. Choose a larger {name}.")


Shape = Transformer | LSTM
"""Shape of a model of any family."""


@dataclass(frozen=True, kw_only=True)
class Data:
    """Which tokens a run trains and is evaluated on.

    Attributes:
        corpus: Content hash of the corpus snapshot (see `trainer.data.corpus`).
        heldout_tokens: Tokens of that split that the final evaluation reads, strided over all of its documents.
        split: Split that the final evaluation reads: `heldout` for what is reported, `tuning` for choosing a recipe.
        weights: Share of training windows from each source of the corpus, by name; empty takes sources by their size.
        unique_tokens: Distinct training tokens that the run may see, over all sources; None for all there are.
        during: Evaluations on the tuning split during training, at log-spaced steps.
        probe: Questions of the choice task made from held-out text; 0 asks none.
    """

    corpus: str
    heldout_tokens: int
    split: Literal["heldout", "tuning"] = "heldout"
    weights: tuple[tuple[str, float], ...] = later(())
    unique_tokens: int | None = later(None)
    during: int = later(0)
    probe: int = later(0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", tuple((name, share) for name, share in self.weights))  # JSON has lists
        if any(share <= 0 for _, share in self.weights):
            raise SpecError(f"weights are {dict(self.weights)}; expected positive ones. Leave out what weighs nothing.")
        if self.unique_tokens is not None and self.unique_tokens < 1:
            raise SpecError(
                f"unique tokens are {self.unique_tokens}; expected at least a window of them. "
                "Raise data.unique_tokens, or leave it out for the whole text."
            )


@dataclass(frozen=True, kw_only=True)
class AdamW:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019), its rates per group of parameters.

    Attributes:
        learning_rate: Peak rate of the hidden matrices at the parametrisation's base width.
        embedding_multiplier: Rate of the embedding, over `learning_rate`.
        head_multiplier: Rate of the head, over `learning_rate`.
        beta1: Decay of the first moment, per step.
        beta2: Decay of the second moment, per step.
        epsilon: Added to the root of the second moment.
        weight_decay: Share of a parameter that one step at the schedule's peak takes away: with `coupled` times its
            learning rate, with `independent` as it stands.
        clip_norm: Largest global gradient norm; None switches clipping off.
        decay_rule: `coupled` is what `torch.optim` does, so that a change of the rate, or of the width under `mup`,
            changes the decay too; `independent` follows the schedule alone (Wortsman et al. 2023, arXiv:2309.14322).
    """

    learning_rate: float
    embedding_multiplier: float = 1.0
    head_multiplier: float = 1.0
    beta1: float = 0.9
    beta2: float = 0.99
    epsilon: float = 1e-9
    weight_decay: float = 0.0
    clip_norm: float | None = 1.0
    decay_rule: DecayRule = later("coupled")


@dataclass(frozen=True, kw_only=True)
class SGD:
    """Stochastic gradient descent with momentum (Sutskever et al. 2013), weight decay decoupled from the gradient.

    Attributes:
        learning_rate: Peak rate of the hidden matrices at the parametrisation's base width.
        embedding_multiplier: Rate of the embedding, over `learning_rate`.
        head_multiplier: Rate of the head, over `learning_rate`.
        momentum: Decay of the running sum of gradients, per step.
        nesterov: Whether a step looks ahead along the momentum.
        weight_decay: As in `AdamW`.
        clip_norm: Largest global gradient norm; None switches clipping off. The norm grows with width, so that clipping
            breaks the transfer of rates under `mup`.
        decay_rule: As in `AdamW`.
    """

    learning_rate: float
    embedding_multiplier: float = 1.0
    head_multiplier: float = 1.0
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 0.0
    clip_norm: float | None = 1.0
    decay_rule: DecayRule = "coupled"


@dataclass(frozen=True, kw_only=True)
class Muon:
    """Momentum orthogonalised by Newton-Schulz for the matrices of the blocks, AdamW for embedding and head.

    Jordan et al. 2024 (https://kellerjordan.github.io/posts/muon/).

    Attributes:
        learning_rate: Peak rate of the blocks' matrices at the parametrisation's base width.
        adam_learning_rate: Peak rate of embedding and head there, before their multipliers.
        embedding_multiplier: Rate of the embedding, over `adam_learning_rate`.
        head_multiplier: Rate of the head, over `adam_learning_rate`.
        momentum: Decay of the running mean of gradients of the blocks, per step.
        nesterov: Whether a step looks ahead along the momentum.
        iterations: Newton-Schulz iterations.
        scale: Size of an orthogonal update: `spectral` times sqrt(max(1, outputs / inputs)), which keeps its rate over
            widths (Jordan et al. 2024; Yang et al. 2023, arXiv:2310.17813); `adamw-rms` times .2 sqrt(max(outputs,
            inputs)), which makes AdamW's rates fit (Liu et al. 2025, arXiv:2502.16982).
        beta1: First decay of embedding's and head's AdamW.
        beta2: Second decay of theirs.
        epsilon: Added to the root of their second moment.
        weight_decay: As in `AdamW`, for every parameter.
        clip_norm: Largest global gradient norm; None switches clipping off.
        decay_rule: As in `AdamW`.
    """

    learning_rate: float
    adam_learning_rate: float
    embedding_multiplier: float = 1.0
    head_multiplier: float = 1.0
    momentum: float = 0.95
    nesterov: bool = True
    iterations: int = 5
    scale: MuonScale = "spectral"
    beta1: float = 0.9
    beta2: float = 0.99
    epsilon: float = 1e-9
    weight_decay: float = 0.0
    clip_norm: float | None = 1.0
    decay_rule: DecayRule = "coupled"


Optimizer = AdamW | SGD | Muon


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Learning-rate factor over a run's steps: warm-up from zero, then decay that ends at exactly the last step.

    Attributes:
        kind: `linear` and `cosine` decay from the end of warm-up on, `wsd` stays at the peak until the last
            `decay_steps`.
        warmup_steps: Steps of linear warm-up.
        decay_steps: Steps of the final decay; only `wsd` may have fewer than all that remain.
        final_fraction: Factor that the decay ends at.
    """

    kind: ScheduleKind = "linear"
    warmup_steps: int
    decay_steps: int
    final_fraction: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Parametrization:
    """How initialisation and rates follow width.

    `mup`: maximal update for Adam (Yang et al. 2022, arXiv:2203.03466): rate of hidden matrices and head x base_width
    / width, embedding rate constant, attention logits q·k / d_head. `standard`: the same rates at every width, q·k /
    sqrt(d_head).

    Attributes:
        kind: Which rule.
        base_width: Width at which both rules agree on rates.
        base_head_size: Head size at which both rules agree on attention logits. Chosen: with 2 to 8 attention starts
            flatter than with 32, and scores .02 nats better at a width of 16 or 24.
    """

    kind: Literal["mup", "standard"] = "mup"
    base_width: int = 32
    base_head_size: int = 4


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """One training run.

    Attributes:
        model: Shape of the network.
        data: The corpus and its evaluation.
        steps: Optimiser steps; the run sees exactly `tokens` = steps x batch_contexts x context tokens, or fewer by a
            ramp.
        batch_contexts: Windows per step, over the whole global batch.
        optimizer: Update rule.
        schedule: Learning rate over steps; ends at `steps`.
        parametrization: Width rule.
        precision: Arithmetic of the matrix products.
        seed: Decides initialisation and the order of the data.
        recipe: Version of the trainer's numerics.
        trainer: `module:function` of the user's own that trains the run, or the words of a command; None for this
            package's.
        ramp_steps: Steps with a smaller batch before those with the whole one, each of its sizes half of the next: of k
            entries the first is of `batch_contexts` / 2^k windows. The schedule counts steps, whatever their batch.
        noise_every: Steps between measurements of the gradient noise scale (see `trainer.noise`); 0 for none.
    """

    model: Shape
    data: Data
    steps: int
    batch_contexts: int
    optimizer: Optimizer
    schedule: Schedule
    parametrization: Parametrization = field(default_factory=Parametrization)
    precision: Precision = "fp32"
    seed: int = 0
    recipe: int = RECIPE_VERSION
    trainer: str | tuple[str, ...] | None = later(None)
    ramp_steps: tuple[int, ...] = later(())
    noise_every: int = later(0)

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch_contexts < 1:
            raise SpecError(
                f"{self.steps} steps of {self.batch_contexts} windows; expected at least one of each. "
                "Use a larger budget or a smaller batch."
            )
        if self.schedule.warmup_steps + self.schedule.decay_steps > self.steps:
            raise SpecError(
                f"warm-up of {self.schedule.warmup_steps} and decay of {self.schedule.decay_steps} steps do not fit "
                f"into {self.steps} steps. Shorten one of them."
            )
        if self.schedule.kind != "wsd" and self.schedule.warmup_steps + self.schedule.decay_steps < self.steps:
            raise SpecError(
                f"warm-up of {self.schedule.warmup_steps} and {self.schedule.kind} decay of "
                f"{self.schedule.decay_steps} steps leave some of {self.steps} out; expected all of them. "
                "Lengthen the decay, or use 'wsd'."
            )
        if self.batch_contexts % 2 ** len(self.ramp_steps) or sum(self.ramp_steps) >= self.steps:
            raise SpecError(
                f"a ramp of {list(self.ramp_steps)} steps to a batch of {self.batch_contexts} windows, of {self.steps} "
                f"steps; expected a batch that can be halved {len(self.ramp_steps)} times, and steps left with all of "
                "it. Use fewer doublings, a smaller share or a larger batch."
            )

    @property
    def batch_tokens(self) -> int:
        """Tokens per optimiser step; of a batch that grows, those of its last step."""
        return self.batch_contexts * self.model.context

    @property
    def tokens(self) -> int:
        """Training tokens D."""
        return self.tokens_before(self.steps)

    def windows_before(self, step: int) -> int:
        """Windows that the steps before `step` read."""
        windows, left = 0, step
        for halvings, steps in zip(range(len(self.ramp_steps), 0, -1), self.ramp_steps, strict=True):
            windows += min(left, steps) * (self.batch_contexts >> halvings)
            left -= min(left, steps)
        return windows + left * self.batch_contexts

    def windows_of(self, step: int) -> int:
        """Windows of one step; the first step is 0."""
        return self.windows_before(step + 1) - self.windows_before(step)

    def tokens_before(self, step: int) -> int:
        """Training tokens of the steps before `step`."""
        return self.windows_before(step) * self.model.context
