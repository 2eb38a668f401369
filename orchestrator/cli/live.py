"""What `run` shows while it runs: one table that updates in a terminal, one line per finished run elsewhere."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any

from analysis import notation
from orchestrator.observing import Observer, Snapshot
from orchestrator.status import DONE, FAILED, best_point

if TYPE_CHECKING:
    from rich.console import RenderableType


class _Shown(Observer, AbstractContextManager["_Shown"]):
    """An observer that is open while the sweep runs."""


def observer(name: str, repeat: str) -> _Shown:
    """The observer that suits stdout."""
    return _Table(name, repeat) if sys.stdout.isatty() else _Lines(repeat)


class _Lines(_Shown):
    """One line per finished run."""

    def __init__(self, repeat: str) -> None:
        self._repeat = repeat
        self._latest: Snapshot | None = None
        self._stopping = False
        self._done = 0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def update(self, snapshot: Snapshot) -> None:
        self._latest = snapshot
        if snapshot.stopping and not self._stopping:
            self._stopping = True
            print(_stopping_line(snapshot, self._repeat), flush=True)

    def finished(self, row: dict[str, Any]) -> None:
        self._done += 1
        what = f"loss {notation.loss(row['loss'])}" if row["status"] == "ok" else f"{row['status']}: {row['reason']}"
        seconds = f"  {row['seconds']:.1f} s" if row.get("seconds") else ""
        where = f"{notation.flops(row['budget']):>7} x {notation.count(row['params']):>6}  seed {row['seed']}"
        print(f"[{self._done:>3}] {where}  {what}{seconds}{self._left()}", flush=True)

    def _left(self) -> str:
        if self._latest is None:
            return ""
        return f"  ({notation.duration(self._latest.remaining_seconds)} to go)"


class _Table(_Shown):
    """One table, drawn again about twice a second."""

    def __init__(self, name: str, repeat: str) -> None:
        from rich.console import Console
        from rich.live import Live

        self._name = name
        self._repeat = repeat
        self._live = Live(console=Console(highlight=False), auto_refresh=False, transient=False)

    def __enter__(self) -> _Table:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def update(self, snapshot: Snapshot) -> None:
        self._live.update(render(snapshot, self._repeat), refresh=True)

    def finished(self, row: dict[str, Any]) -> None:
        pass


def render(snapshot: Snapshot, repeat: str) -> RenderableType:
    """The table of one moment."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("budget", "done", "running", "failed", "best N", "best loss", "N* (parabola)"):
        table.add_column(name, justify="right", no_wrap=True)
    rows = snapshot.ledger.rows(["budget", "params", "status", "loss"])
    planned = [(point.budget, point.run_id) for point in snapshot.plan.points]
    for budget in sorted({budget for budget, _ in planned}, reverse=True):
        mine = [row for row in rows if row["budget"] == budget]
        best = best_point(mine)
        table.add_row(
            notation.flops(budget),
            f"{sum(row['status'] in DONE for row in mine)}/{sum(flops == budget for flops, _ in planned)}",
            str(sum(row["status"] == "running" for row in mine)),
            str(sum(row["status"] in FAILED for row in mine)),
            notation.count(best[0]) if best else "",
            notation.loss(best[1]) if best else "",
            _minimum(mine),
        )
    lines = [Text(line) for line in _totals(snapshot, rows, repeat)]
    return Group(table, *lines)


def _minimum(rows: list[dict[str, Any]]) -> str:
    """A parabola's minimum over the seed averages so far, or what it still needs."""
    import numpy as np

    losses: dict[int, list[float]] = {}
    for row in rows:
        if row["status"] == "ok":
            losses.setdefault(row["params"], []).append(row["loss"])
    if len(losses) < 5:
        return "needs 5 sizes"
    sizes = np.log(np.array(sorted(losses), dtype=float))
    values = np.array([np.mean(losses[size]) for size in sorted(losses)])
    curvature, slope, _ = np.polyfit(sizes, values, 2)
    vertex = -slope / (2 * curvature)
    if curvature <= 0 or not sizes[0] < vertex < sizes[-1]:
        return "needs both sides"
    return notation.count(float(np.exp(vertex)))


def _totals(snapshot: Snapshot, rows: list[dict[str, Any]], repeat: str) -> list[str]:
    done = sum(row["status"] in DONE for row in rows)
    spent, planned = notation.flops(snapshot.spent_flops), notation.flops(snapshot.plan.flops)
    elapsed, left = notation.duration(snapshot.elapsed_seconds), notation.duration(snapshot.remaining_seconds)
    retries = ", ".join(f"{count} {ending}" for ending, count in sorted(snapshot.retries.items()))
    lines = [
        f"total {done}/{len(snapshot.plan.points)}   {elapsed} elapsed   {left} to go   spent {spent} of {planned} "
        "FLOPs"
    ]
    if snapshot.last:
        lines.append(f"last: {snapshot.last}" + (f"   retries: {retries}" if retries else ""))
    if snapshot.stopping:
        lines.append(_stopping_line(snapshot, repeat))
    return lines


def _stopping_line(snapshot: Snapshot, repeat: str) -> str:
    done = snapshot.ledger.committed_count
    return (
        f"{snapshot.stopping}: finishing checkpoints; {done} of {len(snapshot.plan.points)} done. Resume with: {repeat}"
    )
