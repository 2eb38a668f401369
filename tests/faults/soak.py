"""Random faults, many of them: `python tests/faults/soak.py --cells 2000 --seed 0 --record soak.jsonl`.

Each cell draws one to three faults for as many drivers in a row from the seed and its own number, then repeats the
command undisturbed and compares the store with one that met no fault. The record has a line for every cell that ended;
the same command goes on with those that it lacks, so that a soak may be stopped at any moment. `--cell` repeats one.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[1] / "support")

from cells import HERE, CellServer  # noqa: E402 - found through the line above
from matrix import DRIVER_STEPS, WORKER_STEPS  # noqa: E402
from oracle import check, events  # noqa: E402

DRIVER_POINTS = [name for step, names in DRIVER_STEPS.items() if step != "snapshot" for name in names]
WORKER_POINTS = [name for names in WORKER_STEPS.values() for name in names]
WRITES = [name for name in (*DRIVER_POINTS, *WORKER_POINTS) if name.endswith(("_write", "middle"))]

PASSES = {"train.step": 84, "checkpoint.middle": 19, "checkpoint.after": 19, "event.before": 14, "event.middle": 14}
PASSES |= dict.fromkeys(("tables.before_write", "tables.after_write", "tables.after_rename"), 3)
PASSES |= dict.fromkeys(("sweeps.after_write", "sweeps.after_link", "driver.after_link", "driver.begun"), 1)
PASSES |= dict.fromkeys(("propose.before", "propose.after", "tables.before", "driver.ended"), 1) | {"disk.sync": 18}
"""How often an undisturbed driver that trains by itself passes a failpoint, where not once for each of its six runs."""

DERIVED = ("tables/runs/runs.parquet", "tables/curves/*", "events.jsonl", "checkpoints/*/*/*", "progress/*")
"""Files that are made again when they are torn."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What every cell needs.

    Attributes:
        home: Folder of all stores.
        server: Starts drivers.
        request: What every driver is told.
    """

    home: Path
    server: CellServer
    request: dict[str, object]


def draw_cell(seed: int, number: int) -> list[dict[str, Any]]:
    """Requests of the drivers that meet a fault, each with the share of a derived file that is left behind it."""
    draw = random.Random(f"{seed}/{number}")
    return [_draw_fault(draw) | _draw_damage(draw) for _ in range(draw.randint(1, 3))]


def _draw_fault(draw: random.Random) -> dict[str, Any]:
    if draw.random() < 0.4:
        chosen = {}
        for number in draw.sample(range(6), draw.randint(1, 2)):
            point = draw.choice(WORKER_POINTS)
            chosen[number] = f"{point}={draw.choice(['kill', 'kill', 'terminate'])}@{_draw_pass(draw, point, runs=6)}"
        point = draw.choice(DRIVER_POINTS)
        return {"workers": chosen, "faults": f"{point}=kill@{_draw_pass(draw, point)}"}
    if draw.random() < 0.25:
        point = draw.choice([*WRITES, "disk.sync"])
        return {"faults": f"{point}={draw.choice(['full', 'broken'])}@{_draw_pass(draw, point)}"}
    action = draw.choice(["kill", "kill", "kill", "terminate", "interrupt"])
    clock = draw.choice(["", "clock=120;", "clock=-120;"])
    point = draw.choice(DRIVER_POINTS + WORKER_POINTS)
    return {"faults": f"{clock}{point}={action}@{_draw_pass(draw, point)}"}


def _draw_pass(draw: random.Random, point: str, runs: int = 1) -> int:
    """At which pass it strikes; a worker process makes one of `runs` runs."""
    return draw.randint(1, max(1, PASSES.get(point, 6) // runs))


def _draw_damage(draw: random.Random) -> dict[str, Any]:
    return {"torn": [draw.choice(DERIVED), draw.random()]} if draw.random() < 0.15 else {}


def run_cell(bench: Bench, number: int, drivers: list[dict[str, Any]]) -> dict[str, Any]:
    """Run a cell; gives how its drivers and attempts ended, and `error` where anything shows."""
    store = bench.home / f"cell-{number}"
    shutil.copytree(bench.home / "template", store)
    start = time.monotonic()
    endings = []
    for driver in drivers:
        asked = {name: value for name, value in driver.items() if name != "torn"}
        endings.append(bench.server.run(**bench.request, store=str(store), **asked)["code"])
        if "torn" in driver:
            _tear(store, *driver["torn"])
    last = bench.server.run(**bench.request, store=str(store))
    said: dict[str, Any] = {"endings": endings, "error": None}
    try:
        assert last["counts"] == {"ok": 6}, last
        check(store, bench.home / "reference")
    except AssertionError as error:
        said["error"] = str(error)[:500]
    said["attempts"] = Counter(event["ending"] for event in events(store) if event["event"] == "ended")
    shutil.rmtree(store)
    return said | {"seconds": round(time.monotonic() - start, 3)}


def _tear(store: Path, pattern: str, left: float) -> None:
    for path in sorted(store.glob(pattern))[-1:]:
        content = path.read_bytes()
        path.write_bytes(content[: int(left * len(content))])


@contextmanager
def bench() -> Iterator[Bench]:
    """A template that holds the text and no run, and the store of a sweep that met no fault."""
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=memory, prefix="isoflop-soak-") as name, CellServer() as server:
        home = Path(name)
        shutil.copy(HERE / "tiny.yaml", home)
        (home / "tiny.txt").write_text("".join(f"line {i * i % 9973} of words {i}\n" * 3 for i in range(20_000)))
        made = Bench(home=home, server=server, request={"sweep": str(home / "tiny.yaml"), "settings": []})
        server.run(**made.request, store=str(home / "template"), faults="sweeps.before_write=kill")
        shutil.rmtree(home / "template/driver", ignore_errors=True)
        shutil.copytree(home / "template", home / "reference")
        assert server.run(**made.request, store=str(home / "reference"))["counts"] == {"ok": 6}
        yield made


def read_record(record: Path, seed: int) -> dict[int, dict[str, Any]]:
    """Cells of a seed that have ended; a last line without an end is cut off."""
    if not record.exists():
        return {}
    text = record.read_bytes()
    whole = text[: text.rfind(b"\n") + 1]
    if whole != text:
        record.write_bytes(whole)
    lines = map(json.loads, whole.splitlines())
    return {line["cell"]: line for line in lines if line["seed"] == seed}


def summary(done: dict[int, dict[str, Any]], wanted: int) -> dict[str, Any]:
    """What a record says of a seed."""
    endings = Counter(str(code) for line in done.values() for code in line["endings"])
    attempts: Counter[str] = sum((Counter(line["attempts"]) for line in done.values()), Counter())
    return {
        "cells": len(done),
        "wanted": wanted,
        "drivers": endings.total(),
        "drivers_struck": endings.total() - endings["0"],
        "endings": endings,
        "attempts": attempts,
        "torn": sum("torn" in driver for line in done.values() for driver in line["drivers"]),
        "minutes": round(sum(line["seconds"] for line in done.values()) / 60, 1),
        "revisions": Counter(line["revision"] for line in done.values()),
        "failures": [line for line in done.values() if line["error"]],
    }


def _revision() -> str:
    asked = ["git", "-C", str(HERE), "describe", "--always", "--dirty"]
    return subprocess.run(asked, capture_output=True, text=True).stdout.strip() or "unknown"


def main() -> None:
    """Run the soak and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after so long")
    parser.add_argument("--record", type=Path, default=Path("soak.jsonl"), help="a line for every cell that ended")
    parser.add_argument("--cell", type=int, help="run this cell alone, whatever the record says, and do not record it")
    arguments = parser.parse_args()
    with bench() as made:
        if arguments.cell is not None:
            drivers = draw_cell(arguments.seed, arguments.cell)
            told = {"drivers": drivers} | run_cell(made, arguments.cell, drivers)
            print(json.dumps(told, indent=1))  # noqa: T201
            sys.exit(told["error"] is not None)
        done, revision = read_record(arguments.record, arguments.seed), _revision()
        start = time.monotonic()
        with arguments.record.open("a", buffering=1) as record:
            for number in range(arguments.cells):
                if number in done or time.monotonic() - start > 60 * arguments.minutes:
                    continue
                drivers = draw_cell(arguments.seed, number)
                line = {"seed": arguments.seed, "cell": number, "revision": revision, "drivers": drivers}
                done[number] = line | run_cell(made, number, drivers)
                record.write(json.dumps(done[number]) + "\n")
    told = summary(done, arguments.cells)
    print(json.dumps(told, indent=1))  # noqa: T201
    sys.exit(1 if told["failures"] or told["cells"] < arguments.cells else 0)


if __name__ == "__main__":
    main()
