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
        compared: Whether size and tokens were compared with another account of the source (a survey, a repository, a model
            card); the others are from memory. The papers themselves were not opened.
    """

    name: str
    params: float
    tokens: float
    source: str
    compared: bool = False

    @property
    def tokens_per_param(self) -> float:
        """D / N."""
        return self.tokens / self.params

    @property
    def flops(self) -> float:
        """6 N D."""
        return 6 * self.params * self.tokens


def _model(name: str, params: float, tokens: float, source: str, *, compared: bool = False) -> KnownModel:
    return KnownModel(name=name, params=params, tokens=tokens, source=source, compared=compared)


_TABLE_1 = "; table 1 of arXiv:2203.15556"


KNOWN_MODELS = (
    _model("GPT-3", 175e9, 300e9, "arXiv:2005.14165" + _TABLE_1, compared=True),
    _model("Gopher", 280e9, 300e9, "arXiv:2112.11446" + _TABLE_1, compared=True),
    _model("MT-NLG", 530e9, 270e9, "arXiv:2201.11990" + _TABLE_1, compared=True),
    _model("Chinchilla", 70e9, 1.4e12, "arXiv:2203.15556", compared=True),
    _model("PaLM", 540e9, 780e9, "arXiv:2204.02311", compared=True),
    _model("OPT-175B", 175e9, 180e9, "arXiv:2205.01068"),
    _model("Pythia-12B", 12e9, 300e9, "arXiv:2304.01373"),
    _model("LLaMA-7B", 6.7e9, 1.0e12, "arXiv:2302.13971", compared=True),
    _model("LLaMA-65B", 65.2e9, 1.4e12, "arXiv:2302.13971", compared=True),
    _model("Llama 2 7B", 6.7e9, 2.0e12, "arXiv:2307.09288"),
    _model("Llama 2 70B", 70e9, 2.0e12, "arXiv:2307.09288"),
    _model("Falcon-180B", 180e9, 3.5e12, "arXiv:2311.16867"),
    _model("DeepSeek LLM 67B", 67e9, 2.0e12, "arXiv:2401.02954"),
    _model("Llama 3 8B", 8.03e9, 15e12, "Llama 3 model card, 2024"),
    _model("Llama 3 70B", 70.6e9, 15e12, "Llama 3 model card, 2024"),
    _model("Llama 3.1 405B", 405e9, 15.6e12, "arXiv:2407.21783", compared=True),
    _model("Qwen2.5-72B", 72.7e9, 18e12, "arXiv:2412.15115"),
)
"""Models whose sizes and token counts were published."""


@dataclass(frozen=True, kw_only=True)
class Accelerator:
    """A device's peak.

    Attributes:
        flops_per_second: Dense bf16 peak (V100: fp16), without sparsity.
        source: Where it stands.
    """

    flops_per_second: float
    source: str


_NVIDIA = "NVIDIA data sheet, by secondary accounts of it"
_CLOUD_TPU = "Google Cloud TPU documentation"


def _peak(teraflops: float, source: str) -> Accelerator:
    return Accelerator(flops_per_second=teraflops * 1e12, source=source)


ACCELERATORS: dict[str, Accelerator] = {
    "v100": _peak(125, f"{_NVIDIA}, SXM2, fp16"),
    "a10": _peak(125, _NVIDIA),
    "a100": _peak(312, _NVIDIA),
    "a6000": _peak(154.8, "NVIDIA Ampere GA102 white paper, as public tables of peaks have it"),
    "l4": _peak(121, _NVIDIA),
    "l40s": _peak(362, _NVIDIA),
    "rtx4090": _peak(165.2, "NVIDIA Ada white paper, fp32 accumulation, as public tables of peaks have it"),
    "h100": _peak(989.4, f"{_NVIDIA}, SXM: half of 1979 with sparsity"),
    "h100-pcie": _peak(756, f"{_NVIDIA}: half of 1513 with sparsity"),
    "h200": _peak(989.4, f"{_NVIDIA}: half of 1979 with sparsity"),
    "b200": _peak(2250, "NVIDIA Blackwell data sheet, as pytorch/torchtitan, torchtitan/tools/utils.py, has it"),
    "mi250x": _peak(383, "AMD data sheet, two dies of 191.5, as pytorch/torchtitan has it"),
    "mi300x": _peak(1307.4, "AMD data sheet, as public tables of peaks have it"),
    "tpu-v4": _peak(275, f"{_CLOUD_TPU}, as Lightning's fabric/utilities/throughput.py has it"),
    "tpu-v5e": _peak(197, f"{_CLOUD_TPU}, v5e"),
    "tpu-v5p": _peak(459, f"{_CLOUD_TPU}, as public tables of peaks have it"),
    "tpu-v6e": _peak(918, f"{_CLOUD_TPU}, v6e"),
}
"""One device each."""
