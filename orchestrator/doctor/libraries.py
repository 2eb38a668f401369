"""Checks of libraries. Ray, matplotlib and torch are asked in processes of their own.

One that is broken, or hangs, is then a finding and not a crash, and `isoflop doctor` itself stays light.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata

from orchestrator.doctor.finding import Finding
from orchestrator.errors import OrchestratorError
from orchestrator.version import refuse_shadowed_packages

PROBE_SECONDS = 60.0
"""Longest wait for one library (chosen; torch takes 2-3 s warm, some ten cold from NFS)."""


@dataclass(frozen=True, kw_only=True)
class Probed:
    """What a library said in a process of its own; `error` is its last line where it failed."""

    output: str
    error: str | None


def dependencies() -> Iterator[Finding]:
    """Every requirement of the distribution against what is installed."""
    from packaging.requirements import Requirement

    try:
        required = [Requirement(text) for text in metadata.requires("isoflop") or ()]
    except metadata.PackageNotFoundError:
        fix = "Install it: pip install -e . in the checkout."
        yield Finding(
            name="dependencies", severity="warning", found="isoflop is not installed, only on the path", fix=fix
        )
        return
    wanted = [one for one in required if one.marker is None or one.marker.evaluate({"extra": ""})]
    versions = {one.name: _version(one.name) for one in wanted}
    wrong = [one for one in wanted if not one.specifier.contains(versions[one.name] or "", prereleases=True)]
    for one in wrong:
        yield Finding(
            name="dependencies",
            severity="error",
            found=f"{one.name} {versions[one.name] or 'is not installed'}; expected {one.specifier}",
            fix=f'pip install "{one.name}{one.specifier}"',
        )
    if not wrong:
        found = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
        yield Finding(name="dependencies", severity="ok", found=found)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def packages() -> Iterator[Finding]:
    """Whether `trainer`, `analysis` and `orchestrator` are ours: packages of these names exist elsewhere."""
    try:
        refuse_shadowed_packages(in_workers=True)
    except OrchestratorError as error:
        found, _, fix = str(error).partition("Rename")
        yield Finding(name="packages", severity="error", found=found.strip(), fix=f"Rename{fix}")
    else:
        yield Finding(name="packages", severity="ok", found="trainer, analysis and orchestrator are isoflop's own")


def ray() -> Iterator[Finding]:
    """Whether Ray imports; it is not started."""
    probed = _probe("import ray; print(ray.__version__, ray.__commit__[:8])")
    if probed.error is None:
        yield Finding(name="ray", severity="ok", found=f"ray {probed.output} imports")
    else:
        fix = "Install it anew: pip install --force-reinstall ray. Until then use isoflop run --inline."
        yield Finding(name="ray", severity="error", found=f"ray does not import: {probed.error}", fix=fix)


_FONT_PROBE = """
from matplotlib import font_manager, ft2font, get_configdir
path = font_manager.findfont("DejaVu Sans", fallback_to_default=False)
glyphs = ft2font.FT2Font(path).get_charmap()
print("".join(c for c in "αβγδ×·±≤" if ord(c) not in glyphs) or "all", path)
"""


def fonts() -> Iterator[Finding]:
    """Whether matplotlib has a font with the figures' Greek letters and signs."""
    probed = _probe(_FONT_PROBE)
    missing, _, path = probed.output.partition(" ")
    if probed.error is not None:
        fix = "pip install --force-reinstall matplotlib; where its folder is read-only: export MPLCONFIGDIR=/tmp/mpl"
        yield Finding(name="fonts", severity="error", found=f"figures cannot be drawn: {probed.error}", fix=fix)
    elif missing != "all":
        fix = "pip install --force-reinstall matplotlib: it brings the font."
        yield Finding(name="fonts", severity="warning", found=f"{path} lacks {missing}", fix=fix)
    else:
        yield Finding(name="fonts", severity="ok", found=f"DejaVu Sans at {path}")


_TORCH_PROBE = """
import torch
names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
print(torch.__version__, torch.version.cuda or "no CUDA", "|".join(names), sep=";")
"""


def gpu() -> Iterator[Finding]:
    """Whether torch sees the GPUs that the driver sees."""
    listed = _run(["nvidia-smi", "-L"])
    seen_by_driver = re.findall(r"^GPU \d+: (.*?) \(UUID", listed.output, flags=re.MULTILINE)
    probed = _probe(_TORCH_PROBE)
    if probed.error is not None:
        fix = "Install it anew: pip install --force-reinstall torch."
        yield Finding(name="torch", severity="error", found=f"torch does not import: {probed.error}", fix=fix)
        return
    version, cuda, names = probed.output.split(";")
    seen_by_torch = [name for name in names.split("|") if name]
    found = f"torch {version} ({cuda}) sees {len(seen_by_torch)} GPUs, nvidia-smi {len(seen_by_driver)}"
    if len(seen_by_torch) == len(seen_by_driver):
        which = ": " + ", ".join(seen_by_torch) if seen_by_torch else "; runs train on the CPU"
        yield Finding(name="gpu", severity="ok", found=found + which)
    elif cuda == "no CUDA":
        fix = "Install a CUDA build of torch; pytorch.org names the command for your driver."
        yield Finding(name="gpu", severity="error", found=found, fix=fix)
    else:
        fix = f"Look at CUDA_VISIBLE_DEVICES; else the driver may be too old for CUDA {cuda}: nvidia-smi names its own."
        yield Finding(name="gpu", severity="warning", found=found, fix=fix)


def _probe(code: str) -> Probed:
    """Run Python code in a process of its own."""
    return _run([sys.executable, "-c", code])


def _run(command: list[str]) -> Probed:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PROBE_SECONDS, check=False)
    except FileNotFoundError:
        return Probed(output="", error=f"{command[0]} is not there")
    except subprocess.TimeoutExpired:
        return Probed(output="", error=f"no answer within {PROBE_SECONDS:.0f} s")
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        return Probed(output=done.stdout.strip(), error=lines[-1])
    return Probed(output=done.stdout.strip(), error=None)
