"""A fault at every step; afterwards the command is repeated, and nothing may show that there was a fault."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from cells import CellServer
from matrix import Cell, cells
from oracle import check, steps_done, steps_needed
from tiny_trainer import CHECKPOINT_STEPS


@pytest.mark.parametrize("cell", cells(), ids=lambda cell: cell.name)
def test_nothing_is_lost_and_nothing_runs_twice(
    cell: Cell, server: CellServer, sweep: Path, store: Path, reference: Path, work: Path
) -> None:
    if cell.step == "snapshot":
        shutil.rmtree(store)
    request = {
        "sweep": str(sweep),
        "settings": [],
        "store": str(store),
        "options": cell.options,
        "environment": {"TINY_TRAINER_WORK": str(work)},
    }
    if cell.workers is not None:
        request["workers"] = cell.workers
    first = server.run(**request, faults=cell.driver)
    assert first["code"] in cell.code, first
    if first["code"] == 3:
        assert len(first["message"].splitlines()) == 1
        assert "what was committed is safe" in first["message"] or "disk" in first["message"], first
    if cell.again:
        server.run(**request, faults=cell.again)
    last = server.run(**{**request, "workers": {}} if cell.workers is not None else request)
    assert last == {"code": 0, "message": None, "counts": {"ok": 6}}
    check(store, reference)
    workers = 1 if cell.workers is None else 2
    redone = steps_done(work) - steps_needed(reference)
    assert 0 <= redone <= cell.faults * workers * CHECKPOINT_STEPS
