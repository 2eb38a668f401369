"""Which accelerators this process sees."""

from __future__ import annotations


def gpu_count() -> int:
    """CUDA devices that torch can use."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0
