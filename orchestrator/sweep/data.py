"""The sweep file's `data` and `evaluation` sections: what runs train on, and what they are asked afterwards."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from orchestrator.sweep.sections import Section, Whole

SYNTHETIC = ("order", "symbols", "zipf", "tokens", "chain_seed")
"""Keys that only a synthetic source has."""


class TextSource(Section):
    """Where text comes from."""

    source: Literal["stdlib", "package", "text", "shards", "synthetic"] = Field(
        "stdlib",
        description="`stdlib`: the sources of the running Python's standard library; `package`: those of an installed "
        "package; `text`: files of your own; "
        "`shards`: a folder that `isoflop prepare` made; `synthetic`: a Markov chain whose entropy is known.",
    )
    files: list[str] = Field(
        default_factory=list, description="For `text`: files, folders or glob patterns, relative to the sweep file."
    )
    package: str | None = Field(None, description="For `package`: its import name, such as sympy.")
    path: str | None = Field(None, description="For `shards`: the folder, relative to the sweep file.")
    order: Whole = Field(2, ge=1, description="For `synthetic`: symbols that the next one depends on.")
    symbols: Whole = Field(16, ge=2, le=65_536, description="For `synthetic`: number of symbols, the vocabulary.")
    zipf: float = Field(1.3, gt=0, description="For `synthetic`: exponent of the Zipf distribution in every context.")
    tokens: Whole = Field(4_000_000, ge=100_000, description="For `synthetic`: symbols drawn, all splits together.")
    chain_seed: Whole = Field(0, ge=0, description="For `synthetic`: seed of the chain and of the text drawn from it.")

    @model_validator(mode="after")
    def _what_the_source_needs(self) -> TextSource:
        if (self.source == "text") != bool(self.files):
            raise ValueError(
                f"source is {self.source} with {len(self.files)} files; expected files for `text` and none for "
                "others. "
                "For example data: {source: text, files: [books/*.txt]}."
            )
        if (self.source == "shards") != (self.path is not None):
            raise ValueError(
                f"source is {self.source} and path is {self.path}; expected a path for `shards` and none for others. "
                "For example data: {source: shards, path: runs/shards}, after isoflop prepare --out runs/shards."
            )
        if (self.source == "package") != (self.package is not None):
            raise ValueError(
                f"source is {self.source} and package is {self.package}; expected a name for `package` and none for "
                "others. For example data: {source: package, package: sympy}."
            )
        given = [key for key in SYNTHETIC if self._says(key)]
        if given and self.source != "synthetic":
            raise ValueError(
                f"{', '.join(given)} with source {self.source}; expected it with `synthetic` alone. Remove it, or use "
                "source: synthetic."
            )
        return self

    def _says(self, key: str) -> bool:
        """Whether a key has another value than when it is left out."""
        field = type(self).model_fields[key]
        return bool(getattr(self, key) != field.get_default(call_default_factory=True))


class MixedSource(TextSource):
    """One source of a mixture."""

    weight: float = Field(
        1.0, ge=0, description="Share of training tokens, over the sum of all; with 0 the source is only evaluated."
    )


class Data(TextSource):
    """The text. It is snapshot once into the store; every run reads the snapshot and checks its hash."""

    mixture: dict[str, MixedSource] = Field(
        default_factory=dict,
        description="Named sources with weights, in place of one: `{code: {source: stdlib, weight: 0.7}, books: {source: "
        "text, files: [books/*.txt], weight: 0.3}}`. Each is evaluated apart.",
    )
    unique_tokens: Whole | None = Field(
        None,
        ge=1,
        description="Distinct training tokens that runs may see, over all sources; by default all there are.",
    )
    heldout_tokens: Whole = Field(131_072, ge=1, description="Held-out tokens that each run's one evaluation reads.")
    allow_epochs: float = Field(1.0, ge=1, description="How often a run may read its text before it is refused.")

    @model_validator(mode="after")
    def _one_source_or_a_mixture(self) -> Data:
        if not self.mixture:
            return self
        own = [name for name in TextSource.model_fields if self._says(name)]
        if own:
            raise ValueError(
                f"{', '.join(own)} beside mixture; expected one source or a mixture of named ones. Move it into one of "
                f"{', '.join(self.mixture)}."
            )
        if not any(part.weight > 0 for part in self.mixture.values()):
            raise ValueError(
                "every weight of the mixture is 0; expected at least one source to train on. Raise a weight."
            )
        return self

    @property
    def weights(self) -> tuple[tuple[str, float], ...]:
        """Share of each source of a mixture that is trained on, by name; empty for one source."""
        total = sum(part.weight for part in self.mixture.values())
        return tuple(
            (name, float(f"{part.weight / total:.6g}"))
            for name, part in sorted(self.mixture.items())
            if part.weight > 0
        )


class Evaluation(Section):
    """What is asked of a run beside its loss at the end. It costs time, and no FLOPs of C."""

    during: Whole = Field(
        0,
        ge=0,
        le=100,
        description="Evaluations on the tuning split during training, log-spaced to its end: the curve's `heldout_loss`, "
        "and the best of them beside the last.",
    )
    noise_every: Whole = Field(
        0,
        ge=0,
        description="Steps between measurements of the gradient noise scale, `noise_scale` in the results: the batch in "
        "tokens beyond which more of it stops paying (McCandlish et al. 2018, arXiv:1812.06162). Each takes a step's time.",
    )
    probe: Whole = Field(
        0,
        ge=0,
        description="Questions of a choice task made from held-out text: the true continuation among four.",
    )
