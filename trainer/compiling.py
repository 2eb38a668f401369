"""The gradient of a batch as one compiled function: an option for long runs, never a default.

What is compiled is the gradient by hand on a CPU, and autograd's on a GPU, where a CUDA graph replays it; nobody has run
the latter on a GPU yet. The update stays as it is: a handful of operations on one vector. Only transformers without experts
are compiled: a recurrence unrolls into thousands of operations, and how many tokens an expert gets is not known before.
"""

from __future__ import annotations

import logging
import math
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainer.errors import CompilerError
from trainer.models import transformer
from trainer.models.gradient import loss_and_gradient, serves
from trainer.models.parameters import matrices
from trainer.models.transformer import Model
from trainer.spec import RunSpec, Transformer

LossAndGradient = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""From all parameters and the tokens of a batch, shape (B, T + 1), to the summed loss and its gradient."""

CPU_OPTIONS: dict[str, Any] = {"cpp_wrapper": True, "compile_threads": 1}
"""Calls of kernels and products are compiled, too; and the compiler keeps to the core that the run has reserved."""

CACHE = "TORCHINDUCTOR_CACHE_DIR"
"""Torch's own variable for where it keeps what it compiled."""

_made: dict[tuple[object, ...], LossAndGradient] = {}

_log = logging.getLogger(__name__)


def is_served(spec: RunSpec) -> bool:
    """Whether the gradient of a spec's model is compiled where that is asked for."""
    return isinstance(spec.model, Transformer) and serves(spec.model)


def check_compiler(device: str) -> None:
    """Refuse before training what would fail in its first step.

    Raises:
        CompilerError: There is no C++ compiler, which kernels for a CPU need, or no Triton, which those for a GPU do.
    """
    if device == "cuda":
        from torch.utils._triton import has_triton

        if not has_triton():
            raise CompilerError(
                "resources.compile is on and there is no Triton here; expected it beside a CUDA build of torch. "
                "Install triton, or leave compile out."
            )
        return
    name = os.environ.get("CXX", "g++")
    if not _runs(name):
        raise CompilerError(
            f"resources.compile is on and there is no C++ compiler here ({name!r} does not run); expected one on every "
            "node. Install g++, name another in the variable CXX, or leave compile out."
        )


@cache
def _runs(name: str) -> bool:
    path = shutil.which(name)
    return path is not None and subprocess.run([path, "--version"], capture_output=True, check=False).returncode == 0


def gradient_of(
    spec: RunSpec, parameters: Tensor, gradient: Tensor, sizes: Iterable[int]
) -> Callable[[Tensor], Tensor]:
    """What puts the gradient of a batch into `gradient` and gives its summed loss; compiled before the first step.

    Args:
        spec: What is trained.
        parameters: All parameters.
        gradient: A vector as long, overwritten.
        sizes: Windows of the batches that it will be called with.
    """
    began, device = time.monotonic(), parameters.device.type
    functions = {}
    for windows in sizes:
        functions[windows] = _compiled(spec, device, windows)
        functions[windows](parameters, _no_tokens(spec, windows, device))
    _log.info("gradients of %s windows compiled, or found compiled, in %.1f s", sizes, time.monotonic() - began)

    def run(tokens_BT: Tensor) -> Tensor:
        loss, made = functions[len(tokens_BT)](parameters, tokens_BT)
        gradient.copy_(made)
        return loss.clone()  # a CUDA graph writes its next loss to the same place

    return run


def _compiled(spec: RunSpec, device: str, windows: int) -> LossAndGradient:
    """One function for all runs of a process that differ in data, rates or length alone."""
    key = (spec.model, spec.parametrization, spec.precision, device, windows, torch.get_num_threads())
    if key not in _made:
        _made[key] = _compile(spec, device, windows)
    return _made[key]


def forget() -> None:
    """Let go of what this process has compiled, as a new process would begin; what is kept on disk stays."""
    _made.clear()
    torch.compiler.reset()


def _compile(spec: RunSpec, device: str, windows: int) -> LossAndGradient:
    from torch.fx.experimental.proxy_tensor import make_fx

    model = in_reals(transformer.build(spec, device))
    parameters = torch.zeros(sum(math.prod(part.shape) for part in model.parts), device=device)
    graph = make_fx(partial(by_hand if device == "cpu" else by_autograd, model))(
        parameters, _no_tokens(spec, windows, device)
    )
    os.environ.setdefault(CACHE, str(cache_folder()))
    if device == "cpu":
        options = CPU_OPTIONS | {"cpp.threads": torch.get_num_threads()}  # which the code names, and so must the cache
        return torch.compile(graph, fullgraph=True, dynamic=False, options=options)
    return torch.compile(graph, fullgraph=True, dynamic=False, mode="reduce-overhead")


def _no_tokens(spec: RunSpec, windows: int, device: str) -> Tensor:
    return torch.zeros(windows, spec.model.context + 1, dtype=torch.int64, device=device)


def cache_folder() -> Path:
    """Where compiled kernels are kept for all stores and processes of a user on this machine.

    Not in a store: these files are executed, and a store may be written by others.
    """
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "isoflop" / "compiled"


def in_reals(model: Model) -> Model:
    """The model with tables of cosines and sines: a compiler makes one loop of real arithmetic, and none of complex."""
    if model.rotary is None or model.rotary_back is None:
        return model
    rotary, back = (torch.view_as_real(table).clone() for table in (model.rotary, model.rotary_back))
    return replace(model, rotary=rotary, rotary_back=back)


def by_hand(model: Model, parameters: Tensor, tokens_BT: Tensor) -> tuple[Tensor, Tensor]:
    """Each matrix's gradient by itself, joined at the end: a write to a view of one vector would copy all of it."""
    into = {part.name: parameters.new_empty(part.shape) for part in model.parts}
    loss = loss_and_gradient(model, matrices(model, parameters), into, tokens_BT[:, :-1], tokens_BT[:, 1:])
    return loss, torch.cat([into[part.name].flatten() for part in model.parts])


def by_autograd(model: Model, parameters: Tensor, tokens_BT: Tensor) -> tuple[Tensor, Tensor]:
    """The same by autograd, whose operations are recorded with the model's own."""
    with torch.enable_grad():
        leaf = parameters.detach().requires_grad_()
        loss, objective = transformer.losses(model, matrices(model, leaf), tokens_BT[:, :-1], tokens_BT[:, 1:])
        return loss.detach(), torch.autograd.grad(objective, leaf)[0]
