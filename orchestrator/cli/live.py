"""What `run` shows while it runs: one table that updates in a terminal, one line per finished run elsewhere."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any

from analysis import notation
from orchestrator.minima import CurveKey, curve_minima, minimum_text
from orchestrator.observing import Observer, Snapshot
from orchestrator.prices import rate_of
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
        if self._latest is None:
            self._done = sum(row["status"] in DONE for row in _rows(snapshot))
        self._latest = snapshot
        if snapshot.stopping and not self._stopping:
            self._stopping = True
            print(_stopping_line(snapshot, self._repeat), flush=True)

    def finished(self, row: dict[str, Any]) -> None:
        self._done += 1
        what = f"loss {notation.loss(row['loss'])}" if row["status"] == "ok" else f"{row['status']}: {row['reason']}"
        seconds = f"  {row['seconds']:.1f} s" if row.get("seconds") else ""
        where = f"{notation.flops(row['budget']):>7} x {notation.count(row['params']):>6}  seed {row['seed']}"
        where += "".join(f"  {row[name]}" for name in ("setting", "tuned") if row.get(name))
        print(f"[{self._done:>3}{self._of()}] {where}  {what}{seconds}{self._left()}", flush=True)

    def _of(self) -> str:
        """How many runs there will be; a sampler may stop sooner."""
        if self._latest is None or self._latest.plan.limits is not None:
            return ""
        return f"/{self._latest.plan.runs}"

    def _left(self) -> str:
        if self._latest is None or self._done == self._latest.plan.runs:
            return ""
        most = "about" if self._latest.plan.limits is None else "at most"
        return f"  ({most} {notation.duration(self._latest.remaining_seconds)} to go)"


class _Table(_Shown):
    """One table, drawn again about twice a second."""

    def __init__(self, name: str, repeat: str) -> None:
        from rich.console import Console
        from rich.live import Live

        self._name = name
        self._repeat = repeat
        self._live = Live(console=Console(highlight=False), auto_refresh=False, transient=False)
        self._minima: _Minima = {}
        self._fitted_to = 0

    def __enter__(self) -> _Table:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def update(self, snapshot: Snapshot) -> None:
        if snapshot.ledger.committed_count != self._fitted_to:
            self._minima = curve_minima(snapshot.ledger.table())
            self._fitted_to = snapshot.ledger.committed_count
        self._live.update(render(snapshot, self._repeat, self._minima), refresh=True)

    def finished(self, row: dict[str, Any]) -> None:
        pass


COLUMNS = ("budget", "done", "running", "failed", "best N", "best loss", "N* ± s.e.", "to go")

_Minima = Mapping[CurveKey, dict[str, Any]]


def render(snapshot: Snapshot, repeat: str, minima: _Minima) -> RenderableType:
    """The table of one moment."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in COLUMNS:
        table.add_column(name, justify="right", no_wrap=True)
    rows = _rows(snapshot)
    for cells in _curve_cells(snapshot, rows, minima):
        table.add_row(*cells)
    lines = [Text(line) for line in _totals(snapshot, rows, repeat)]
    return Group(table, *lines)


def _curve_cells(snapshot: Snapshot, rows: list[dict[str, Any]], minima: _Minima) -> Iterator[tuple[str, ...]]:
    """One row per curve, the largest budget first."""
    expected = _expected(snapshot, rows)
    several = len({setting for _, setting in expected}) > 1
    for budget, setting in sorted(expected, key=lambda curve: -curve[0]):
        mine = [row for row in rows if (row["budget"], row["setting"]) == (budget, setting)]
        done = sum(row["status"] in DONE for row in mine)
        failed = sum(row["status"] in FAILED for row in mine)
        best = best_point(mine)
        left = snapshot.prediction.curves.get(budget, 0.0) / max(snapshot.slots, 1)
        complete = snapshot.plan.limits is None and done + failed >= expected[budget, setting]
        yield (
            " ".join(filter(None, (notation.flops(budget), setting))),
            f"{done}/{expected[budget, setting]}",
            str(sum(row["status"] == "running" for row in mine)),
            str(failed),
            notation.count(best[0]) if best else "",
            notation.loss(best[1]) if best else "",
            minimum_text(minima.get((budget, setting)), complete=complete),
            notation.duration(left) if done + failed < expected[budget, setting] and not several else "",
        )


def _rows(snapshot: Snapshot) -> list[dict[str, Any]]:
    """Runs of the plan; the store may hold more, of a sweep file that was changed."""
    wanted = {point.run_id for point in snapshot.plan.points}
    rows = snapshot.ledger.rows(["run_id", "budget", "setting", "params", "status", "loss"])
    return [row for row in rows if row["run_id"] in wanted]


def _expected(snapshot: Snapshot, rows: list[dict[str, Any]]) -> Counter[CurveKey]:
    """Runs of each curve: those of the plan; where a sampler chooses, those that it has proposed."""
    points = snapshot.plan.points
    if snapshot.plan.limits is None:
        return Counter((point.budget, point.setting) for point in points)
    proposed = Counter(dict.fromkeys(((point.budget, point.setting) for point in points), 0))
    proposed.update((row["budget"], row["setting"]) for row in rows)
    return proposed


def _totals(snapshot: Snapshot, rows: list[dict[str, Any]], repeat: str) -> Iterator[str]:
    done = sum(row["status"] in DONE for row in rows)
    spent, planned = notation.flops(snapshot.spent_flops), notation.flops(snapshot.plan.flops)
    elapsed, left = notation.duration(snapshot.elapsed_seconds), notation.duration(snapshot.remaining_seconds)
    most, of = ("", "/") if snapshot.plan.limits is None else ("at most ", " of at most ")
    yield (
        f"total {done}{of}{snapshot.plan.runs}   {elapsed} elapsed   about {left} to go   spent {spent} of "
        f"{most}{planned} FLOPs"
    )
    if priced := spending_line(snapshot):
        yield priced
    if snapshot.last:
        retries = ", ".join(f"{count} {ending}" for ending, count in sorted(snapshot.retries.items()))
        yield f"last: {snapshot.last}" + (f"   retries: {retries}" if retries else "")
    if snapshot.stopping:
        yield _stopping_line(snapshot, repeat)


def spending_line(snapshot: Snapshot) -> str:
    """Money and energy so far and at the end, labelled as estimates; empty where the sweep names neither."""
    rate = rate_of(snapshot.plan.sweep)
    spent = snapshot.ledger.seconds_spent
    so_far, in_all = rate.text(spent), rate.text(spent + snapshot.prediction.worker_seconds)
    return f"cost so far {so_far}, in all about {in_all}" if so_far else ""


def _stopping_line(snapshot: Snapshot, repeat: str) -> str:
    done = snapshot.ledger.committed_count
    return f"{snapshot.stopping}: finishing checkpoints; {done} of {snapshot.plan.runs} done. Resume with: {repeat}"
