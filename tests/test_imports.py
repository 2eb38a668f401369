"""What starts without torch, Ray and Optuna must stay so, and nothing of ours imports a sibling it may not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"torch", "ray", "optuna"}

PROBE = """
import sys
from orchestrator.cli import main
sys.argv = ["isoflop", *{arguments!r}]
try:
    main()
except SystemExit as end:
    code = end.code
print("LOADED", code, *sorted({{name.split(".")[0] for name in sys.modules}}), file=sys.stderr)
"""


def loaded_by(arguments: list[str], cwd: Path) -> tuple[int, set[str]]:
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(arguments=arguments)], capture_output=True, text=True, cwd=cwd, check=True
    )
    _, code, *names = next(line for line in done.stderr.splitlines() if line.startswith("LOADED")).split()
    return (0 if code == "None" else int(code)), set(names)


@pytest.mark.parametrize("verb", ["--help", "plan", "status", "query", "fit", "laws", "allocate"])
def test_readers_start_without_torch_ray_and_optuna(verb: str, small_store: Path, tmp_path: Path) -> None:
    arguments = {
        "--help": ["--help"],
        "plan": ["plan", "quickstart"],
        "status": ["status", str(small_store)],
        "query": ["query", str(small_store), "select count(*) from runs"],
        "fit": ["fit", str(small_store), "--method", "isoflop"],
        "laws": ["laws"],
        "allocate": ["allocate", "--flops", "1e21"],
    }[verb]
    code, names = loaded_by(arguments, tmp_path)
    assert code == 0
    assert not names & HEAVY


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [("trainer", HEAVY | {"numpy", "pandas", "pydantic"}), ("analysis", HEAVY | {"matplotlib", "numba", "scipy"})],
)
def test_importing_a_package_is_light(package: str, forbidden: set[str], tmp_path: Path) -> None:
    code = f"import sys, {package}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert not set(done.stdout.split()) & forbidden
