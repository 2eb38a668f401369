"""Keep a finished sweep in the gallery: tables, sweep file, predictions and report, under the sweep's name or another.

python examples/gallery/keep.py runs/ladder [NAME]
"""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path

import pyarrow.parquet as pq

from analysis.report import write_report
from analysis.stores import store_curves, store_rows

GALLERY = Path(__file__).resolve().parent

NOT_KEPT = ["host", "finished_at"]
"""Columns that say where and when, not what."""

DOCUMENTS = ["sweeps", "predictions"]
"""What a report reads beside the tables: with these `isoflop report examples/gallery/NAME` writes it again."""


def keep(store: str, name: str | None = None) -> Path:
    """Copy what shows a sweep's result; gives the folder."""
    runs = store_rows(store)
    folder = GALLERY / (name or str(runs["sweep"][0].as_py()))
    folder.mkdir(exist_ok=True)
    pq.write_table(runs.drop_columns(NOT_KEPT), folder / "runs.parquet", compression="zstd")
    pq.write_table(store_curves(store), folder / "curves.parquet", compression="zstd")
    for kept in sorted(path for part in DOCUMENTS for path in Path(store).glob(f"{part}/*.json")):
        (folder / kept.parent.name).mkdir(exist_ok=True)
        (folder / kept.parent.name / kept.name).write_text(_without_place(kept.read_text()))
    with contextlib.chdir(GALLERY):  # the page names its source as it is given
        write_report(folder.name, folder / "report.html")
    return folder


def _without_place(text: str) -> str:
    """A document without the folder that its working copy was cloned from, where that is no address but a path."""
    document = json.loads(text)
    git = document.get("made_with", {}).get("git")
    if not git or not Path(git["remote"] or "").is_absolute():
        return text
    git["remote"] = None
    return json.dumps(document)


if __name__ == "__main__":
    made = keep(*sys.argv[1:3])
    for path in sorted(made.rglob("*")):
        if path.is_file():
            print(f"{path.relative_to(GALLERY)}  {path.stat().st_size / 1e3:.0f} kB")
