"""What `run` shows at its end: the fits, what weakens them, where the report is, and what to try next."""

from __future__ import annotations

import shlex
from collections import Counter
from pathlib import Path

from orchestrator.cli.console import say
from orchestrator.observing import Result
from orchestrator.status import DONE, failed_count

INTERRUPTED = 130
"""Exit code of a sweep that was stopped before its end, as of a command ended by Ctrl-C."""


def show(store: str, result: Result, repeat: str) -> int:
    """Print the end of a run, and write its report where there is something to report.

    Returns:
        Exit code: 0 done, 2 finished but some runs failed, 130 stopped on request.
    """
    print(_counted(result.counts))
    failed = failed_count(result.counts)
    if failed:
        say(f"{failed} runs failed; isoflop status {shlex.quote(store)} says why, isoflop retry tries them again")
    if result.interrupted:
        say(f"stopped: {result.stopped}. Resume with: {repeat}")
        return INTERRUPTED
    if result.stopped is not None:
        say(f"ended early: {result.stopped}")
    if result.enough is not None:
        say(f"nothing more is proposed: {result.enough}")
    if sum(result.counts[status] for status in DONE):
        _report(store)
    return 2 if failed else 0


def _report(store: str) -> None:
    from analysis.report import ending_lines, summarize, write_report

    summary = summarize(store)
    print()
    for line in ending_lines(summary):
        say(line)
    folder = _report_folder(store)
    page = folder / "report.html"
    write_report(summary, page, png_folder=folder / "figures")
    quoted = shlex.quote(store)
    print(f"\nreport  {page}   figures  {folder / 'figures'}")
    print(f"next    isoflop fit {quoted}")
    print(
        f'        isoflop query {quoted} "select budget, params, avg(loss) loss from runs group by 1, 2 order by 1, 2"'
    )


def _report_folder(store: str) -> Path:
    """The store itself, or a folder of its name here where the store is a bucket."""
    folder = Path("runs") / store.rstrip("/").rpartition("/")[2] if "://" in store else Path(store)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.most_common())
