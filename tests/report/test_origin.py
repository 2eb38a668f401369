"""What the report says of how points were chosen, of the code that ran, and of the cost."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.report import Summary, summarize
from analysis.report.blocks import Exhibit, Grid, Section, Text
from analysis.report.design import design_section
from analysis.report.origin import origin_of
from analysis.report.provenance import provenance_facts, provenance_section

from .conftest import planted_rows, write_store

GRID_SWEEP = {
    "name": "planted",
    "budgets": [{"flops": 3e10, "sizes": {"shapes": [{"width": 8}, {"width": 12}]}, "seeds": 3}, {"flops": 1e11}],
    "sizes": {"range": {"min": 1000.0, "max": 60_000.0, "count": 7}},
    "batch": {"coefficient": 1.7, "exponent": 0.4},
    "min_steps": 50,
    "sampler": "grid",
    "resources": {"cpus": 2, "gpus": 0},
    "cost": {"per_cpu_hour": 0.5, "per_gpu_hour": 2.0, "currency": "EUR", "watts_per_cpu": 10.0},
}
MADE_WITH = {
    "isoflop": "0.1.0+abcdef01",
    "python": "3.11.7",
    "packages": {"torch": "2.13.0", "ray": "2.60.0"},
    "git": {"commit": "f" * 40, "dirty": True, "remote": "https://example.org/me/sweeps.git"},
}


def store_of(folder: Path, sweep: dict[str, Any], proposals: list[dict[str, Any]] | None = None) -> Path:
    rows = planted_rows()
    rows["seconds_spent"] = 3600.0 / len(rows)
    store = write_store(rows, folder / "store")
    (store / "sweeps").mkdir()
    document = {"format": 1, "hash": "0123456789abcdef", "sweep": sweep, "made_with": MADE_WITH}
    (store / "sweeps/000000.json").write_text(json.dumps(document))
    (store / "proposals").mkdir()
    for seq, based_on in enumerate(proposals or []):
        proposal = {"format": 1, "seq": seq, "run_id": f"{seq:016x}", "row": {}, "by": "isoflop", "based_on": based_on}
        (store / f"proposals/{seq:08d}.json").write_text(json.dumps(proposal))
    return store


def words(section: Section) -> str:
    return " ".join(block.text for block in section.blocks if isinstance(block, Text))


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    return summarize(store_of(tmp_path_factory.mktemp("planned"), GRID_SWEEP))


def test_a_planned_grid_says_its_rule(planned: Summary) -> None:
    section = design_section(planned)
    said = words(section)
    assert "planned before the first run" in said
    assert "2 shapes listed by hand" in said
    assert "7 sizes evenly in log N from 1k to 60k parameters" in said
    assert "1.7 · D^0.4" in said
    assert not any(isinstance(block, Exhibit) for block in section.blocks)


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = {"quantity": "params", "flops": 3e12, "width": 0.4}
    proposals: list[dict[str, Any]] = [{"stage": "bracket", "why": "brackets <b>it</b>"}] * 3
    for step, width in enumerate((4.0, 2.0, 1.5)):
        interval = {"low": 1e5 / width, "high": 1e5 * width, "level": 0.9}
        proposals.append(
            {
                "stage": "learn",
                "why": "teaches most",
                "flops_reserved": 1e11 * (step + 1),
                "target": target | {"value": 1e5, "interval": interval},
            }
        )
    sweep = GRID_SWEEP | {"sampler": "isoflop", "sampling": {"target": "params", "target_flops": None}}
    return store_of(tmp_path_factory.mktemp("sampled"), sweep, proposals)


def test_a_sampler_says_why_each_point_was_chosen_and_how_its_interval_shrank(sampled: Path) -> None:
    section = design_section(summarize(sampled))
    said = words(section)
    assert "by the sampler isoflop: 6 in all (3 to bracket the optimum of the cheapest curves; 3 to teach most" in said
    assert "N* at 3e+12 FLOPs" in said
    exhibit = next(block for block in section.blocks if isinstance(block, Exhibit))
    assert "From 25k to 400k at 1e+11 FLOPs to 66.7k to 150k at 3e+11" in exhibit.description
    assert [row[0] for row in exhibit.data.rows] == ["1e+11", "2e+11", "3e+11"]
    low, high = (np.array([getattr(step, end) for step in origin_of(sampled).history]) for end in ("low", "high"))
    assert (np.diff(high - low) < 0).all()
    reasons = next(block for block in section.blocks if isinstance(block, Grid) and block.folded)
    assert len(reasons.rows) == 6
    assert reasons.rows[-1][-1] == "teaches most"
    assert reasons.rows[0][1] == "3e+10"


def test_a_torn_proposal_is_left_out(sampled: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(sampled, copy)
    (copy / "proposals/00000001.json").write_text("{")
    assert len(origin_of(copy).proposals) == 5


def test_provenance_names_the_sweep_the_code_and_the_cost(planned: Summary) -> None:
    facts = dict(provenance_facts(planned))
    assert facts["sweep file, content hash"] == "0123456789abcdef"
    assert facts["run by isoflop"] == "0.1.0+abcdef01"
    assert facts["git commit of the working folder"] == (
        f"{'f' * 40} of https://example.org/me/sweeps.git, with changes that were not committed"
    )
    assert facts["run with"] == "Python 3.11.7, torch 2.13.0, ray 2.60.0"
    assert facts["worker hours, retries included"] == "1"
    assert facts["money, an estimate from the sweep file's prices"] == "1 EUR"
    assert facts["energy, an estimate from the sweep file's watts"] == "0.02 kWh"
    assert re.search(r"numpy \d", facts["report made by"])


def test_provenance_ends_with_commands_and_the_sweep_file(planned: Summary) -> None:
    section = provenance_section(planned)
    commands = next(block for block in section.blocks if isinstance(block, Text) and block.kind == "commands")
    assert commands.items[0] == f"git checkout {'f' * 40}"
    assert commands.items[1].startswith("isoflop run planted.yaml --store ")
    sweep = next(block for block in section.blocks if isinstance(block, Grid) and block.folded)
    assert ("sizes.range.max", "60000.0") in sweep.rows


def test_a_table_has_no_origin(tmp_path: Path) -> None:
    rows = planted_rows()
    rows.to_csv(tmp_path / "runs.csv", index=False)
    summary = summarize(tmp_path / "runs.csv")
    assert summary.origin.sampler is None
    assert "sweep file, content hash" not in dict(provenance_facts(summary))


def test_a_folder_that_was_kept_of_a_store_says_the_same(tmp_path: Path) -> None:
    """As the gallery keeps them: tables at the top, and the sweep file beside."""
    planted_rows().to_parquet(tmp_path / "runs.parquet")
    (tmp_path / "sweeps").mkdir()
    document = {"format": 1, "hash": "0123456789abcdef", "sweep": GRID_SWEEP, "made_with": MADE_WITH}
    (tmp_path / "sweeps/000000.json").write_text(json.dumps(document))
    assert summarize(tmp_path).origin.sweep["name"] == "planted"
