"""Published runs and planted laws for the tests of approach 3."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from analysis.forms import find_form
from analysis.table import Runs

Array = NDArray[np.float64]
MakeRuns = Callable[..., Runs]

CHINCHILLA = {"A": 482.01, "B": 2085.43, "E": 1.8169, "alpha": 0.3478, "beta": 0.3658}


def table(params: Array, tokens: Array, loss: Array, **columns: Array) -> Runs:
    flops = columns.pop("flops", 6.0 * np.asarray(params, float) * np.asarray(tokens, float))
    frame = pd.DataFrame({"params": params, "tokens": tokens, "flops": flops, "loss": loss, **columns})
    return Runs(frame=frame.reset_index(drop=True))


@pytest.fixture
def planted() -> MakeRuns:
    """Runs that follow the additive law: budgets x sizes around each optimum, with noise in log loss."""

    def make(*, budgets: int = 5, sizes: int = 9, decades: float = 2.0, noise: float = 0.0, seed: int = 0) -> Runs:
        flops = np.repeat(np.geomspace(1e18, 1e18 * 10**decades, budgets), sizes)
        best = 0.5 * (flops / 6) ** 0.51
        params = best * np.tile(np.geomspace(0.25, 4.0, sizes), budgets)
        tokens = flops / (6 * params)
        loss = find_form("additive").loss(CHINCHILLA, {"params": params, "tokens": tokens})
        return table(params, tokens, loss * np.exp(noise * np.random.default_rng(seed).standard_normal(len(loss))))

    return make


@pytest.fixture(scope="session")
def chinchilla(shared_data: Path) -> Runs:
    """The 245 points that Besiroglu et al. 2024 read off a figure."""
    frame = pd.read_csv(shared_data / "chinchilla_epoch.csv")
    flops = frame["Training FLOP"].to_numpy()
    return table(frame["Model Size"], flops / (6 * frame["Model Size"]), frame["loss"], flops=flops)


@pytest.fixture(scope="session")
def kyo(shared_data: Path) -> Runs:
    frame = pd.read_csv(shared_data / "chinchilla_kyo.csv")
    return table(frame["N"], frame["D"], frame["loss"], flops=frame["C"])


@pytest.fixture(scope="session")
def cs336(shared_data: Path) -> Runs:
    frame = pd.DataFrame(json.loads((shared_data / "cs336_isoflops.json").read_text()))
    flops = frame["compute_budget"].to_numpy(float)
    return table(frame["parameters"], flops / (6 * frame["parameters"]), frame["final_loss"], flops=flops)


@pytest.fixture(scope="session")
def gemstones(shared_data: Path) -> Callable[[str], Runs]:
    def read(name: str) -> Runs:
        frame = pd.read_json(shared_data / f"{name}.jsonl", lines=True)
        return table(frame["params_active_precise"].astype(float), frame["tokens"].astype(float), frame["final_loss"])

    return read


@pytest.fixture(scope="session")
def gadre(shared_data: Path) -> pd.DataFrame:
    return pd.read_csv(shared_data / "overtraining_gadre.csv")
