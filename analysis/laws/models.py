"""Known models' sizes and data, and accelerators' peak speeds: what an allocation is shown next to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class KnownModel:
    """A trained model.

    Attributes:
        name: Its name.
        params: Total parameters as published.
        tokens: Training tokens as published.
        source: Paper or model card.
    """

    name: str
    params: float
    tokens: float
    source: str

    @property
    def tokens_per_param(self) -> float:
        """D / N."""
        return self.tokens / self.params

    @property
    def flops(self) -> float:
        """6 N D."""
        return 6 * self.params * self.tokens


def _model(name: str, params: float, tokens: float, source: str) -> KnownModel:
    return KnownModel(name=name, params=params, tokens=tokens, source=source)


KNOWN_MODELS = (
    _model("GPT-3", 175e9, 300e9, "arXiv:2005.14165"),
    _model("Gopher", 280e9, 300e9, "arXiv:2112.11446"),
    _model("MT-NLG", 530e9, 270e9, "arXiv:2201.11990"),
    _model("Chinchilla", 70e9, 1.4e12, "arXiv:2203.15556"),
    _model("PaLM", 540e9, 780e9, "arXiv:2204.02311"),
    _model("OPT-175B", 175e9, 180e9, "arXiv:2205.01068"),
    _model("Pythia-12B", 12e9, 300e9, "arXiv:2304.01373"),
    _model("LLaMA-7B", 6.7e9, 1.0e12, "arXiv:2302.13971"),
    _model("LLaMA-65B", 65.2e9, 1.4e12, "arXiv:2302.13971"),
    _model("Llama 2 7B", 6.7e9, 2.0e12, "arXiv:2307.09288"),
    _model("Llama 2 70B", 70e9, 2.0e12, "arXiv:2307.09288"),
    _model("Falcon-180B", 180e9, 3.5e12, "arXiv:2311.16867"),
    _model("DeepSeek LLM 67B", 67e9, 2.0e12, "arXiv:2401.02954"),
    _model("Llama 3 8B", 8.03e9, 15e12, "Llama 3 model card, 2024"),
    _model("Llama 3 70B", 70.6e9, 15e12, "Llama 3 model card, 2024"),
    _model("Llama 3.1 405B", 405e9, 15.6e12, "arXiv:2407.21783"),
    _model("Qwen2.5-72B", 72.7e9, 18e12, "arXiv:2412.15115"),
)
"""Models whose sizes and token counts were published."""

PEAK_FLOPS_PER_SECOND = {
    "v100": 125e12,
    "a10": 125e12,
    "a100": 312e12,
    "a6000": 154.8e12,
    "l4": 121e12,
    "l40s": 362e12,
    "rtx4090": 165.2e12,
    "h100": 989.4e12,
    "h100-pcie": 756e12,
    "h200": 989.4e12,
    "b200": 2250e12,
    "mi250x": 383e12,
    "mi300x": 1307.4e12,
    "tpu-v4": 275e12,
    "tpu-v5e": 197e12,
    "tpu-v5p": 459e12,
    "tpu-v6e": 918e12,
}
"""Dense bf16 (V100: fp16) peak of one device, from vendors' data sheets, without sparsity; an mi250x is two dies."""
