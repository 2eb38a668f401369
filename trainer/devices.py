"""Which accelerators this process sees, and how much of one it may use."""

from __future__ import annotations

from trainer.memory import CONTEXT


def gpu_count() -> int:
    """CUDA devices that torch can use."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def gpu_memory() -> int | None:
    """Bytes of the first GPU's memory, None without one."""
    import torch

    return int(torch.cuda.get_device_properties(0).total_memory) if gpu_count() else None


def memory_share(gpus: float, total: float) -> float:
    """Share of a GPU's memory that the allocator of a run may take, which got so much of a GPU.

    A process takes some before its first tensor, and the allocator's limit does not count it.
    """
    if not 0 < gpus < 1:
        return 1.0
    return max(gpus - CONTEXT / total, gpus / 2)


def limit_memory(gpus: float) -> None:
    """Keep this process within its share of the GPU, so that it meets its own limit and not its neighbours' memory.

    A process that is used again for another run gets another share, or the whole.
    """
    import torch

    total = gpu_memory()
    if total is not None:
        torch.cuda.set_per_process_memory_fraction(memory_share(gpus, total))
