"""Random faults, many of them: `python tests/faults/soak.py --cells 2000 --seed 0`.

Each cell draws one to three faults for as many drivers in a row, then repeats the command undisturbed and compares the
store with one that met no fault.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1] / "support")

from cells import HERE, CellServer  # noqa: E402 - found through the line above
from matrix import DRIVER_STEPS, WORKER_STEPS  # noqa: E402
from oracle import check  # noqa: E402

DRIVER_POINTS = [name for step, names in DRIVER_STEPS.items() if step != "snapshot" for name in names]
WORKER_POINTS = [name for names in WORKER_STEPS.values() for name in names]
WRITES = [name for name in (*DRIVER_POINTS, *WORKER_POINTS) if name.endswith(("_write", "middle"))]


def draw_fault(draw: random.Random) -> dict[str, object]:
    """A driver's request with one fault."""
    if draw.random() < 0.4:
        actions = ["kill", "kill", "terminate"]
        chosen = {
            number: f"{draw.choice(WORKER_POINTS)}={draw.choice(actions)}@{draw.randint(1, 20)}"
            for number in draw.sample(range(6), draw.randint(1, 2))
        }
        return {"workers": chosen, "faults": f"{draw.choice(DRIVER_POINTS)}=kill@{draw.randint(1, 12)}"}
    if draw.random() < 0.25:
        return {
            "faults": f"{draw.choice([*WRITES, 'disk.sync'])}={draw.choice(['full', 'broken'])}@{draw.randint(1, 30)}"
        }
    action = draw.choice(["kill", "kill", "kill", "terminate", "interrupt"])
    clock = draw.choice(["", "clock=120;", "clock=-120;"])
    return {"faults": f"{clock}{draw.choice(DRIVER_POINTS + WORKER_POINTS)}={action}@{draw.randint(1, 20)}"}


def main() -> None:
    """Run the soak and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after so long")
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    failures: list[object] = []
    endings: Counter[int] = Counter()
    done = 0
    start = time.monotonic()
    with tempfile.TemporaryDirectory(dir=memory, prefix="isoflop-soak-") as name, CellServer() as server:
        home = Path(name)
        shutil.copy(HERE / "tiny.yaml", home)
        (home / "tiny.txt").write_text("".join(f"line {i * i % 9973} of words {i}\n" * 3 for i in range(20_000)))
        request = {"sweep": str(home / "tiny.yaml"), "settings": []}
        server.run(**request, store=str(home / "template"), faults="sweeps.before_write=kill")
        shutil.rmtree(home / "template/driver", ignore_errors=True)
        shutil.copytree(home / "template", home / "reference")
        server.run(**request, store=str(home / "reference"))
        while done < arguments.cells and time.monotonic() - start < 60 * arguments.minutes:
            store = home / f"cell-{done}"
            shutil.copytree(home / "template", store)
            faults = [draw_fault(draw) for _ in range(draw.randint(1, 3))]
            for fault in faults:
                endings[server.run(**request, store=str(store), **fault)["code"]] += 1
            last = server.run(**request, store=str(store))
            try:
                assert last["counts"] == {"ok": 6}, last
                check(store, home / "reference")
            except AssertionError as error:
                failures.append({"cell": done, "faults": faults, "error": str(error)[:500]})
            shutil.rmtree(store)
            done += 1
    minutes = (time.monotonic() - start) / 60
    print(json.dumps({"cells": done, "minutes": minutes, "endings": endings, "failures": failures}, indent=1))  # noqa: T201
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
