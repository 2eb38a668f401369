"""Two drivers want one store."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from cells import CellServer
from oracle import check
from processes import wait_for_state


@pytest.fixture(scope="module")
def other() -> Iterator[CellServer]:
    with CellServer() as started:
        yield started


@pytest.mark.parametrize(
    "failpoint", ["sweeps.after_link", "proposals.after_link", "train.step", "commits.after_link", "tables.before"]
)
def test_the_second_is_refused_while_the_first_lives(
    failpoint: str, server: CellServer, other: CellServer, sweep: Path, store: Path, reference: Path
) -> None:
    request = {"sweep": str(sweep), "settings": [], "store": str(store)}
    first = server.start(**request, faults=f"{failpoint}=freeze")
    wait_for_state(first, "T")
    refused = other.run(**request)
    assert refused["code"] == 1
    assert f"another driver (pid {first} on " in refused["message"]
    os.kill(first, signal.SIGCONT)
    assert server.wait()["counts"] == {"ok": 6}
    check(store, reference)


@pytest.mark.parametrize("failpoint", ["propose.before", "train.step", "attempt.before_commit", "commits.after_write"])
def test_a_forced_take_over_costs_compute_and_no_result(
    failpoint: str, server: CellServer, other: CellServer, sweep: Path, store: Path, reference: Path
) -> None:
    """The first driver is frozen, a second one takes over and finishes; then the first wakes up."""
    request = {"sweep": str(sweep), "settings": [], "store": str(store)}
    first = server.start(**request, faults=f"{failpoint}=freeze")
    wait_for_state(first, "T")
    assert other.run(**request, options={"take_over": True})["counts"] == {"ok": 6}
    os.kill(first, signal.SIGCONT)
    ended = server.wait()
    assert ended["code"] in (0, 3), ended
    if ended["code"] == 3:
        assert "expected to be the only" in ended["message"]
    assert other.run(**request)["counts"] == {"ok": 6}
    check(store, reference)
